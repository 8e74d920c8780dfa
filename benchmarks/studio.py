"""How fast the studio answers people: clicks and sliders in a real browser, crowds at the API.

    python -m benchmarks.studio [--rounds 30] [--write]

Prints medians and 95th percentiles beside what they should stay under; `--write` keeps the table in
benchmarks/STUDIO_RESULTS.md. Needs the built page and Chromium.
"""

import argparse
import base64
import gzip
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "STUDIO_RESULTS.md"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
OVERLAY = 'canvas[aria-label^="The image under"]'

CLICK = """async () => {
  const canvas = document.querySelector('canvas[aria-label^="The image under"]');
  const before = canvas.dataset.painted;
  const painted = new Promise(done => {
    const look = () => { if (canvas.dataset.painted !== before) { watch.disconnect(); done(); } };
    const watch = new MutationObserver(look);
    watch.observe(canvas, {attributes: true});
  });
  const start = performance.now();
  ACTION
  await painted;
  await new Promise(requestAnimationFrame);
  return performance.now() - start;
}"""
GENERATE = CLICK.replace("ACTION", "document.querySelector('button.primary').click();")
SLIDE = CLICK.replace(
    "ACTION",
    "const s = document.getElementById('opacity'); s.value = (Number(s.value) + 0.037) % 1;"
    " s.dispatchEvent(new Event('input', {bubbles: true}));",
)


@dataclass(frozen=True)
class Row:
    """One measured promise, in milliseconds."""

    name: str
    times: Sequence[float]
    limit: float

    @property
    def median(self) -> float:
        return statistics.median(self.times)

    @property
    def late(self) -> float:
        """The 95th percentile."""
        return sorted(self.times)[min(len(self.times) - 1, int(0.95 * len(self.times)))]

    @property
    def verdict(self) -> str:
        return "ok" if self.median <= self.limit else "TOO SLOW"

    def __str__(self) -> str:
        numbers = f"{self.median:8.1f} {self.late:8.1f} {self.limit:8.0f} {len(self.times):5d}"
        return f"{self.name:<52} {numbers}  {self.verdict}"

    def cells(self) -> str:
        """The row of a Markdown table."""
        limit = "" if math.isinf(self.limit) else f"{self.limit:.0f}"
        verdict = "" if math.isinf(self.limit) else self.verdict
        return f"| {self.name} | {self.median:.1f} | {self.late:.1f} | {limit} | {len(self.times)} | {verdict} |"


@contextmanager
def served() -> Iterator[tuple[str, float]]:
    """A studio of its own process: its address, and how many seconds it took to answer."""
    options = ["studio", "--port", "0", "--no-browser", "--token", "none"]
    code = "from camlens.cli.main import run; run()"
    start = time.perf_counter()
    running = subprocess.Popen(
        [sys.executable, "-c", code, *options], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert running.stdout is not None
    try:
        line = running.stdout.readline()
        base = line.split()[-1].rstrip("/")
        until(lambda: asked(f"{base}/api/health") is not None)
        yield base, time.perf_counter() - start
    finally:
        running.terminate()
        running.wait(10)


def until(fact: Callable[[], bool], patience: float = 60) -> None:
    """Wait for a fact."""
    end = time.perf_counter() + patience
    while not fact():
        if time.perf_counter() > end:
            raise TimeoutError("the studio did not come so far")
        time.sleep(0.01)


def asked(url: str, body: Any = None) -> Any:
    """The JSON answer, or None where nobody answers yet."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.load(answer)
    except (urllib.error.URLError, ConnectionError):
        return None


def opened(browser: Any, base: str) -> tuple[float, float]:
    """Milliseconds from entering the address to the first overlay, and to the first paint, in a cold context."""
    page = browser.new_context(base_url=base).new_page()
    start = time.perf_counter()
    page.goto("/")
    page.wait_for_selector(f"{OVERLAY}[data-painted]")
    page.wait_for_selector("text=Take away")
    took = (time.perf_counter() - start) * 1000
    (paint,) = page.evaluate("() => performance.getEntriesByName('first-contentful-paint').map(e => e.startTime)")
    page.context.close()
    return took, paint


def in_the_browser(base: str, rounds: int) -> Iterator[Row]:
    """Clicks and sliders, in headless Chromium."""
    from playwright.sync_api import sync_playwright

    path = os.environ.get("CAMLENS_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        first_overlay, first_paint, fresh = [], [], []
        for _ in range(7):
            overlay, paint = opened(browser, base)
            first_overlay.append(overlay)
            first_paint.append(paint)
        for _ in range(7):
            with served() as (new, _seconds):
                fresh.append(opened(browser, new)[0])
        page = browser.new_context(base_url=base).new_page()
        page.goto("/")
        page.wait_for_selector("text=Take away")
        layers = ["stage4", "stage3", "stage2", "stage1"]
        clicks, slides = [], []
        for number in range(rounds):
            page.goto(f"/?image=s{500 + number}&layer={layers[number % 4]}")  # explains: model and picture are warm
            page.wait_for_selector("text=Take away")
            field = page.get_by_role("combobox", name="Target class")
            field.click()
            field.fill("coffee" if number % 2 else "coin")
            page.locator("[role=option]").first.click()
            clicks.append(page.evaluate(GENERATE))
            slides += [page.evaluate(SLIDE) for _ in range(5)]
        yield Row("first contentful paint", first_paint, 500)
        yield Row("address entered to first overlay explained", first_overlay, 1000)
        yield Row("the same while a new server loads its model", fresh, 1000)
        yield Row("Generate to painted overlay, class not asked before", clicks, 120)
        yield Row("slider to pixels", slides, 20)
        browser.close()


def check_maps(maps: dict[int, list[Any]]) -> None:
    """Each person's maps are those that the same question gives alone."""
    import numpy as np

    from camlens import explain, load_model
    from camlens.data.demo import DemoPhotos

    loaded, photos = load_model("demo:photos"), DemoPhotos()
    for person, found in maps.items():
        inputs = loaded.preprocess(photos[person].image)[None]
        alone = explain(loaded.model, inputs, method=["gradcam", "layercam"], layers=["stage2"])
        for one in found:
            values = np.frombuffer(base64.b64decode(one["grid"]["values"]), "<f4").reshape(one["grid"]["shape"])
            np.testing.assert_allclose(values, alone[one["method"]].maps["stage2"][0, 0].numpy(), atol=1e-5, rtol=1e-4)


def page_weight() -> int:
    """Bytes of the whole page, gzipped."""
    from camlens.studio.app import PAGE

    return sum(len(gzip.compress(file.read_bytes())) for file in PAGE.rglob("*") if file.is_file())


def in_a_crowd(base: str) -> Iterator[Row]:
    """Twenty people at once, and a tiny request meanwhile."""
    busy, tiny = True, []

    def knock() -> None:
        while busy:
            start = time.perf_counter()
            asked(f"{base}/api/jobs/none")
            tiny.append((time.perf_counter() - start) * 1000)
            time.sleep(0.02)

    maps: dict[int, list[Any]] = {}

    def ask(person: int) -> float:
        start = time.perf_counter()
        body = {"image": f"s{person}", "methods": ["gradcam", "layercam"], "layers": ["stage2"]}
        answer = asked(f"{base}/api/explanations?wait=60", body)
        assert answer["state"] == "done", answer
        maps[person] = answer["result"]["maps"]
        return (time.perf_counter() - start) * 1000

    watcher = threading.Thread(target=knock)
    watcher.start()
    with ThreadPoolExecutor(20) as people:
        times = list(people.map(ask, range(700, 720)))
        long = people.submit(
            asked, f"{base}/api/explanations?wait=60", {"image": "s721", "methods": ["scorecam"], "layers": ["stage2"]}
        )
        long.result()
    busy = False
    watcher.join()
    check_maps(maps)
    yield Row("20 people at once, each until answered", times, 3000)
    yield Row("a tiny request meanwhile", tiny, 100)


def measured(rounds: int) -> Iterator[Row]:
    """All rows, as they come."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import torch"], check=True)
    torch_alone = time.perf_counter() - start
    with served() as (base, seconds):
        yield Row("importing torch alone", [torch_alone * 1000], math.inf)
        yield Row("server up, importing torch taken off", [(seconds - torch_alone) * 1000], 3000)
        until(lambda: (asked(f"{base}/api/status") or {}).get("state") == "ready")
        done = lambda: (lambda one: one["done"] == one["total"])(asked(f"{base}/api/status")["predictions"])  # noqa: E731
        until(done, 300)
        yield from in_the_browser(base, rounds)
        yield from in_a_crowd(base)


def written(rows: Sequence[Row], conditions: str, weight: int) -> str:
    """The results as a page of Markdown."""
    lines = [
        "# The studio, timed",
        "",
        "Written by `python -m benchmarks.studio --write`: the demo model, headless Chromium, milliseconds.",
        "",
        conditions,
        f"- the page: {weight / 1000:.0f} kB gzipped in total, of 150 allowed",
        "- the maps of 20 people at once were each compared with the map computed alone",
        "",
        "| | median | 95 % | limit | n | |",
        "|---|---|---|---|---|---|",
        *(row.cells() for row in rows),
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Print the table."""
    from benchmarks.__main__ import conditions

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    stated = conditions()
    print(f"{stated}\n\n{'milliseconds':<52} {'median':>8} {'95 %':>8} {'limit':>8} {'n':>5}")
    rows = []
    for row in measured(options.rounds):
        print(row, flush=True)
        rows.append(row)
    print(f"the page is {page_weight() / 1000:.0f} kB gzipped, of 150")
    if options.write:
        RESULTS.write_text(written(rows, stated, page_weight()), encoding="utf-8")
        print(RESULTS)


if __name__ == "__main__":
    main()
