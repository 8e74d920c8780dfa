"""Tests of `camlens calibrate`, and of `camlens explain --calibration`."""

import json
from pathlib import Path
from typing import Any

from camlens import Calibration, explain, load_model
from camlens.data.decode import decode_image
from tests.cli.tiny import photograph

MODEL = ("--model", "camlens_tiny:classifier")


def test_a_calibration_is_written_and_applied(camlens: Any, folder: Path) -> None:
    (folder / "photos").mkdir()
    for number in range(13):
        photograph(folder / "photos" / f"{number}.png", number)
    (folder / "photos" / "broken.png").write_bytes(b"")
    options = ("--alpha", "0.3", "--limit", "14", "--output", "faithful.json")
    result = camlens("calibrate", "photos", *MODEL, *options, "--json")
    assert result.exit_code == 0, result.stderr
    assert "broken.png" in result.stderr
    written = json.loads((folder / "faithful.json").read_text())
    assert json.loads(result.stdout) == written
    assert written["images"] <= 13
    assert camlens("calibrate", "photos", *MODEL, *options).exit_code == 2, "the file exists"

    explained = camlens("explain", "one.png", *MODEL, "--calibration", "faithful.json", "--output", "maps")
    assert explained.exit_code == 0, explained.stderr
    (entry,) = json.loads((folder / "maps" / "manifest.json").read_text())["images"]
    explanation = explain(load_model("camlens_tiny:classifier"), decode_image(folder / "one.png"))
    ((verdict,),) = Calibration.load(folder / "faithful.json").verdicts(explanation)
    assert (entry["verdict"]["code"], entry["verdict"]["margin"]) == (verdict.code, verdict.margin)
    assert verdict.text in explained.stdout


def test_too_few_images_are_refused(refused: Any, folder: Path) -> None:
    assert refused("calibrate", "one.png", *MODEL).code == "calibration.too-few"
    assert not (folder / "calibration.json").exists()
