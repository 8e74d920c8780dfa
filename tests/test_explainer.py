"""`explain` and `Explainer`."""

import copy
import json
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

import camlens
from camlens import (
    EvidenceWarning,
    Explainer,
    InputError,
    LayerError,
    NoGradientError,
    audit,
    explain,
)
from camlens.targets import ClassScore, Contrast, Finer, TopK
from tests.nets import ChannelsLast, ResidualNet, TinyVit, Wrapped, images, plain_cnn, seeded
from tests.refusals import refused


def test_a_list_of_methods_gives_each_its_explanation_from_one_pass() -> None:
    model, inputs = seeded(plain_cnn), images()
    calls: list[int] = []
    handle = model[0].register_forward_hook(lambda *args: calls.append(1))
    several = explain(model, inputs, method=["gradcam", "layercam", "hirescam"], layers="5", target=1)
    handle.remove()
    assert len(calls) == 1
    for name, result in several.items():
        assert result.method == name
        assert_close(result.maps["5"], explain(model, inputs, method=name, layers="5", target=1).maps["5"])


@pytest.mark.parametrize(
    ("build", "layer", "kind"),
    [
        (plain_cnn, "5", "channels_first"),
        (ResidualNet, "block2", "channels_first"),
        (ChannelsLast, "mix", "channels_last"),
    ],
)
def test_the_best_layer_is_the_last_with_a_grid_and_a_gradient(build: type, layer: str, kind: str) -> None:
    result = explain(seeded(build), images(size=(32, 32)), target=1)
    assert result.layers == (layer,)
    assert "last layer whose output has a spatial grid" in result.provenance["layer_choice"][layer]
    assert result.provenance["layout"][layer].startswith(kind)


def test_v17_the_best_layer_of_a_transformer_is_before_its_last_attention() -> None:
    result = explain(seeded(TinyVit), images(), target=1)
    assert result.layers == ("block2.norm1",)
    assert result.maps["block2.norm1"].shape == (2, 1, 4, 4)


def test_v16_refusing_a_dead_layer_lists_usable_layers() -> None:
    with refused("layer.zero-gradient", NoGradientError, layer="block2") as caught:
        explain(seeded(TinyVit), images(), layers="block2")
    assert "block2.norm1" in caught.value.facts["candidates"]


def test_shapes_of_several_targets_and_layers() -> None:
    result = explain(
        seeded(ResidualNet), images(3), layers=["block1", "block2"], target=[ClassScore(0), Contrast(1, 2)]
    )
    assert result.maps["block1"].shape == (3, 2, 8, 8)
    assert result.scores.shape == (3, 2)
    assert result.classes.tolist() == [[0, 1]] * 3
    assert result.logits.shape == (3, 5)
    assert result.maps["block1"].dtype == result.scores.dtype == torch.float32
    assert result.classes.dtype == torch.int64


@pytest.mark.filterwarnings("ignore::camlens.core.errors.EvidenceWarning")
def test_top_k_maps_are_those_of_its_classes() -> None:
    model, inputs = seeded(plain_cnn), images(2)
    top = explain(model, inputs, layers="5", target=TopK(3))
    for rank in range(3):
        classes = top.classes[:, rank].tolist()
        one = explain(model, inputs, layers="5", target=classes)
        assert_close(top.maps["5"][:, rank], one.maps["5"][:, 0], rtol=1e-4, atol=1e-6)


def test_finercam_is_gradcam_of_the_class_against_its_look_alikes() -> None:
    model, inputs = seeded(plain_cnn), images(2)
    finer = explain(model, inputs, method="finercam", layers="5", target=1)
    by_hand = explain(model, inputs, method="gradcam", layers="5", target=Finer(1))
    assert_close(finer.maps["5"], by_hand.maps["5"], rtol=1e-5, atol=1e-6)
    logits = model(inputs).detach()
    other = [index for index in range(5) if index != 1]
    nearest = (logits[:, other] - logits[:, 1:2]).abs().argsort(dim=1)[:, :3]
    expected = logits[:, 1] - 0.6 * logits[:, other].gather(1, nearest).mean(dim=1)
    assert_close(finer.scores[:, 0], expected)


class NeedsMore(nn.Module):
    """Takes a per-image scale and a flag besides the images."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = seeded(plain_cnn)

    def forward(self, inputs: Tensor, scale: Tensor, *, double: bool = False) -> Tensor:
        return self.inner(inputs * scale[:, None, None, None]) * (2 if double else 1)


@pytest.mark.parametrize("method", ["gradcam", "ablationcam", "scorecam", "smoothgradcam++"])
def test_further_model_inputs_are_split_with_the_images(method: str) -> None:
    model, inputs, scale = NeedsMore().eval(), images(3), torch.tensor([1.0, 2.0, 0.5])
    options = {"samples": 2} if method == "smoothgradcam++" else {}
    result = explain(
        model,
        inputs,
        method=method,
        layers="inner.5",
        target=1,
        args=(scale,),
        kwargs={"double": True},
        options=options,
    )
    for row in range(3):
        alone = explain(
            model, inputs[row : row + 1], method=method, layers="inner.5", target=1,
            args=(scale[row : row + 1],), kwargs={"double": True}, options=options,
        )  # fmt: skip
        assert_close(result.maps["inner.5"][row], alone.maps["inner.5"][0], rtol=1e-3, atol=1e-5)


def test_output_selects_the_logits() -> None:
    inner = seeded(plain_cnn)
    model = Wrapped(inner, lambda out: {"a": out, "b": out * 3}).eval()
    result = explain(model, images(), layers="inner.5", target=1, output=lambda out: out["b"])
    assert_close(result.scores[:, 0], 3 * inner(images()).detach()[:, 1])


def test_a_custom_function_is_a_method() -> None:
    model, inputs = seeded(plain_cnn), images()
    own = explain(
        model,
        inputs,
        method=lambda activations, gradients: (activations * gradients).sum(1),
        layers="5",
        target=1,
    )
    assert_close(own.maps["5"], explain(model, inputs, method="hirescam", layers="5", target=1).maps["5"])


@pytest.mark.parametrize("budget", [None, 60_000])
def test_v20_empty_evidence_is_one_warning_at_the_users_line(budget: int | None) -> None:
    model = seeded(plain_cnn)
    with torch.no_grad():
        model[8].weight.abs_().neg_()
    with pytest.warns(EvidenceWarning) as caught:
        result = explain(model, images(2), layers=["3", "5"], target=[0, lambda out: out[:, 1]], memory_budget=budget)
    (warning,) = caught
    assert warning.filename == __file__
    maps = warning.message.facts["maps"]
    at_last = [(one["image"], one["target"]) for one in maps if one["layer"] == "5"]
    assert at_last == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert {(one["method"], one["code"]) for one in maps} == {("gradcam", "map.negative")}
    assert len(result.provenance["warnings"]) == len(maps)
    assert (result.maps["5"] < 0).any()


def test_several_methods_warn_once_together() -> None:
    model = seeded(plain_cnn)
    with torch.no_grad():
        model[8].weight.abs_().neg_()
    explainer = Explainer(model, method=["gradcam", "gradcam-elementwise"], layers="5")
    with pytest.warns(EvidenceWarning) as caught:
        explainer(images(2), target=0)
    (warning,) = caught
    assert warning.filename == __file__
    assert {one["method"] for one in warning.message.facts["maps"]} >= {"gradcam"}


@pytest.mark.filterwarnings("ignore::camlens.core.errors.EvidenceWarning")
def test_v20_magnitude_is_kept() -> None:
    model = seeded(plain_cnn)
    big = explain(model, images(), layers="5", target=2)
    with torch.no_grad():
        model[8].weight.mul_(1e-6)
    small = explain(model, images(), layers="5", target=2)
    assert_close(small.maps["5"], big.maps["5"] * 1e-6, rtol=1e-3, atol=0)
    assert big.provenance["weights"] != small.provenance["weights"]


@pytest.mark.parametrize(
    ("arguments", "error", "code", "facts"),
    [
        ({"method": "gradcamm"}, InputError, "method.unknown", {"name": "gradcamm", "suggestion": "gradcam"}),
        ({"method": "GradCAM"}, InputError, "method.unknown", {"name": "GradCAM", "suggestion": "gradcam"}),
        ({"method": "Grad-CAM++"}, InputError, "method.unknown", {"name": "Grad-CAM++", "suggestion": "gradcam++"}),
        ({"method": []}, InputError, "argument.empty", {"name": "method"}),
        ({"method": 3}, InputError, "argument.invalid", {"name": "method", "value": 3}),
        ({"method": lambda: 0}, InputError, "method.signature", {"parameters": ()}),
        ({"method": dict}, InputError, "method.signature", {"parameters": ()}),
        ({"method": lambda activations, gradients: None}, InputError, "method.result", {"method": "<lambda>"}),
        ({"layers": []}, LayerError, "argument.empty", {"name": "layers"}),
        ({"layers": "nope"}, LayerError, "layer.unknown", {"layer": "nope"}),
        ({"seed": -1}, InputError, "argument.invalid", {"name": "seed", "value": -1}),
        ({"seed": 2**63}, InputError, "argument.invalid", {"name": "seed", "value": 2**63}),
        ({"batch_size": 0}, InputError, "argument.invalid", {"name": "batch_size", "value": 0}),
        ({"memory_budget": 0}, InputError, "argument.invalid", {"name": "memory_budget", "value": 0}),
        ({"options": 5}, InputError, "argument.invalid", {"name": "options", "value": 5}),
        ({"output": "logits"}, InputError, "argument.invalid", {"name": "output", "value": "logits"}),
        ({"progress": 5}, InputError, "argument.invalid", {"name": "progress", "value": 5}),
        ({"args": 5}, InputError, "argument.invalid", {"name": "args"}),
        ({"kwargs": [1]}, InputError, "argument.invalid", {"name": "kwargs"}),
        ({"layout": "channel_first", "layers": "5"}, LayerError, "layout.unknown", {"suggestion": "channels_first"}),
        ({"layer": "5"}, TypeError, "argument.unknown", {"name": "layer", "suggestion": "layers"}),
        ({"target_layers": "5"}, InputError, "argument.unknown", {"name": "target_layers", "suggestion": "layers"}),
        ({"class_idx": 1}, InputError, "argument.unknown", {"name": "class_idx", "suggestion": "target"}),
        ({"bach_size": 1}, InputError, "argument.unknown", {"name": "bach_size", "suggestion": "batch_size"}),
        ({"speed": 3}, InputError, "argument.unknown", {"name": "speed"}),
        (
            {"method": "rise", "options": {"samples": 9}},
            InputError,
            "option.unknown",
            {"method": "rise", "name": "samples", "suggestion": "masks"},
        ),
    ],
)
def test_bad_arguments_are_refused(
    arguments: dict[str, Any], error: type[Exception], code: str, facts: dict[str, object]
) -> None:
    with pytest.raises(error) as caught:
        explain(seeded(plain_cnn), images(), **arguments)
    assert caught.value.code == code
    assert facts.items() <= caught.value.facts.items()


@pytest.mark.parametrize("call", [explain, Explainer, Explainer(seeded(plain_cnn)), camlens.load_model, audit.run])
def test_an_unknown_keyword_is_refused_everywhere(call: Any) -> None:
    with pytest.raises(TypeError) as caught:
        call(seeded(plain_cnn), images(), speeed=3)
    assert (caught.value.code, caught.value.facts["name"]) == ("argument.unknown", "speeed")


@pytest.mark.parametrize("inputs", [torch.zeros(3, 4), torch.zeros(0, 3, 8, 8), torch.zeros(1, 3, 8, 8).int(), "cat"])
def test_bad_inputs_are_refused(inputs: object) -> None:
    with pytest.raises(InputError):
        explain(seeded(plain_cnn), inputs)


def test_an_explainer_chooses_its_layer_once() -> None:
    model = seeded(plain_cnn)
    explainer = Explainer(model)
    first = explainer(images(2), target=1)
    counted: list[int] = []
    handle = model[0].register_forward_hook(lambda *args: counted.append(1))
    second = explainer(images(2), target=1)
    handle.remove()
    assert len(counted) == 1
    assert_close(first.maps["5"], second.maps["5"], rtol=1e-5, atol=1e-6)


def named(name: str, factor: float) -> Any:
    def method(activations: Tensor, gradients: Tensor) -> Tensor:
        return factor * (activations * gradients).sum(dim=1)

    method.__name__ = name
    return method


def test_two_functions_with_one_name_are_refused() -> None:
    model = seeded(plain_cnn)
    with pytest.raises(InputError) as caught:
        explain(model, images(), method=[named("mine", 1), named("mine", 2)])
    assert (caught.value.code, caught.value.facts) == ("method.ambiguous", {"name": "mine"})
    both = explain(model, images(), method=[named("mine", 1), named("twice", 2)], layers="5", target=1)
    assert_close(2 * both["mine"].maps["5"], both["twice"].maps["5"])


def test_options_of_several_methods_must_name_one_of_them() -> None:
    model, several = seeded(plain_cnn), ["gradcam", "smoothgradcam++"]
    for options in ({"samples": 3}, {"gradcamm": {}}, {"smoothgradcam++": 3}):
        with pytest.raises(InputError) as caught:
            explain(model, images(), method=several, options=options)
        assert caught.value.code == "option.by-method"
    found = explain(model, images(), method=several, options={"smoothgradcam++": {"samples": 3}}, layers="5", target=1)
    assert found["smoothgradcam++"].provenance["options"] == {"samples": 3}


def test_settings_and_targets_may_be_numpy_integers() -> None:
    model, inputs = seeded(plain_cnn), images()
    asked = {"seed": np.int64(3), "batch_size": np.int64(4), "memory_budget": np.int64(10**9)}
    result = explain(model, inputs, layers="5", target=TopK(2), **asked)
    assert result.provenance["seed"] == 3
    assert json.dumps(result.to_dict())
    for given in (range(2), np.arange(2), torch.arange(2)):
        for budget in (None, 60_000):
            found = explain(model, inputs, layers="5", target=given, memory_budget=budget)
            assert found.classes is not None
            assert found.classes.tolist() == [[0], [1]]


def test_a_missing_batch_axis_is_refused() -> None:
    with pytest.raises(InputError) as caught:
        explain(seeded(plain_cnn), images(1)[0])
    assert (caught.value.code, caught.value.facts["shape"]) == ("input.not-a-batch", tuple(images(1)[0].shape))


def test_an_explanation_can_be_pickled_and_copied() -> None:
    result = explain(seeded(plain_cnn), images(), layers="5", target=1)
    for again in (pickle.loads(pickle.dumps(result)), copy.deepcopy(result)):
        assert_close(again.maps["5"], result.maps["5"], rtol=1e-5, atol=1e-6)
        assert again.to_dict() == result.to_dict()
        with pytest.raises(TypeError):
            again.maps["5"] = result.maps["5"]


def test_an_invalid_size_is_refused() -> None:
    result = explain(seeded(plain_cnn), images(), layers="5", target=1)
    for size in ((5,), (5, 0), (5, -1)):
        with refused("size.invalid", InputError, size=size):
            result.heatmaps(size=size)
