"""The Hessian of a score times a direction."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from camlens import explain
from camlens.core.capture import capture
from camlens.core.execution.session import Session
from camlens.core.gradients.curvature import hessian_product
from tests.nets import TinyVit, images, plain_cnn, seeded


class Cubic(nn.Module):
    """Score c is the sum of the cubed features: its Hessian is diagonal, 6 * A."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Conv2d(3, 4, 1)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        cubes = self.features(inputs).pow(3)
        return torch.stack([cubes.sum(dim=(1, 2, 3)), 2 * cubes.sum(dim=(1, 2, 3))], dim=1)


def test_the_hessian_of_a_cubic_score_is_known() -> None:
    model, inputs = seeded(Cubic), images(size=(4, 4))
    seen = capture(model, inputs, "features", [camlens_class(0), camlens_class(1)])
    record = seen.records["features"]
    direction = torch.randn(record.activations.shape, generator=torch.Generator().manual_seed(0))
    product = hessian_product(Session(model, inputs), record, seen.scorer, direction)
    expected = 6 * record.activations * direction
    assert_close(product, torch.stack([expected, 2 * expected], dim=1), rtol=1e-4, atol=1e-5)


def camlens_class(index: int) -> object:
    from camlens.targets import ClassScore

    return ClassScore(index)


def test_a_score_that_is_linear_in_the_features_has_no_curvature() -> None:
    model, inputs = seeded(plain_cnn), images()
    seen = capture(model, inputs, "5", 0)
    record = seen.records["5"]
    product = hessian_product(Session(model, inputs), record, seen.scorer, torch.ones_like(record.activations))
    assert torch.count_nonzero(product) == 0


@pytest.mark.parametrize("layer", ["block1", "block2.norm1"])
def test_v19_shapleycam_goes_through_fused_attention(layer: str) -> None:
    model, inputs = seeded(TinyVit), images()
    shapley = explain(model, inputs, method="shapleycam", layers=layer, target=1).maps[layer]
    plain = explain(model, inputs, method="gradcam", layers=layer, target=1).maps[layer]
    assert torch.isfinite(shapley).all()
    assert not torch.allclose(shapley, plain)
