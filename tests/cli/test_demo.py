"""`camlens demo`: an index page of panels, right and wrong predictions among them."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from camlens.models import demo
from camlens.models.loading import LoadedModel
from camlens.models.preprocess import Preprocess


@pytest.fixture
def untrained(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network that knows the demo's classes and nothing else in place of the trained one."""
    import torch

    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = demo.DemoNet()
    side = (demo.SIZE, demo.SIZE)
    loaded = LoadedModel(
        net.eval(),
        Preprocess(resize=side, crop=side),
        list(demo.CLASS_NAMES),
        demo.DEFAULT_LAYER,
        "demo:photos",
    )
    monkeypatch.setattr("camlens.models.load_model", lambda *_names, **_options: loaded)


@pytest.mark.usefixtures("untrained")
def test_demo_writes_panels_maps_manifest_and_an_index_page(camlens: Any, folder: Path) -> None:
    result = camlens("demo", "--output", "shown", "--count", "4", "--seed", "1")
    assert result.exit_code == 0, result.stderr
    page = folder / "shown" / "index.html"
    assert result.stdout == f"{page.resolve()}\n"
    manifest = json.loads((folder / "shown" / "manifest.json").read_text())
    html = page.read_text()
    assert len(manifest["images"]) == 4
    for image in manifest["images"]:
        assert image["panel"] in html
        assert (folder / "shown" / image["map"]).is_file()
        with Image.open(folder / "shown" / image["panel"]) as panel:
            assert panel.width > panel.height
    assert {image["correct"] for image in manifest["images"]} == {True, False}
    assert manifest["caption"] in result.stderr
    assert camlens("demo", "--output", "shown", "--count", "2").exit_code == 0
    assert len(json.loads((folder / "shown" / "manifest.json").read_text())["images"]) == 2


def test_demo_refuses_a_model_of_other_classes(camlens: Any, folder: Path) -> None:
    result = camlens("demo", "--model", "camlens_tiny:classifier")
    assert result.exit_code == 2
    assert "demo:photos" in result.stderr
    assert {path.name for path in folder.iterdir()} == {"one.png", "two.jpg"}


@pytest.mark.slow
def test_the_shipped_model_is_shown_with_right_and_wrong_predictions(camlens: Any, folder: Path) -> None:
    result = camlens("demo")
    assert result.exit_code == 0, result.stderr
    images = json.loads((folder / "camlens-demo" / "manifest.json").read_text())["images"]
    assert len(images) == 20
    assert {image["correct"] for image in images} == {True, False}
