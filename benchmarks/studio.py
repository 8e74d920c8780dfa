"""Time the studio: clicks and sliders in a browser, concurrent clients at the API.

    python -m benchmarks.studio [--rounds 20] [--write]

Prints medians, 95th percentiles and limits; `--write` saves the table to benchmarks/STUDIO_RESULTS.md. Needs the
built page and Chromium.
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
OVERLAY = 'canvas[aria-label^="Overlay of the evidence"]'

CLICK = """async () => {
  const canvas = document.querySelector('canvas[aria-label^="Overlay of the evidence"]');
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
    """One measurement with its limit, in milliseconds."""

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
        """Format the row for a Markdown table."""
        limit = "" if math.isinf(self.limit) else f"{self.limit:.0f}"
        verdict = "" if math.isinf(self.limit) else self.verdict
        return f"| {self.name} | {self.median:.1f} | {self.late:.1f} | {limit} | {len(self.times)} | {verdict} |"


@contextmanager
def served() -> Iterator[tuple[str, float]]:
    """Start a studio in a new process; yield its address and the seconds until it responded."""
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
    """Wait until `fact` returns True."""
    end = time.perf_counter() + patience
    while not fact():
        if time.perf_counter() > end:
            raise TimeoutError(f"the studio was not ready after {patience:.0f} s")
        time.sleep(0.01)


def asked(url: str, body: Any = None) -> Any:
    """Return the JSON response, or None if the studio does not respond yet."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.load(answer)
    except (urllib.error.URLError, ConnectionError):
        return None


def opened(browser: Any, base: str) -> tuple[float, float]:
    """Return the milliseconds from opening the page to the first overlay, and to the first paint."""
    page = browser.new_context(base_url=base).new_page()
    start = time.perf_counter()
    page.goto("/")
    page.wait_for_selector(f"{OVERLAY}[data-painted]")
    page.wait_for_selector("h2:text-is('Export')")
    took = (time.perf_counter() - start) * 1000
    (paint,) = page.evaluate("() => performance.getEntriesByName('first-contentful-paint').map(e => e.startTime)")
    page.context.close()
    return took, paint


def in_the_browser(base: str, rounds: int) -> Iterator[Row]:
    """Measure clicks and sliders in headless Chromium."""
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
        page.wait_for_selector("h2:text-is('Export')")
        layers = ["stage4", "stage3", "stage2", "stage1"]
        clicks, slides = [], []
        for number in range(rounds):
            page.goto(f"/?image=s{500 + number}&layer={layers[number % 4]}")  # warms up model and image
            page.wait_for_selector("h2:text-is('Export')")
            field = page.get_by_role("combobox", name="Target class")
            field.click()
            field.fill("coffee" if number % 2 else "coin")
            page.locator("[role=option]").first.click()
            clicks.append(page.evaluate(GENERATE))
            slides += [page.evaluate(SLIDE) for _ in range(5)]
        yield Row("first contentful paint", first_paint, 500)
        yield Row("opening the page to first overlay", first_overlay, 1000)
        yield Row("the same while the server loads its model", fresh, 1000)
        yield Row("Generate to overlay, new class", clicks, 120)
        yield Row("slider to pixels", slides, 20)
        browser.close()


def check_maps(maps: dict[int, list[Any]]) -> None:
    """Assert that the maps of each client equal those computed without the others."""
    import numpy as np

    from camlens import explain, load_model
    from camlens.data.demo import DemoPhotos

    loaded, photos = load_model("demo:photos"), DemoPhotos()
    for client, results in maps.items():
        inputs = loaded.preprocess(photos[client].image)[None]
        alone = explain(loaded.model, inputs, method=["gradcam", "layercam"], layers=["stage2"])
        for result in results:
            values = np.frombuffer(base64.b64decode(result["grid"]["values"]), "<f4").reshape(result["grid"]["shape"])
            np.testing.assert_allclose(
                values, alone[result["method"]].maps["stage2"][0, 0].numpy(), atol=1e-5, rtol=1e-4
            )


def page_weight() -> int:
    """Return the gzipped size of the page in bytes."""
    from camlens.studio.app import PAGE

    return sum(len(gzip.compress(file.read_bytes())) for file in PAGE.rglob("*") if file.is_file())


def in_a_crowd(base: str) -> Iterator[Row]:
    """Measure twenty clients at once, and a small request during that."""
    busy, tiny = True, []

    def knock() -> None:
        while busy:
            start = time.perf_counter()
            asked(f"{base}/api/jobs/none")
            tiny.append((time.perf_counter() - start) * 1000)
            time.sleep(0.02)

    maps: dict[int, list[Any]] = {}

    def ask(client: int) -> float:
        start = time.perf_counter()
        body = {"image": f"s{client}", "methods": ["gradcam", "layercam"], "layers": ["stage2"]}
        answer = asked(f"{base}/api/explanations?wait=60", body)
        assert answer["state"] == "done", answer
        maps[client] = answer["result"]["maps"]
        return (time.perf_counter() - start) * 1000

    watcher = threading.Thread(target=knock)
    watcher.start()
    with ThreadPoolExecutor(20) as clients:
        times = list(clients.map(ask, range(700, 720)))
        long = clients.submit(
            asked, f"{base}/api/explanations?wait=60", {"image": "s721", "methods": ["scorecam"], "layers": ["stage2"]}
        )
        long.result()
    busy = False
    watcher.join()
    check_maps(maps)
    yield Row("20 clients at once", times, 3000)
    yield Row("a small request during that", tiny, 100)


def measured(rounds: int) -> Iterator[Row]:
    """Measure all rows."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import torch"], check=True)
    torch_alone = time.perf_counter() - start
    with served() as (base, seconds):
        yield Row("importing torch", [torch_alone * 1000], math.inf)
        yield Row("server start without importing torch", [(seconds - torch_alone) * 1000], 3000)
        until(lambda: (asked(f"{base}/api/status") or {}).get("state") == "ready")
        done = lambda: (lambda one: one["done"] == one["total"])(asked(f"{base}/api/status")["predictions"])  # noqa: E731
        until(done, 300)
        yield from in_the_browser(base, rounds)
        yield from in_a_crowd(base)


def written(rows: Sequence[Row], conditions: str, weight: int) -> str:
    """Format the results as a Markdown page."""
    lines = [
        "# Studio benchmarks",
        "",
        "Written by `python -m benchmarks.studio --write`: demo model, headless Chromium, milliseconds.",
        "",
        conditions,
        f"- page: {weight / 1000:.0f} kB gzipped (limit: 150 kB)",
        "- the maps of the 20 clients were compared with maps computed alone",
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
    print(f"page: {page_weight() / 1000:.0f} kB gzipped (limit: 150 kB)")
    if options.write:
        RESULTS.write_text(written(rows, stated, page_weight()), encoding="utf-8")
        print(RESULTS)


if __name__ == "__main__":
    main()
