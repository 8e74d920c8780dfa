"""Winsor-CAM against its reference, its limits, and over all convolutions of a real network."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

from camlens import Explainer, explain
from camlens.core.errors import InputError, LayerError
from camlens.core.registry import METHODS
from camlens.methods.combine import winsorcam, winsorized_shares
from tests.methods import reference
from tests.methods.toy import ToyProbe
from tests.nets import ResidualNet, images, plain_cnn, seeded
from tests.refusals import refused
from tests.twins import twin_of

CONVOLUTIONS = ["stem", "block1.conv1", "block1.conv2", "block2.conv1", "block2.conv2"]


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("percentile", [0.0, 60.0, 100.0])
@twin_of("winsorcam")
def test_winsorcam_equals_its_reference(axes: int, percentile: float) -> None:
    probe = ToyProbe(axes)
    layers = [(a.double().numpy(), g.double().numpy()) for a, g in probe.layer_captures.values()]
    expected = [
        [reference.winsorcam([(a[row], g[row, target]) for a, g in layers], percentile) for target in range(2)]
        for row in range(2)
    ]
    found = winsorcam(probe, percentile=percentile)
    assert_close(found, torch.from_numpy(np.array(expected)).float(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("percentile", [30.0, 90.0])
def test_over_all_convolutions_of_a_network_it_equals_its_reference_on_plain_autograd(percentile: float) -> None:
    model, inputs = seeded(ResidualNet), images(1)
    kept: dict[str, torch.Tensor] = {}
    handles = [
        model.get_submodule(name).register_forward_hook(
            lambda _module, _args, output, name=name: kept.setdefault(name, output).clone()
        )
        for name in CONVOLUTIONS
    ]
    gradients = torch.autograd.grad(model(inputs)[0, 0], [kept[name] for name in CONVOLUTIONS])
    for handle in handles:
        handle.remove()
    layers = [
        (kept[name][0].detach().double().numpy(), gradient[0].double().numpy())
        for name, gradient in zip(CONVOLUTIONS, gradients, strict=True)
    ]
    result = explain(model, inputs, method="winsorcam", target=0, options={"percentile": percentile})
    (maps,) = result.maps.values()
    expected = reference.winsorcam(layers, percentile)
    assert expected.max() > 0
    assert_close(maps[0, 0], torch.from_numpy(expected).float(), rtol=1e-4, atol=1e-5)
    assert list(result.provenance["layer_choice"]) == CONVOLUTIONS


def test_importances_are_clipped_at_the_percentile_and_scaled_from_the_floor_to_one() -> None:
    importances = torch.tensor([1.0, 0.0, 2.0, 3.0, 100.0]).reshape(5, 1, 1)
    shares = winsorized_shares(importances, 2 / 3, 0.1).flatten()  # two thirds of 1, 2, 3, 100 is 3
    assert_close(shares, torch.tensor([0.1, 0.0, 0.55, 1.0, 1.0]))
    assert_close(winsorized_shares(importances, 0.0, 0.1).flatten(), torch.tensor([1.0, 0.0, 1.0, 1.0, 1.0]))
    assert_close(winsorized_shares(importances, 1.0, 0.0).flatten(), torch.tensor([0, 0, 1 / 99, 2 / 99, 1]))
    assert torch.equal(winsorized_shares(importances * 0, 0.9, 0.1), torch.zeros(5, 1, 1))


def test_one_layer_with_importance_is_its_gradcam_map_rectified_and_scaled() -> None:
    model, inputs = seeded(plain_cnn), images()
    gradcam = explain(model, inputs, layers="5", target=1).maps["5"].clamp_min(0)
    result = explain(model, inputs, method="winsorcam", layers="5", target=1, options={"importance": "max"})
    highest = gradcam.amax(dim=(2, 3), keepdim=True)
    assert (highest > 0).any()
    assert_close(result.maps["5"], gradcam / highest.where(highest > 0, 1), rtol=1e-4, atol=1e-6)


def test_the_scale_of_the_score_does_not_matter_and_no_evidence_is_zero() -> None:
    probe = ToyProbe()
    maps = winsorcam(probe)
    assert maps.amax() > 0
    probe.linear.mul_(1e-15)
    probe.quadratic.mul_(1e-15)
    assert_close(winsorcam(probe), maps, rtol=1e-3, atol=1e-4)
    probe.mix.zero_()
    assert torch.equal(winsorcam(probe), torch.zeros(2, 2, 3, 4))


def test_layers_that_are_named_win_over_all_convolutions() -> None:
    entry = METHODS["winsorcam"]
    assert (entry.default_layers, entry.scope, entry.signed) == ("convolutions", "layers", False)
    result = explain(seeded(ResidualNet), images(), method="winsorcam", layers=["block1", "block2"], target=0)
    assert result.layers == ("block1+block2",)


def test_convolutions_that_cannot_carry_a_map_are_passed_over() -> None:
    class Squeezed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.last = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)
            self.gate, self.spare = nn.Conv2d(4, 4, 1), nn.Conv2d(3, 4, 3)
            self.head = nn.Linear(4, 3)

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            features = self.stem(inputs)
            gate = self.gate(features.mean(dim=(2, 3), keepdim=True)).sigmoid()
            return self.head(self.last(features * gate).mean(dim=(2, 3)))

    result = explain(seeded(Squeezed), images(), method="winsorcam", target=1)
    assert list(result.provenance["layer_choice"]) == ["stem", "last"]


def test_its_layers_are_found_once_and_its_map_has_a_name_that_fits_a_line() -> None:
    explainer = Explainer(seeded(ResidualNet), method="winsorcam")
    first, second = explainer(images(), target=1), explainer(images(), target=1)
    assert first.layers == second.layers == ("stem+3 more+block2.conv2",)
    (name,) = first.layers
    assert torch.equal(first.maps[name], second.maps[name])


@pytest.mark.parametrize(
    ("name", "value"),
    [("percentile", 101.0), ("percentile", -1.0), ("floor", 1.5), ("importance", "sum")],
)
def test_invalid_options_are_refused(name: str, value: object) -> None:
    with refused("argument.invalid", InputError, name=name, value=value):
        winsorcam(ToyProbe(), **{name: value})


def test_a_model_without_convolutions_is_refused_and_layers_can_still_be_named() -> None:
    model = seeded(lambda: nn.Sequential(nn.AvgPool2d(2), nn.Flatten(), nn.Linear(3 * 8 * 8, 4)))
    with refused("layer.no-convolution", LayerError):
        explain(model, images(), method="winsorcam", target=1)
    named = explain(model, images(), method="winsorcam", layers="0", target=1, options={"importance": "max"})
    assert named.layers == ("0",)
