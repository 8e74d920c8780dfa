"""The images of the dataset and their classes."""

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from camlens.data.samples import Sample, Samples
from camlens.models import load_model
from camlens.studio import images as gallery
from camlens.studio.app import create_app
from camlens.studio.settings import StudioSettings
from tests.studio.conftest import BASE, ask_until, is_settled
from tests.studio.placed import photograph


def test_accepted_classes_are_matched_like_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = load_model("demo:photos")
    loaded.class_names[:3] = ["Egyptian cat", "tabby", "tiger cat"]

    def load() -> np.ndarray:
        return np.zeros((8, 8, 3), dtype=np.uint8)

    sample = Sample("cat", None, 0, "tabby", load, accepted=("egyptian_cat", "TIGER  cat", "lynx"))
    monkeypatch.setattr(gallery, "open_source", lambda spec: Samples.of([sample], ["tabby"]))
    assert gallery.open_gallery("cats", loaded).accepted == {0: frozenset({0, 2})}


@pytest.mark.skipif(os.name == "nt" or sys.platform == "darwin", reason="file names are Unicode there")
def test_names_that_are_not_utf8_are_escaped(tmp_path: Path) -> None:
    data = Path(os.fsdecode(os.fsencode(tmp_path) + b"/ph\xe9otos"))
    folder = Path(os.fsdecode(os.fsencode(data) + b"/caf\xe9"))
    folder.mkdir(parents=True)
    photo = Path(os.fsdecode(os.fsencode(folder) + b"/im\xe9ge.png"))
    photograph(240, 240, 120, 120).save(tmp_path / "plain.png")
    (tmp_path / "plain.png").rename(photo)
    settings = StudioSettings(model="tests.studio.placed:classifier", data=str(data))
    with TestClient(create_app(settings), base_url=BASE) as client:
        ask_until(client, is_settled)
        (sample,) = client.get("/api/samples").json()["samples"]
        assert sample["name"] == "caf\\udce9/im\\udce9ge.png"
        for path in ("start", "status", "classes", "images/s0", "images/s0/thumbnail.webp", "images/s0/picture.png"):
            assert client.get(f"/api/{path}").status_code == 200, path
        answer = client.post("/api/explanations", json={"image": "s0", "layers": ["0"]})
        assert answer.status_code == 200
        names: dict[str, Any] = {}
        exec(answer.json()["result"]["python"], names)
        assert names["explanation"].views[0].picture.shape == (240, 240, 3)
        for name in ("panel.png", "report.html", "maps.npy"):
            assert client.get(f"/api/explanations/{name}?image=s0&layer=0").status_code == 200, name
