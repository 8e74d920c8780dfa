"""The HTML report of a run: accuracy, the confusion matrix, a gallery of errors with their maps."""

from camlens.audit.report.page import write_report

__all__ = ["write_report"]
