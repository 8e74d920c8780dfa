"""Methods about the input alone need no layer, and keep what they find besides maps."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from camlens import Explainer, InputError, NoGradientError, explain
from camlens.core.details import Found
from camlens.core.probe import InputProbe
from camlens.core.registry import METHODS, Entry
from camlens.targets import ClassScore
from tests.nets import images, plain_cnn, seeded


def by_gradient(probe: InputProbe, *, scale: float = 1.0) -> Found:
    maps = scale * probe.input_gradients.sum(dim=2)
    return Found(maps, {"size": torch.arange(len(maps)) + 1.0, "unit": "score per unit"})


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> str:
    entry = Entry("by-gradient", by_gradient, "none", "probe", "a test", scope="input", diverging=True)
    monkeypatch.setitem(METHODS._entries, "by-gradient", entry)
    return "by-gradient"


class Vector(nn.Module):
    """A network with no spatial layer at all."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3 * 6 * 5, 4)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.linear(inputs.flatten(1))


def test_a_model_without_a_spatial_layer_is_explained_and_gradients_are_its_weights(registered: str) -> None:
    model, inputs = seeded(Vector), images(size=(6, 5))
    found = explain(model, inputs, method=registered, target=[ClassScore(1), ClassScore(3)])
    assert found.layers == ("input",)
    assert found.provenance["layer_choice"] == {}
    expected = model.linear.weight[[1, 3]].view(2, 3, 6, 5).sum(dim=1)
    assert_close(found.maps["input"], expected.expand(len(inputs), -1, -1, -1).detach())
    assert_close(found.scores, model(inputs)[:, [1, 3]].detach())


def test_gradients_at_other_inputs_are_those_of_autograd(registered: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, inputs = seeded(plain_cnn), images()
    seen = {}

    def ask(probe: InputProbe) -> Tensor:
        seen["scores"], seen["gradients"] = probe.gradients_at(inputs[:2] / 2, 1)
        return probe.input_gradients.sum(dim=2)

    monkeypatch.setitem(METHODS._entries, registered, Entry(registered, ask, "", "probe", "", scope="input"))
    explain(model, inputs, method=registered, target=2)
    there = (inputs[:2] / 2).requires_grad_()
    scores = model.eval()(there)[:, 2]
    (gradients,) = torch.autograd.grad(scores.sum(), there)
    assert_close(seen["scores"][:, 0], scores.detach())
    assert_close(seen["gradients"][:, 0], gradients)


def test_a_method_about_the_input_shares_the_capture_of_others(registered: str) -> None:
    model, inputs, calls = seeded(plain_cnn), images(), []
    model.register_forward_hook(lambda *_: calls.append(1))
    found = explain(model, inputs, method=["gradcam", registered], layers="5", target=0)
    assert len(calls) == 2  # one forward for both, one for the input's gradients
    assert list(found) == ["gradcam", registered]
    assert found["gradcam"].layers == ("5",)
    assert found[registered].layers == ("input",)
    assert_close(found[registered].maps["input"], explain(model, inputs, method=registered, target=0).maps["input"])


def test_details_are_joined_over_batches_and_written(registered: str, tmp_path: Path) -> None:
    model, inputs = seeded(plain_cnn), images()
    whole = explain(model, inputs, method=registered, target=0)
    assert whole.details["size"].tolist() == [float(n + 1) for n in range(len(inputs))]
    single = explain(model, inputs, method=registered, target=0, memory_budget=900_000)
    assert single.details["size"].shape == whole.details["size"].shape
    assert single.details["unit"] == "score per unit"
    place = whole.save(tmp_path / "saved")
    assert_close(torch.from_numpy(np.load(place / "detail-size.npy")), whole.details["size"])
    assert whole.to_dict()["details"] == {
        "size": {"shape": [len(inputs)], "dtype": "float32"},
        "unit": "score per unit",
    }


def test_an_unknown_option_is_refused_with_the_likely_one(registered: str) -> None:
    for method, name, suggestion in ((registered, "sale", "scale"), ("gradcam", "samples", None)):
        with pytest.raises(InputError) as caught:
            Explainer(seeded(plain_cnn), method=method, options={name: 2})
        assert caught.value.code == "option.unknown"
        assert caught.value.facts == {"method": method, "name": name, "suggestion": suggestion}


def test_a_score_that_ignores_the_input_is_refused(registered: str) -> None:
    model, weight = seeded(plain_cnn), torch.ones(1, requires_grad=True)
    for target, code in (
        (lambda output: output.detach().sum(dim=1) * weight, "input.no-gradient"),
        (lambda output: output.detach().sum(dim=1), "target.no-gradient"),
    ):
        with pytest.raises(NoGradientError) as caught:
            explain(model, images(), method=registered, target=target)
        assert caught.value.code == code


def test_an_optimised_explainer_of_the_input_needs_no_layer_either(registered: str) -> None:
    model, inputs = seeded(plain_cnn), images()
    explainer = Explainer(model, method=registered)
    assert "at input" in repr(explainer)
    faster = explainer.optimized(inputs)
    assert_close(
        faster(inputs, target=1).maps["input"], explainer(inputs, target=1).maps["input"], rtol=1e-3, atol=1e-5
    )


def test_a_method_may_look_at_all_convolutions_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = dataclasses.replace(METHODS["fusion"], default_layers="convolutions")
    monkeypatch.setitem(METHODS._entries, "fusion", entry)
    model, inputs = seeded(plain_cnn), images()
    found = explain(model, inputs, method=["gradcam", "fusion"], target=0)
    convolutions = [name for name, module in model.named_modules() if isinstance(module, nn.Conv2d)]
    assert found["fusion"].layers == ("+".join(convolutions),)
    assert len(found["gradcam"].layers) == 1
    assert set(found["fusion"].provenance["layer_choice"]) == set(convolutions)
