"""Weights and weighted sums, fast and plain."""

import torch
from torch.testing import assert_close

from camlens.methods.pooling import cells, is_constant, spatial_mean, spatial_sum, weighted_maps, weighted_sum


def test_expanded_gradients_are_recognised_as_constant_and_copies_are_not() -> None:
    cell = torch.randn(2, 3, 1, 1)
    assert is_constant(cell.expand(2, 3, 4, 5))
    assert is_constant(cell)
    assert not is_constant(cell.expand(2, 3, 4, 5).contiguous())
    assert not is_constant(torch.randn(2, 3, 4, 1).expand(2, 3, 4, 5))


def test_cells_of_an_expanded_gradient_are_one_cell() -> None:
    cell = torch.randn(2, 3, 1, 1)
    assert cells(cell.expand(2, 3, 4, 5)).shape == (2, 3, 1, 1)
    assert torch.equal(cells(cell.expand(2, 3, 4, 5)), cell)
    varied = torch.randn(2, 3, 4, 5)
    assert cells(varied) is varied


def test_spatial_mean_and_sum_of_known_values() -> None:
    features = torch.tensor([[[1.0, 2.0, 6.0], [0.0, -3.0, 0.0]]])
    assert_close(spatial_mean(features), torch.tensor([[3.0, -1.0]]))
    assert_close(spatial_sum(features), torch.tensor([[9.0, -3.0]]))
    assert_close(spatial_mean(torch.tensor([[[4.0]]]).expand(1, 1, 9)), torch.tensor([[4.0]]))


def test_weighted_sum_of_known_values() -> None:
    activations = torch.tensor([[[1.0, 2.0], [10.0, 20.0]]])
    assert_close(weighted_sum(torch.tensor([[2.0, -1.0]]), activations), torch.tensor([[-8.0, -16.0]]))


def test_weighted_sum_over_an_expanded_image_copies_nothing_and_is_the_same() -> None:
    image, weights = torch.randn(1, 3, 4, 5), torch.randn(7, 3)
    shared = image.expand(7, -1, -1, -1)
    plain = weighted_sum(weights, shared.contiguous())
    assert_close(weighted_sum(weights, shared), plain, rtol=1e-5, atol=1e-6)
    huge = image.expand(1_000_000, -1, -1, -1)  # 240 MB if copied
    assert weighted_sum(torch.ones(1_000_000, 3), huge).shape == (1_000_000, 4, 5)


def test_weighted_maps_are_the_weighted_sum_of_each_target() -> None:
    activations, weights = torch.randn(2, 3, 4, 5), torch.randn(2, 6, 3)
    each = torch.stack([weighted_sum(one, activations) for one in weights.unbind(1)], dim=1)
    assert_close(weighted_maps(weights, activations), each, rtol=1e-5, atol=1e-6)
