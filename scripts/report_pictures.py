"""Draw the documentation's pictures of an audit's report, from the demo model that cheats.

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

VIEWS = {"gallery": "#gallery", "attention": "#attention"}
DESK = {"width": 1280, "height": 900}
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]


def report(folder: Path) -> Path:
    """The report of the cheating model over the images that made it cheat."""
    found = camlens.audit.run("demo:watermark", "demo:watermark", folder / "run")
    return write_report(found, preprocess=load_model("demo:watermark").preprocess)[0]


def main(folder: Path) -> None:
    """Write `report-NAME.webp`, and one in the dark."""
    path = os.environ.get("CAMLENS_CHROMIUM") or shutil.which("chromium")
    with tempfile.TemporaryDirectory() as place, sync_playwright() as playwright:
        address = report(Path(place)).as_uri()
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        for name, anchor in VIEWS.items():
            save(look(browser.new_page(viewport=DESK), address, anchor), folder / f"report-{name}.webp")
        dark = browser.new_page(viewport=DESK, color_scheme="dark")
        save(look(dark, address, "#summary"), folder / "report-summary-dark.webp")
        browser.close()


def look(page: Page, address: str, anchor: str) -> Page:
    """The page at a section, its maps drawn."""
    page.goto(address)
    page.wait_for_selector("[data-ready]", state="attached")
    if anchor != "#summary":
        page.evaluate("name => document.querySelector(name).scrollIntoView()", anchor)
    page.wait_for_timeout(700)
    return page


def save(page: Page, file: Path) -> None:
    """The visible part of the page as a small WebP."""
    Image.open(io.BytesIO(page.screenshot())).save(file, "WEBP", quality=84, method=6)
    print(file)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
