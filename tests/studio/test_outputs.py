"""Models whose outputs are not class probabilities: multi-label, regression, features, and parts of a dict."""

import io
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient
from PIL import Image

from camlens.models import load_model
from camlens.studio.app import PAGE, create_app
from camlens.studio.settings import StudioSettings
from tests.browser import browser_marks, watched_page
from tests.studio.conftest import BASE, ask_until, is_settled, listening, opened
from tests.studio.placed import photograph

HEADS = {"model": "tests.studio.placed:heads", "output_key": "measured"}
REGRESSION = {**HEADS, "task": "regression"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs in folders whose names are labels."""
    folder = tmp_path_factory.mktemp("outputs")
    for name in ("class 0", "class 1"):
        (folder / name).mkdir()
        photograph(300, 300, 150, 150).save(folder / name / "photo.png")
    return folder


@contextmanager
def studio_of(folder: Path, **settings: Any) -> Iterator[TestClient]:
    with TestClient(create_app(StudioSettings(data=str(folder), **settings)), base_url=BASE) as client:
        status = ask_until(client, lambda status: status["state"] != "loading")
        assert status["state"] == "ready", status["problem"]
        ask_until(client, is_settled)
        yield client


def outputs_of(client: TestClient) -> torch.Tensor:
    """Return the outputs of the network in placed.heads for the first image."""
    loaded = load_model(HEADS["model"], output_key="measured")
    with Image.open(io.BytesIO(client.get("/api/images/s0/picture.png").content)) as picture:
        return loaded.read(loaded.model(loaded.preprocess(np.asarray(picture))[None]))[0].detach()


def explained(client: TestClient, **request: Any) -> dict[str, Any]:
    answer = client.post("/api/explanations", json={"image": "s0", "layers": ["net.0"], **request})
    assert answer.status_code == 200, answer.text
    result: dict[str, Any] = answer.json()["result"]
    return result


def test_a_sigmoid_model_has_independent_probabilities(folder: Path) -> None:
    with studio_of(folder, **HEADS, activation="sigmoid") as client:
        expected = outputs_of(client).sigmoid()
        predictions = explained(client)["predictions"]
        assert [one["index"] for one in predictions] == expected.argsort(descending=True).tolist()
        assert {one["index"]: one["confidence"] for one in predictions} == pytest.approx(
            dict(enumerate(expected.tolist()))
        )
        assert sum(one["confidence"] for one in predictions) > 1.2
        best = client.get("/api/images/s0").json()["prediction"]
        assert best["confidence"] == pytest.approx(float(expected.max()))
        assert "activation='sigmoid', output_key='measured'" in explained(client)["python"]


def test_a_regression_is_listed_by_its_outputs(folder: Path) -> None:
    with studio_of(folder, **REGRESSION) as client:
        expected = outputs_of(client).tolist()
        status = client.get("/api/status").json()
        assert (status["model"]["task"], status["model"]["classes"]) == ("regression", 3)
        assert status["data"]["problem"] is None
        assert [one["name"] for one in client.get("/api/classes").json()] == ["output 0", "output 1", "output 2"]
        result = explained(client, target={"kind": "class", "index": 2})
        assert [(one["name"], one["confidence"]) for one in result["predictions"]] == [
            (f"output {index}", pytest.approx(value)) for index, value in enumerate(expected)
        ]
        (one,) = result["maps"]
        assert (one["class_name"], one["score"]) == ("output 2", pytest.approx(expected[2]))
        assert result["label_confidence"] is None
        assert client.get("/api/samples").json()["settled"]


def test_a_regression_with_several_outputs_requires_a_target(folder: Path) -> None:
    with studio_of(folder, **REGRESSION) as client:
        answer = client.post("/api/explanations", json={"image": "s0", "layers": ["net.0"]})
        assert (answer.status_code, answer.json()["kind"]) == (422, "target")
        assert client.get("/api/status").json()["model"]["default_layer"] is not None


def test_files_of_a_regression_hold_its_outputs(folder: Path) -> None:
    with studio_of(folder, **REGRESSION) as client:
        query = "image=s0&layer=net.0&kind=class&index=1"
        page = client.get(f"/api/explanations/report.html?{query}").text
        (image,) = json.loads(page.partition('id="maps">')[2].partition("</script>")[0])["images"]
        assert image["task"] == "regression"
        assert [value for _, value in image["predictions"]] == pytest.approx(outputs_of(client).tolist(), rel=1e-5)
        panel = client.get(f"/api/explanations/panel.png?{query}")
        assert Image.open(io.BytesIO(panel.content)).format == "PNG"


def test_a_regression_with_one_output_needs_no_target(folder: Path) -> None:
    with studio_of(folder, model="tests.studio.placed:single", task="regression") as client:
        result = explained(client, layers=["0"])
        assert result["maps"][0]["class_name"] == "redness"
        assert [one["confidence"] for one in result["predictions"]] == [pytest.approx(result["maps"][0]["score"])]


def test_features_are_listed_and_require_a_target(folder: Path) -> None:
    with studio_of(folder, model="tests.studio.placed:backbone") as client:
        assert client.get("/api/status").json()["model"]["classes"] == 40
        answer = client.post("/api/explanations", json={"image": "s0", "layers": ["0"]})
        assert (answer.status_code, answer.json()["kind"]) == (422, "target")
        result = explained(client, layers=["0"], target={"kind": "class", "index": 31})
        assert result["maps"][0]["class_index"] == 31


# in the browser


def in_browser(test: Any) -> Any:
    for mark in browser_marks(PAGE / "index.html"):
        test = mark(test)
    return test


@in_browser
def test_the_page_shows_the_outputs_of_a_regression(browser: Any, folder: Path, tmp_path: Path) -> None:
    with listening(StudioSettings(data=str(folder), **REGRESSION)) as address, watched_page(browser, address) as page:
        opened(page, "/?image=s0&layer=net.0&target=c1")
        outputs = page.get_by_role("region", name="Predictions")
        words = outputs.inner_text()
        assert "Outputs" in words
        assert len(re.findall(r"-?\d+\.\d+", words)) == 3
        assert "%" not in words
        page.screenshot(path=tmp_path / "regression.png", full_page=True)
        (tmp_path / "report.html").write_bytes(
            page.request.get(f"{address}/api/explanations/report.html?image=s0&layer=net.0&kind=class&index=1").body()
        )
        page.goto((tmp_path / "report.html").as_uri())
        page.wait_for_selector("html[data-ready]")
        listed = page.locator(".about ol").inner_text()
        assert "output 1" in listed
        assert "%" not in listed
