"""A studio over the demo network and two dozen photographs, as an app and in a browser."""

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from camlens.data.demo import DemoPhotos
from camlens.studio.app import create_app
from camlens.studio.jobs import WORKER, Job
from camlens.studio.settings import StudioSettings
from tests.browser import watched_page

BASE = "http://127.0.0.1:8765"
PATIENCE = 60.0
PAGE_SOURCES = sorted((Path(__file__).parents[2] / "studio-ui" / "src" / "pages").glob("*.svelte"))


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of 24 photographs in class folders, one of them mislabeled to cause an error."""
    folder = tmp_path_factory.mktemp("photos")
    source = DemoPhotos()
    names = [source[index].name.rpartition("-")[2] for index in range(10)]
    for index in range(24):
        sample = source[index]
        wrong = index == 3
        name = names[(sample.label + 1) % 10 if wrong else sample.label]
        (folder / name).mkdir(exist_ok=True)
        Image.fromarray(sample.image).save(folder / name / f"{index:03d}.png")
    return folder


def page_paths(*, run: bool) -> list[str]:
    """Return the paths of the pages that show an audit run, or of the others."""
    sources = "".join(page.read_text(encoding="utf-8") for page in PAGE_SOURCES)
    constants = re.findall(r"export const page = \{(.*?)\} satisfies Page;", sources, flags=re.DOTALL)
    return [constant.split('path: "')[1].split('"')[0] for constant in constants if ("run: true" in constant) is run]


def ask_until(client: TestClient, check: Any) -> dict[str, Any]:
    """Return the status as soon as `check` accepts it."""
    return until(lambda: status if check(status := client.get("/api/status").json()) else None)


class Held:
    """Pause the worker at the first report of at least `steps` steps of a job, until `go` is set."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, steps: int, kind: str | None = None) -> None:
        self.reached, self.go = threading.Event(), threading.Event()
        really = Job.touch

        def touch(job: Job) -> None:
            really(job)
            mine = kind is None or (isinstance(job.key, tuple) and job.key[0] == kind)
            if threading.current_thread().name == WORKER and mine and job.done >= steps and not job.finished:
                self.reached.set()
                assert self.go.wait(PATIENCE)

        monkeypatch.setattr(Job, "touch", touch)


def until(condition: Callable[[], Any]) -> Any:
    """Poll `condition` and return its first true value."""
    end = time.monotonic() + PATIENCE
    while not (value := condition()):
        assert time.monotonic() < end, "timed out"
        time.sleep(0.01)
    return value


def is_settled(status: dict[str, Any]) -> bool:
    progress = status["predictions"]
    return status["state"] == "ready" and progress["done"] == progress["total"]


@pytest.fixture(scope="session")
def studio(photos: Path) -> Iterator[TestClient]:
    """Return a ready studio with complete predictions."""
    app = create_app(StudioSettings(data=str(photos)))
    with TestClient(app, base_url=BASE) as client:
        ask_until(client, is_settled)
        yield client


@contextmanager
def listening(settings: StudioSettings) -> Iterator[str]:
    """Run a studio on a free port and return its address."""
    from camlens.studio.safety.serving import server

    running = server(create_app(settings))
    thread = threading.Thread(target=running.run, daemon=True)
    thread.start()
    until(lambda: running.started)
    port = running.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}"
    running.should_exit = True
    thread.join(timeout=15)


@pytest.fixture(scope="session")
def server(photos: Path) -> Iterator[str]:
    """Return the address of a studio without a token; its predictions are complete, so no page reloads its strip."""
    with listening(StudioSettings(data=str(photos))) as address:
        until(lambda: is_settled(httpx.get(f"{address}/api/status").json()))
        yield address


@pytest.fixture
def page(browser: Any, server: str) -> Iterator[Any]:
    """Open a new browser page for the studio."""
    with watched_page(browser, server) as fresh:
        yield fresh


def opened(page: Any, path: str) -> Any:
    """Open a path and wait until everything is computed and drawn."""
    page.goto(path)
    page.wait_for_selector("main > *")
    page.wait_for_selector("main:not(:has(.loading)):not(:has(.waiting)):not(:has([aria-busy=true]))")
    return page


def chosen(page: Any, label: str, text: str) -> None:
    """Choose an option of a combobox by typing part of its name."""
    field = page.get_by_role("combobox", name=label, exact=True)
    field.click()
    field.fill(text)
    page.locator("[role=option]").first.click()
