"""The memory format in which a probe passes perturbed images to the model."""

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from camlens import explain
from camlens.core.probe import Probe
from tests.nets import images, plain_cnn, seeded


class Viewing(nn.Module):
    """Takes a view of its features that only the usual memory layout allows."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, padding=1)
        self.head = nn.Linear(6 * 16 * 16, 5)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.conv(inputs).relu().view(len(inputs), -1))


def answered(model: nn.Module, layer: str, inputs: Tensor, tried: Tensor) -> tuple[Tensor, bool]:
    """The scores of `tried` in the place of image 1, and whether they were handed over channels-last."""
    seen: list[tuple[Tensor, bool]] = []

    def ask(probe: Probe) -> Tensor:
        seen.append((probe.input_scores(tried, 1), probe.at_input._faster_channels_last))
        return probe.activations[:, :1]

    explain(model, inputs, method=ask, layers=layer, target=2)
    return seen[0]


@pytest.mark.filterwarnings("ignore::camlens.core.errors.EvidenceWarning")
@pytest.mark.parametrize(
    ("model", "layer", "dtype", "channels_last"),
    [
        (seeded(plain_cnn), "5", torch.float32, True),
        (seeded(plain_cnn).double(), "5", torch.float64, False),
        (seeded(Viewing), "conv", torch.float32, False),
    ],
    ids=["plain", "float64", "viewing"],
)
def test_images_are_passed_channels_last_only_if_scores_agree(
    model: nn.Module, layer: str, dtype: torch.dtype, channels_last: bool
) -> None:
    tried = images(5, seed=7).to(dtype)
    scores, turned = answered(model, layer, images(2).to(dtype), tried)
    with torch.no_grad():
        expected = model(tried)[:, 2:3]
    assert turned is channels_last
    assert_close(scores, expected, rtol=1e-5, atol=1e-5)
    assert tried.is_contiguous()
