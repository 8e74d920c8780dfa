"""How fast the studio answers people: clicks and sliders in a real browser, crowds at the API.

    python -m benchmarks.studio [--rounds 30]

Prints medians and 95th percentiles beside what they should stay under. Needs the built page and Chromium.
"""

import argparse
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
from typing import Any

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

    def __str__(self) -> str:
        median = statistics.median(self.times)
        late = sorted(self.times)[min(len(self.times) - 1, int(0.95 * len(self.times)))]
        verdict = "ok" if median <= self.limit else "TOO SLOW"
        return f"{self.name:<52} {median:8.1f} {late:8.1f} {self.limit:8.0f} {len(self.times):5d}  {verdict}"


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


def in_the_browser(base: str, rounds: int) -> Iterator[Row]:
    """Clicks and sliders, in headless Chromium."""
    from playwright.sync_api import sync_playwright

    path = os.environ.get("CAMLENS_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        first_paint, first_overlay = [], []
        for _ in range(5):
            page = browser.new_context(base_url=base).new_page()
            start = time.perf_counter()
            page.goto("/")
            page.wait_for_selector(f"{OVERLAY}[data-painted]")
            page.wait_for_selector("text=Take away")
            first_overlay.append((time.perf_counter() - start) * 1000)
            paints = "() => performance.getEntriesByName('first-contentful-paint').map(e => e.startTime)"
            first_paint += page.evaluate(paints)
            page.context.close()
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
        yield Row("Generate to painted overlay, class not asked before", clicks, 120)
        yield Row("slider to pixels", slides, 20)
        browser.close()


def in_a_crowd(base: str) -> Iterator[Row]:
    """Twenty people at once, and a tiny request meanwhile."""
    busy, tiny = True, []

    def knock() -> None:
        while busy:
            start = time.perf_counter()
            asked(f"{base}/api/jobs/none")
            tiny.append((time.perf_counter() - start) * 1000)
            time.sleep(0.02)

    def ask(person: int) -> float:
        start = time.perf_counter()
        body = {"image": f"s{person}", "methods": ["gradcam", "layercam"], "layers": ["stage2"]}
        answer = asked(f"{base}/api/explanations?wait=60", body)
        assert answer["state"] == "done", answer
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
    yield Row("20 people at once, each until answered", times, 3000)
    yield Row("a tiny request meanwhile", tiny, 100)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    rounds = parser.parse_args().rounds
    print(f"{'milliseconds':<52} {'median':>8} {'95 %':>8} {'limit':>8} {'n':>5}")
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import torch"], check=True)
    torch_alone = time.perf_counter() - start
    with served() as (base, seconds):
        print(Row("importing torch alone", [torch_alone * 1000], math.inf))
        print(Row("server up, importing torch taken off", [(seconds - torch_alone) * 1000], 3000))
        until(lambda: (asked(f"{base}/api/status") or {}).get("state") == "ready")
        done = lambda: (lambda one: one["done"] == one["total"])(asked(f"{base}/api/status")["predictions"])  # noqa: E731
        until(done, 300)
        for row in (*in_the_browser(base, rounds), *in_a_crowd(base)):
            print(row)


if __name__ == "__main__":
    main()
