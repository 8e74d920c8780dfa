"""Gradient methods: references and invariants."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from camlens import METHODS
from camlens.core.targets import ClassScore, Finer
from camlens.methods.gradient import damping
from tests.methods import reference
from tests.twins import twin_of

GRADIENT_METHODS = [name for name, entry in METHODS.items() if entry.needs == "gradients"]
REFERENCES = {
    name: vars(reference)[METHODS[name].function.__name__]
    for name in GRADIENT_METHODS
    if METHODS[name].function.__name__ in vars(reference)
}
GRIDS = [(7,), (3, 5), (2, 3, 4), (1, 1)]
NOT_LINEAR = {"gradcam++"}  # its weights depend on the size of the gradients, through `damping`


def captured(grid: tuple[int, ...], *, images: int = 3, channels: int = 5, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Activations as after a ReLU, with one dead channel, and gradients of both signs."""
    draw = torch.Generator().manual_seed(seed)
    activations = torch.randn(images, channels, *grid, generator=draw).relu()
    activations = activations * (torch.arange(channels) != 2).reshape(-1, *[1] * len(grid))
    return activations, torch.randn(images, channels, *grid, generator=draw)


def by_reference(name: str, activations: Tensor, gradients: Tensor) -> Tensor:
    pairs = zip(activations.double().numpy(), gradients.double().numpy(), strict=True)
    return torch.from_numpy(np.stack([REFERENCES[name](a, g) for a, g in pairs])).float()


@pytest.mark.parametrize("name", GRADIENT_METHODS)
def test_a_method_of_gradients_has_a_reference_of_the_same_name(name: str) -> None:
    function = METHODS[name].function.__name__
    assert name in REFERENCES, f"add a function {function} to tests/methods/reference.py"


@pytest.mark.parametrize("grid", GRIDS, ids=str)
@pytest.mark.parametrize("name", REFERENCES)
@twin_of(*REFERENCES)
def test_method_equals_its_reference_on_lines_planes_and_volumes(name: str, grid: tuple[int, ...]) -> None:
    activations, gradients = captured(grid)
    maps = METHODS[name].function(activations, gradients)
    assert maps.shape == (3, *grid)
    assert maps.dtype == torch.float32
    assert_close(maps, by_reference(name, activations, gradients), rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("name", REFERENCES)
def test_a_gradient_constant_over_the_grid_gives_the_same_map_expanded_or_copied(name: str) -> None:
    activations, gradients = captured((4, 5))
    expanded = gradients[:, :, :1, :1].expand(-1, -1, 4, 5)
    assert expanded.stride()[2:] == (0, 0)
    function = METHODS[name].function
    assert_close(function(activations, expanded), function(activations, expanded.contiguous()), rtol=1e-5, atol=1e-6)
    assert_close(function(activations, expanded), by_reference(name, activations, expanded), rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("name", REFERENCES)
def test_many_classes_of_one_expanded_image_are_the_maps_of_each(name: str) -> None:
    activations, gradients = captured((4, 5), images=6)
    shared = activations[:1].expand(6, -1, -1, -1)
    function = METHODS[name].function
    for given in (gradients, gradients[:, :, :1, :1].expand(-1, -1, 4, 5)):
        each = torch.cat([function(activations[:1], one[None]) for one in given])
        assert_close(function(shared, given), each, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", [name for name in REFERENCES if name not in NOT_LINEAR])
@pytest.mark.parametrize("scale", [1e-20, 1e-6, 1e6])
def test_the_map_scales_with_tiny_gradients(name: str, scale: float) -> None:
    activations, gradients = captured((4, 5))
    maps = METHODS[name].function(activations, gradients * scale) / scale
    assert_close(maps, METHODS[name].function(activations, gradients), rtol=1e-4, atol=1e-5)


def test_gradcam_plusplus_of_tiny_gradients_is_half_their_positive_sum() -> None:
    activations, gradients = captured((4, 5))
    maps = METHODS["gradcam++"].function(activations, gradients * 1e-20) / 1e-20
    expected = torch.einsum("nk,nkij->nij", gradients.relu().sum(dim=(2, 3)) / 2, activations)
    assert_close(maps, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", [*REFERENCES, "eigencam", "fem", "kpcacam"])
def test_the_order_of_channels_does_not_matter(name: str) -> None:
    activations, gradients = captured((4, 5))
    order = torch.tensor([3, 0, 4, 2, 1])
    entry = METHODS[name]
    given = (activations, gradients) if entry.needs == "gradients" else (activations,)
    maps = entry.function(*given)
    assert_close(entry.function(*(one[:, order] for one in given)), maps, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", [*REFERENCES, "eigencam", "fem", "kpcacam"])
def test_an_image_has_the_same_map_alone_and_in_a_batch(name: str) -> None:
    activations, gradients = captured((4, 5))
    entry = METHODS[name]
    given = (activations, gradients) if entry.needs == "gradients" else (activations,)
    alone = torch.cat([entry.function(*(one[row : row + 1] for one in given)) for row in range(3)])
    assert_close(entry.function(*given), alone, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", [*REFERENCES, "eigencam", "fem", "kpcacam"])
@pytest.mark.parametrize("value", [0.0, 0.1])
def test_activations_without_change_give_a_finite_map_and_zero_ones_a_zero_map(name: str, value: float) -> None:
    entry = METHODS[name]
    activations = torch.full((2, 5, 4, 5), value)
    given = (activations, captured((4, 5), images=2)[1]) if entry.needs == "gradients" else (activations,)
    maps = entry.function(*given)
    assert torch.isfinite(maps).all()
    if value == 0 or entry.needs == "activations":
        assert (maps == 0).all()


@pytest.mark.parametrize("name", REFERENCES)
def test_zero_gradients_give_a_zero_map(name: str) -> None:
    activations, gradients = captured((4, 5))
    assert (METHODS[name].function(activations, torch.zeros_like(gradients)) == 0).all()


@pytest.mark.parametrize("name", [*REFERENCES, "eigencam", "fem", "kpcacam"])
def test_methods_do_not_write_to_what_they_are_given(name: str) -> None:
    given = captured((4, 5))[: 2 if METHODS[name].needs == "gradients" else 1]
    before = [one.clone() for one in given]
    METHODS[name].function(*given)
    for one, kept in zip(given, before, strict=True):
        assert torch.equal(one, kept)


def test_gradcam_is_exact_before_pooling_and_a_linear_layer() -> None:
    activations, _ = captured((4, 5), images=1)
    weights = torch.tensor([0.5, -1.0, 2.0, 0.25, -0.75])
    gradients = (weights / 20).reshape(1, 5, 1, 1).expand(1, 5, 4, 5)
    maps = METHODS["gradcam"].function(activations, gradients)
    assert_close(maps.sum(), activations.mean(dim=(2, 3))[0] @ weights, rtol=1e-5, atol=1e-6)


def test_xgradcam_conserves_the_sum_of_gradient_times_activation() -> None:
    activations, gradients = captured((4, 5))
    sums = METHODS["xgradcam"].function(activations, gradients).sum(dim=(1, 2))
    assert_close(sums, (activations * gradients).sum(dim=(1, 2, 3)), rtol=1e-5, atol=1e-4)


def test_xgradcam_gives_no_weight_to_a_channel_whose_activations_cancel() -> None:
    activations = torch.tensor([[[0.3, -0.1, -0.2], [1.0, 2.0, 3.0]]])
    gradients = torch.tensor([[[5.0, -7.0, 1.0], [1.0, 1.0, 1.0]]])
    assert_close(METHODS["xgradcam"].function(activations, gradients), torch.tensor([[1.0, 2.0, 3.0]]))


def test_gradcam_plusplus_damping_follows_the_paper_and_has_no_pole() -> None:
    pull = torch.tensor([0.0, 2.0, 1e30, -0.5, -1.0, -1.999, -2.0, -5.0])
    expected = torch.tensor([0.5, 0.25, 1e-30, 1 / 1.5, 1.0, 1.0, 1.0, 1.0])
    assert_close(damping(pull), expected)


def test_gradcam_plusplus_stays_bounded_where_negative_activations_would_divide_by_zero() -> None:
    gradients = torch.tensor([[[1.0, 1.0]]])
    activations = torch.tensor([[[-2.5, 0.5]]])  # sum -2: the denominator 2 + 1 * -2 would be zero
    assert_close(METHODS["gradcam++"].function(activations, gradients), 2 * activations[:, 0])


def test_gradcam_plusplus_gives_two_objects_of_unequal_size_more_equal_heat_than_gradcam() -> None:
    large, small = torch.zeros(6, 6), torch.zeros(6, 6)
    large[:4, :4], small[5, 5] = 1.0, 1.0
    activations = torch.stack([large, small])[None]
    gradients = activations.clone()  # each channel pulls only where it is active
    ratios = {}
    for name in ("gradcam", "gradcam++"):
        heat = METHODS[name].function(activations, gradients)[0]
        ratios[name] = (heat[5, 5] / heat[0, 0]).item()
    assert ratios["gradcam"] == pytest.approx(1 / 16)
    assert ratios["gradcam++"] == pytest.approx((1 / 3) / (16 / 18))


def test_elementwise_gradcam_lets_nothing_cancel() -> None:
    activations, gradients = captured((4, 5))
    function = METHODS["gradcam-elementwise"].function
    for_it, against_it = function(activations, gradients), function(activations, -gradients)
    assert (for_it >= 0).all()
    assert_close(for_it - against_it, METHODS["hirescam"].function(activations, gradients), rtol=1e-5, atol=1e-6)


def test_finercam_explains_the_class_against_its_lookalikes() -> None:
    entry = METHODS["finercam"]
    assert entry.retarget is not None
    target = entry.retarget(ClassScore(3))
    assert target == Finer(ClassScore(3), similar=3, gamma=0.6)
