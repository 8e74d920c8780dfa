"""Guided Grad-CAM is the product of its parts, and what captum calls by that name."""

import copy

import captum.attr
import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

from camlens import ModelError, activations, explain
from camlens.targets import ClassScore
from tests.methods import reference
from tests.nets import ResidualNet, images, plain_cnn, seeded
from tests.refusals import refused
from tests.twins import twin_of

TARGETS = [ClassScore(0), ClassScore(3)]
pytestmark = pytest.mark.filterwarnings("ignore::camlens.core.errors.EvidenceWarning")


def test_it_is_the_product_of_guided_backpropagation_and_the_rectified_gradcam_map() -> None:
    model, inputs = seeded(plain_cnn), images()
    result = explain(model, inputs, method="guidedgradcam", layers="5", target=TARGETS)
    guided = explain(model, inputs, method="guidedbackprop", target=TARGETS).maps["input"]
    gradcam = explain(model, inputs, method="gradcam", layers="5", target=TARGETS).maps["5"]
    enlarged = nn.functional.interpolate(gradcam.clamp_min(0), (16, 16), mode="bilinear")
    assert result.layers == ("input",)
    assert result.maps["input"].amax() > 0
    assert_close(result.maps["input"], guided * enlarged, rtol=1e-5, atol=1e-8)


@twin_of("guidedgradcam")
def test_it_equals_its_reference() -> None:
    model, inputs = seeded(ResidualNet), images()
    found = explain(model, inputs, method="guidedgradcam", layers="block1", target=TARGETS).maps["input"]
    guided = explain(model, inputs, method="guidedbackprop", target=TARGETS).maps["input"]
    features = activations(model, inputs, "block1")["block1"].features.clone().requires_grad_()
    scores = model.head(model.block2(features).mean(dim=(2, 3)))
    for place, target in enumerate((0, 3)):
        (gradients,) = torch.autograd.grad(scores[:, target].sum(), features, retain_graph=True)
        expected = [
            reference.guidedgradcam(*(part.detach().double().numpy() for part in (guided[row, place], *one)))
            for row, one in enumerate(zip(features, gradients, strict=True))
        ]
        assert_close(found[:, place], torch.from_numpy(np.array(expected)).float(), rtol=1e-4, atol=1e-8)


def test_it_agrees_with_captum_on_a_model_that_captum_can_handle() -> None:
    model, inputs = seeded(plain_cnn), images()
    twin = copy.deepcopy(model)
    for module in twin.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    method = captum.attr.GuidedGradCam(twin, twin[3])
    with pytest.warns(UserWarning, match="Setting backward hooks"):
        theirs = method.attribute(inputs.clone().requires_grad_(), 0, interpolate_mode="bilinear")
    found = explain(model, inputs, method="guidedgradcam", layers="3", target=0).maps["input"][:, 0]
    assert_close(found, theirs.detach().abs().amax(dim=1), rtol=1e-4, atol=1e-8)


def test_of_several_layers_the_last_one_counts() -> None:
    model, inputs = seeded(ResidualNet), images()
    both = explain(model, inputs, method="guidedgradcam", layers=["block1", "block2"], target=0).maps["input"]
    last = explain(model, inputs, method="guidedgradcam", layers="block2", target=0).maps["input"]
    assert_close(both, last, rtol=1e-5, atol=1e-9)


def test_a_model_without_relu_is_refused() -> None:
    model = seeded(lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.GELU(), nn.Flatten(), nn.Linear(4 * 14 * 14, 3)))
    with refused("model.no-relu", ModelError, type="Sequential"):
        explain(model, images(), method="guidedgradcam", layers="1", target=0)
