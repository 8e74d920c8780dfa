"""Audit of a dataset: predictions, errors, embeddings and maps of every image, from one pass over the data.

    import camlens.audit

    audit = camlens.audit.open("runs/photos")
    wrong = audit.column("label") != audit.column("predicted")

`run` writes the directory of a run and can be stopped and resumed; `open` reads it, complete or not.
"""

from typing import TYPE_CHECKING

from camlens.audit.opening import Audit, IncompleteRunWarning
from camlens.audit.opening import open_run as open  # noqa: A004  # read as camlens.audit.open
from camlens.audit.running.auditing import run
from camlens.audit.running.settings import RunSettings
from camlens.audit.store.manifest import Manifest
from camlens.core.lazy import lazily

if TYPE_CHECKING:
    from camlens.audit.exports.errors_csv import write_errors
    from camlens.audit.exports.fiftyone import to_fiftyone
    from camlens.audit.findings.comparison import ClassChange, Comparison, ImageChange, Paired, compare
    from camlens.audit.findings.embeddings import LayoutChoice
    from camlens.audit.findings.errors import accuracy, confused_pairs, confusion, select
    from camlens.audit.findings.layouts import cached_layout
    from camlens.audit.findings.outcomes import outcomes_of
    from camlens.audit.findings.reasons import Reasoner
    from camlens.audit.findings.shortcuts import Effect, Example, Shortcut, Shortcuts, Tested
    from camlens.audit.running.engine import Engine

_FINDINGS = {
    "ClassChange": "camlens.audit.findings.comparison",
    "Comparison": "camlens.audit.findings.comparison",
    "Engine": "camlens.audit.running.engine",
    "ImageChange": "camlens.audit.findings.comparison",
    "LayoutChoice": "camlens.audit.findings.embeddings",
    "Effect": "camlens.audit.findings.shortcuts",
    "Example": "camlens.audit.findings.shortcuts",
    "Paired": "camlens.audit.findings.comparison",
    "Reasoner": "camlens.audit.findings.reasons",
    "Shortcut": "camlens.audit.findings.shortcuts",
    "Shortcuts": "camlens.audit.findings.shortcuts",
    "Tested": "camlens.audit.findings.shortcuts",
    "accuracy": "camlens.audit.findings.errors",
    "compare": "camlens.audit.findings.comparison",
    "cached_layout": "camlens.audit.findings.layouts",
    "confused_pairs": "camlens.audit.findings.errors",
    "confusion": "camlens.audit.findings.errors",
    "outcomes_of": "camlens.audit.findings.outcomes",
    "select": "camlens.audit.findings.errors",
    "to_fiftyone": "camlens.audit.exports.fiftyone",
    "write_errors": "camlens.audit.exports.errors_csv",
}
__all__ = [
    "Audit",
    "ClassChange",
    "Comparison",
    "Effect",
    "Engine",
    "Example",
    "ImageChange",
    "IncompleteRunWarning",
    "LayoutChoice",
    "Manifest",
    "Paired",
    "Reasoner",
    "RunSettings",
    "Shortcut",
    "Shortcuts",
    "Tested",
    "accuracy",
    "cached_layout",
    "compare",
    "confused_pairs",
    "confusion",
    "open",
    "outcomes_of",
    "run",
    "select",
    "to_fiftyone",
    "write_errors",
]
__getattr__, __dir__ = lazily(__name__, _FINDINGS)
