"""The report in a browser, opened from disk, with mouse and keyboard."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from camlens.audit.findings.neighbours import unit
from camlens.audit.report import write_report
from camlens.models.preprocess import Preprocess
from camlens.render import interactive
from camlens.render.colormaps import colorize
from tests.audit.fake import FakeRun, fake_run
from tests.audit.shortcuts import CORNER, write_shortcuts
from tests.browser import browser_marks, violations, watched_page

pytestmark = browser_marks(Path(interactive.__file__).parent / "static" / "audit.js")

# 30 cats, 8 of them predicted as dogs and 2 as fish; 10 dogs and 10 fish, all correct; one unreadable cat
LABEL = [0] * 30 + [1] * 10 + [2] * 10 + [0]
PREDICTED = [0] * 20 + [1] * 8 + [2] * 2 + [1] * 10 + [2] * 10 + [-1]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> FakeRun:
    run = fake_run(tmp_path_factory.mktemp("report"), LABEL, PREDICTED)
    write_shortcuts(run.path)
    write_report(run)
    return run


@contextmanager
def report_page(browser: Any, run: FakeRun, **wishes: Any) -> Iterator[Any]:
    """Open the report from disk; console messages and network requests fail the test."""
    messages: list[str] = []
    with watched_page(browser, **wishes) as opened:
        opened.on("console", lambda line: messages.append(line.text))
        opened.on(
            "request",
            lambda asked: messages.append(asked.url) if not asked.url.startswith(("file:", "data:")) else None,
        )
        opened.goto((run.path / "report.html").as_uri())
        opened.wait_for_selector("[data-ready]", state="attached")
        yield opened
    assert messages == []


@pytest.fixture
def page(browser: Any, run: FakeRun) -> Iterator[Any]:
    with report_page(browser, run) as opened:
        yield opened


def cell(page: Any, true: int, predicted: int) -> Any:
    return page.locator(f'#matrix button[data-label="{true}"][data-predicted="{predicted}"]')


def rows(page: Any) -> list[int]:
    return [int(card.get_attribute("data-row")) for card in page.locator(".card").all()]


def test_every_pair_shows_its_most_confident_errors_first(page: Any) -> None:
    assert rows(page) == [20, 21, 22, 23, 28, 29]
    page.get_by_role("button", name=re.compile("^Show 4 ")).click()
    assert rows(page) == [*range(20, 28), 28, 29]
    assert re.findall("cat|dog", page.locator("#cards h3").first.inner_text()) == ["cat", "dog"]


def test_a_cell_opens_its_images_with_both_maps_and_the_likely_reason(page: Any) -> None:
    cell(page, 0, 2).click()
    assert rows(page) == [28, 29]
    first = page.locator(".card").first
    captions = first.locator("figcaption").all_inner_texts()
    assert [re.findall("fish|cat", caption) for caption in captions] == [[], ["fish"], ["cat"]]
    first.locator("canvas[data-painted]").nth(1).wait_for()
    assert first.locator(".reasons li").count() >= 1
    assert first.locator(".near li").count() == 3
    assert cell(page, 0, 2).get_attribute("aria-pressed") == "true"
    assert page.evaluate("document.activeElement.id") == "gallery"


def test_maps_lie_on_the_region_that_the_model_saw(browser: Any, tmp_path: Path) -> None:
    cropped = fake_run(tmp_path, [0, 0, 0, 1], [0, 0, 1, 1])
    write_report(cropped, preprocess=Preprocess(resize=6, crop=(6, 4)))  # of 12 x 16, the middle half of the width
    shares = """stage => ['canvas', '.seen'].map(inside => {
        const whole = stage.getBoundingClientRect(), part = stage.querySelector(inside).getBoundingClientRect();
        return [(part.left - whole.left) / whole.width, (part.top - whole.top) / whole.height,
                (part.right - whole.left) / whole.width, (part.bottom - whole.top) / whole.height];
    })"""
    with report_page(browser, cropped) as opened:
        stage = opened.locator(".stage").nth(1)
        stage.scroll_into_view_if_needed()
        stage.locator("canvas[data-painted]").wait_for()
        places = stage.evaluate(shares)
        height, width = stage.evaluate("stage => [stage.clientHeight, stage.clientWidth]")
    np.testing.assert_allclose(places, [[0.25, 0, 0.75, 1]] * 2, atol=0.01)
    assert height / width == pytest.approx(12 / 16, abs=0.01)


def test_the_outline_of_a_shortcut_lies_on_its_region(page: Any) -> None:
    stages = page.locator(".flag").first.locator(".stage:has(.spot)")
    assert stages.count() == 4  # two examples, each before covering and after pasting
    places = stages.first.evaluate(
        """stage => {
        const whole = stage.getBoundingClientRect(), part = stage.querySelector('.spot').getBoundingClientRect();
        return [(part.left - whole.left) / whole.width, (part.top - whole.top) / whole.height,
                (part.right - whole.left) / whole.width, (part.bottom - whole.top) / whole.height];
    }"""
    )
    np.testing.assert_allclose(places, CORNER, atol=0.01)


def typical_dogs(run: FakeRun) -> list[int]:
    """Return the three dogs nearest to the center of the correctly predicted ones, the most confident first."""
    dogs = unit(run.embeddings(np.arange(30, 40)))
    distances = np.linalg.norm(dogs - dogs.mean(axis=0), axis=1)
    return sorted((30 + np.argsort(distances)[:3]).tolist())  # in this run, confidence decreases by row


def test_a_cell_of_the_diagonal_shows_typical_correct_predictions(page: Any, run: FakeRun) -> None:
    cell(page, 1, 1).click()
    assert rows(page) == typical_dogs(run)
    assert len(page.locator(".card").first.locator("figcaption").all()) == 2


def test_every_class_has_its_typical_images_with_their_maps(page: Any, run: FakeRun) -> None:
    classes = page.locator("#classes article")
    assert [re.findall(r"\w+", title)[0] for title in classes.locator("h3").all_inner_texts()] == ["cat", "dog", "fish"]
    dogs = classes.nth(1)
    assert [Path(name).stem for name in dogs.locator("img").evaluate_all("all => all.map(image => image.alt)")] == [
        f"{row:03d}" for row in typical_dogs(run) for _ in range(2)
    ]
    assert dogs.locator("canvas[data-painted]").count() == 3


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_printed_report_has_pictures_and_maps_on_white(browser: Any, run: FakeRun, scheme: str) -> None:
    ground = "getComputedStyle(document.querySelector('.card')).backgroundColor"
    with report_page(browser, run, color_scheme=scheme) as opened:
        before = opened.evaluate(ground)
        printed = opened.pdf()
        assert opened.evaluate(ground) == before
        opened.emulate_media(media="print")
        opened.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert opened.evaluate(ground) == "rgb(255, 255, 255)"
        assert not opened.locator("#filters").is_visible()
        maps = opened.locator(".card canvas[data-painted], #classes canvas[data-painted]").count()
        unloaded = "all => all.filter(image => !image.complete || !image.naturalWidth).length"
        assert opened.locator("img").evaluate_all(unloaded) == 0
    assert maps >= 9 + 2 * 6
    assert len(re.findall(rb"/Subtype\s*/Image", printed)) >= maps


def test_an_empty_cell_shows_a_message(page: Any) -> None:
    cell(page, 1, 0).click()
    assert rows(page) == []
    assert page.locator("#cards .nothing").count() == 1
    page.get_by_role("button", name="Show all errors").click()
    assert len(rows(page)) == 6


def test_the_matrix_can_be_used_with_the_keyboard(page: Any) -> None:
    cell(page, 0, 0).focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowUp")
    assert page.evaluate("document.activeElement.dataset.predicted") == "1"
    assert page.locator("#matrix button[tabindex='0']").count() == 1
    page.keyboard.press("Enter")
    assert rows(page) == list(range(20, 28))


def test_the_url_contains_the_selected_classes(page: Any, run: FakeRun) -> None:
    cell(page, 0, 1).click()
    assert page.url.endswith("#true=cat&predicted=dog")
    page.reload()
    page.wait_for_selector("[data-ready]", state="attached")
    assert rows(page) == list(range(20, 28))
    assert page.get_by_label("True class").input_value() == "0"


def test_filters_narrow_the_gallery(page: Any, run: FakeRun) -> None:
    page.get_by_label("Predicted class").select_option("dog")
    page.get_by_role("slider", name="Minimum confidence").fill("0.78")
    wanted = [row for row in range(20, 28) if run.columns["confidence"][row] >= 0.78]
    assert 0 < len(wanted) < 8
    assert rows(page) == wanted


def test_maps_have_the_colors_of_the_python_renderer(page: Any, run: FakeRun) -> None:
    page.get_by_label("Colors", exact=True).select_option("viridis")
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


def test_opacity_and_theme_can_be_changed(page: Any) -> None:
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
def test_the_report_does_not_overflow_and_is_accessible(browser: Any, run: FakeRun, scheme: str, width: int) -> None:
    viewport = {"width": width, "height": 844}
    with report_page(browser, run, viewport=viewport, color_scheme=scheme, reduced_motion="reduce") as opened:
        assert opened.evaluate("document.documentElement.scrollWidth") <= width
        assert violations(opened) == []
