"""Heat is drawn where the model looked, on the photograph at its own proportions, in the API and in the browser."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from camlens.studio.app import PAGE, create_app
from camlens.studio.settings import StudioSettings
from tests.browser import browser_marks, pixels, violations, watched_page
from tests.studio.conftest import BASE, ask_until, is_settled, listening, opened
from tests.studio.placed import PROPORTIONS, photograph

IN_BROWSER = browser_marks(PAGE / "index.html")
WIDE_REGION = [272 / 768, 16 / 256, 496 / 768, 240 / 256]  # resized to 768 x 256, cropped to 224 x 224


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five photographs from 1:3 to 3:1, with the object in the center, or at column 350 in that of 300 x 900."""
    folder = tmp_path_factory.mktemp("proportions")
    for name, (height, width) in PROPORTIONS.items():
        photograph(height, width, height // 2, 350 if width == 900 else width // 2).save(folder / f"{name}.png")
    return folder


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[TestClient]:
    settings = StudioSettings(model="tests.studio.placed:classifier", data=str(folder))
    with TestClient(create_app(settings), base_url=BASE) as client:
        ask_until(client, is_settled)
        yield client


def test_an_image_that_the_preprocessing_refuses_affects_no_other(folder: Path) -> None:
    settings = StudioSettings(model="tests.studio.placed:fussy", data=str(folder))
    with TestClient(create_app(settings), base_url=BASE) as client:
        ask_until(client, is_settled)
        images = ids(client)
        readable = {name: client.get(f"/api/images/{image}").json()["readable"] for name, image in images.items()}
        assert readable == {"1to3": True, "2to3": True, "1to1": True, "3to2": False, "3to1": False}
        answer = client.post("/api/explanations", json={"image": images["3to1"], "layers": ["0"]})
        assert answer.status_code == 422
        assert answer.json()["kind"] == "input"
        picture = client.get(f"/api/images/{images['3to1']}/picture.png")
        assert (picture.status_code, picture.headers["camlens-region"]) == (200, "null")
        assert client.post("/api/explanations", json={"image": images["1to3"], "layers": ["0"]}).status_code == 200


def ids(client: TestClient) -> dict[str, str]:
    """Return the images by the stems of their files."""
    return {Path(one["name"]).stem: one["id"] for one in client.get("/api/samples").json()["samples"]}


@pytest.mark.parametrize("name", PROPORTIONS)
def test_pictures_keep_their_proportions_and_carry_the_region(client: TestClient, name: str) -> None:
    height, width = PROPORTIONS[name]
    answer = client.get(f"/api/images/{ids(client)[name]}/picture.png")
    picture = Image.open(io.BytesIO(answer.content))
    scale = min(1, 640 / max(height, width))
    assert picture.size == (round(width * scale), round(height * scale))
    left, top, right, bottom = json.loads(answer.headers["camlens-region"])
    seen = (right - left) * width, (bottom - top) * height
    assert seen == pytest.approx((min(height, width) * 224 / 256,) * 2, rel=0.01)
    small = client.get(f"/api/images/{ids(client)[name]}/thumbnail.webp")
    assert small.headers["camlens-region"] == answer.headers["camlens-region"]
    assert max(Image.open(io.BytesIO(small.content)).size) == 160


def test_explanations_carry_the_region_of_their_maps(client: TestClient) -> None:
    image = ids(client)["3to1"]
    for path, request in (("explanations", {}), ("segments", {"segments": 4, "samples": 20})):
        result = client.post(f"/api/{path}", json={"image": image, **request}).json()["result"]
        assert result["region"] == pytest.approx(WIDE_REGION)


def test_with_unknown_geometry_the_preprocessed_picture_is_shown(folder: Path) -> None:
    settings = StudioSettings(model="tests.studio.placed:unplaced", data=str(folder))
    with TestClient(create_app(settings), base_url=BASE) as client:
        ask_until(client, is_settled)
        answer = client.get(f"/api/images/{ids(client)['3to1']}/picture.png")
        assert Image.open(io.BytesIO(answer.content)).size == (224, 224)
        assert json.loads(answer.headers["camlens-region"]) is None


def test_a_contrast_is_named_by_both_classes(client: TestClient) -> None:
    for target in ({"index": 0, "against": 1}, {"against": 1}):
        request = {"image": ids(client)["1to1"], "target": {"kind": "contrast", **target}}
        (one,) = client.post("/api/explanations", json=request).json()["result"]["maps"]
        assert (one["target"], one["class_name"]) == ("boot minus shirt", None)


# in the browser


def in_browser(test: Any) -> Any:
    for mark in IN_BROWSER:
        test = mark(test)
    return test


OVERLAY = 'canvas[aria-label^="Overlay of the evidence"]'
SIZE = f"const {{width, height}} = document.querySelector('{OVERLAY}');"


@pytest.fixture(scope="module")
def placed_server(folder: Path) -> Iterator[str]:
    with listening(StudioSettings(model="tests.studio.placed:classifier", data=str(folder))) as address:
        yield address


@pytest.fixture
def placed_page(browser: Any, placed_server: str) -> Iterator[Any]:
    with watched_page(browser, placed_server) as fresh:
        yield fresh


def brought(page: Any, path: str, picture: Image.Image) -> None:
    """Upload a picture and wait for its map."""
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    opened(page, path)
    upload = {"name": "own.png", "mimeType": "image/png", "buffer": stream.getvalue()}
    page.get_by_label("Image file").set_input_files(upload)
    page.wait_for_selector(f'{OVERLAY}[data-image^="u"]')
    page.wait_for_selector("main:not(:has(.waiting)):not(:has([aria-busy=true]))")


def painted(page: Any) -> np.ndarray:
    """Return rows and columns painted by the map of the start page, as fractions of the photograph (n, 2)."""
    overlay, original = (
        pixels(page.locator(which)).astype(int) for which in (OVERLAY, 'canvas[aria-label="Original image"]')
    )
    places = np.argwhere(np.abs(overlay - original).max(axis=2) > 8)
    return (places + 0.5) / overlay.shape[:2]


@in_browser
@pytest.mark.parametrize("name", PROPORTIONS)
def test_the_heat_of_an_upload_is_on_its_object(placed_page: Any, name: str) -> None:
    height, width = PROPORTIONS[name]
    row, column = height // 2, 350 if width == 900 else width // 2
    brought(placed_page, "/?threshold=0.5&opacity=1", photograph(height, width, row, column))
    places = painted(placed_page) * (height, width)
    cell = 8 * min(height, width) / 256
    assert np.abs(places.mean(axis=0) - (row, column)).max() < cell
    assert np.abs(places - (row, column)).max() < 18 + 2 * cell
    shape = pixels(placed_page.locator(OVERLAY)).shape
    assert shape[1] / shape[0] == pytest.approx(width / height, rel=0.01)


@in_browser
def test_the_cropped_part_is_gray_and_can_be_hidden(placed_page: Any) -> None:
    brought(placed_page, "/", photograph(300, 900, 150, 350))
    whole = pixels(placed_page.locator(OVERLAY)).astype(int)
    unseen = whole[:, : int(0.35 * whole.shape[1])]
    assert np.ptp(unseen, axis=2).max() == 0
    assert abs(unseen.mean() - (0.38 * 89 + 0.62 * 150)) < 3, "faded to gray"
    placed_page.keyboard.press("s")
    placed_page.wait_for_url("**crop=1*")
    placed_page.wait_for_function(f"() => {{ {SIZE} return Math.abs(width - height) < 4; }}")
    switch = placed_page.get_by_label("Crop to model input")
    assert switch.is_checked()
    assert np.ptp(pixels(placed_page.locator('canvas[aria-label="Original image"]')).astype(int), axis=2).min() > 20
    switch.focus()
    placed_page.keyboard.press("Space")
    placed_page.wait_for_function(f"() => {{ {SIZE} return width > 2.9 * height; }}")


@in_browser
def test_values_are_read_only_inside_the_region(placed_page: Any) -> None:
    brought(placed_page, "/", photograph(300, 900, 150, 350))
    box = placed_page.locator(OVERLAY).bounding_box()
    for share, seen in ((350 / 900, True), (100 / 900, False)):
        placed_page.mouse.move(box["x"] + share * box["width"], box["y"] + box["height"] / 2)
        assert (placed_page.locator(".reading").count() > 0) is seen
    placed_page.mouse.move(box["x"] + 350 / 900 * box["width"], box["y"] + box["height"] / 2)
    assert "cell 14, 3" in placed_page.locator(".reading").last.inner_text()


@in_browser
@pytest.mark.parametrize("path", ["/layers", "/classes", "/methods", "/lime"])
def test_every_page_draws_the_whole_photograph(placed_page: Any, client: TestClient, path: str) -> None:
    placed_page.emulate_media(reduced_motion="reduce")  # no color in transition is measured
    opened(placed_page, f"{path}?image={ids(client)['3to1']}&segments=5&samples=50")
    placed_page.wait_for_selector("main figure canvas[data-painted]")
    painted = [pixels(one).shape for one in placed_page.locator("main figure canvas[data-painted]").all()]
    shapes = [shape for shape in painted if shape[0] > 1]  # a color bar has one row
    assert shapes
    assert all(shape[1] / shape[0] == pytest.approx(3, rel=0.02) for shape in shapes)
    strip = [pixels(one).shape for one in placed_page.locator("[role=radio] canvas").all()]
    assert len({round(shape[1] / shape[0], 1) for shape in strip}) == 5
    for scheme in ("light", "dark"):
        placed_page.emulate_media(color_scheme=scheme)
        placed_page.wait_for_selector(f"html[data-theme={scheme}]")
        assert violations(placed_page) == []


@in_browser
def test_a_report_draws_the_whole_photograph_and_switches_to_the_crop(
    placed_page: Any, client: TestClient, tmp_path: Path
) -> None:
    image = ids(client)["3to1"]
    report = tmp_path / "report.html"
    report.write_bytes(client.get(f"/api/explanations/report.html?image={image}&opacity=1").content)
    placed_page.goto(report.as_uri())
    placed_page.wait_for_selector("html[data-ready]")
    original, heat, overlay = (pixels(one).astype(int) for one in placed_page.locator("canvas").all())
    assert original.shape == heat.shape == overlay.shape == (213, 640, 3)
    hot = np.argwhere((heat[..., 0] > 180) & (heat[..., 2] < 60))
    assert abs((hot[:, 1].mean() + 0.5) / 640 * 900 - 350) < 10
    placed_page.get_by_label("Threshold").fill("0.5")
    changed = np.abs(pixels(placed_page.locator("canvas").nth(2)).astype(int) - original).max(axis=2) > 8
    assert abs((np.argwhere(changed)[:, 1].mean() + 0.5) / 640 * 900 - 350) < 10
    assert violations(placed_page) == []
    placed_page.get_by_label("Crop to model input").check()
    for canvas in placed_page.locator("canvas").all():
        height, width, _ = pixels(canvas).shape
        assert abs(height - width) < 4


def test_a_panel_holds_the_whole_photograph(client: TestClient) -> None:
    wide, square = (
        Image.open(io.BytesIO(client.get(f"/api/explanations/panel.png?image={ids(client)[name]}").content))
        for name in ("3to1", "1to1")
    )
    faded = (np.abs(np.asarray(wide.convert("RGB")).astype(int) - (0.38 * 89 + 0.62 * 150)).max(axis=2) < 3).mean()
    assert faded > 0.04
    assert wide.size != square.size
