"""A run as one file of HTML: numbers, the confusion matrix, and a gallery of errors with their maps."""

from camlens.audit.report.page import write_report

__all__ = ["write_report"]
