"""Gradients at the image against their references, their closed forms, and captum called directly."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

from camlens import explain
from camlens.methods.saliency import gradientxinput, saliency
from camlens.targets import ClassScore
from tests.methods import reference
from tests.methods.quadratic import Quadratic, pictures, probe_of
from tests.nets import images, plain_cnn, seeded
from tests.twins import twin_of

TARGETS = [ClassScore(2), ClassScore(0)]


@pytest.mark.parametrize("axes", [1, 2, 3])
@twin_of("saliency", "gradientxinput")
def test_both_equal_their_references(axes: int) -> None:
    model, inputs = Quadratic(axes), pictures(axes)
    slopes = model.slopes(inputs)[:, [2, 0]].double().numpy()
    values = inputs.double().numpy()
    probe = probe_of(model, inputs, TARGETS)
    sensitive = [[reference.saliency(one) for one in image] for image in slopes]
    assert_close(saliency(probe), torch.from_numpy(np.array(sensitive)).float(), rtol=1e-5, atol=1e-6)
    shares = [
        [reference.gradientxinput(value, one) for one in image] for value, image in zip(values, slopes, strict=True)
    ]
    assert_close(gradientxinput(probe).maps, torch.from_numpy(np.array(shares)).float(), rtol=1e-5, atol=1e-6)


def test_gradient_times_input_of_a_linear_score_sums_to_the_score_without_its_offset() -> None:
    model, inputs = Quadratic(curved=False), pictures()
    maps = gradientxinput(probe_of(model, inputs, TARGETS)).maps
    assert_close(maps.flatten(2).sum(dim=2), model(inputs)[:, [2, 0]] - model.offset[[2, 0]], rtol=1e-4, atol=1e-4)


def test_they_need_no_layer_and_their_maps_have_the_size_of_the_input() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(2 * 6 * 8, 4))
    for method in ("saliency", "gradientxinput"):
        result = explain(model, pictures(), method=method, target=1)
        assert result.layers == ("input",)
        assert result.maps["input"].shape == (2, 1, 6, 8)
    weight = model[1].weight[1].detach().reshape(2, 6, 8)
    expected = (pictures() * weight).sum(dim=1)
    assert_close(explain(model, pictures(), method="gradientxinput", target=1).maps["input"][:, 0], expected)


@pytest.mark.parametrize(("method", "peer"), [("saliency", "Saliency"), ("gradientxinput", "InputXGradient")])
def test_they_agree_with_captum_called_directly(method: str, peer: str) -> None:
    attributions = pytest.importorskip("captum.attr")
    model, inputs = seeded(plain_cnn), images()
    twin = copy.deepcopy(model)
    for module in twin.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    theirs = getattr(attributions, peer)(twin).attribute(inputs.clone().requires_grad_(), target=3).detach()
    expected = theirs.amax(dim=1) if method == "saliency" else theirs.sum(dim=1)
    assert_close(explain(model, inputs, method=method, target=3).maps["input"][:, 0], expected, rtol=1e-5, atol=1e-7)
