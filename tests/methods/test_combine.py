"""Fusion over layers and Smooth Grad-CAM++ against their references."""

import math

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from camlens.core.errors import InputError
from camlens.core.registry import METHODS
from camlens.methods.combine import fusion, smooth_gradcam_plusplus
from tests.methods import reference
from tests.methods.toy import ToyProbe
from tests.refusals import refused
from tests.twins import twin_of

AXES = [1, 2, 3]


@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize("gamma", [2.0, 0.5])
@twin_of("fusion")
def test_fusion_equals_its_reference(axes: int, gamma: float) -> None:
    probe = ToyProbe(axes)
    layers = [(a.double().numpy(), g.double().numpy()) for a, g in probe.layer_captures.values()]
    expected = [
        [reference.fusion([(a[row], g[row, target]) for a, g in layers], gamma) for target in range(2)]
        for row in range(2)
    ]
    assert_close(fusion(probe, gamma=gamma), torch.from_numpy(np.array(expected)).float(), rtol=1e-4, atol=1e-5)


def test_fusion_is_between_zero_and_tanh_gamma_for_layers_of_any_scale() -> None:
    probe = ToyProbe()
    maps = fusion(probe)
    assert (maps >= 0).all()
    assert_close(maps.amax(dim=(2, 3)), torch.full((2, 2), math.tanh(2.0)))
    probe.linear.mul_(1e-20)
    probe.quadratic.mul_(1e-20)
    assert_close(fusion(probe), maps, rtol=1e-4, atol=1e-5)


def test_fusion_without_evidence_is_zero() -> None:
    probe = ToyProbe()
    probe.mix.zero_()
    assert torch.equal(fusion(probe), torch.zeros(2, 2, 3, 4))


def smooth_by_reference(probe: ToyProbe, samples: int, noise: float) -> torch.Tensor:
    maps = []
    for row, image in enumerate(probe.inputs):
        twin = torch.Generator()
        twin.set_state(probe.generator.get_state())
        spread = noise * (image.max() - image.min())
        copies = [image + spread * torch.randn(image.shape, generator=twin) for _ in range(samples)]
        slopes = [probe.slope(probe.features(copy[None]))[0].double().numpy() for copy in copies]
        features = probe.activations[row].double().numpy()
        each = [reference.smooth_gradcam_plusplus(features, [one[t] for one in slopes]) for t in range(2)]
        maps.append(each)
    return torch.from_numpy(np.array(maps)).float()


@pytest.mark.parametrize("axes", AXES)
@twin_of("smoothgradcam++")
def test_smooth_gradcam_plusplus_equals_its_reference(axes: int) -> None:
    probe = ToyProbe(axes)
    # Averages of both signs may bring the paper's denominator to zero; this seed stays clear of it.
    assert_close(
        smooth_gradcam_plusplus(probe, samples=4, noise=0.05),
        smooth_by_reference(probe, 4, 0.05),
        rtol=1e-4,
        atol=1e-5,
    )


def test_smooth_gradcam_plusplus_without_noise_is_gradcam_plusplus() -> None:
    probe = ToyProbe()
    each = [METHODS["gradcam++"].function(probe.activations, one) for one in probe.gradients.unbind(1)]
    assert_close(smooth_gradcam_plusplus(probe, noise=0.0), torch.stack(each, 1), rtol=1e-4, atol=1e-5)


def test_smooth_gradcam_plusplus_of_tiny_gradients_keeps_its_scale() -> None:
    probe = ToyProbe()
    probe.linear.mul_(1e-10)
    probe.quadratic.mul_(1e-10)
    expected = smooth_gradcam_plusplus(probe)
    probe.linear.mul_(1e-10)
    probe.quadratic.mul_(1e-10)
    assert expected.abs().max() > 0
    assert_close(smooth_gradcam_plusplus(probe) * 1e10, expected, rtol=1e-4, atol=1e-15)


def test_two_identical_calls_give_identical_maps_and_another_seed_another() -> None:
    probe = ToyProbe()
    first = smooth_gradcam_plusplus(probe)
    assert torch.equal(first, smooth_gradcam_plusplus(probe))
    probe.generator.manual_seed(1)
    assert not torch.allclose(first, smooth_gradcam_plusplus(probe))


def test_smooth_maps_do_not_depend_on_the_batch() -> None:
    together = smooth_gradcam_plusplus(ToyProbe(batch_size=64))
    assert_close(smooth_gradcam_plusplus(ToyProbe(batch_size=1)), together, rtol=1e-4, atol=1e-5)
    second = ToyProbe()
    second.__dict__["images"] = second.inputs[1:]
    assert_close(smooth_gradcam_plusplus(second), together[1:], rtol=1e-5, atol=1e-6)


def test_smooth_gradcam_plusplus_of_dead_features_is_zero() -> None:
    probe = ToyProbe()
    probe.mix.zero_()
    assert torch.equal(smooth_gradcam_plusplus(probe), torch.zeros(2, 2, 3, 4))


def test_invalid_options_are_refused() -> None:
    with refused("argument.invalid", InputError, name="samples", value=0):
        smooth_gradcam_plusplus(ToyProbe(), samples=0)
    with refused("argument.invalid", InputError, name="noise", value=-0.1):
        smooth_gradcam_plusplus(ToyProbe(), noise=-0.1)
    with refused("argument.invalid", InputError, name="gamma"):
        fusion(ToyProbe(), gamma=float("nan"))
