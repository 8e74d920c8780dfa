"""Outputs that could be taken for a grid of tokens, and are one pooled vector."""

from collections.abc import Callable

import pytest
from torch import Tensor, nn

from camlens import LayerError, explain
from tests.nets import images, seeded
from tests.refusals import refused


class Pooled(nn.Module):
    """Convolution, tokens, and one vector of as many channels as a square grid has cells."""

    def __init__(self, shape: Callable[[Tensor], Tensor], width: int = 64) -> None:
        super().__init__()
        self.features = nn.Conv2d(3, width, 4, stride=4)
        self.pooler = nn.Identity()
        self.head = nn.Linear(width, 5)
        self.shape = shape

    def forward(self, inputs: Tensor) -> Tensor:
        tokens = self.features(inputs).flatten(2)
        return self.head(self.pooler(self.shape(tokens)).flatten(1))


def as_channels(tokens: Tensor) -> Tensor:
    return tokens.mean(dim=2, keepdim=True)


def as_token(tokens: Tensor) -> Tensor:
    return tokens.mean(dim=2)[:, None]


@pytest.mark.parametrize("shape", [as_channels, as_token])
@pytest.mark.parametrize("width", [16, 17, 64])
@pytest.mark.parametrize("count", [1, 2])
def test_a_pooled_vector_is_no_grid(shape: Callable[[Tensor], Tensor], width: int, count: int) -> None:
    model, inputs = seeded(lambda: Pooled(shape, width)), images(count, size=(24, 24))
    assert explain(model, inputs).layers == ("features",)
    with refused("layer.no-grid", LayerError, layer="pooler"):
        explain(model, inputs, layers="pooler")


def test_the_layout_argument_overrides_the_detection() -> None:
    result = explain(seeded(lambda: Pooled(as_channels)), images(size=(24, 24)), layers="pooler", layout="tokens")
    assert result.maps["pooler"].shape == (2, 1, 8, 8)
