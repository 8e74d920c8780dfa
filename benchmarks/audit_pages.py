"""Time the studio's pages over an audit of 100,000 synthetic rows and 1,000 classes, in headless Chromium.

python -m benchmarks.audit_pages [--rows 100000] [--run DIRECTORY]
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.studio import FLAGS, Row, asked, until
from tests.audit.synthetic import synthetic_run

CLASSES, WIDTH = 1000, 512
POINTS = 20_000
CLICK = """async ([number, cell]) => {
  const painted = () => {
    const cards = document.querySelector(`[aria-label="Images of the cell"] [data-cell="${cell}"]`);
    const tiles = [...(cards?.querySelectorAll('[data-row] canvas') ?? [])];
    return tiles.length > 0 && tiles.every(canvas => canvas.dataset.painted);
  };
  const button = document.querySelectorAll('[aria-label="Pairs by number of images"] button')[number];
  const start = performance.now();
  button.click();
  while (!painted()) await new Promise(requestAnimationFrame);
  return performance.now() - start;
}"""
FRAME = """async key => {
  const canvas = document.querySelector('[role=application] canvas');
  const before = canvas.dataset.painted;
  const start = performance.now();
  canvas.parentElement.dispatchEvent(new KeyboardEvent('keydown', {key, bubbles: true}));
  while (canvas.dataset.painted === before) await new Promise(requestAnimationFrame);
  return [performance.now() - start, Number(canvas.dataset.milliseconds)];
}"""
HOVER = """async () => {
  const box = document.querySelector('[role=application]');
  const at = box.getBoundingClientRect();
  const times = [];
  for (let i = 0; i < 300; i++) {
    const [across, down] = [((i * 37) % 100) / 100, ((i * 53) % 100) / 100];
    const place = {clientX: at.left + at.width * across, clientY: at.top + at.height * down};
    const start = performance.now();
    box.dispatchEvent(new PointerEvent('pointermove', {...place, bubbles: true}));
    times.push(performance.now() - start);
    await new Promise(requestAnimationFrame);
  }
  return times;
}"""


@contextmanager
def served(run: Path) -> Iterator[str]:
    """Start a studio with the run in a new process and yield its address."""
    code = "from camlens.cli.main import run; run()"
    options = [
        "studio",
        "--audit",
        str(run),
        "--model",
        "demo:photos",
        "--port",
        "0",
        "--no-browser",
        "--token",
        "none",
    ]
    process = subprocess.Popen(
        [sys.executable, "-c", code, *options], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    try:
        base = process.stdout.readline().split()[-1].rstrip("/")
        until(lambda: asked(f"{base}/api/health") is not None)
        yield base
    finally:
        process.terminate()
        process.wait(10)


def rows_of(run: Path, playwright: Any) -> Iterator[Row]:
    """Measure the rows of the table."""
    path = os.environ.get("CAMLENS_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
    browser.new_page().close()
    openings = []
    for _ in range(3):
        with served(run) as base:
            page = browser.new_context(base_url=base).new_page()
            start = time.perf_counter()
            page.goto("/misclassifications")
            page.wait_for_selector('[aria-label^="Confusion matrix"] canvas[data-painted]')
            openings.append((time.perf_counter() - start) * 1000)
            page.context.close()
    yield Row("server up to the painted confusion matrix", openings, 2000)
    with served(run) as base:
        until(lambda: (asked(f"{base}/api/status") or {}).get("state") == "ready", 120)
        page = browser.new_context(base_url=base, viewport={"width": 1280, "height": 900}).new_page()
        page.goto("/misclassifications")
        page.wait_for_selector('[aria-label="Errors by pair"] [data-row] canvas[data-painted]')
        pairs = asked(f"{base}/api/audit/errors")["pairs"]
        clicks = []
        for number in range(20):
            cell = f"{pairs[number]['label']}-{pairs[number]['prediction']}"
            clicks.append(page.evaluate(CLICK, [number, cell]))
        yield Row("confusion click to its images' painted maps", clicks, 200)
        page.goto(f"/embeddings?points={POINTS}&hue=label")
        page.wait_for_selector("[role=application] canvas[data-painted]", timeout=300_000)
        frames = [page.evaluate(FRAME, "+-"[number % 2]) for number in range(40)]
        yield Row(f"{POINTS:,} points: key to the next frame", [whole for whole, _ in frames], 34)
        yield Row(f"{POINTS:,} points: painting alone", [paint for _, paint in frames], 16.7)
        yield Row(f"{POINTS:,} points: finding what is under the pointer", page.evaluate(HOVER), 4)
    browser.close()


def main() -> None:
    """Print the table."""
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--run", type=Path, help="Use an existing run.")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as room, sync_playwright() as playwright:
        run = given.run or synthetic_run(Path(room) / "run", rows=given.rows, classes=CLASSES, width=WIDTH).path
        print(f"{'milliseconds':<52} {'median':>8} {'95 %':>8} {'limit':>8} {'n':>5}")
        for row in rows_of(run, playwright):
            print(row, flush=True)


if __name__ == "__main__":
    main()
