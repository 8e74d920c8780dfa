"""The check of a map is that of `Explanation.check`."""

import pytest
from fastapi.testclient import TestClient

from camlens.explainer import explain
from camlens.models import load_model
from tests.studio.test_explain import inputs


def test_the_check_is_that_of_the_library(studio: TestClient) -> None:
    answer = studio.post("/api/checks", json={"image": "s4", "methods": ["eigencam"]})
    assert answer.status_code == 200, answer.text
    result = answer.json()["result"]
    model, image = load_model("demo:photos"), inputs(studio, "s4")
    wanted = explain(model, image, method="eigencam", layers="stage4").check(model, image).to_dict()
    assert [fact["code"] for fact in result["facts"]] == ["class.same-map"]
    assert result["sentence"] == wanted["sentence"]
    for name in ("effect", "p_value", "symmetry_p_value"):
        assert result[name] == pytest.approx(wanted[name])


def test_a_map_that_cannot_be_computed_is_refused(studio: TestClient) -> None:
    answer = studio.post("/api/checks", json={"image": "s4", "layers": ["nothing"]})
    assert answer.status_code in (400, 404, 422)
    assert answer.json()["code"].startswith("layer.")
