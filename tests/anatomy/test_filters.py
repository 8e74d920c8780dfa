"""Learned filters: copies of the weights, their numbers, and pictures with exact bytes."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

from camlens import InputError, LayerError, filters
from tests.refusals import refused


def conv(weights: list, **options: object) -> nn.Conv2d:
    """A convolution with exactly these weights (k, channels, height, width)."""
    values = torch.tensor(weights, dtype=torch.float32)
    module = nn.Conv2d(values.shape[1], values.shape[0], tuple(values.shape[2:]), bias=False)
    with torch.no_grad():
        module.weight.copy_(values)
    return module


def test_statistics_are_those_of_each_filter() -> None:
    found = filters(conv([[[[1.0, -3.0]], [[2.0, 4.0]]], [[[0.0, 0.0]], [[0.0, 0.0]]]]))
    assert len(found) == 2
    assert_close(found.mean, torch.tensor([1.0, 0.0]))
    assert_close(found.minimum, torch.tensor([-3.0, 0.0]))
    assert_close(found.maximum, torch.tensor([4.0, 0.0]))
    assert_close(found.norm, torch.tensor([30.0, 0.0]).sqrt())
    assert_close(found.deviation, torch.tensor([26.0 / 4, 0.0]).sqrt())
    assert repr(found) == "<Filters: 2 of 2 channels, 1 x 2, signed>"


def test_a_first_layer_is_shown_in_colour_from_its_lowest_to_its_highest_weight() -> None:
    found = filters(conv([[[[-1.0, 1.0]], [[0.0, 3.0]], [[-1.0, 2.0]]]]))
    picture = found.picture(0)
    assert (found.colours, picture.shown) == ("rgb", "red, green and blue")
    assert picture.pixels.tolist() == [[[0, 64, 0], [128, 255, 191]]]
    assert picture.pixels.dtype == np.uint8


def test_later_layers_show_their_strongest_input_channel_around_zero() -> None:
    picture = filters(conv([[[[9.0, 0.0]], [[-10.0, 5.0]]]])).picture(0)
    assert picture.shown == "input channel 1"
    assert picture.pixels.tolist() == [[0, 191]]


def test_filters_of_one_cell_are_laid_out_as_a_square() -> None:
    picture = filters(conv([[[[2.0]], [[-2.0]], [[1.0]]]])).picture(0)
    assert picture.shown == "weights of all input channels"
    assert picture.pixels.tolist() == [[255, 0], [191, 128]]


def test_a_filter_of_zeros_is_grey_and_in_colour_black() -> None:
    assert filters(conv([[[[0.0, 0.0]], [[0.0, 0.0]]]])).picture(0).pixels.tolist() == [[128, 128]]
    assert not filters(conv([[[[1.0, 1.0]]] * 3])).picture(0).pixels.any()


def test_weights_are_a_frozen_copy() -> None:
    module = conv([[[[1.0]]]])
    found = filters(module)
    with torch.no_grad():
        module.weight.fill_(7)
    assert found.weights.item() == 1
    assert not found.weights.requires_grad
    with pytest.raises(AttributeError):
        found.weights = module.weight


def test_grouped_and_half_precision_and_one_and_three_axes() -> None:
    assert filters(nn.Conv2d(4, 6, 3, groups=2)).weights.shape == (6, 2, 3, 3)
    assert filters(nn.Conv2d(1, 2, 3).bfloat16()).weights.dtype == torch.float32
    line = filters(nn.Conv1d(3, 5, 7))
    assert (line.norm.shape, line.colours) == ((5,), "signed")
    with refused("layer.no-pictures", LayerError, axes=3):
        filters(nn.Conv3d(3, 5, 2)).picture(0)


def test_modules_without_filters_are_refused() -> None:
    with refused("layer.no-filters", LayerError, type="Linear"):
        filters(nn.Linear(2, 2))
    with refused("layer.no-filters", LayerError, type="str"):
        filters("conv1")
    with refused("model.lazy", LayerError):
        filters(nn.LazyConv2d(2, 3))
    with refused("filter.out-of-range", InputError, index=2, filters=2):
        filters(nn.Conv2d(1, 2, 3)).picture(2)
