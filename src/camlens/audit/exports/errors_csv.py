"""Export of the errors of a run as a CSV file."""

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
    """Write all incorrect predictions, the most confident first, and then all unreadable images.

    Classes are written by name, numbers with six digits, and null as an empty field. Returns the number of rows.
    Raises StoreError if the file cannot be written.
    """
    columns = {name: audit.column(name) for name in COLUMNS}
    wrong = np.flatnonzero(~np.ma.filled(audit.column("correct"), True))
    wrong = wrong[np.argsort(-columns["confidence"][wrong], kind="stable")]
    unreadable = np.flatnonzero([error is not None for error in columns["error"]])
    names = audit.class_names
    with committed(Path(path)) as unfinished, unfinished.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(COLUMNS)
        for row in (*wrong.tolist(), *unreadable.tolist()):
            writer.writerow([_text(name, columns[name][row], names) for name in COLUMNS])
    return len(wrong) + len(unreadable)


def _text(name: str, value: Any, names: tuple[str, ...]) -> str:
    if value is None or value is np.ma.masked:
        return ""
    if name in ("label", "predicted"):
        return _escaped(names[int(value)])
    if name in _NUMBERS:
        return "" if np.isnan(value) else f"{value:.6g}"
    return _escaped(str(value))


def _escaped(text: str) -> str:
    """Return the text with a quote before anything that a spreadsheet would run as a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
