"""The pages in a browser: mouse, keyboard, deep links, uploads, states, accessibility, and colors as in Python."""

import base64
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from camlens import explain, load_model
from camlens.core.heatmaps import balanced, normalized, rectified, resized
from camlens.data.demo import DemoPhotos
from camlens.render.overlays import overlay
from camlens.studio.app import PAGE
from camlens.studio.settings import StudioSettings
from camlens.targets import TopK
from tests.browser import browser_marks, painted_until, pixels, settle, shown, violations
from tests.studio.conftest import chosen, listening, opened, page_paths

PAGES = [*page_paths(run=False), "/model?tab=activations", "/model?tab=filters"]
pytestmark = browser_marks(PAGE / "index.html")

OVERLAY = 'canvas[aria-label^="Overlay of the evidence"]'


def explained(page: Any, path: str = "/") -> Any:
    opened(page, path)
    page.wait_for_selector(f"{OVERLAY}[data-painted]")
    page.wait_for_selector("h2:text-is('Export')")
    return page


def repainted(page: Any, before: np.ndarray) -> np.ndarray:
    """Return the pixels of the overlay once they differ."""
    return painted_until(page.locator(OVERLAY), lambda now: now.shape != before.shape or (now != before).any())


# the start page


def test_the_first_image_is_explained_on_load(page: Any) -> None:
    explained(page)
    assert shown(page.locator("[role=radio]"), 20)
    assert shown(page.locator("[role=radio][aria-checked=true]"), 1)
    assert page.get_by_role("button", name="Generate").is_enabled()


def test_the_first_map_is_embedded_in_the_page(page: Any, server: str) -> None:
    explained(page)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url.removeprefix(server)))
    explained(page)
    image = page.locator(OVERLAY).get_attribute("data-image")
    questions = [url.partition("?")[0] for url in asked if url.startswith("/api/") and "thumbnail" not in url]
    assert [url for url in questions if url != "/api/status"] == [f"/api/images/{image}/picture.png"]


@pytest.mark.parametrize(("name", "key"), [("Opacity", "ArrowRight"), ("Threshold", "ArrowRight")])
def test_sliders_repaint_without_requests(page: Any, name: str, key: str) -> None:
    explained(page)
    before = pixels(page.locator(OVERLAY))
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    slider = page.get_by_role("slider", name=name)
    slider.focus()
    for _ in range(20):
        slider.press(key)
    after = repainted(page, before)
    assert np.abs(after.astype(int) - before.astype(int)).mean() > 0.5
    assert [url for url in asked if "/api/status" not in url and "favicon" not in url] == []
    page.wait_for_url(re.compile(f"{name.lower()}=0."))


def test_opacity_zero_shows_the_photograph(page: Any) -> None:
    explained(page, "/?opacity=0")
    original = pixels(page.locator('canvas[aria-label="Original image"]'))
    np.testing.assert_array_equal(pixels(page.locator(OVERLAY)), original)


def test_color_map_and_contour_repaint(page: Any) -> None:
    explained(page)
    before = pixels(page.locator(OVERLAY))
    page.get_by_label("Colors").select_option("viridis")
    after = repainted(page, before)
    page.get_by_label("Contour line").check()
    lined = repainted(page, after)
    assert ((lined == 255).all(axis=2).sum() - (after == 255).all(axis=2).sum()) > 50


@pytest.mark.parametrize("colours", ["turbo", "viridis", "grey"])
def test_browser_and_python_blend_alike(page: Any, server: str, colours: str) -> None:
    explained(page, f"/?opacity=0.35&threshold=0.2&contour=1&colors={colours}&layer=stage3")
    image = page.locator(OVERLAY).get_attribute("data-image")
    answer = page.request.post("/api/explanations", data={"image": image, "layers": ["stage3"]}).json()
    grid = answer["result"]["maps"][0]["grid"]
    values = np.frombuffer(base64.b64decode(grid["values"]), dtype="<f4").reshape(grid["shape"]).copy()
    original = pixels(page.locator('canvas[aria-label="Original image"]'))
    heat = resized(normalized(rectified(torch.from_numpy(values)[None, None])), original.shape[:2])[0, 0]
    expected = overlay(original, heat, alpha=0.35, colormap=colours, threshold=0.2, contour=0.2)
    blended = pixels(page.locator(OVERLAY))
    apart = np.abs(blended.astype(int) - expected.astype(int)).max(axis=2)
    assert (apart > 2).mean() < 2e-4  # a value on the very threshold may fall on either side of it


def test_browser_and_python_draw_signed_maps_alike(page: Any) -> None:
    explained(page, "/?image=s4&layer=stage3&target=c3-c6&opacity=0.6&threshold=0.1")
    answer = page.request.post(
        "/api/explanations",
        data={"image": "s4", "layers": ["stage3"], "target": {"kind": "contrast", "index": 3, "against": 6}},
    ).json()
    (map_,) = answer["result"]["maps"]
    assert map_["diverging"]
    values = np.frombuffer(base64.b64decode(map_["grid"]["values"]), dtype="<f4").reshape(map_["grid"]["shape"]).copy()
    assert values.min() < 0 < values.max()
    original = pixels(page.locator('canvas[aria-label="Original image"]'))
    signed = resized(balanced(torch.from_numpy(values)[None, None]), original.shape[:2])[0, 0]
    expected = overlay(original, signed, alpha=0.6, colormap="diverging", threshold=0.1, mode="evidence")
    apart = np.abs(pixels(page.locator(OVERLAY)).astype(int) - expected.astype(int)).max(axis=2)
    assert (apart > 2).mean() < 2e-4  # a value on the very threshold may fall on either side of it
    bar = page.get_by_role("img", name=re.compile("Color bar, from opposes.* to supports"))
    assert shown(bar, 2), "under the pictures and beside the sliders"


def test_choices_take_effect_on_generate(page: Any) -> None:
    explained(page)
    before = pixels(page.locator(OVERLAY))
    chosen(page, "Target layer", "stage2")
    chosen(page, "Method", "layercam")
    chosen(page, "Target class", "coffee")
    np.testing.assert_array_equal(pixels(page.locator(OVERLAY)), before)
    page.get_by_role("button", name="Generate").click()
    repainted(page, before)
    about = page.get_by_role("region", name="About this map").inner_text()
    for word in ("coffee", "stage2 16 × 16", "layercam"):
        assert word in about
    page.wait_for_url(re.compile("layer=stage2.*method=layercam.*target=c3"))


def test_estimates_are_drawn_during_the_computation(page: Any) -> None:
    opened(page, "/?image=s9&method=rise")
    page.get_by_text("Ready to run").wait_for()
    before = pixels(page.locator(OVERLAY))
    page.get_by_role("button", name="Generate").click()
    page.get_by_text("Overlay (preliminary)").wait_for()
    first = repainted(page, before)
    repainted(page, first)  # by the next estimate, or by the map if it is ready
    page.wait_for_selector("h2:text-is('Export')", timeout=240_000)
    assert page.get_by_text("(preliminary)").count() == 0
    assert (repainted(page, first) != first).any()


def test_a_contrast_explains_the_difference(page: Any) -> None:
    explained(page)
    before = pixels(page.locator(OVERLAY))
    page.get_by_label("Contrast with another class").check()
    chosen(page, "Contrast class", "motorcycle")
    page.get_by_role("button", name="Generate").click()
    repainted(page, before)
    assert " minus motorcycle" in page.get_by_role("region", name="About this map").inner_text()


def test_clicking_a_prediction_explains_its_class(page: Any) -> None:
    explained(page)
    before = pixels(page.locator(OVERLAY))
    line = page.get_by_role("region", name="Predictions").get_by_role("button").nth(1)
    name = line.inner_text().split("\n")[0]
    line.click()
    repainted(page, before)
    assert name in page.get_by_role("region", name="About this map").inner_text()


def test_a_map_can_be_checked_and_another_choice_hides_the_result(page: Any) -> None:
    explained(page)
    page.get_by_role("button", name="Check this map").click()
    page.get_by_text("Not tested").wait_for()
    panel = page.get_by_role("region", name="Check")
    assert "p = " in panel.inner_text()
    page.get_by_label("Contrast with another class").check()
    panel.get_by_role("button", name="Check this map").wait_for()


def test_the_url_restores_the_view(page: Any) -> None:
    path = "/?image=s5&layer=stage3&method=hirescam&target=c4&opacity=0.8&threshold=0.25&colors=inferno&contour=1"
    explained(page, path)
    assert page.locator(OVERLAY).get_attribute("data-image") == "s5"
    about = page.get_by_role("region", name="About this map").inner_text()
    for word in ("coin", "stage3", "hirescam"):
        assert word in about
    assert page.get_by_role("slider", name="Opacity").input_value() == "0.8"
    assert page.get_by_label("Colors").input_value() == "inferno"
    assert page.get_by_label("Contour line").is_checked()


def test_back_and_forward_navigate_between_pages(page: Any) -> None:
    explained(page)
    page.get_by_role("link", name="Layers", exact=True).click()
    page.wait_for_url("**/layers**")
    page.get_by_role("link", name="About", exact=True).click()
    page.get_by_role("heading", name="How to read a heat map").wait_for()
    page.go_back()
    page.get_by_role("heading", name="Layers", level=1).wait_for()
    page.go_back()
    page.get_by_role("heading", name="Explain", level=1).wait_for()


def test_keyboard_only_use(page: Any) -> None:
    explained(page)
    before = pixels(page.locator(OVERLAY))
    page.keyboard.press("Tab")
    assert page.evaluate("() => document.activeElement.textContent") == "Skip to content"
    page.locator("[role=radio][aria-checked=true]").focus()
    page.keyboard.press("ArrowRight")
    second = repainted(page, before)
    page.get_by_role("combobox", name="Target layer").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.type("stage1.relu1")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.locator("h1").click()
    page.keyboard.press("g")
    repainted(page, second)
    page.wait_for_url(re.compile(r"layer=stage1\.relu1"))
    page.keyboard.press("]")
    page.wait_for_url(re.compile("opacity=0.55"))
    page.keyboard.press("2")
    page.get_by_role("heading", name="Layers", level=1).wait_for()


def test_the_readout_follows_mouse_and_arrow_keys(page: Any) -> None:
    explained(page)
    page.locator(OVERLAY).hover()
    assert re.search(r"\d+ % · .*cell \d+, \d+", page.locator(".reading").last.inner_text().replace("\n", " "))
    page.mouse.move(5, 5)
    stage = page.get_by_role("group", name="Overlay: use the arrow keys to read values")
    stage.focus()
    page.keyboard.press("ArrowRight")
    first = page.locator(".reading").last.inner_text()
    for _ in range(6):
        page.keyboard.press("ArrowDown")
    assert page.locator(".reading").last.inner_text() != first


def test_a_good_upload_is_explained_and_a_bad_one_reported(page: Any, tmp_path: Path, photos: Path) -> None:
    explained(page)
    good = next(photos.rglob("*.png"))
    page.locator("input[type=file]").set_input_files(str(good))
    page.wait_for_selector(f'{OVERLAY}[data-image^="u"]')
    bad = tmp_path / "picture.png"
    bad.write_text("this is no picture")
    page.locator("input[type=file]").set_input_files(str(bad))
    assert "text file" in page.get_by_role("alert").inner_text()
    page.get_by_role("button", name="Close").click()
    assert page.get_by_role("alert").count() == 0


def test_the_strip_can_be_filtered_by_incorrect_predictions(page: Any) -> None:
    explained(page)
    page.get_by_role("button", name="Incorrect").click()
    # the chosen image stays; the others are replaced once the strip is redrawn
    page.wait_for_function("() => !document.querySelector('[role=radio][aria-checked=false] .mark.good')")
    page.wait_for_selector("[role=radio] .mark.bad")


def test_unusable_layers_are_disabled_with_a_reason(page: Any) -> None:
    explained(page)
    field = page.get_by_role("combobox", name="Target layer")
    field.click()
    field.fill("head")
    option = page.locator("[role=option]").first
    assert option.get_attribute("aria-disabled") == "true"
    assert "spatial grid" in option.inner_text()


def test_the_shell_command_uses_the_current_settings(page: Any, server: str) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=server)
    explained(page, "/?image=s2&opacity=0.35&colors=viridis")
    page.get_by_role("button", name="Copy shell").click()
    page.get_by_role("button", name="Copied").wait_for()
    assert page.evaluate("() => navigator.clipboard.readText()").endswith("--alpha 0.35 --colormap viridis")


def test_names_in_lists_do_not_wrap(page: Any) -> None:
    explained(page)
    page.get_by_role("combobox", name="Method", exact=True).click()
    lines = page.locator("[role=option] .name").evaluate_all("all => all.map(one => one.offsetHeight)")
    assert len(lines) > 15
    assert max(lines) < 26  # one line each


def test_files_can_be_downloaded(page: Any) -> None:
    explained(page, "/?image=s2")
    for name, ending in (("PNG panel", ".png"), (".npy", ".npy"), ("HTML report", ".html")):
        with page.expect_download() as download:
            page.get_by_role("link", name=name).click()
        assert download.value.suggested_filename.endswith(ending)
        assert Path(download.value.path()).stat().st_size > 1000


# the other pages


def test_layers_are_ordered_and_can_share_a_scale(page: Any) -> None:
    opened(page, "/layers")
    page.wait_for_selector('canvas[aria-label*="at layer stage4"][data-painted]')
    titles = page.locator("figure .title").all_inner_texts()
    assert titles == ["Original", "stem", "stage1", "stage2", "stage3", "stage4"]
    canvas = page.locator('canvas[aria-label*="at layer stage1"]')
    before = pixels(canvas)
    page.get_by_role("button", name="One shared scale").click()
    painted_until(canvas, lambda now: (now != before).any())
    page.get_by_role("button", name=re.compile("All .* layers")).click()
    page.wait_for_selector("figure >> nth=20")


def test_comparison_of_two_classes(page: Any) -> None:
    opened(page, "/classes?image=s4")
    page.wait_for_selector('canvas[aria-label^="Difference of the maps"][data-painted]')
    page.get_by_text(re.compile(r"Correlation of the two maps: -?\d\.\d{3}")).wait_for()
    assert shown(page.locator("main").get_by_text("The two maps"))
    chosen(page, "Class B", "astronaut")
    page.locator(".title", has_text="B: astronaut").wait_for()


def test_methods_are_compared_side_by_side(page: Any) -> None:
    asked: list[str] = []
    page.on("request", lambda one: asked.append(one.url) if "explanations" in one.url else None)
    opened(page, "/methods?image=s4")
    page.wait_for_selector('canvas[aria-label$="by eigencam"][data-painted]')
    assert len(asked) == 1
    page.get_by_label("fem", exact=True).check()
    page.wait_for_selector('canvas[aria-label$="by fem"][data-painted]')


def test_correct_and_incorrect_images_link_to_explain(page: Any) -> None:
    opened(page, "/correct-and-incorrect")
    page.get_by_role("region", name="Incorrect predictions").locator("canvas").first.wait_for()
    assert shown(page.get_by_role("region", name="Correct predictions", exact=True).locator("canvas"), 8)
    page.get_by_role("region", name="Incorrect predictions").get_by_role(
        "link", name=re.compile("Explain")
    ).first.click()
    page.get_by_role("heading", name="Explain", level=1).wait_for()
    page.wait_for_selector(f"{OVERLAY}[data-painted]")


def test_the_layer_table_can_be_searched_and_links_on(page: Any) -> None:
    opened(page, "/model")
    page.get_by_label("Search layers").fill("Conv2d")
    assert shown(page.locator("tbody tr"), 12)
    page.get_by_label("Search layers").fill("nothing like it")
    page.get_by_text("No matching layers").wait_for()
    page.get_by_label("Search layers").fill("stage4.conv1")
    page.get_by_role("link", name="Activations of layer stage4.conv1").click()
    page.wait_for_selector('canvas[aria-label^="Channel"]')


def test_filters_of_each_convolution_are_shown(page: Any) -> None:
    opened(page, "/model?tab=filters")
    page.wait_for_selector('canvas[aria-label="Filter 15, red, green and blue"]')
    chosen(page, "Convolution", "stage4.conv2")
    page.wait_for_selector('canvas[aria-label^="Filter 63, input channel"]')


def test_about_shows_examples_and_can_disable_shortcuts(page: Any) -> None:
    opened(page, "/about")
    page.get_by_role("heading", name="Right for the wrong reason").wait_for()
    page.get_by_label("Single-key shortcuts").uncheck()
    page.locator("h1").click()
    page.keyboard.press("2")
    settle(page)
    assert shown(page.get_by_role("heading", name="About", level=1), 1)


def test_the_theme_follows_the_system_and_can_be_switched(page: Any, browser: Any, server: str) -> None:
    opened(page, "/about")
    assert page.locator("html").get_attribute("data-theme") == "light"
    page.get_by_role("button", name="Dark theme").click()
    assert page.evaluate("() => getComputedStyle(document.documentElement).backgroundColor") == "rgb(18, 19, 21)"
    dark = browser.new_context(base_url=server, color_scheme="dark")
    other = dark.new_page()
    other.goto("/about")
    other.wait_for_selector("html[data-theme=dark]")
    dark.close()


def test_an_unknown_page_is_reported(page: Any) -> None:
    page.goto("/nowhere")
    page.get_by_text("There is no such page").wait_for()


def test_a_missing_image_is_reported(page: Any) -> None:
    page.goto("/?image=s9999")
    page.get_by_text("s9999").first.wait_for()


@pytest.mark.parametrize("width", [1280, 390])
def test_a_model_that_cannot_be_loaded_is_reported(page: Any, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 844})
    with listening(StudioSettings(model="resnet5")) as address:
        page.goto(address)
        page.get_by_text("The studio could not start").wait_for()
        assert "did you mean resnet50" in page.get_by_role("alert").inner_text()
        assert page.evaluate("() => document.documentElement.scrollWidth") <= width
        page.get_by_role("link", name="About", exact=True).first.click()
        page.get_by_role("heading", name="How to read a heat map").wait_for()


def test_an_empty_folder_asks_for_an_upload(page: Any, tmp_path: Path, photos: Path) -> None:
    with listening(StudioSettings(data=str(tmp_path))) as address:
        page.goto(address)
        page.get_by_text("Add an image to begin").wait_for()
        page.get_by_text(tmp_path.name).first.wait_for()
        assert page.get_by_role("button", name="Generate").is_disabled()
        page.locator("input[type=file]").set_input_files(str(next(photos.rglob("*.png"))))
        page.wait_for_selector(f'{OVERLAY}[data-image^="u"]')


def test_unreadable_images_are_marked_and_skipped(page: Any, tmp_path: Path, photos: Path) -> None:
    good = next(photos.rglob("*.png"))
    for number in range(12):
        content = good.read_bytes() if number == 7 else b"this is no picture"
        (tmp_path / f"{number:02d}.png").write_bytes(content)
    with listening(StudioSettings(data=str(tmp_path))) as address:
        page.goto(address)
        page.wait_for_selector(f'{OVERLAY}[data-image="s7"]')
        page.get_by_text("11 unreadable").wait_for()
        page.wait_for_function("() => document.querySelectorAll('[role=radio] .unreadable').length === 11")
        broken = page.get_by_role("radio", name="03.png cannot be read")
        broken.click()
        page.get_by_text("The image could not be explained").wait_for()
        assert "03.png" in page.get_by_role("alert").inner_text()


def test_a_lost_connection_is_reported_until_it_returns(page: Any) -> None:
    explained(page)
    page.route("**/api/status", lambda route: route.abort())
    complaint = page.get_by_text("The studio is not responding")
    complaint.wait_for()
    page.unroute("**/api/status")
    complaint.wait_for(state="detached")


def test_a_link_with_a_token_works_from_another_site(browser: Any, photos: Path, tmp_path: Path) -> None:
    with listening(StudioSettings(data=str(photos), token="a secret")) as locked:
        elsewhere = tmp_path / "chat.html"
        elsewhere.write_text(f'<a href="{locked}/about?token=a%20secret">the studio</a>')
        context = browser.new_context()
        outside = context.new_page()
        outside.goto(elsewhere.as_uri())
        outside.get_by_text("the studio").click()
        outside.get_by_role("heading", name="How to read a heat map").wait_for()
        assert "token" not in outside.url
        assert outside.evaluate("() => document.cookie") == ""
        stranger = browser.new_context().new_page()
        assert stranger.goto(locked).status == 401
        stranger.get_by_text("?token=").wait_for()
        stranger.context.close()
        context.close()


# all pages


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", PAGES)
def test_axe_finds_no_violation(page: Any, path: str, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)
    opened(page, path)
    assert violations(page) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_violation_in_a_report(page: Any, scheme: str, tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    report.write_bytes(page.request.get("/api/explanations/report.html?image=s2&kind=contrast&against=3").body())
    page.emulate_media(color_scheme=scheme)
    page.goto(report.as_uri())
    page.wait_for_selector("html[data-ready]")
    assert violations(page) == []


@pytest.mark.parametrize("path", PAGES)
def test_pages_fit_a_phone(page: Any, path: str) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    opened(page, path)
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 390


def test_a_report_works_from_disk(page: Any, browser: Any, tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    report.write_bytes(page.request.get("/api/explanations/report.html?image=s2").body())
    context = browser.new_context(offline=True)
    alone = context.new_page()
    asked: list[str] = []
    alone.on("request", lambda request: asked.append(request.url))
    alone.goto(report.as_uri())
    alone.wait_for_selector("html[data-ready]")
    drawn = alone.locator("canvas").last
    before = pixels(drawn)
    alone.locator("input[type=range]").first.fill("1")
    assert (pixels(drawn) != before).any()
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    context.close()


@pytest.mark.parametrize("with_pictures", [True, False])
def test_the_notebook_view_works_in_an_isolated_frame(page: Any, tmp_path: Path, with_pictures: bool) -> None:
    loaded, sample = load_model("demo:photos"), DemoPhotos()[3]
    explanation = explain(loaded.model, loaded.preprocess(sample.image)[None], layers="stage4", target=TopK(2))
    pictures = loaded.preprocess.display(sample.image)[None] if with_pictures else None
    html = explanation.show(pictures)._repr_html_() if with_pictures else explanation._repr_html_()
    assert len(html) < 150_000
    outer = tmp_path / "notebook.html"
    outer.write_text(f"<!doctype html><body>{html}</body>", encoding="utf-8")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(outer.as_uri())
    frame = page.frame_locator("iframe")
    frame.locator("html[data-ready] canvas").last.wait_for()
    assert frame.locator("canvas").count() == 2 + with_pictures
    drawn = frame.locator("canvas").last
    before = pixels(drawn)
    for name, value in (("Opacity", "0.9"), ("Threshold", "0.4")):
        if name == "Opacity" and not with_pictures:
            assert frame.get_by_role("slider", name=name).count() == 0
            continue
        frame.get_by_role("slider", name=name).fill(value)
        after = pixels(drawn)
        assert (after != before).any()
        before = after
    frame.get_by_label("Colors").select_option("viridis")
    assert (pixels(drawn) != before).any()
    assert [url for url in asked if not url.startswith(("file:", "data:", "about:"))] == []
