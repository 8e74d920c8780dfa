"""Biases and the gradients at the outputs of their layers."""

import pytest
import torch
from torch.testing import assert_close

from camlens import explain
from camlens.core.capture import capture
from camlens.core.execution.harmless import undisturbed
from camlens.core.execution.session import Session
from camlens.core.gradients.bias import bias_terms
from camlens.targets import ClassScore
from tests.nets import Branching, images, of_the_left, seeded


def test_a_target_that_a_layer_does_not_feed_does_not_affect_the_others() -> None:
    model, inputs = seeded(Branching), images(1)
    together = explain(model, inputs, method="fullgrad", layers="left", target=[ClassScore(1), of_the_left])
    for number, target in enumerate((ClassScore(1), of_the_left)):
        alone = explain(model, inputs, method="fullgrad", layers="left", target=target)
        assert_close(together.maps["input"][:, number : number + 1], alone.maps["input"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("targets", [[1], [1, 3]])
def test_terms_are_the_gradients_of_plain_autograd(targets: list[int]) -> None:
    model, inputs = seeded(Branching), images(1)
    scorer = capture(model, inputs, "left", [ClassScore(one) for one in targets]).scorer
    with undisturbed(model, inputs.device):
        found = bias_terms(Session(model, inputs), scorer)
    assert len(found.terms) == 3  # left, right, of_parameters; nothing reads the fourth
    leaf = inputs.clone().requires_grad_()
    for number, target in enumerate(targets):
        logits = model(leaf)["logits"]
        (wanted, *biases) = torch.autograd.grad(
            logits[0, target], [leaf, model.left.bias, model.right.bias, model.of_parameters.bias]
        )
        assert_close(found.input_gradients[:, number], wanted, rtol=1e-4, atol=1e-6)
        for (bias, gradients), gradient, layer in zip(
            found.terms, biases, (model.left, model.right, model.of_parameters), strict=True
        ):
            assert_close(bias, layer.bias.detach())
            assert_close(gradients[:, number].sum(dim=(0, 2, 3)), gradient, rtol=1e-4, atol=1e-6)
