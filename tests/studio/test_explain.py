"""The explanation routes: maps, predictions, warnings, files, and reproducing code."""

import base64
import io
import itertools
import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient
from torch.testing import assert_close

from camlens.explainer import explain
from camlens.models import load_model
from camlens.studio.explaining import verdict
from camlens.targets import Contrast


def asked(studio: TestClient, **request: Any) -> dict[str, Any]:
    answer = studio.post("/api/explanations", json=request)
    assert answer.status_code == 200, answer.text
    job = answer.json()
    assert job["state"] == "done"
    result: dict[str, Any] = job["result"]
    return result


def values(grid: dict[str, Any]) -> torch.Tensor:
    flat = np.frombuffer(base64.b64decode(grid["values"]), dtype="<f4")
    return torch.from_numpy(flat.reshape(grid["shape"]).copy())


def inputs(studio: TestClient, image: str) -> torch.Tensor:
    """Return the model's input for an image, from the picture that the studio shows."""
    from PIL import Image

    picture = Image.open(io.BytesIO(studio.get(f"/api/images/{image}/picture.png").content))
    return load_model("demo:photos").preprocess(np.asarray(picture))[None]


def test_maps_equal_those_of_explain(studio: TestClient) -> None:
    result = asked(studio, image="s4")
    (one,) = result["maps"]
    expected = explain(load_model("demo:photos").model, inputs(studio, "s4"), layers="stage4")
    assert_close(values(one["grid"]), expected.maps["stage4"][0, 0])
    assert one["score"] == pytest.approx(float(expected.scores[0, 0]), rel=1e-5)
    assert one["class_index"] == int(expected.classes[0, 0])
    assert (one["layer"], one["method"], one["state"]) == ("stage4", "gradcam", "good")


def test_contrasts_equal_those_of_explain(studio: TestClient) -> None:
    result = asked(studio, image="s4", target={"kind": "contrast", "index": 2, "against": 5})
    expected = explain(load_model("demo:photos").model, inputs(studio, "s4"), layers="stage4", target=Contrast(2, 5))
    assert_close(values(result["maps"][0]["grid"]), expected.maps["stage4"][0, 0])


def test_diverging_maps_are_marked(studio: TestClient) -> None:
    against = {"kind": "contrast", "index": 2, "against": 5}
    said = {
        (method, target["kind"]): asked(studio, image="s4", methods=[method], target=target)["maps"][0]["diverging"]
        for method in ("gradcam", "eigencam")
        for target in ({"kind": "predicted"}, against)
    }
    assert [question for question, diverging in said.items() if diverging] == [("gradcam", "contrast")]


def test_maps_are_ordered_by_method_layer_and_class(studio: TestClient) -> None:
    result = asked(
        studio,
        image="s1",
        methods=["gradcam", "layercam"],
        layers=["stage2", "stage4"],
        target={"kind": "top", "k": 2},
    )
    combinations = [(one["method"], one["layer"], one["target"]) for one in result["maps"]]
    expected = itertools.product(("gradcam", "layercam"), ("stage2", "stage4"), ("rank 1", "rank 2"))
    assert combinations == list(expected)


def test_predictions_are_sorted_and_include_the_true_class(studio: TestClient) -> None:
    result = asked(studio, image="s0")
    confidences = [one["confidence"] for one in result["predictions"]]
    assert len(confidences) == 5
    assert confidences == sorted(confidences, reverse=True)
    assert result["image"]["label_name"] in {one["name"] for one in studio.get("/api/classes").json()}
    assert 0 <= result["label_confidence"] <= 1


def test_repeated_requests_are_cached(studio: TestClient) -> None:
    request = {"image": "s7", "methods": ["hirescam"]}
    first, second = asked(studio, **request), asked(studio, **request)
    assert second["cached"]
    assert first["maps"] == second["maps"]


def test_the_python_code_reproduces_the_maps(studio: TestClient) -> None:
    result = asked(studio, image="s6", layers=["stage3"], target={"kind": "contrast", "index": 1, "against": None})
    place: dict[str, Any] = {}
    exec(result["python"], place)
    assert_close(values(result["maps"][0]["grid"]), place["explanation"].maps["stage3"][0, 0])


def test_the_shell_command_contains_every_setting(studio: TestClient) -> None:
    line = asked(studio, image="s6", layers=["stage3"], target={"kind": "class", "index": 4})["shell"]
    assert line.startswith("camlens explain ")
    for part in ("--model demo:photos", "--method gradcam", "--layer stage3", "--class 4"):
        assert part in line


@pytest.mark.slow
def test_the_shell_command_of_a_contrast_reproduces_it(studio: TestClient, tmp_path: Path) -> None:
    target = {"kind": "contrast", "index": 1, "against": 4}
    result = asked(studio, image="s6", layers=["stage3"], target=target)
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    subprocess.run(["bash", "-c", result["shell"]], cwd=tmp_path, env=environment, check=True, timeout=120)
    page = (tmp_path / "maps.html").read_text(encoding="utf-8")
    data = json.loads(re.findall(r'<script type="application/json" id="maps">(.*?)</script>', page)[0])
    (one,) = data["images"][0]["maps"]
    shown = torch.from_numpy(np.frombuffer(base64.b64decode(one["values"]), "<f4").copy()).view(*one["shape"])
    assert_close(shown, values(result["maps"][0]["grid"]))
    assert one["diverging"]


@pytest.mark.parametrize(
    ("request_", "status", "code"),
    [
        ({"image": "s999"}, 404, "image.unknown"),
        ({"image": "u0123456789abcdef"}, 404, "image.dropped"),
        ({"image": "s1", "methods": ["magic"]}, 422, "method.unknown"),
        ({"image": "s1", "layers": ["nowhere"]}, 422, "layer.unknown"),
        ({"image": "s1", "layers": ["head"]}, 422, "layer.no-grid"),
        ({"image": "s1", "target": {"kind": "class", "index": 99}}, 422, "target.out-of-range"),
        ({"image": "s1", "target": {"kind": "class"}}, 422, "target.needed"),
        ({"image": "s1", "target": {"kind": "contrast", "index": 2, "against": 2}}, 422, "target.same-class"),
        ({"image": "s1", "surprise": 1}, 422, "request.invalid"),
        ({"image": "s1", "methods": []}, 422, "request.invalid"),
    ],
)
def test_invalid_requests_are_refused_with_a_code(
    studio: TestClient, request_: dict[str, Any], status: int, code: str
) -> None:
    answer = studio.post("/api/explanations", json=request_)
    if answer.status_code == 404 and status == 422:
        pytest.fail(answer.text)
    assert answer.status_code in (status, 422)
    assert answer.json()["code"] == code
    assert set(answer.json()) == {"kind", "code", "message"}


@pytest.mark.parametrize(
    ("grid", "state"),
    [
        ([[1.0, -2.0]], "good"),
        ([[-1.0, -2.0]], "negative"),
        ([[0.0, -2.0]], "negative"),
        ([[3.0, 3.0]], "flat"),
        ([[float("nan"), 1.0]], "broken"),
        ([[float("inf"), 1.0]], "broken"),
    ],
)
def test_verdicts_on_maps(grid: list[list[float]], state: str) -> None:
    verdict_state, warning = verdict(torch.tensor(grid))
    assert verdict_state == state
    assert (warning is None) == (state == "good")


def test_the_warning_depends_on_whether_both_signs_are_drawn() -> None:
    against = torch.tensor([[-1.0, -2.0]])
    drawn, hidden = verdict(against, both_signs=True), verdict(against)
    assert drawn[0] == hidden[0] == "negative"
    assert drawn[1] != hidden[1]


def test_estimates_are_sent_during_the_computation(studio: TestClient) -> None:
    request = {"image": "s6", "methods": ["rise"]}
    job = studio.post("/api/explanations", params={"wait": 0}, json=request).json()
    with studio.stream("GET", f"/api/jobs/{job['id']}/events") as events:
        told = [json.loads(line.removeprefix("data: ")) for line in events.iter_lines() if line]
    coarse = [values(one["estimate"]) for one in told if one["estimate"]]
    assert len(coarse) > 3
    assert {tuple(one.shape) for one in coarse} == {(64, 64)}
    assert told[-1]["estimate"] is None
    final = values(asked(studio, **request)["maps"][0]["grid"])
    pooled = torch.nn.functional.adaptive_avg_pool2d(final[None], 64)[0]
    alike = [float(torch.corrcoef(torch.stack([one.flatten(), pooled.flatten()]))[0, 1]) for one in coarse]
    assert alike[-1] > 0.99
    assert alike[-1] > alike[0]


def test_twenty_concurrent_clients_get_their_own_maps(studio: TestClient) -> None:
    def wanted(person: int) -> dict[str, Any]:
        methods = ["gradcam", "layercam", "hirescam", "gradcam++"]
        target = {"kind": "class", "index": person % 10}
        return {"image": f"s{person % 24}", "methods": [methods[person % 4]], "target": target}

    def ask(person: int) -> torch.Tensor:
        return values(asked(studio, **wanted(person))["maps"][0]["grid"])

    with ThreadPoolExecutor(20) as people:
        together = list(people.map(ask, range(20)))
    model = load_model("demo:photos").model
    for person, received in enumerate(together):
        request = wanted(person)
        alone = explain(
            model,
            inputs(studio, request["image"]),
            method=request["methods"][0],
            layers="stage4",
            target=request["target"]["index"],
        )
        assert_close(received, alone.maps["stage4"][0, 0])


def test_maps_can_be_downloaded_as_numbers(studio: TestClient) -> None:
    answer = studio.get("/api/explanations/maps.npy", params={"image": "s2", "layer": "stage4"})
    maps = np.load(io.BytesIO(answer.content))
    expected = values(asked(studio, image="s2", layers=["stage4"])["maps"][0]["grid"])
    assert_close(torch.from_numpy(maps[0]), expected)
    assert answer.headers["content-disposition"] == 'attachment; filename="s2-gradcam-stage4.npy"'


def test_the_panel_is_a_png(studio: TestClient) -> None:
    from PIL import Image

    answer = studio.get("/api/explanations/panel.png", params={"image": "s2", "opacity": 0.3, "colours": "viridis"})
    picture = np.asarray(Image.open(io.BytesIO(answer.content)))
    assert picture.ndim == 3
    assert picture.shape[1] > 500
    assert picture.std() > 20


def test_the_report_is_self_contained(studio: TestClient) -> None:
    answer = studio.get("/api/explanations/report.html", params={"image": "s2"})
    page = answer.text
    assert "attachment" in answer.headers["content-disposition"]
    assert "default-src 'none'" in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "https://" not in page
    assert len(page) < 150_000


def test_errors_have_a_kind(studio: TestClient) -> None:
    assert studio.post("/api/explanations", json={"image": "s1", "layers": ["nowhere"]}).json()["kind"] == "layer"
