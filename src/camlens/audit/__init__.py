"""A whole data set, run through a model once: what was right, what was wrong, and where the model looked.

    import camlens.audit

    audit = camlens.audit.open("runs/photos")
    wrong = audit.column("label") != audit.column("predicted")

`run` makes such a directory and can be stopped and resumed; `open` reads it, finished or not.
"""

from camlens.audit.opening import Audit, IncompleteRunWarning
from camlens.audit.opening import open_run as open  # noqa: A004  # read as camlens.audit.open
from camlens.audit.running.auditing import run
from camlens.audit.running.settings import RunSettings
from camlens.audit.store.manifest import Manifest

__all__ = ["Audit", "IncompleteRunWarning", "Manifest", "RunSettings", "open", "run"]
