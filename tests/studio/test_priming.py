"""What is done before anybody asks: the first map once, the first image one that can be read, the rest afterwards."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from camlens.studio import explaining
from camlens.studio.app import create_app
from camlens.studio.bench import Workbench
from camlens.studio.settings import StudioSettings
from tests.studio.conftest import BASE, PATIENCE


def soon(found: Callable[[], Any]) -> Any:
    """What `found` gives, once it gives something."""
    end = time.monotonic() + PATIENCE
    while not (value := found()):
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.01)
    return value


def begun(client: TestClient) -> dict[str, Any]:
    """The first answer of a studio that is ready."""

    def ready() -> dict[str, Any] | None:
        start: dict[str, Any] = client.get("/api/start").json()
        return start if start["status"]["state"] == "ready" else None

    answer: dict[str, Any] = soon(ready)
    return answer


def bench_of(client: TestClient) -> Workbench:
    bench: Workbench = client.app.state.bench  # type: ignore[attr-defined]
    return bench


def test_a_page_that_asks_for_the_first_map_shares_it_with_the_studio(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed: list[Any] = []
    really = explaining._computed

    def counted(bench: Workbench, request: Any, *rest: Any) -> Any:
        computed.append(request)
        return really(bench, request, *rest)

    monkeypatch.setattr(explaining, "_computed", counted)
    with TestClient(create_app(StudioSettings(data=str(photos))), base_url=BASE) as client:
        question = begun(client)["question"]
        answer = client.post("/api/explanations", params={"wait": 60}, json=question).json()
        assert answer["state"] == "done"
        assert [request.image for request in computed] == [question["image"]]
        assert soon(lambda: begun(client)["explanation"])["maps"] == answer["result"]["maps"]
        assert len(computed) == 1


def test_no_page_begins_with_an_image_that_cannot_be_read(tmp_path: Path, photos: Path) -> None:
    good = next(photos.rglob("*.png"))
    for number in range(12):
        (tmp_path / f"{number:02d}.png").write_bytes(good.read_bytes() if number == 7 else b"this is no picture")
    with TestClient(create_app(StudioSettings(data=str(tmp_path))), base_url=BASE) as client:
        assert begun(client)["question"]["image"] == "s7"


def test_pictures_and_predictions_begin_once_the_first_page_has_had_its_start(photos: Path) -> None:
    with TestClient(create_app(StudioSettings(data=str(photos))), base_url=BASE) as client:
        image = begun(client)["question"]["image"]
        ready = time.monotonic()
        bench = bench_of(client)
        assert not bench.predictions.settled.any()
        soon(lambda: bench.predictions.settled.any())
        assert time.monotonic() - ready > 0.5
        assert isinstance(bench.cache.get(("picture", image, "display")), bytes), "pictures come before predictions"
        assert isinstance(bench.cache.get(("picture", image, "thumbnail")), bytes)
