"""The CSV file of errors."""

import csv
from dataclasses import replace
from pathlib import Path

from camlens.audit.exports.errors_csv import write_errors
from tests.audit.synthetic import synthetic_run


def test_class_names_that_are_formulas_are_quoted(tmp_path: Path) -> None:
    audit = synthetic_run(tmp_path / "run", rows=60, classes=3)
    harmful = replace(audit, manifest=replace(audit.manifest, class_names=("=cmd|calc", "@sum", "-1+1")))
    assert write_errors(harmful, tmp_path / "errors.csv") > 0
    rows = list(csv.DictReader((tmp_path / "errors.csv").read_text().splitlines()))
    named = {value for row in rows for value in (row["label"], row["predicted"]) if value}
    assert named <= {"'=cmd|calc", "'@sum", "'-1+1"}
    assert named
