"""`evaluate` compares candidates on the same images, resumes, and does not invent differences."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from camlens import Evaluation, InputError, StoreError, evaluate, load_model
from camlens.core.errors import DataError
from camlens.data import open_source
from camlens.data.samples import Sample, Samples
from camlens.trust import evaluating
from tests.refusals import refused

SETTINGS: dict[str, Any] = {"methods": ["gradcam", "random"], "metrics": ["energy_inside", "entropy"]}


def test_values_are_one_per_candidate_and_image_and_a_stopped_run_resumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded, data = load_model("demo:photos"), open_source("demo:photos")
    whole = evaluate(data, loaded, n=4, seed=3, **SETTINGS)
    assert whole.candidates == ("gradcam at stage4", "random at stage4")
    assert {name: values.shape for name, values in whole.values.items()} == dict.fromkeys(SETTINGS["metrics"], (2, 4))
    assert whole.means("energy_inside")["gradcam at stage4"][0] > whole.means("energy_inside")["random at stage4"][0]

    def stop(done: int, _total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(data, loaded, n=4, seed=3, output=tmp_path / "run", progress=stop, **SETTINGS)
    with (tmp_path / "run" / "values.jsonl").open("a") as lines:
        lines.write('{"id": "cut')
    calls = []
    measured = evaluating._measured
    monkeypatch.setattr(
        evaluating, "_measured", lambda sample, *rest: calls.append(sample.id) or measured(sample, *rest)
    )
    resumed = evaluate(data, loaded, n=4, seed=3, output=tmp_path / "run", **SETTINGS)
    assert len(calls) == 2
    assert resumed.images == whole.images
    for name, values in whole.values.items():
        np.testing.assert_allclose(resumed.values[name], values, rtol=1e-5)
    with refused("evaluation.other-plan", StoreError):
        evaluate(data, loaded, n=4, seed=4, output=tmp_path / "run", **SETTINGS)
    json.dumps(whole.to_dict(), allow_nan=False)


def results(*means: float, images: int = 80, seed: int = 0) -> Evaluation:
    draw = np.random.default_rng(seed)
    values = draw.normal(np.array(means)[:, None], 1, size=(len(means), images)).astype(np.float32)
    names = tuple(f"method {number}" for number in range(len(means)))
    return Evaluation(names, tuple(map(str, range(images))), {"energy_inside": values, "deletion_auc": values})


def test_a_method_that_is_better_is_recommended_with_its_regret() -> None:
    evaluation = results(0, 2, 0.1)
    best = evaluation.recommend("energy_inside")
    assert (best.candidate, best.reliable, best.regret) == ("method 1", True, 0.0)
    assert best.interval == (0.0, 0.0)
    assert evaluation.recommend("deletion_auc").candidate != "method 1", "lower is better"
    pair = next(
        pair for pair in evaluation.compare("energy_inside") if (pair.first, pair.second) == ("method 0", "method 1")
    )
    assert pair.p_value < 0.01
    assert pair.wins < 0.2
    assert pair.difference == pytest.approx(-2, abs=0.5)


def test_methods_that_are_equally_good_are_seldom_called_reliably_better() -> None:
    reliable = sum(results(0, 0, 0, 0, images=40, seed=seed).recommend("energy_inside").reliable for seed in range(30))
    assert reliable <= 4


def test_undefined_values_are_left_out() -> None:
    evaluation = results(0, 1)
    evaluation.values["energy_inside"][0, :30] = np.nan
    mean, low, high, count = evaluation.means("energy_inside")["method 0"]
    assert count == 50
    assert low < mean < high
    assert evaluation.compare("energy_inside")[0].p_value < 0.05


def test_results_that_allow_no_recommendation_are_refused() -> None:
    with refused("evaluation.too-few", InputError, images=10, needed=20):
        results(0, 1, images=10).recommend("energy_inside")
    evaluation = results(0, 1)
    with refused("metric.no-direction", InputError, name="spread"):
        Evaluation(evaluation.candidates, evaluation.images, {"spread": evaluation.values["energy_inside"]}).recommend(
            "spread"
        )
    with refused("metric.unknown", InputError, name="entropy"):
        evaluation.means("entropy")


def test_unreadable_images_are_kept_with_their_error_and_bad_settings_are_refused() -> None:
    def unreadable() -> np.ndarray:
        raise DataError("broken", code="data.unreadable")

    loaded, data = load_model("demo:photos"), open_source("demo:photos")
    samples = Samples.of([data[0], Sample("broken", None, None, None, unreadable)])
    evaluation = evaluate(samples, loaded, methods=["gradcam"], metrics=["entropy"])
    assert (evaluation.images, evaluation.failed) == ((data[0].id,), {"broken": "broken"})
    for name in ("methods", "metrics"):
        with refused("argument.invalid", InputError, name=name):
            evaluate(samples, loaded, **{name: []})
    with refused("method.unknown", InputError):
        evaluate(samples, loaded, methods=["grad"])
