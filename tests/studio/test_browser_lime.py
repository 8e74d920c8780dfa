"""The LIME page in a browser, and slow or layerless methods on the other pages."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from camlens.render.colormaps import color_table
from camlens.studio.app import PAGE
from tests.browser import browser_marks, pixels, shown, violations
from tests.studio.conftest import chosen, opened

pytestmark = browser_marks(PAGE / "index.html")

SEGMENTS = 'canvas[aria-label^="The image with"]'
EXPLANATION = 'canvas[aria-label*="strongest segments"]'
QUICK = "/lime?image=s4&segments=20&samples=100"


def weighed(page: Any, path: str = QUICK) -> Any:
    opened(page, path)
    page.wait_for_selector(f"{EXPLANATION}[data-painted]")
    page.wait_for_selector("tbody tr")
    return page


def lit(page: Any) -> set[str]:
    """Return the segments highlighted in the pictures, which must agree."""
    return set(page.locator("canvas.light").evaluate_all("all => all.map(one => one.dataset.lit)"))


def wait_lit(page: Any, number: str) -> None:
    page.wait_for_function(
        "number => [...document.querySelectorAll('canvas.light')].every(one => one.dataset.lit === number)", arg=number
    )


def row_number(page: Any, place: int) -> str:
    text: str = page.locator("tbody tr").nth(place).get_by_role("button").inner_text()
    return text.split()[0]


def test_segments_of_both_signs_are_outlined(page: Any) -> None:
    weighed(page)
    assert [one.inner_text() for one in page.locator("figure .title").all()] == ["Original", "Segments", "Explanation"]
    bare = pixels(page.locator('canvas[aria-label="Original image"]'))
    borders = pixels(page.locator(SEGMENTS))
    assert 0.01 < ((borders == 255).all(axis=2) & ~(bare == 255).all(axis=2)).mean() < 0.2
    drawn = pixels(page.locator(EXPLANATION))
    table = color_table("diverging")
    effects = {one.strip() for one in page.locator(".effect").all_inner_texts()}
    for row, effect in ((0, "opposes"), (255, "supports")):
        outlined = (drawn == table[row]).all(axis=2).sum()
        assert (outlined > 100) == (effect in effects)
    assert "R²" in page.get_by_role("region", name="Reliability").inner_text()


def test_the_table_lists_the_strongest_segments(page: Any) -> None:
    weighed(page)
    answer = page.request.post("/api/segments", data={"image": "s4", "segments": 20, "samples": 100}).json()
    wanted = answer["result"]["segments"][:10]
    rows = [re.split(r"\s+", one.inner_text().strip()) for one in page.locator("tbody tr").all()]
    assert [int(row[0]) for row in rows] == [one["index"] for one in wanted]
    assert [float(row[1]) for row in rows] == pytest.approx([one["weight"] for one in wanted], rel=1e-3)
    assert [one["effect"] for one in wanted] == [row[2] for row in rows]


def test_a_row_highlights_its_segment(page: Any) -> None:
    weighed(page)
    assert lit(page) == {""}
    page.locator("tbody tr").nth(2).hover()
    wait_lit(page, row_number(page, 2))
    said = page.get_by_role("region", name="Image and segments").get_by_role("status").inner_text()
    assert said.startswith(f"Segment {row_number(page, 2)} ")
    page.mouse.move(2, 2)
    wait_lit(page, "")
    page.locator("tbody tr").nth(0).get_by_role("button").focus()
    wait_lit(page, row_number(page, 0))
    page.keyboard.press("Tab")
    wait_lit(page, row_number(page, 1))
    light = page.locator("canvas.light").first.evaluate(
        "one => one.getContext('2d').getImageData(0, 0, one.width, one.height).data.some(value => value > 0)"
    )
    assert light, "something is drawn over the picture"


def test_a_segment_highlights_its_row(page: Any) -> None:
    weighed(page, f"{QUICK}&features=200")
    page.locator(EXPLANATION).hover(position={"x": 100, "y": 100})
    page.wait_for_selector("tbody tr.lit")
    first = page.locator("tbody tr.lit").get_by_role("button").inner_text()
    assert lit(page) == {first}
    page.mouse.move(2, 2)
    page.wait_for_selector("tbody tr.lit", state="detached")
    page.get_by_role("group", name=re.compile("^Explanation: arrow keys")).focus()
    seen = set()
    for _ in range(24):
        page.keyboard.press("ArrowRight")
        seen |= lit(page)
    page.wait_for_selector("tbody tr.lit")
    assert len(seen - {""}) > 1
    row, box = page.locator("tbody tr.lit").bounding_box(), page.locator("main .scroll").bounding_box()
    assert box["y"] <= row["y"] + 1
    assert row["y"] + row["height"] <= box["y"] + box["height"] + 1
    page.keyboard.press("Enter")
    page.keyboard.press("Escape")
    page.locator("tbody tr.lit .chip", has_text="pinned").wait_for()


def test_the_number_of_features_changes_without_a_request(page: Any) -> None:
    weighed(page)
    before = pixels(page.locator(EXPLANATION))
    asked: list[str] = []
    page.on("request", lambda one: asked.append(one.url) if "segments" in one.url else None)
    slider = page.get_by_role("slider", name="Features shown")
    slider.focus()
    for _ in range(7):
        slider.press("ArrowLeft")
    page.wait_for_function("() => document.querySelectorAll('tbody tr').length === 3")
    assert (pixels(page.locator(EXPLANATION)) != before).any()
    page.wait_for_url(re.compile("features=3"))
    assert [url for url in asked if "/api/segments" in url] == []


def test_settings_apply_on_recompute_and_are_restored_from_the_url(page: Any) -> None:
    weighed(page)
    for name, presses in (("Segments", 4), ("Samples", 2)):
        slider = page.get_by_role("slider", name=name, exact=True)
        slider.focus()
        for _ in range(presses):
            slider.press("ArrowRight")
    page.wait_for_selector("section.stale")
    page.get_by_role("button", name="KernelSHAP").click()
    page.get_by_role("button", name="Recompute").click()
    page.wait_for_selector("section.figures:not(.stale):not([aria-busy=true])")
    believe = page.get_by_role("region", name="Reliability").inner_text()
    assert "KernelSHAP with 200 samples" in believe
    page.wait_for_url(re.compile("surrogate=kernelshap.*segments=40.*samples=200"))
    table = page.locator("tbody").inner_text()
    weighed(page, page.url)
    assert page.locator("tbody").inner_text() == table
    assert page.get_by_role("button", name="KernelSHAP").get_attribute("aria-pressed") == "true"


def test_another_class_can_be_chosen_by_click_and_by_keyboard(page: Any) -> None:
    weighed(page)
    chosen(page, "Target class", "coffee")
    page.locator("h1").click()
    page.keyboard.press("g")
    page.get_by_role("heading", name=re.compile("strongest segments? for coffee")).wait_for()
    page.wait_for_url(re.compile("target=c3"))


def test_progress_is_shown_and_can_be_cancelled(page: Any) -> None:
    weighed(page)
    before = page.locator("tbody").inner_text()
    slider = page.get_by_role("slider", name="Samples", exact=True)
    slider.focus()
    slider.press("End")
    page.get_by_role("button", name="Recompute").click()
    page.get_by_text(re.compile(r"Computing: \d+ of 3000")).wait_for()
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Recompute").wait_for()
    assert page.get_by_role("alert").count() == 0
    assert page.locator("tbody").inner_text() == before


def test_an_error_is_shown(page: Any) -> None:
    problem = {"kind": "missingextra", "message": 'this needs scikit-image: pip install "camlens[attributions]"'}
    page.route("**/api/segments*", lambda route: route.fulfill(status=400, json=problem))
    page.goto(QUICK)
    page.get_by_role("alert").get_by_text("scikit-image").wait_for()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_violation_with_a_segment_selected(page: Any, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)
    weighed(page)
    page.locator("tbody tr").nth(1).get_by_role("button").click()
    assert violations(page) == []


def test_the_page_fits_a_phone(page: Any) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    weighed(page)
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 390
    explanation = page.locator(EXPLANATION).bounding_box()
    assert explanation["width"] > 300
    page.locator("tbody tr").nth(1).get_by_role("button").click()
    wait_lit(page, row_number(page, 1))


def test_a_report_of_a_signed_map_has_a_legend_and_a_fixed_color_map(page: Any, tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    report.write_bytes(page.request.get("/api/explanations/report.html?image=s4&method=gradientxinput").body())
    page.goto(report.as_uri())
    page.wait_for_selector("html[data-ready]")
    assert "supports, up to +" in page.locator(".note").first.inner_text()
    assert page.get_by_label("Colors").count() == 0
    heat = pixels(page.locator("canvas").nth(1)).astype(int)
    assert (heat[..., 2] - heat[..., 0]).max() > 100, "blue: what opposes"
    assert (heat[..., 0] - heat[..., 2]).max() > 100, "orange: what supports"


# other pages


def test_an_input_method_needs_no_layer_and_shows_its_cost(page: Any) -> None:
    opened(page, "/?image=s4")
    assert shown(page.get_by_role("combobox", name="Target layer"), 1)
    chosen(page, "Method", "integratedgradients")
    page.get_by_text("Not needed: integratedgradients explains the input image.").wait_for()
    assert page.get_by_role("combobox", name="Target layer").count() == 0
    page.get_by_text("Takes seconds").wait_for()
    page.get_by_role("button", name="Generate").click()
    about = page.get_by_role("region", name="About this map")
    about.get_by_text("the input image").wait_for()
    assert shown(page.get_by_role("img", name=re.compile("Color bar, from opposes")), 2)


def test_a_slow_method_waits_for_generate(page: Any) -> None:
    asked: list[str] = []
    page.on("request", lambda one: asked.append(one.url) if "api/explanations" in one.url else None)
    opened(page, "/?image=s5&method=lime")
    page.get_by_text("may take minutes. Click Generate to start").wait_for()
    assert asked == []
    page.get_by_role("link", name="Open in LIME").click()
    page.get_by_role("heading", name="LIME", level=1).wait_for()


def test_grad_cam_and_lime_side_by_side(page: Any) -> None:
    weighed(page)
    page.get_by_role("link", name="Compare with Grad-CAM").click()
    page.get_by_role("button", name="Generate").click()
    page.wait_for_selector('canvas[aria-label$="by lime"][data-painted]', timeout=240_000)
    cam, lime = (pixels(page.locator(f'canvas[aria-label$="by {name}"]')) for name in ("gradcam", "lime"))
    colourless = (np.ptp(lime.astype(int), axis=2) <= 1).mean()
    assert colourless > (np.ptp(cam.astype(int), axis=2) <= 1).mean(), "evidence lies over a grey photograph"
    assert shown(page.get_by_text("at the input image"), 1)
