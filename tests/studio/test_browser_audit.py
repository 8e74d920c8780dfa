"""The audit pages in a browser."""

import base64
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import camlens.audit
from camlens.studio.app import PAGE
from camlens.studio.settings import StudioSettings
from tests.audit.shortcuts import SIDE, write_shortcuts
from tests.audit.synthetic import synthetic_run
from tests.browser import browser_marks, painted_until, pixels, settle, shown, violations, watched_page
from tests.studio.conftest import listening, opened, page_paths

pytestmark = browser_marks(PAGE / "index.html")

DIALOG = "dialog[open]"
CARD = "[data-row]"
CLOUD = "[role=application]"


@pytest.fixture(scope="module")
def audit(tmp_path_factory: pytest.TempPathFactory, photos: Path) -> camlens.audit.Audit:
    """A run over two dozen photographs, one of them mislabeled, with the result of shortcut tests."""
    run = camlens.audit.run(
        str(photos), "demo:photos", tmp_path_factory.mktemp("runs") / "photos", workers=0, report=False
    )
    write_shortcuts(run.path)
    return run


@pytest.fixture(scope="module")
def run_server(audit: camlens.audit.Audit, photos: Path) -> Iterator[str]:
    with listening(StudioSettings(audit=str(audit.path), data=str(photos))) as address:
        yield address


@pytest.fixture(scope="module")
def other_server(audit: camlens.audit.Audit, photos: Path) -> Iterator[str]:
    """The address of a studio over the run with another model."""
    with listening(StudioSettings(model="demo:watermark", audit=str(audit.path), data=str(photos))) as address:
        yield address


@pytest.fixture(scope="module")
def large_server(tmp_path_factory: pytest.TempPathFactory, photos: Path) -> Iterator[str]:
    """A synthetic run of 60 classes whose images are missing."""
    run = synthetic_run(tmp_path_factory.mktemp("runs") / "large", rows=3000, classes=60, width=16)
    with listening(StudioSettings(audit=str(run.path), data=str(photos))) as address:
        yield address


@pytest.fixture
def page(browser: Any, run_server: str) -> Iterator[Any]:
    with watched_page(browser, run_server) as fresh:
        yield fresh


@pytest.fixture
def large_page(browser: Any, large_server: str) -> Iterator[Any]:
    with watched_page(browser, large_server) as fresh:
        yield fresh


def first_error(audit: camlens.audit.Audit) -> tuple[int, int, int]:
    """Return row, true class and predicted class of the most confident error."""
    label, predicted = (np.asarray(audit.column(name).filled()) for name in ("label", "predicted"))  # type: ignore[attr-defined]
    wrong = np.flatnonzero(label != predicted)
    row = int(wrong[np.argmax(audit.column("confidence")[wrong])])
    return row, int(label[row]), int(predicted[row])


def ready(page: Any, path: str) -> Any:
    """Open a page and wait until the model is loaded, so that pictures are available."""
    opened(page, path)
    page.wait_for_function("() => fetch('/api/status').then(a => a.json()).then(s => s.state === 'ready')")
    return page


# misclassifications


def test_from_a_cell_to_its_images_and_their_maps(page: Any, audit: camlens.audit.Audit) -> None:
    row, label, predicted = first_error(audit)
    true, said = audit.class_names[label], audit.class_names[predicted]
    ready(page, "/misclassifications")
    page.get_by_role("button", name=re.compile(f"^{true} predicted as {said}")).first.click()
    cell = page.get_by_role("region", name="Images of the cell")
    cell.get_by_role("heading", name=f"{true} predicted as {said}").wait_for()
    page.wait_for_url(re.compile(f"pair={label}-{predicted}"))
    cell.locator(f'{CARD} canvas[aria-label="Map for {said}"][data-painted=over]').first.wait_for()
    cell.locator(f"[data-row='{row}']").click()
    dialog = page.locator(DIALOG)
    why = dialog.locator(f'figure canvas[aria-label="Map for {said}"][data-painted=over]')
    why_not = dialog.locator(f'figure canvas[aria-label="Map for {true}"][data-painted=over]')
    why.wait_for()
    why_not.wait_for()
    original = dialog.locator('canvas[aria-label="Image"]')
    assert pixels(why).shape == pixels(original).shape
    assert np.abs(pixels(why).astype(int) - pixels(original)).mean() > 1
    assert np.abs(pixels(why).astype(int) - pixels(why_not)).mean() > 1
    assert len(dialog.get_by_role("region", name="Likely reasons").inner_text()) > 40
    assert shown(dialog.get_by_role("region", name="Nearest correct images").locator(CARD), 6)
    assert shown(dialog.get_by_role("region", name="Most likely classes").locator("li"), 5)
    dialog.get_by_role("link", name="Open in Explain").click()
    page.get_by_role("heading", name="Explain", level=1).wait_for()
    page.wait_for_selector('canvas[aria-label^="Overlay of the evidence"][data-painted]')
    assert said in page.get_by_role("region", name="Predictions").inner_text()


def test_run_and_explain_draw_the_same_map(page: Any, audit: camlens.audit.Audit) -> None:
    row, _, predicted = first_error(audit)
    row_maps = page.request.get(f"/api/audit/rows/some?row={row}").json()[0]
    question = {"image": row_maps["sample"], "layers": [audit.manifest.layer]}
    answer = page.request.post("/api/explanations?wait=60", data=question).json()["result"]["maps"][0]
    assert answer["class_index"] == predicted
    ours, theirs = (
        np.frombuffer(base64.b64decode(one["values"]), "<f4") for one in (row_maps["map_predicted"], answer["grid"])
    )
    assert np.abs(ours - theirs).max() <= 2e-3 * np.abs(theirs).max()


def test_errors_can_be_reached_by_keyboard(page: Any, audit: camlens.audit.Audit) -> None:
    _, label, predicted = first_error(audit)
    ready(page, "/misclassifications")
    page.locator("[data-cell='0-0']").focus()
    for _ in range(label):
        page.keyboard.press("ArrowDown")
    for _ in range(predicted):
        page.keyboard.press("ArrowRight")
    assert page.evaluate("() => document.activeElement.dataset.cell") == f"{label}-{predicted}"
    page.keyboard.press("Enter")
    page.get_by_role("region", name="Images of the cell").locator(CARD).first.focus()
    page.keyboard.press("Enter")
    page.locator(f"{DIALOG} .pictures figure:nth-child(3) canvas[data-painted]").wait_for()
    page.keyboard.press("Escape")
    page.locator(DIALOG).wait_for(state="detached")
    page.wait_for_url(re.compile(r"pair=\d+-\d+$"))
    assert page.evaluate("() => 'row' in document.activeElement.dataset")


def test_the_url_restores_cell_filter_and_open_error(page: Any, audit: camlens.audit.Audit) -> None:
    row, label, predicted = first_error(audit)
    opened(page, f"/misclassifications?pair={label}-{predicted}&least=0.05&row={row}&tab=calibration")
    page.locator(DIALOG).get_by_role("heading", name=audit.class_names[label]).wait_for()
    page.get_by_role("button", name="Close").click()
    assert page.get_by_label("Minimum confidence").input_value() == "0.05"
    assert page.get_by_role("button", name="Calibration").get_attribute("aria-pressed") == "true"
    assert shown(page.get_by_role("region", name="Images of the cell").locator(CARD))


def test_errors_can_be_filtered_by_confidence(page: Any) -> None:
    opened(page, "/misclassifications")
    gallery = page.get_by_role("region", name="Errors by pair")
    assert shown(gallery.locator(CARD))
    slider = page.get_by_label("Minimum confidence")
    slider.focus()
    slider.press("End")
    page.get_by_text("No matching errors. Lower the minimum confidence").wait_for()
    assert gallery.locator(CARD).count() == 0


def test_classes_can_be_sorted_and_link_to_their_errors(page: Any, audit: camlens.audit.Audit) -> None:
    opened(page, "/misclassifications?tab=classes")
    table = page.get_by_role("region", name="Precision and recall by class")
    shares = [
        float(text.split("\n")[0].split(" ")[0]) for text in table.locator("tbody tr td:nth-child(4)").all_inner_texts()
    ]
    assert shares == sorted(shares)
    table.get_by_role("button", name="Class", exact=True).click()
    names = table.locator("tbody tr td:first-child").all_inner_texts()
    assert names == sorted(audit.class_names)
    table.get_by_role("button", name=f"Errors of {names[0]}").click()
    page.wait_for_url(re.compile(r"pair=\d+-"))


def test_pages_remain_usable_with_many_classes(large_page: Any) -> None:
    page = large_page
    opened(page, "/misclassifications")
    field = page.get_by_role("group", name=re.compile("Confusion matrix of 60 classes"))
    field.locator("canvas[data-painted]").wait_for()
    field.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    words = page.locator("[aria-live=polite]").first.inner_text()
    assert re.fullmatch(r"ant predicted as \S.*: \d+ images?", words)
    page.keyboard.press("Enter")
    count = int(re.search(r"(\d+) image", words).group(1))
    heading = page.get_by_role("region", name="Images of the cell")
    heading.get_by_text(re.compile(f"^{count} images?, most confident first")).wait_for()
    page.wait_for_url(re.compile(r"pair=0-\d+"))
    page.get_by_role("button", name="All pairs").click()
    field.click(position={"x": 18, "y": 6})  # first row, second column
    heading.get_by_role("heading", name="ant predicted as bee").wait_for()


def test_maps_are_shown_without_missing_images(large_page: Any) -> None:
    page = large_page
    ready(page, "/misclassifications")
    page.get_by_text("none of the run's images is in").wait_for()
    page.locator(f'{CARD} canvas[data-painted=alone][aria-label^="Map for"]').first.wait_for()
    page.locator(CARD).first.click()
    page.locator(DIALOG).get_by_text("cannot be explained again").wait_for()


# shortcuts


def test_from_the_summary_to_a_flag_and_its_transplant_evidence(page: Any, audit: camlens.audit.Audit) -> None:
    opened(page, "/misclassifications")
    name = audit.class_names[2]
    flags = page.get_by_role("region", name="Shortcuts")
    assert shown(flags.locator("li"), 3)
    flags.get_by_role("link", name=re.compile(f"^{name}: ")).focus()
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"/shortcuts\?flag=0$"))
    card = page.get_by_role("article", name=name)
    card.get_by_role("heading", name=name).wait_for()
    assert card.locator("li").count() == 2
    pictures = card.locator("li").nth(1).locator("figure")
    assert re.findall(r"(\d+) %", " ".join(pictures.all_inner_texts())) == ["94", "10", "2", "91"]
    pasted = pictures.nth(3)
    assert pasted.locator(".spot").count() == 1
    pasted.locator("img").evaluate("image => image.decode()")
    assert pasted.locator("img").evaluate("image => image.naturalWidth") == SIDE
    assert pictures.nth(1).locator(".spot").count() == 0
    card.get_by_role("region", name="Images with it").locator(CARD).first.click()
    page.locator(f"{DIALOG} canvas[data-painted]").first.wait_for()
    page.keyboard.press("Escape")
    page.get_by_role("link", name=re.compile("^All shortcuts")).click()
    page.get_by_role("region", name="Results").locator("tbody tr").nth(5).wait_for()
    page.go_back()
    card.get_by_role("heading", name=name).wait_for()


def test_cards_show_the_flags_and_the_table_everything(page: Any, audit: camlens.audit.Audit) -> None:
    opened(page, "/shortcuts")
    assert page.get_by_role("article").count() == 3
    assert [page.get_by_role("article").nth(place).locator("ol > li").count() for place in range(3)] == [1, 1, 0]
    results = page.get_by_role("region", name="Results").locator("tbody tr")
    assert results.count() == 6
    results.nth(3).get_by_role("link").click()  # a line that the model does not use
    page.wait_for_url(re.compile(r"flag=3$"))
    article = page.get_by_role("article")
    article.get_by_role("heading", name=audit.class_names[1]).wait_for()
    assert re.findall(r"-?\d+ to \d+", article.inner_text()) == ["-4 to 6", "-3 to 3"]


def test_a_run_without_shortcut_tests_says_so(large_page: Any) -> None:
    opened(large_page, "/shortcuts")
    large_page.get_by_text("--shortcuts quick").wait_for()
    assert large_page.get_by_role("article").count() == 0


# embeddings


def drawn(page: Any, path: str = "/embeddings") -> Any:
    ready(page, path)
    page.wait_for_selector(f"{CLOUD} canvas[data-painted]")
    return page


def test_a_lasso_selects_points_and_filters_the_gallery(page: Any, audit: camlens.audit.Audit) -> None:
    drawn(page)
    page.get_by_role("button", name="Lasso").click()
    page.set_viewport_size({"width": 1280, "height": 1300})
    settle(page)
    box = page.locator(CLOUD).bounding_box()
    corners = [(0.01, 0.01), (0.99, 0.01), (0.99, 0.99), (0.01, 0.99), (0.01, 0.3)]
    places = [(box["x"] + box["width"] * x, box["y"] + box["height"] * y) for x, y in corners]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=6)
    page.mouse.up()
    gallery = page.get_by_role("region", name="Selected images")
    gallery.get_by_role("heading", name=f"Selected: {len(audit)} images").wait_for()
    gallery.locator(f"{CARD} canvas[data-painted=over]").first.wait_for()
    assert shown(gallery.locator(CARD), len(audit))
    row, *_ = first_error(audit)
    assert int(gallery.locator(CARD).first.get_attribute("data-row")) == row  # errors come first
    page.wait_for_url(re.compile("lasso="))
    page.reload()
    page.get_by_role("region", name="Selected images").get_by_role(
        "heading", name=f"Selected: {len(audit)} images"
    ).wait_for()
    page.get_by_role("button", name="Clear selection").click()
    page.get_by_role("region", name="Selected images").wait_for(state="detached")


def test_keys_select_a_rectangle_and_open_an_image(page: Any) -> None:
    drawn(page)
    page.locator(CLOUD).focus()
    for _ in range(8):
        page.keyboard.press("Shift+ArrowLeft")
        page.keyboard.press("Shift+ArrowUp")
    page.keyboard.press("Space")
    for _ in range(18):
        page.keyboard.press("Shift+ArrowRight")
        page.keyboard.press("Shift+ArrowDown")
    page.keyboard.press("Space")
    page.get_by_role("region", name="Selected images").locator(CARD).first.wait_for()
    page.locator(CLOUD).focus()
    page.keyboard.press("Escape")
    page.get_by_role("region", name="Selected images").wait_for(state="detached")
    said = page.locator(f"{CLOUD} [role=status]")
    assert said.inner_text() == ""  # there is no point in the lower right corner
    page.keyboard.press("Home")
    assert "%" in said.inner_text()
    page.keyboard.press("Enter")
    page.locator(f"{DIALOG} canvas[data-painted]").first.wait_for()


def test_hovering_shows_an_image_with_map_and_neighbors(page: Any) -> None:
    drawn(page, "/embeddings?cloud=tsne&hue=correct")
    box = page.locator(CLOUD).bounding_box()
    beside = page.get_by_role("region", name="Image under the pointer")
    for step in range(400):
        page.mouse.move(
            box["x"] + box["width"] * ((step % 20) + 0.5) / 20, box["y"] + box["height"] * (step // 20 + 0.5) / 20
        )
        if page.locator(f"{CLOUD} circle").count():
            break
    beside.locator("canvas[data-painted=over]").wait_for()
    beside.get_by_role("button", name="Neighbors").click()
    beside.locator(CARD).nth(5).wait_for()
    assert shown(page.get_by_text(re.compile("perplexity 7")), 1)


def test_measures_of_features_and_of_points_are_separate(page: Any) -> None:
    drawn(page)
    table = page.get_by_role("region", name="Class separation")
    assert re.search(r"Features\s+0\.\d{3}", table.inner_text())
    assert re.search(r"2-D points\s+-?0\.\d{3}", table.inner_text())


def test_zoom_pan_and_reset(page: Any) -> None:
    drawn(page)
    canvas = page.locator(f"{CLOUD} canvas")
    before = pixels(canvas)
    page.locator(CLOUD).focus()
    page.keyboard.press("+")
    painted_until(canvas, lambda now: (now != before).any())
    page.keyboard.press("0")
    painted_until(canvas, lambda now: np.array_equal(now, before))


# attention


def test_mean_maps_are_drawn_and_filter_by_class(page: Any, audit: camlens.audit.Audit) -> None:
    opened(page, "/attention")
    means = page.get_by_role("region", name="Mean map by class")
    means.locator("canvas[data-painted]").first.wait_for()
    classes = len(set(audit.column("predicted").filled().tolist()))  # type: ignore[attr-defined]
    assert shown(means.locator("li"), classes)
    name = audit.class_names[2]
    means.get_by_role("button", name=re.compile(name)).click()
    page.wait_for_url(re.compile("pair=-2"))
    images = int((audit.column("predicted").filled() == 2).sum())  # type: ignore[attr-defined]
    page.get_by_text(
        re.compile(f"^{images} images\\. Maps of the predicted class by gradcam at {audit.manifest.layer}")
    ).wait_for()
    means.get_by_role("link", name=re.compile(f"errors predicted as {name}")).click()
    page.get_by_role("heading", name="Errors", level=1).wait_for()


def test_a_class_with_corner_evidence_is_listed(large_page: Any) -> None:
    opened(large_page, "/attention")
    note = large_page.get_by_role("region", name="Classes with evidence at the edge")
    assert "class 59" in note.inner_text()
    assert "corners" in note.inner_text()


# all three


def test_audit_pages_are_linked_only_while_a_run_is_open(page: Any, browser: Any, server: str) -> None:
    opened(page, "/")
    names = ["Shortcuts", "Errors", "Embeddings", "Attention"]
    assert [page.get_by_role("link", name=name, exact=True).count() for name in names] == [1, 1, 1, 1]
    context = browser.new_context(base_url=server)
    without = context.new_page()
    for path in page_paths(run=True):
        opened(without, path)
        without.get_by_text("No audit run is open").wait_for()
        assert "camlens studio --audit" in without.locator("main").inner_text()
        assert [without.get_by_role("link", name=name, exact=True).count() for name in names] == [0, 0, 0, 0]
    context.close()


@pytest.mark.parametrize("path", ["/misclassifications", "/embeddings", "/attention"])
def test_a_run_of_other_weights_shows_a_notice(page: Any, browser: Any, other_server: str, path: str) -> None:
    notice = "Model weights differ from the run"
    ready(page, path)
    assert page.get_by_role("region", name=notice).count() == 0
    with watched_page(browser, other_server, viewport={"width": 390, "height": 844}) as other:
        ready(other, path)
        other.get_by_role("region", name=notice).wait_for()
        assert "camlens studio --audit" in other.get_by_role("region", name=notice).locator("code").inner_text()
        assert other.evaluate("() => document.documentElement.scrollWidth") <= 390
        other.locator("main canvas[data-painted]").first.wait_for()
        assert violations(other) == []


PATHS = [
    *page_paths(run=True),
    "/misclassifications?tab=classes&row=3",
    "/misclassifications?tab=calibration",
    "/shortcuts?flag=0",
]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", PATHS)
def test_axe_finds_no_violation(page: Any, path: str, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)
    ready(page, path)
    assert violations(page) == []


@pytest.mark.parametrize("path", [*PATHS, "/embeddings?lasso=0000zz00zzzz00zz"])
def test_pages_fit_a_phone(page: Any, path: str) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    ready(page, path)
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 390
    assert page.evaluate("() => document.querySelector('dialog[open]')?.scrollWidth ?? 0") <= 390
