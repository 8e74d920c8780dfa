"""The errors of a run as a CSV file, most confident first."""

import csv
from pathlib import Path
from typing import Any

import numpy as np

from camlens.audit.opening import Audit
from camlens.audit.store.commit import committed
from camlens.audit.store.schema import MEASURES

_NUMBERS = ("confidence", "label_confidence", "margin", "loss", *MEASURES)
COLUMNS = ("index", "id", "path", "label", "predicted", *_NUMBERS, "error")


def write_errors(audit: Audit, path: str | Path) -> int:
    """Write every image that was taken for another class, most confident first, then every one without an answer.

    Classes stand by name, numbers with six digits, and what is unknown is empty. Returns how many rows were
    written. Raises StoreError where the file cannot be written.
    """
    columns = {name: audit.column(name) for name in COLUMNS}
    wrong = np.flatnonzero(~np.ma.filled(audit.column("correct"), True))
    wrong = wrong[np.argsort(-columns["confidence"][wrong], kind="stable")]
    broken = np.flatnonzero([error is not None for error in columns["error"]])
    names = audit.class_names
    with committed(Path(path)) as unfinished, unfinished.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(COLUMNS)
        for row in (*wrong.tolist(), *broken.tolist()):
            writer.writerow([_text(name, columns[name][row], names) for name in COLUMNS])
    return len(wrong) + len(broken)


def _text(name: str, value: Any, names: tuple[str, ...]) -> str:
    if value is None or value is np.ma.masked:
        return ""
    if name in ("label", "predicted"):
        return _harmless(names[int(value)])
    if name in _NUMBERS:
        return "" if np.isnan(value) else f"{value:.6g}"
    return _harmless(str(value))


def _harmless(text: str) -> str:
    """A text that a spreadsheet does not run as a formula: a file's name may be anybody's."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
