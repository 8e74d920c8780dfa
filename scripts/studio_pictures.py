"""Take the documentation's screenshots of the studio: every page, on desktop and phone, light and dark.

python scripts/studio_pictures.py docs/images [VIEW ...]
"""

import io
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import uvicorn
from PIL import Image
from playwright.sync_api import Browser, Page, ViewportSize, sync_playwright

import camlens.audit
from camlens.studio.app import create_app
from camlens.studio.settings import StudioSettings

VIEWS = {
    "explain": "/?image=s12&opacity=0.55",
    "layers": "/layers?image=s8",
    "classes": "/classes?image=s26&target=c698-c975",
    "methods": "/methods?image=s16",
    "lime": "/lime?image=s12&features=12",
    "correct-and-incorrect": "/correct-and-incorrect",
    "model": "/model",
    "activations": "/model?tab=activations&image=s26",
    "filters": "/model?tab=filters&layer=conv_stem",
    "about": "/about",
}
AUDIT_VIEWS = {
    "errors": "/misclassifications",
    "error": "/misclassifications?pair=4-7&row=60",
    "embeddings": "/embeddings?cloud=tsne&points=1000&lasso=0000zz00zz9i009i",
    "attention": "/attention",
}
SHORTCUT_VIEWS = {"shortcuts": "/shortcuts", "shortcut": "/shortcuts?flag=0"}
PATIENCE = 300_000  # milliseconds: the script is run on loaded machines too
DESK, TELEPHONE = (1280, 900), (390, 844)
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]


def serve(settings: StudioSettings) -> str:
    """Start a studio on a free port and return its address."""
    server = uvicorn.Server(uvicorn.Config(create_app(settings), port=0, log_level="error"))
    threading.Thread(target=server.run, daemon=True).start()
    while not server.started:
        time.sleep(0.05)
    return f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"


def audited(data: str, room: str) -> StudioSettings:
    """Return the settings of a studio for a run of the model that uses a watermark."""
    model = "demo:watermark"
    run = camlens.audit.run(data, model, Path(room) / data.replace(":", "-"), limit=600, report=False)
    return StudioSettings(model=model, data=data, audit=str(run.path), port=0)


def settle(page: Page, path: str) -> None:
    """Open a view and wait until it is complete."""
    page.goto(path)
    page.wait_for_selector("main:not(:has(.loading)):not(:has(.waiting)):not(:has([aria-busy=true])) > *")
    page.wait_for_timeout(1500)
    page.wait_for_load_state("networkidle")
    for button in page.get_by_role("button", name="Compute", exact=True).all():  # long work waits for a click
        button.dispatch_event("click")  # without a pointer that scrolls and hovers
        page.wait_for_selector("main .waiting")
    page.wait_for_selector("main:not(:has(.waiting))")
    page.wait_for_timeout(300)


def main(folder: Path, names: Sequence[str] = ()) -> None:
    """Write `studio-NAME.webp` and `studio-NAME-small.webp` of the views, and one in the dark theme."""
    path = os.environ.get("CAMLENS_CHROMIUM") or shutil.which("chromium")
    wanted = names or (*VIEWS, *AUDIT_VIEWS, *SHORTCUT_VIEWS)
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as room:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        if any(name in VIEWS for name in wanted):
            base = predicted(browser, serve(StudioSettings(model="demo:imagenet", port=0)))
            draw(browser, base, {name: view for name, view in VIEWS.items() if name in wanted}, folder)
            page = browser.new_page(base_url=base, viewport=sized(DESK), color_scheme="dark")
            settle(page, VIEWS["explain"])
            save(page, folder / "studio-explain-dark.webp")
        for data, views in (("demo:watermark-moved", AUDIT_VIEWS), ("demo:watermark", SHORTCUT_VIEWS)):
            if any(name in views for name in wanted):
                base = predicted(browser, serve(audited(data, room)))
                draw(browser, base, {name: view for name, view in views.items() if name in wanted}, folder)
        browser.close()


def predicted(browser: Browser, base: str) -> str:
    """Return the address when all predictions are computed."""
    first = browser.new_page(base_url=base)
    first.set_default_timeout(PATIENCE)
    settle(first, "/")
    while (status := first.request.get("/api/status").json()["predictions"])["done"] < status["total"]:
        time.sleep(0.5)
    return base


def draw(browser: Browser, base: str, views: dict[str, str], folder: Path) -> None:
    """Take screenshots of every view in both sizes."""
    for size, ending in ((DESK, ""), (TELEPHONE, "-small")):
        page = browser.new_page(base_url=base, viewport=sized(size))
        page.set_default_timeout(PATIENCE)
        for name, view in views.items():
            settle(page, view)
            save(page, folder / f"studio-{name}{ending}.webp")


def sized(size: tuple[int, int]) -> ViewportSize:
    """Return the size as Playwright's type."""
    return {"width": size[0], "height": size[1]}


def save(page: Page, file: Path) -> None:
    """Write a screenshot of the page as WebP."""
    Image.open(io.BytesIO(page.screenshot())).save(file, "WEBP", quality=84, method=6)
    print(file)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
