"""Take the documentation's screenshots of an audit report, of the demo model that uses a watermark.

python scripts/report_pictures.py docs/images
"""

import io
import os
import shutil
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

import camlens.audit
from camlens.audit.report import write_report
from camlens.models import load_model

VIEWS = {"shortcuts": "#shortcuts", "gallery": "#gallery", "attention": "#attention"}
DESKTOP = {"width": 1280, "height": 900}
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]


def report(folder: Path) -> Path:
    """Audit the model on data with the watermark, and write the report."""
    run = camlens.audit.run("demo:watermark", "demo:watermark", folder / "run", report=False)
    return write_report(run, preprocess=load_model("demo:watermark").preprocess)[0]


def main(folder: Path) -> None:
    """Write `report-NAME.webp` in the light theme, and the summary in the dark theme."""
    path = os.environ.get("CAMLENS_CHROMIUM") or shutil.which("chromium")
    with tempfile.TemporaryDirectory() as directory, sync_playwright() as playwright:
        address = report(Path(directory)).as_uri()
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        for name, anchor in VIEWS.items():
            save(opened(browser.new_page(viewport=DESKTOP), address, anchor), folder / f"report-{name}.webp")
        dark = browser.new_page(viewport=DESKTOP, color_scheme="dark")
        save(opened(dark, address, "#summary"), folder / "report-summary-dark.webp")
        browser.close()


def opened(page: Page, address: str, anchor: str) -> Page:
    """Open the page at a section and wait until its maps are drawn."""
    page.goto(address)
    page.wait_for_selector("[data-ready]", state="attached")
    if anchor != "#summary":
        page.evaluate("name => document.querySelector(name).scrollIntoView()", anchor)
    page.wait_for_timeout(700)
    return page


def save(page: Page, file: Path) -> None:
    """Write a screenshot of the page as WebP."""
    Image.open(io.BytesIO(page.screenshot())).save(file, "WEBP", quality=84, method=6)
    print(file)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
