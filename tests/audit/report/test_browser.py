"""The report in a real browser, from disk: from a cell to its images and maps, by mouse and keyboard."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from camlens.audit.report import write_report
from camlens.core.errors import MissingExtraError
from camlens.render.colormaps import colorize
from camlens.render.interactive.page import built_script
from tests.audit.fake import FakeRun, fake_run

CHROMIUM = os.environ.get("CAMLENS_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
AXE = Path(__file__).parents[3] / "studio-ui" / "node_modules" / "axe-core" / "axe.min.js"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]


def missing() -> str | None:
    try:
        built_script("audit.js")
    except MissingExtraError as error:
        return str(error)
    return None if CHROMIUM else "there is no Chromium: apt-get install chromium, or set CAMLENS_CHROMIUM"


MISSING = missing()
if MISSING is not None and os.environ.get("CI"):
    pytest.fail(f"the browser tests cannot run: {MISSING}", pytrace=False)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(MISSING is not None, reason=f"BROWSER TESTS DID NOT RUN: {MISSING}"),
]

# 30 cats, of which 8 are taken for dogs and 2 for fish; 10 dogs and 10 fish, all recognised; one failed
LABEL = [0] * 30 + [1] * 10 + [2] * 10 + [0]
PREDICTED = [0] * 20 + [1] * 8 + [2] * 2 + [1] * 10 + [2] * 10 + [-1]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> FakeRun:
    made = fake_run(tmp_path_factory.mktemp("report"), LABEL, PREDICTED)
    write_report(made)
    return made


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as running:
        opened = running.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture
def page(browser: Any, run: FakeRun) -> Iterator[Any]:
    """The report, opened from disk; whatever the page complains about or asks for fails the test."""
    said: list[str] = []
    opened = browser.new_page(viewport={"width": 1280, "height": 900})
    opened.on("pageerror", lambda error: said.append(str(error)))
    opened.on("console", lambda line: said.append(line.text))
    opened.on("request", lambda asked: said.append(asked.url) if not asked.url.startswith(("file:", "data:")) else None)
    opened.goto((run.path / "report.html").as_uri())
    opened.wait_for_selector("[data-ready]", state="attached")
    yield opened
    opened.close()
    assert said == []


def cell(page: Any, true: int, predicted: int) -> Any:
    return page.locator(f'#matrix button[data-label="{true}"][data-predicted="{predicted}"]')


def rows(page: Any) -> list[int]:
    return [int(card.get_attribute("data-row")) for card in page.locator(".card").all()]


def test_every_pair_shows_its_most_confident_errors_first(page: Any) -> None:
    assert rows(page) == [20, 21, 22, 23, 28, 29]
    page.get_by_role("button", name="Show 4 more of this pair").click()
    assert rows(page) == [*range(20, 28), 28, 29]
    assert page.locator("#cards h3").first.inner_text().startswith("cat taken for dog")


def test_a_cell_opens_its_images_with_both_maps_and_the_likely_reason(page: Any) -> None:
    cell(page, 0, 2).click()
    assert rows(page) == [28, 29]
    first = page.locator(".card").first
    assert first.locator("figcaption").all_inner_texts() == ["Image", "Why fish", "Why not cat"]
    first.locator("canvas[data-painted]").nth(1).wait_for()
    assert first.locator(".reasons li").count() >= 1
    assert first.locator(".near li").count() == 3
    assert cell(page, 0, 2).get_attribute("aria-pressed") == "true"
    assert page.evaluate("document.activeElement.id") == "gallery"


def test_a_cell_of_the_diagonal_shows_recognised_images(page: Any) -> None:
    cell(page, 1, 1).click()
    assert rows(page) == [30, 31, 32]
    assert page.locator(".card figcaption").all_inner_texts()[:2] == ["Image", "Evidence for dog"]


def test_an_empty_cell_says_that_there_is_nothing(page: Any) -> None:
    cell(page, 1, 0).click()
    assert rows(page) == []
    assert "No image in this file fits" in page.locator("#cards").inner_text()
    page.get_by_role("button", name="Show all errors").click()
    assert len(rows(page)) == 6


def test_the_matrix_is_walked_with_arrows_and_opened_with_enter(page: Any) -> None:
    cell(page, 0, 0).focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowUp")
    assert page.evaluate("document.activeElement.dataset.predicted") == "1"
    assert page.locator("#matrix button[tabindex='0']").count() == 1
    page.keyboard.press("Enter")
    assert rows(page) == list(range(20, 28))


def test_the_choice_of_classes_is_in_the_address(page: Any, run: FakeRun) -> None:
    cell(page, 0, 1).click()
    assert page.url.endswith("#true=cat&predicted=dog")
    page.reload()
    page.wait_for_selector("[data-ready]", state="attached")
    assert rows(page) == list(range(20, 28))
    assert page.get_by_label("True class").input_value() == "0"


def test_filters_narrow_the_gallery(page: Any, run: FakeRun) -> None:
    page.get_by_label("Predicted class").select_option("dog")
    page.get_by_role("slider", name="Confidence at least").fill("0.78")
    wanted = [row for row in range(20, 28) if run.columns["confidence"][row] >= 0.78]
    assert 0 < len(wanted) < 8
    assert rows(page) == wanted


def test_maps_are_drawn_in_the_colours_of_python(page: Any, run: FakeRun) -> None:
    page.get_by_label("Colours", exact=True).select_option("viridis")
    canvas = page.locator('canvas[data-mean="0"]')
    canvas.scroll_into_view_if_needed()
    page.wait_for_selector('canvas[data-mean="0"][data-painted="viridis"]')
    read = "c => [...c.getContext('2d').getImageData(56, 56, 1, 1).data]"
    middle = canvas.evaluate(read)[:3]
    maps = np.maximum(run.map_predicted[[row for row, answer in enumerate(PREDICTED) if answer == 0]], 0)
    mean = (maps / maps.sum(axis=(1, 2), keepdims=True)).mean(axis=0)
    share = np.array([[(mean[2, 2] - mean.min()) / (mean.max() - mean.min())]])
    nearby = [colorize(np.clip(share + step, 0, 1), "viridis")[0, 0] for step in np.linspace(-0.03, 0.03, 25)]
    assert min(int(np.abs(colour.astype(int) - middle).max()) for colour in nearby) <= 4


def test_opacity_and_theme_follow_the_reader(page: Any) -> None:
    page.get_by_role("slider", name="Opacity").fill("0.2")
    opacity = "getComputedStyle(document.querySelector('.card canvas')).opacity"
    assert float(page.evaluate(opacity)) == pytest.approx(0.2)
    ground = "getComputedStyle(document.documentElement).backgroundColor"
    light = page.evaluate(ground)
    page.get_by_role("button", name="Theme").click()
    assert page.evaluate(ground) != light
    page.get_by_role("button", name="Theme").click()
    assert page.evaluate(ground) == light


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_sticks_out_and_everyone_can_read_it(browser: Any, run: FakeRun, scheme: str, width: int) -> None:
    context = browser.new_context(
        viewport={"width": width, "height": 844}, color_scheme=scheme, bypass_csp=True, reduced_motion="reduce"
    )
    opened = context.new_page()
    opened.goto((run.path / "report.html").as_uri())
    opened.wait_for_selector("[data-ready]", state="attached")
    assert opened.evaluate("document.documentElement.scrollWidth") <= width
    if not AXE.is_file():
        pytest.skip("axe-core is not installed: cd studio-ui && npm ci")
    opened.add_script_tag(path=str(AXE))
    found = opened.evaluate("axe.run(document, {resultTypes: ['violations']})")
    told = [(one["id"], [node["html"][:120] for node in one["nodes"][:3]]) for one in found["violations"]]
    assert told == []
    context.close()
