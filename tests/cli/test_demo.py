"""Tests of `camlens demo`."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image


def test_demo_writes_panels_maps_manifest_and_an_index_page(camlens: Any, folder: Path) -> None:
    result = camlens("demo", "--output", "shown", "--count", "8")
    assert result.exit_code == 0, result.stderr
    page = folder / "shown" / "index.html"
    assert result.stdout == f"{page.resolve()}\n"
    images = json.loads((folder / "shown" / "manifest.json").read_text())["images"]
    html = page.read_text()
    assert [image["model"] for image in images] == ["demo:imagenet"] * 8 + ["demo:watermark"] * 4
    for image in images:
        assert image["panel"] in html
        assert (folder / "shown" / image["map"]).is_file()
        with Image.open(folder / "shown" / image["panel"]) as panel:
            assert panel.width > panel.height
    assert {image["correct"] for image in images[:8]} >= {True, False}
    assert "pagoda" in {image["class_name"] for image in images[8:] if image["correct"] is False}


def test_a_second_demo_replaces_the_first(camlens: Any, folder: Path) -> None:
    for count in (3, 2):
        options = ("--model", "demo:watermark", "--count", str(count), "--json")
        result = camlens("demo", "--output", "shown", *options)
        assert result.exit_code == 0, result.stderr
        assert len(json.loads(result.stdout)["images"]) == count
    assert len(list((folder / "shown").glob("*.png"))) == 2


def test_demo_replaces_results_of_another_command_only_with_force(camlens: Any, refused: Any, folder: Path) -> None:
    model = ("--model", "demo:watermark")
    assert camlens("explain", "one.png", *model, "--output", "shown").exit_code == 0
    error = refused("demo", *model, "--count", "2", "--output", "shown")
    assert (error.code, error.facts["path"]) == ("output.exists", "shown")
    assert (folder / "shown" / "one.npy").is_file()
    assert camlens("demo", *model, "--count", "2", "--output", "shown", "--force").exit_code == 0
    assert (folder / "shown" / "index.html").is_file()
    assert not (folder / "shown" / "one.npy").exists()


@pytest.mark.slow
def test_the_demo_has_correct_and_incorrect_predictions(camlens: Any, folder: Path) -> None:
    result = camlens("demo")
    assert result.exit_code == 0, result.stderr
    images = json.loads((folder / "camlens-demo" / "manifest.json").read_text())["images"]
    assert len(images) == 24
    assert {image["correct"] for image in images[:20]} == {True, False, None}
