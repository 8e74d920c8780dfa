"""Work that the studio does in advance: the first map, the first pictures, then predictions."""

import math
from pathlib import Path
from typing import Any

import pytest
from fastapi import Response
from fastapi.testclient import TestClient

from camlens.studio import bench as bench_module
from camlens.studio import explaining
from camlens.studio.app import create_app
from camlens.studio.bench import Workbench
from camlens.studio.routes.images import PICTURE, THUMBNAIL
from camlens.studio.settings import StudioSettings
from tests.studio.conftest import BASE, until


def begun(client: TestClient) -> dict[str, Any]:
    """Return the first answer of `/api/start` once the studio is ready."""

    def ready() -> dict[str, Any] | None:
        start: dict[str, Any] = client.get("/api/start").json()
        return start if start["status"]["state"] == "ready" else None

    answer: dict[str, Any] = until(ready)
    return answer


def bench_of(client: TestClient) -> Workbench:
    bench: Workbench = client.app.state.bench  # type: ignore[attr-defined]
    return bench


def test_the_first_map_is_computed_once(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_the_first_image_is_readable(tmp_path: Path, photos: Path) -> None:
    good = next(photos.rglob("*.png"))
    for number in range(12):
        (tmp_path / f"{number:02d}.png").write_bytes(good.read_bytes() if number == 7 else b"this is no picture")
    with TestClient(create_app(StudioSettings(data=str(tmp_path))), base_url=BASE) as client:
        assert begun(client)["question"]["image"] == "s7"


def test_background_work_starts_after_the_first_explanation(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_module, "_REST", math.inf)
    with TestClient(create_app(StudioSettings(data=str(photos))), base_url=BASE) as client:
        image = begun(client)["question"]["image"]
        bench = bench_of(client)
        until(lambda: begun(client)["explanation"])
        assert bench.predictions.settled.sum() <= 1  # that of the explained image
        assert bench.cache.get(("picture", image, PICTURE), Response) is None
        bench.resting_until = -math.inf
        bench.jobs.wake()
        until(lambda: bench.predictions.settled.sum() > 1)
        assert bench.cache.get(("picture", image, PICTURE), Response) is not None, (
            "pictures must come before predictions"
        )
        assert bench.cache.get(("picture", image, THUMBNAIL), Response) is not None
