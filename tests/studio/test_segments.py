"""The segments route: weights, interpretation, progress, cancellation, and refused requests."""

import base64
import io
from typing import Any

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient
from PIL import Image
from torch.testing import assert_close

from camlens.explainer import explain
from camlens.models import load_model
from camlens.render.colormaps import color_table
from camlens.studio.segments import fidelity_sentence
from tests.studio.conftest import PATIENCE, Held, until
from tests.studio.test_explain import inputs

QUICK = {"segments": 12, "samples": 64}


def weighed(studio: TestClient, **request: Any) -> dict[str, Any]:
    answer = studio.post("/api/segments", json={"image": "s4", **QUICK, **request})
    assert answer.status_code == 200, answer.text
    job = answer.json()
    assert job["state"] == "done"
    result: dict[str, Any] = job["result"]
    return result


def labels_of(result: dict[str, Any]) -> np.ndarray:
    values = np.frombuffer(base64.b64decode(result["labels"]["values"]), dtype="<u2")
    return values.reshape(result["labels"]["shape"])


@pytest.mark.parametrize("method", ["lime", "kernelshap"])
def test_segments_and_weights_equal_those_of_explain(studio: TestClient, method: str) -> None:
    result = weighed(studio, method=method)
    wanted = explain(load_model("demo:photos").model, inputs(studio, "s4"), method=method, options=QUICK)
    labels = labels_of(result)
    np.testing.assert_array_equal(labels, wanted.details["segments"][0].numpy())
    weights = {one["index"]: one["weight"] for one in result["segments"]}
    assert sorted(weights) == list(range(labels.max() + 1))
    received = torch.tensor([weights[index] for index in sorted(weights)])
    assert_close(received, wanted.details["weights"][0, 0].float(), atol=1e-5, rtol=1e-4)
    assert_close(result["r_squared"], float(wanted.details["r_squared"][0, 0]), atol=1e-5, rtol=1e-4)
    assert result["class_index"] == int(wanted.classes[0, 0])
    assert result["method"] == method


def test_segments_are_sorted_by_strength(studio: TestClient) -> None:
    segments = weighed(studio)["segments"]
    sizes = [abs(one["weight"]) for one in segments]
    assert sizes == sorted(sizes, reverse=True)
    effect = {1: "supports", -1: "opposes", 0: "none"}
    assert [one["effect"] for one in segments] == [effect[int(np.sign(one["weight"]))] for one in segments]
    assert sum(one["share"] for one in segments) == pytest.approx(1)


def test_repeated_requests_are_cached_by_seed(studio: TestClient) -> None:
    first = weighed(studio, seed=5)
    again, other = weighed(studio, seed=5), weighed(studio, seed=6)
    assert again["cached"]
    assert again["segments"] == first["segments"]
    assert other["segments"] != first["segments"]
    assert other["labels"] == first["labels"]


def test_segments_of_a_contrast(studio: TestClient) -> None:
    result = weighed(studio, target={"kind": "contrast", "index": 2, "against": 5})
    names = load_model("demo:photos").class_names
    assert (result["target"], result["class_name"]) == (f"{names[2]} minus {names[5]}", None)
    signs = {one["effect"] for one in result["segments"]}
    assert signs == {"supports", "opposes"}


def test_the_code_reproduces_the_weights(studio: TestClient) -> None:
    result = weighed(studio, seed=5)
    names: dict[str, Any] = {}
    exec(result["python"], names)
    explanation = names["explanation"]
    weights = {one["index"]: one["weight"] for one in result["segments"]}
    received = torch.tensor([weights[index] for index in sorted(weights)])
    assert_close(received, explanation.details["weights"][0, 0].float(), atol=1e-5, rtol=1e-4)
    for words in ("--method lime", "--segments 12", "--samples 64", "--seed 5"):
        assert words in result["shell"]


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        ({"samples": 0}, "request.invalid"),
        ({"segments": 1}, "request.invalid"),
        ({"segments": 100_000}, "request.invalid"),
        ({"method": "gradcam"}, "request.invalid"),
        ({"method": "kernelshap", "segments": 100, "samples": 50}, "argument.invalid"),
        ({"target": {"kind": "top"}}, "target.several"),
        ({"target": {"kind": "class", "index": 99}}, "target.out-of-range"),
        ({"image": "s9999"}, "image.unknown"),
    ],
)
def test_invalid_segment_requests_are_refused(studio: TestClient, request_: dict[str, Any], code: str) -> None:
    answer = studio.post("/api/segments", json={"image": "s4", **QUICK, **request_})
    assert answer.status_code == 422
    assert answer.json()["code"] == code


def test_progress_and_cancellation(studio: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    held = Held(monkeypatch, steps=1)
    job = studio.post("/api/segments?wait=0", json={"image": "s6", "segments": 60, "samples": 5000}).json()
    assert held.reached.wait(PATIENCE)
    now = studio.get(f"/api/jobs/{job['id']}").json()
    assert 0 < now["done"] < now["total"] == 5000
    studio.delete(f"/api/jobs/{job['id']}")
    held.go.set()
    until(lambda: studio.get(f"/api/jobs/{job['id']}").json()["state"] == "cancelled")


def test_interpretation_of_r_squared() -> None:
    sentences = [fidelity_sentence(value) for value in (None, -3.0, 0.2, 0.5, 0.8, 1.0)]
    assert len(set(sentences)) == 5
    assert sentences[1] == sentences[2]


# the same methods on other pages


def test_methods_have_a_cost_and_tell_whether_they_need_a_layer(studio: TestClient) -> None:
    methods = {one["name"]: one for one in studio.get("/api/methods").json()}
    free = {name for name, one in methods.items() if one["chooses_layers"]}
    assert {"lime", "kernelshap", "integratedgradients", "rise", "winsorcam"} <= free
    assert not {"gradcam", "layercam", "fullgrad", "fusion"} & free
    assert methods["lime"]["diverging"]
    assert not methods["gradcam"]["diverging"]
    assert {one["cost"] for one in methods.values()} == {"cheap", "seconds", "minutes"}


def test_input_and_layer_methods_in_one_request(studio: TestClient) -> None:
    request = {"image": "s4", "methods": ["gradcam", "gradientxinput", "winsorcam"], "layers": ["stage3"]}
    result = studio.post("/api/explanations", json=request).json()["result"]
    places = {one["method"]: one["layer"] for one in result["maps"]}
    assert places["gradcam"] == "stage3"
    assert places["gradientxinput"] == "input"
    assert "stage4" in places["winsorcam"], "all convolutions, not the requested layer"
    assert [one["diverging"] for one in result["maps"]] == [False, True, False]
    assert [one["method"] for one in result["maps"]] == request["methods"]


@pytest.mark.parametrize(
    "question", ["method=gradientxinput", "method=gradcam&kind=contrast&index=2&against=5"], ids=["input", "contrast"]
)
def test_files_of_diverging_maps_show_both_signs(studio: TestClient, question: str) -> None:
    panel = studio.get(f"/api/explanations/panel.png?image=s4&{question}&colours=viridis").content
    pixels = np.asarray(Image.open(io.BytesIO(panel)).convert("RGB"))
    colours = {tuple(one) for one in pixels.reshape(-1, 3).tolist()}
    for end in (slice(0, 20), slice(236, 256)):
        assert colours & {tuple(one) for one in color_table("diverging")[end].tolist()}
    report = studio.get(f"/api/explanations/report.html?image=s4&{question}").text
    assert '"diverging":true' in report


def test_input_methods_ignore_the_requested_layer(studio: TestClient) -> None:
    def asked(layer: str) -> dict[str, Any]:
        request = {"image": "s4", "methods": ["gradientxinput"], "layers": [layer]}
        answer: dict[str, Any] = studio.post("/api/explanations", json=request).json()["result"]
        return answer

    first, second = asked("stage3"), asked("stage2")
    assert second["cached"]
    assert second["maps"] == first["maps"]
    assert "layers=" not in first["python"]
    assert "--layer" not in first["shell"]
