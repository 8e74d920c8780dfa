"""Tests of `camlens evaluate`."""

import json
from pathlib import Path
from typing import Any

from tests.cli.tiny import photograph

MODEL = ("--model", "camlens_tiny:classifier")


def test_candidates_are_compared_and_a_run_is_kept(camlens: Any, folder: Path) -> None:
    (folder / "photos").mkdir()
    for number in range(5):
        photograph(folder / "photos" / f"{number}.png", number)
    (folder / "photos" / "broken.png").write_bytes(b"")
    words = ("evaluate", "photos", *MODEL, "--methods", "gradcam,layercam", "--layers", "0,2", "--metrics", "entropy")
    result = camlens(*words, "--n", "6", "--output", "run", "--json")
    assert result.exit_code == 0, result.stderr
    assert "broken.png" in result.stderr
    facts = json.loads(result.stdout)
    assert facts["candidates"] == ["gradcam at 0", "gradcam at 2", "layercam at 0", "layercam at 2"]
    assert (facts["images"], list(facts["failed"])) == (5, ["broken.png"])
    assert facts["metrics"]["entropy"]["recommendation"]["candidate"] is None
    assert len((folder / "run" / "values.jsonl").read_text().splitlines()) == 6
    again = camlens(*words, "--n", "6", "--output", "run")
    assert again.exit_code == 0, again.stderr
    assert "layercam at 2" in again.stdout


def test_unknown_metrics_are_refused(refused: Any, folder: Path) -> None:
    assert refused("evaluate", "one.png", *MODEL, "--metrics", "entropie").facts["suggestion"] == "entropy"
