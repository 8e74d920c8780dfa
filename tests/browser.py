"""A real browser for tests: Chromium, pages whose complaints fail their test, axe, and the pixels of a canvas."""

import base64
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

CHROMIUM = os.environ.get("CAMLENS_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
AXE = Path(__file__).parents[1] / "studio-ui" / "node_modules" / "axe-core" / "axe.min.js"
PATIENCE_MS = 60_000
POLL_MS = 30
PIXELS = """canvas => {
  const {width, height} = canvas;
  const bytes = canvas.getContext('2d').getImageData(0, 0, width, height).data;
  let text = '';
  for (let i = 0; i < bytes.length; i += 8192) text += String.fromCharCode(...bytes.subarray(i, i + 8192));
  return [height, width, btoa(text)];
}"""


def browser_marks(built: Path) -> list[pytest.MarkDecorator]:
    """Marks of a module that looks at what is built as `built`: slow, and skipped loudly where that or Chromium lacks.

    In CI nothing is skipped: what lacks is an error there.
    """
    missing = None
    if not built.is_file():
        missing = f"{built.name} is not built: make studio-ui (needs Node)"
    elif CHROMIUM is None:
        missing = "there is no Chromium: apt-get install chromium, or set CAMLENS_CHROMIUM"
    if missing is not None and os.environ.get("CI"):
        pytest.fail(f"the browser tests cannot run: {missing}", pytrace=False)
    return [
        pytest.mark.slow,
        pytest.mark.skipif(missing is not None, reason=f"BROWSER TESTS DID NOT RUN: {missing}"),
    ]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium without a window, of its own for each module."""
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as running:
        opened = running.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield opened
        opened.close()


@contextmanager
def watched_page(browser: Any, address: str | None = None, **wishes: Any) -> Iterator[Any]:
    """A fresh page, light and 1280 wide unless `wishes` say else; what its console complains about fails the test.

    Refused requests are no complaint: what the page says about them is for the test to judge.
    """
    wishes = {"viewport": {"width": 1280, "height": 900}, "color_scheme": "light", **wishes}
    context = browser.new_context(base_url=address, **wishes)
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    complaints: list[str] = []
    expected = re.compile(r"status of (4\d\d|503)|ERR_FAILED")

    def heard(line: Any) -> None:
        if line.type == "error" and not expected.search(line.text):
            complaints.append(line.text)

    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", heard)
    try:
        yield page
    finally:
        context.close()
    assert complaints == []


def pixels(canvas: Any) -> np.ndarray:
    """Red, green and blue (h, w, 3) of a canvas."""
    height, width, text = canvas.evaluate(PIXELS)
    return np.frombuffer(base64.b64decode(text), dtype=np.uint8).reshape(height, width, 4)[:, :, :3]


def painted_until(canvas: Any, fits: Callable[[np.ndarray], bool]) -> np.ndarray:
    """The pixels of a canvas once they are as wanted."""
    for _ in range(PATIENCE_MS // POLL_MS):
        now = pixels(canvas)
        if fits(now):
            return now
        canvas.page.wait_for_timeout(POLL_MS)
    raise AssertionError("the canvas was not painted as wanted")


def shown(locator: Any, count: int | None = None) -> bool:
    """Whether, sooner or later, as many elements are there as wanted; without a `count`, any."""
    for _ in range(PATIENCE_MS // POLL_MS):
        now = locator.count()
        if now == count or (count is None and now > 0):
            return True
        locator.page.wait_for_timeout(POLL_MS)
    return False


def settle(page: Any) -> None:
    """Wait until the page is laid out and no finite animation or transition is running."""
    page.evaluate(
        """async () => {
          for (let frame = 0; frame < 2; frame++) await new Promise(requestAnimationFrame);
          const finite = document.getAnimations().filter(one => one.effect.getComputedTiming().endTime !== Infinity);
          await Promise.allSettled(finite.map(one => one.finished));
        }"""
    )


def violations(page: Any) -> list[tuple[str, list[str], str]]:
    """What axe finds wrong: the rule, the first elements, and what it says of the first."""
    if not AXE.is_file():
        pytest.skip("axe-core is not installed: npm ci in studio-ui")
    settle(page)  # axe measures the contrast of colors that must not be in transition
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate("() => axe.run(document, {resultTypes: ['violations']})")
    return [
        (one["id"], [node["html"][:160] for node in one["nodes"]][:3], one["nodes"][0]["failureSummary"][:200])
        for one in found["violations"]
    ]
