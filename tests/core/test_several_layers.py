"""Maps of several layers from one pass equal those of each layer alone."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from camlens import METHODS, NoGradientError, explain
from camlens.core.capture import capture
from camlens.targets import ClassScore
from tests.nets import Branching, ResidualNet, images, of_the_left, plain_cnn, seeded
from tests.refusals import refused

NAMES = ["stem", "block1.conv1", "block1", "block2.conv2", "block2"]
READERS = [name for name, entry in METHODS.items() if entry.needs == "gradients" and entry.scope == "layer"]
EMPTY = pytest.mark.filterwarnings("ignore::camlens.core.errors.EvidenceWarning")


@EMPTY
@pytest.mark.parametrize("targets", [1, 2, 9])
@pytest.mark.parametrize("method", [*READERS, [*READERS, "eigencam"]], ids=[*READERS, "all"])
def test_maps_of_several_layers_equal_those_of_single_layers(method: Any, targets: int) -> None:
    model, inputs = seeded(lambda: ResidualNet(classes=9)), images()
    asked = {"target": [ClassScore(number) for number in range(targets)], "method": method}
    together = explain(model, inputs, layers=NAMES, **asked)
    for name in NAMES:
        alone = explain(model, inputs, layers=name, **asked)
        for ours, theirs in zip(*map(listed, (together, alone)), strict=True):
            assert_close(ours.maps[name], theirs.maps[name], rtol=1e-4, atol=1e-6)
            assert ours.provenance["layout"][name] == theirs.provenance["layout"][name]


def listed(results: Any) -> list[Any]:
    return list(results.values()) if isinstance(results, dict) else [results]


@EMPTY
@pytest.mark.parametrize("target", [1, [ClassScore(2), of_the_left]], ids=["class", "several"])
@pytest.mark.parametrize(
    "names", [["left", "right"], ["right", "left"], ["left", "right", "of_parameters"], ["of_parameters", "right"]]
)
def test_layers_on_parallel_branches(names: list[str], target: object) -> None:
    model, inputs = seeded(Branching), images(1)
    together = explain(model, inputs, layers=names, target=target)
    both = capture(model, inputs, names, target)
    for name, record in both.records.items():
        weights = record.gradients.mean(dim=(3, 4), keepdim=True)
        assert_close(together.maps[name], (weights * record.activations[:, None]).sum(dim=2), rtol=1e-4, atol=1e-6)


def test_a_layer_without_a_gradient_is_refused_as_if_alone() -> None:
    model, inputs = seeded(Branching), images(1)
    with refused("layer.no-gradient", NoGradientError, layer="unread"):
        explain(model, inputs, layers=["left", "unread"], target=1)
    with torch.no_grad():
        model.head.weight.zero_()
    with refused("layer.zero-gradient", NoGradientError, layer="left"):
        explain(model, inputs, layers=["left", "right"], target=1)


@pytest.mark.parametrize("layers", [["0", "3", "4"], ["4"]], ids=["several", "one"])
def test_an_error_of_a_method_is_raised_unchanged(layers: list[str]) -> None:
    class MethodError(Exception):
        pass

    error, model = MethodError(), seeded(plain_cnn)

    def failing(activations: Tensor, gradients: Tensor) -> Tensor:
        raise error

    with pytest.raises(MethodError) as caught:
        explain(model, images(), layers=layers, method=failing, target=1)
    assert caught.value is error
    assert not any(module._forward_hooks for module in model.modules())


def test_a_probing_method_beside_the_others_sees_every_gradient() -> None:
    model, inputs = seeded(plain_cnn), images()
    found = explain(model, inputs, layers=["3", "4"], method=["gradcam", "ablationcam"], target=1)
    for name in ("3", "4"):
        for method, one in found.items():
            alone = explain(model, inputs, layers=name, method=method, target=1)
            assert_close(one.maps[name], alone.maps[name], rtol=1e-4, atol=1e-6)
