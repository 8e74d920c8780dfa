"""Draw the documentation's pictures of the studio: every page, on a desk and on a telephone, light and dark.

python scripts/studio_pictures.py docs/images [VIEW ...]
"""

import io
import os
import shutil
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import uvicorn
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from camlens.studio.app import create_app
from camlens.studio.settings import StudioSettings

VIEWS = {
    "explain": "/?image=s2&opacity=0.55",
    "layers": "/layers?image=s42",
    "classes": "/classes?image=s42",
    "methods": "/methods?image=s42",
    "lime": "/lime?image=s42&features=12",
    "correct-and-incorrect": "/correct-and-incorrect",
    "model": "/model",
    "activations": "/model?tab=activations&image=s42",
    "filters": "/model?tab=filters&layer=stage4.conv2",
    "about": "/about",
}
DESK, TELEPHONE = (1280, 900), (390, 844)
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]


def serve() -> str:
    """A studio on a free port; its address."""
    server = uvicorn.Server(uvicorn.Config(create_app(StudioSettings(port=0)), port=0, log_level="error"))
    threading.Thread(target=server.run, daemon=True).start()
    while not server.started:
        time.sleep(0.05)
    return f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"


def settle(page: Page, path: str) -> None:
    """Open a view and wait until it stands still."""
    page.goto(path)
    page.wait_for_selector("main:not(:has(.loading)):not(:has(.waiting)):not(:has([aria-busy=true])) > *")
    page.wait_for_timeout(1500)
    page.wait_for_selector("main:not(:has(.waiting))")
    page.wait_for_timeout(300)


def main(folder: Path, names: Sequence[str] = ()) -> None:
    """Write `studio-NAME.webp`, `studio-NAME-small.webp` of these or all views, and one dark picture."""
    base = serve()
    path = os.environ.get("CAMLENS_CHROMIUM") or shutil.which("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        first = browser.new_page(base_url=base)
        settle(first, "/")
        while first.request.get("/api/status").json()["predictions"]["done"] < 1000:
            time.sleep(0.5)
        for size, ending in ((DESK, ""), (TELEPHONE, "-small")):
            page = browser.new_page(base_url=base, viewport={"width": size[0], "height": size[1]})
            for name in names or VIEWS:
                settle(page, VIEWS[name])
                save(page, folder / f"studio-{name}{ending}.webp")
        page = browser.new_page(base_url=base, viewport={"width": DESK[0], "height": DESK[1]}, color_scheme="dark")
        settle(page, VIEWS["explain"])
        save(page, folder / "studio-explain-dark.webp")
        browser.close()


def save(page: Page, file: Path) -> None:
    """The visible part of the page as a small WebP."""
    Image.open(io.BytesIO(page.screenshot())).save(file, "WEBP", quality=84, method=6)
    print(file)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
