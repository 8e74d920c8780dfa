"""Superpixels: as many as asked for, each in one piece, the same every time."""

import pytest
import torch
from torch import Tensor

from camlens import InputError
from camlens.methods.segments import segmented
from tests.refusals import refused


def blocks() -> Tensor:
    """Four flat colours in four quarters, with a little noise."""
    colours = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0]])
    places = torch.tensor([[0, 1], [2, 3]]).repeat_interleave(16, 0).repeat_interleave(16, 1)
    noise = 0.01 * torch.randn(3, 32, 32, generator=torch.Generator().manual_seed(0))
    return colours[places].movedim(-1, 0) + noise


@pytest.mark.parametrize("segmentation", ["slic", "quickshift"])
def test_four_colours_are_four_segments(segmentation: str) -> None:
    labels = segmented(blocks(), 4, segmentation, 0, 0)
    quarters = labels.view(2, 16, 2, 16).transpose(1, 2).reshape(4, -1)
    agreeing = [float((one == one.mode().values).float().mean()) for one in quarters]
    assert min(agreeing) > 0.95
    assert len({int(one.mode().values) for one in quarters}) == 4


@pytest.mark.parametrize("wanted", [2, 7, 30])
def test_quickshift_gives_exactly_as_many_segments_as_wanted(wanted: int) -> None:
    image = torch.rand(3, 24, 28, generator=torch.Generator().manual_seed(1))
    assert segmented(image, wanted, "quickshift", 0, 0).unique().tolist() == list(range(wanted))


@pytest.mark.parametrize("shape", [(3, 24, 28), (1, 24, 28), (2, 40), (2, 6, 7, 8)])
def test_slic_finds_segments_in_noise_of_any_channels_and_axes(shape: tuple[int, ...]) -> None:
    image = torch.rand(shape, generator=torch.Generator().manual_seed(1))
    labels = segmented(image, 8, "slic", 0, 0)
    assert labels.shape == shape[1:]
    assert 4 <= len(labels.unique()) <= 16
    assert torch.equal(labels, segmented(image, 8, "slic", 0, 0))
    assert torch.equal(labels, segmented(2 * image - 5, 8, "slic", 0, 0))


def test_given_labels_are_renumbered_for_each_image() -> None:
    own = torch.tensor([[[3, 3], [9, 9]], [[5, 1], [5, 1]]])
    assert segmented(torch.zeros(3, 2, 2), own, "slic", 0, 0).tolist() == [[0, 0], [1, 1]]
    assert segmented(torch.zeros(3, 2, 2), own, "slic", 1, 0).tolist() == [[1, 0], [1, 0]]


def test_quickshift_refuses_inputs_with_one_axis() -> None:
    with refused("segments.axes", InputError, axes=1):
        segmented(torch.rand(2, 30), 4, "quickshift", 0, 0)
