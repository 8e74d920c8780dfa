"""What is done before anybody asks: the first map once, the first image one that can be read, the rest afterwards."""

import math
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from camlens.studio import bench as bench_module
from camlens.studio import explaining
from camlens.studio.app import create_app
from camlens.studio.bench import Workbench
from camlens.studio.routes.images import PICTURE, THUMBNAIL
from camlens.studio.settings import StudioSettings
from tests.studio.conftest import BASE, until


def begun(client: TestClient) -> dict[str, Any]:
    """The first answer of a studio that is ready."""

    def ready() -> dict[str, Any] | None:
        start: dict[str, Any] = client.get("/api/start").json()
        return start if start["status"]["state"] == "ready" else None

    answer: dict[str, Any] = until(ready)
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
        assert until(lambda: begun(client)["explanation"])["maps"] == answer["result"]["maps"]
        assert len(computed) == 1


def test_no_page_begins_with_an_image_that_cannot_be_read(tmp_path: Path, photos: Path) -> None:
    good = next(photos.rglob("*.png"))
    for number in range(12):
        (tmp_path / f"{number:02d}.png").write_bytes(good.read_bytes() if number == 7 else b"this is no picture")
    with TestClient(create_app(StudioSettings(data=str(tmp_path))), base_url=BASE) as client:
        assert begun(client)["question"]["image"] == "s7"


def test_pictures_and_predictions_begin_once_the_first_page_has_had_its_start(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench_module, "_REST", math.inf)
    with TestClient(create_app(StudioSettings(data=str(photos))), base_url=BASE) as client:
        image = begun(client)["question"]["image"]
        bench = bench_of(client)
        until(lambda: begun(client)["explanation"])
        assert bench.predictions.settled.sum() <= 1  # the explained image's own
        assert bench.cache.get(("picture", image, PICTURE)) is None
        bench.resting_until = -math.inf
        bench.jobs.wake()
        until(lambda: bench.predictions.settled.sum() > 1)
        assert bench.cache.get(("picture", image, PICTURE)) is not None, "pictures come before predictions"
        assert bench.cache.get(("picture", image, THUMBNAIL)) is not None
