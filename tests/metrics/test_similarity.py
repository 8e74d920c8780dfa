"""Similarity against loops, scikit-image and scipy, and with ties."""

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from camlens.core.errors import InputError
from camlens.metrics.similarity import pearson, ranks, spearman, ssim
from tests.metrics import reference
from tests.refusals import refused
from tests.twins import twin_of


def pair(*size: int, levels: int | None = None) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)
    first = torch.rand(3, *size, generator=draw)
    second = 0.6 * first + 0.4 * torch.rand(3, *size, generator=draw)
    return (first, second) if levels is None else ((first * levels).round(), (second * levels).round())


def expected(compute, first: Tensor, second: Tensor, *options: float) -> Tensor:
    pairs = zip(first.double().numpy(), second.double().numpy(), strict=True)
    return torch.tensor([compute(*one, *options) for one in pairs], dtype=torch.float32)


@pytest.mark.parametrize("size", [(9,), (4, 5), (2, 3, 4)])
@pytest.mark.parametrize("levels", [None, 3])
@twin_of("pearson", "spearman")
def test_correlations_are_what_loops_give(size: tuple[int, ...], levels: int | None) -> None:
    first, second = pair(*size, levels=levels)
    assert_close(pearson(first, second), expected(reference.pearson, first, second))
    assert_close(spearman(first, second), expected(reference.spearman, first, second))
    assert_close(ranks(first.flatten(1).double())[0], torch.tensor(reference.ranks(first[0].numpy())).double())


def test_rank_correlation_with_ties_is_that_of_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    first, second = pair(12, 12, levels=4)
    wanted = [stats.spearmanr(a.ravel(), b.ravel()).statistic for a, b in zip(first, second, strict=True)]
    assert_close(spearman(first, second), torch.tensor(wanted, dtype=torch.float32))


@pytest.mark.parametrize(("size", "length"), [((14,), 11), ((13, 12), 11), ((7, 7), 7), ((6, 8), 5), ((4, 3, 5), 3)])
@twin_of("ssim")
def test_ssim_is_what_windows_one_by_one_give(size: tuple[int, ...], length: int) -> None:
    first, second = pair(*size)
    assert_close(ssim(first, second), expected(reference.ssim, first, second, length, 1.5, 1.0))
    wanted = expected(reference.ssim, first * 3, second * 3, length, 0.8, 3.0)
    assert_close(ssim(first * 3, second * 3, deviation=0.8, data_range=3.0), wanted)


def test_ssim_is_that_of_scikit_image() -> None:
    metrics = pytest.importorskip("skimage.metrics")
    first, second = (maps.double() for maps in pair(24, 20))
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
    wanted = [
        metrics.structural_similarity(a.numpy(), b.numpy(), **options) for a, b in zip(first, second, strict=True)
    ]
    assert_close(ssim(first, second), torch.tensor(wanted, dtype=torch.float32))


def test_a_map_is_like_itself_and_unlike_its_opposite() -> None:
    first, _ = pair(12, 12)
    for similarity in (pearson, spearman, ssim):
        assert_close(similarity(first, first), torch.ones(3))
    assert_close(pearson(first, 1 - first), -torch.ones(3))
    assert_close(spearman(first, -(first**3)), -torch.ones(3))
    assert_close(spearman(first - 0.5, (first - 0.5) ** 3), torch.ones(3))


@pytest.mark.parametrize("similarity", [pearson, spearman, ssim])
def test_a_constant_map_is_like_nothing(similarity) -> None:
    first, second = pair(12, 12)
    first = torch.stack([first[0], torch.zeros(12, 12), torch.full((12, 12), 0.1)])
    assert similarity(first, second).isnan().tolist() == [False, True, True]
    assert similarity(second, first).isnan().tolist() == [False, True, True]


@pytest.mark.parametrize("similarity", [pearson, spearman, ssim])
def test_maps_of_different_sizes_are_refused(similarity) -> None:
    with refused("maps.shape", InputError, shapes=((2, 4, 4), (1, 4, 4))):
        similarity(torch.rand(2, 4, 4), torch.rand(1, 4, 4))
