"""A contrast is called "boot minus shirt" wherever its map is shown."""

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from PIL import Image

import camlens
from camlens.cli.explaining import ExplainedImage, explain_picture, prepare
from camlens.cli.gallery import write_gallery
from camlens.render.canvas import Canvas
from camlens.render.interactive import page as page_module
from camlens.render.theme import Look
from camlens.studio.app import create_app
from camlens.studio.settings import StudioSettings
from camlens.targets import Contrast, TopK
from tests.studio.conftest import BASE, ask_until
from tests.studio.placed import photograph

MODEL = "tests.studio.placed:classifier"
TITLE = "boot minus shirt"
CONTRASTS = [Contrast(0, 1), Contrast(None, 1), Contrast([0], [1])]


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A photograph that the model takes for a boot."""
    photograph(240, 240, 120, 120).save(tmp_path / "boot.png")
    return tmp_path / "boot.png"


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """All words that are drawn into pictures."""
    words: list[str] = []
    really = Canvas.write

    def write(canvas: Canvas, text: str, *place: Any, **style: Any) -> Any:
        words.append(text)
        return really(canvas, text, *place, **style)

    monkeypatch.setattr(Canvas, "write", write)
    return words


def explained(photo: Path, target: Any) -> camlens.Explanation:
    return camlens.explain(camlens.load_model(MODEL), photo, layers="0", target=target)


@pytest.mark.parametrize("contrast", CONTRASTS)
def test_in_labels_figures_and_pages(photo: Path, written: list[str], contrast: Contrast) -> None:
    alone = explained(photo, contrast)
    assert alone.label(0) == TITLE
    alone.figure()
    assert f"{TITLE}  ·  gradcam at 0" in written
    assert f"{TITLE} at 0" in alone._tiles_html()
    beside = explained(photo, [TopK(1), contrast])
    assert [beside.label(0, 0), beside.label(0, 1)] == ["boot", TITLE]
    written.clear()
    beside.figure()
    assert {"boot", TITLE} <= set(written)


def test_in_interactive_pages(photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_module, "overlay_script", lambda: "draw()")
    page = explained(photo, Contrast(None, 1)).save_html(tmp_path / "page.html").read_text()
    (image,) = json.loads(page.partition('id="maps">')[2].partition("</script>")[0])["images"]
    assert [one["title"] for one in image["maps"]] == [f"{TITLE} at 0"]
    assert dict(image["facts"])["Scores"].startswith(f"{TITLE}: ")


def test_in_panels_and_manifests(photo: Path, tmp_path: Path, written: list[str]) -> None:
    place = prepare(camlens.load_model(MODEL), layer="0")
    image = explain_picture(place, photo, path=photo, target=Contrast(None, 1))
    assert isinstance(image, ExplainedImage)
    image.panel(Look())
    assert f"{TITLE}  ·  gradcam at 0" in written
    gallery = write_gallery(tmp_path / "maps", place, [image], look=Look())
    assert [entry["class_name"] for entry in gallery.manifest["images"]] == [TITLE]


@pytest.mark.parametrize("index", [0, None])
def test_in_the_studio_its_files_and_its_copied_lines(photo: Path, written: list[str], index: int | None) -> None:
    target = {"kind": "contrast", "index": index, "against": 1}
    query = "&".join(f"{name}={value}" for name, value in target.items() if value is not None)
    with TestClient(create_app(StudioSettings(model=MODEL, data=str(photo.parent))), base_url=BASE) as client:
        ask_until(client, lambda status: status["state"] == "ready")
        result = client.post("/api/explanations", json={"image": "s0", "layers": ["0"], "target": target}).json()
        (one,) = result["result"]["maps"]
        assert (one["target"], one["class_index"], one["class_name"]) == (TITLE, None, None)
        weighed = client.post("/api/segments", json={"image": "s0", "segments": 4, "samples": 20, "target": target})
        assert weighed.json()["result"]["target"] == TITLE
        panel = client.get(f"/api/explanations/panel.png?image=s0&layer=0&{query}")
        assert Image.open(io.BytesIO(panel.content)).format == "PNG"
        assert f"{TITLE}  ·  gradcam at 0" in written
    for lines in (result["result"]["python"], _python_of(result["result"]["shell"])):
        names: dict[str, Any] = {}
        with contextlib.chdir(photo.parent):
            exec(lines, names)
        assert names["explanation"].label(0) == TITLE


def _python_of(shell: str) -> str:
    """The Python lines of a shell command that runs Python."""
    start, *lines, end = shell.splitlines()
    assert (start, end) == ("python - <<'CAMLENS'", "CAMLENS")
    return "\n".join(lines)
