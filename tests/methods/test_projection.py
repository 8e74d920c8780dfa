"""Projections: exact without the full decomposition, and with the right side up."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from camlens.core.errors import InputError, LayerError
from camlens.methods.projection import eigencam, eigengradcam, energy, kpcacam, oriented, principal_projection
from tests.methods import reference
from tests.refusals import refused
from tests.twins import twin_of


def activations_of(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).relu()


def by_reference(function, features: Tensor, **options: object) -> Tensor:
    return torch.from_numpy(np.stack([function(one, **options) for one in features.double().numpy()])).float()


@pytest.mark.parametrize(
    "shape", [(3, 5, 7), (3, 5, 3, 4), (2, 40, 3, 4), (2, 6, 2, 3, 4), (2, 12, 3, 4), (1, 1, 4, 4)]
)
@twin_of("eigencam")
def test_eigencam_equals_the_full_decomposition_with_few_and_with_many_channels(
    shape: tuple[int, ...],
) -> None:
    activations = activations_of(*shape)
    assert_close(eigencam(activations), by_reference(reference.eigencam, activations), rtol=1e-5, atol=2e-6)


def test_the_gram_matrix_keeps_seven_digits_at_2048_channels() -> None:
    features = activations_of(2, 2048, 7, 7)
    rows = features.double().flatten(2).mT
    rows = rows - rows.mean(dim=1, keepdim=True)
    left, values, _ = torch.linalg.svd(rows, full_matrices=False)
    exact = left[:, :, 0] * values[:, :1]
    found = principal_projection(features).flatten(1).double()
    signs = (exact * found).sum(dim=1, keepdim=True).sign()
    assert ((found * signs - exact).abs().amax(dim=1) <= 2e-6 * exact.abs().amax(dim=1)).all()


@pytest.mark.parametrize("scale", [1e-20, 1e-3, 1e18])
def test_the_projection_scales_with_tiny_and_huge_features(scale: float) -> None:
    features = activations_of(2, 5, 3, 4)
    assert_close(eigencam(features * scale) / scale, eigencam(features), rtol=1e-5, atol=1e-6)


def test_a_constant_channel_changes_nothing() -> None:
    features = activations_of(1, 5, 3, 4)
    constant = torch.full((1, 1, 3, 4), 0.1)
    energetic = torch.cat([features, constant], dim=1)
    assert_close(principal_projection(energetic).abs(), principal_projection(features).abs(), rtol=1e-5, atol=1e-6)


def scene(seed: int) -> tuple[Tensor, Tensor]:
    """Activations (24, 8, 8) of an object on a background, and where the object is."""
    draw = torch.Generator().manual_seed(seed)
    inside = torch.zeros(8, 8, dtype=torch.bool)
    top, left = torch.randint(0, 4, (2,), generator=draw).tolist()
    height, width = torch.randint(2, 6, (2,), generator=draw).tolist()
    inside[top : top + height, left : left + width] = True
    clutter = torch.rand(24, 8, 8, generator=draw)
    objects = 0.5 + 2 * torch.rand(16, 1, 1, generator=draw)  # most channels answer to the object,
    background = 0.8 * torch.rand(8, 1, 1, generator=draw)  # some to what is around it
    return torch.cat([clutter[:16] + objects * inside, clutter[16:] + background * ~inside]), inside


@pytest.mark.parametrize("method", [eigencam, kpcacam], ids=lambda one: one.__name__)
def test_the_object_is_brighter_than_the_background_in_40_of_40_scenes(method: Callable[..., Tensor]) -> None:
    scenes = [scene(seed) for seed in range(40)]
    maps = method(torch.stack([activations for activations, _ in scenes]))
    brighter = [heat[inside].mean() > heat[~inside].mean() for heat, (_, inside) in zip(maps, scenes, strict=True)]
    assert all(brighter)


@pytest.mark.parametrize("sign", [1, -1])
def test_orientation_does_not_depend_on_the_sign_of_the_decomposition(sign: int) -> None:
    activations = torch.stack([scene(seed)[0] for seed in range(40)])
    projection = sign * principal_projection(activations)
    assert torch.equal(oriented(projection, towards=energy(activations)), eigencam(activations))


def test_eigengradcam_turns_towards_what_speaks_for_the_class() -> None:
    activations = activations_of(40, 6, 4, 5)
    gradients = torch.randn(activations.shape, generator=torch.Generator().manual_seed(1))
    heat, sums = eigengradcam(activations, gradients), (activations * gradients).sum(dim=1)
    sums = sums - sums.mean(dim=(1, 2), keepdim=True)
    assert ((heat * sums).sum(dim=(1, 2)) > 0).all()
    assert_close(eigengradcam(activations, -gradients), -heat, rtol=1e-4, atol=1e-5)


def test_oriented_makes_the_largest_magnitude_positive_if_the_guide_is_uncorrelated() -> None:
    projection = torch.tensor([[-3.0, 1.0, 2.0], [3.0, -1.0, -2.0]])
    assert_close(oriented(projection, towards=torch.ones(2, 3)), projection.new_tensor([[3, -1, -2]] * 2))


@pytest.mark.parametrize("kernel", ["sigmoid", "rbf", "poly", "linear"])
@pytest.mark.parametrize("shape", [(2, 5, 7), (2, 5, 3, 4), (2, 20, 3, 4), (1, 4, 2, 3, 2)], ids=str)
@twin_of("kpcacam")
def test_kpcacam_equals_its_reference(kernel, shape: tuple[int, ...]) -> None:
    activations = activations_of(*shape)
    expected = by_reference(reference.kpcacam, activations, kernel=kernel)
    assert_close(kpcacam(activations, kernel=kernel), expected, rtol=1e-4, atol=1e-5)


def test_kpcacam_takes_gamma() -> None:
    activations = activations_of(2, 5, 3, 4)
    expected = by_reference(reference.kpcacam, activations, kernel="rbf", gamma=0.7)
    assert_close(kpcacam(activations, kernel="rbf", gamma=0.7), expected, rtol=1e-4, atol=1e-5)


def test_kpcacam_with_the_linear_kernel_is_eigencam() -> None:
    activations = activations_of(2, 5, 3, 4)
    assert torch.equal(kpcacam(activations, kernel="linear"), eigencam(activations))


def test_kpcacam_refuses_unknown_kernels_bad_gammas_and_grids_too_large() -> None:
    activations = activations_of(1, 2, 3, 4)
    with refused("argument.invalid", InputError, name="kernel", value="cosine"):
        kpcacam(activations, kernel="cosine")
    with refused("argument.invalid", InputError, name="gamma", value=-1.0):
        kpcacam(activations, gamma=-1.0)
    with refused("layer.too-many-cells", LayerError, cells=4225, allowed=4096):
        kpcacam(torch.zeros(1, 2, 65, 65))


def test_nan_activations_give_a_nan_map_for_that_image_only() -> None:
    activations = activations_of(2, 5, 3, 4)
    clean = eigencam(activations)
    spoiled = activations.clone()
    spoiled[0, 0, 0, 0] = float("nan")
    for method in (eigencam, kpcacam):
        maps = method(spoiled)
        assert torch.isnan(maps[0]).all()
        assert torch.isfinite(maps[1]).all()
    assert_close(eigencam(spoiled)[1], clean[1])
