"""Insertion, deletion and pixel flipping: against cell-by-cell loops, closed forms, and ties."""

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from camlens.core.errors import InputError
from camlens.metrics.faithfulness import (
    deletion_auc,
    flipping_curves,
    insertion_auc,
    pixel_flipping_lerf,
    pixel_flipping_morf,
)
from camlens.metrics.faithfulness.curves import ranking, step_counts
from camlens.metrics.windows import blurred
from tests.metrics import reference
from tests.metrics.toy import ToyScore
from tests.refusals import refused
from tests.twins import twin_of

ALL = [insertion_auc, deletion_auc, pixel_flipping_morf, pixel_flipping_lerf]


def mean_score(inputs: Tensor, row: int) -> Tensor:
    return inputs.flatten(1).mean(dim=1)


@pytest.mark.parametrize("size", [(7,), (4, 5), (2, 3, 4)])
@pytest.mark.parametrize("steps", [1, 6, 100])
@twin_of("insertion_auc", "deletion_auc", "pixel_flipping_morf", "pixel_flipping_lerf")
def test_areas_and_falls_are_what_loops_over_cells_give(size: tuple[int, ...], steps: int) -> None:
    toy = ToyScore(*size)
    for metric in ALL:
        for row in range(2):
            one = (toy.inputs[row : row + 1], toy.maps[row : row + 1])
            empty = torch.full_like(one[0], 0.3)
            wanted = getattr(reference, metric.__name__)(
                toy.of(row),
                *(part[0].double().numpy() for part in (*one, empty)),
                steps,
            )
            result = metric(lambda inputs, _: toy(inputs, row), *one, steps=steps, baseline=0.3)  # noqa: B023
            assert_close(result, torch.tensor([wanted], dtype=torch.float32))


def test_areas_are_normalized_and_independent_of_the_steps_for_a_linear_score() -> None:
    inputs = torch.ones(1, 1, 2, 2)
    maps = torch.tensor([[[0.9, 0.1], [0.4, 0.2]]])
    for steps in (1, 2, 4, 100):
        for metric in (insertion_auc, deletion_auc):
            area = metric(mean_score, inputs, maps, steps=steps, baseline=0.0)
            assert_close(area, torch.tensor([0.5]))

    def hottest(inputs: Tensor, row: int) -> Tensor:
        return inputs[:, 0, 0, 0]

    assert_close(insertion_auc(hottest, inputs, maps, baseline=0.0), torch.tensor([1 - 1 / 8]))
    assert_close(deletion_auc(hottest, inputs, maps), torch.tensor([1 / 8]))
    assert_close(pixel_flipping_morf(hottest, inputs, maps), torch.tensor([4 / 5]))
    assert_close(pixel_flipping_lerf(hottest, inputs, maps), torch.tensor([1 / 5]))


def test_a_score_that_never_changes_has_itself_as_area() -> None:
    toy = ToyScore(5, 5)
    area = deletion_auc(lambda inputs, row: torch.full((len(inputs),), 0.3), toy.inputs, toy.maps, steps=7)
    assert_close(area, torch.full((2,), 0.3))


def test_insertion_starts_from_the_blurred_image_and_deletion_ends_at_zero() -> None:
    toy = ToyScore(12, 12)
    blurry = blurred(toy.inputs)
    assert_close(insertion_auc(toy, toy.inputs, toy.maps), insertion_auc(toy, toy.inputs, toy.maps, baseline=blurry))
    assert (
        insertion_auc(toy, toy.inputs, toy.maps, baseline=0) - insertion_auc(toy, toy.inputs, toy.maps)
    ).abs().min() > 1e-4
    curves = flipping_curves(toy, toy.inputs, toy.maps, steps=3)
    assert_close(curves[:, -1], torch.full((2,), 0.5))


@pytest.mark.parametrize("order", ["most", "least"])
def test_every_step_changes_the_places_it_says_although_most_are_tied(order: str) -> None:
    inputs = torch.ones(1, 3, 10, 10)
    maps = torch.zeros(1, 10, 10)
    maps[0, :4] = torch.rand(4, 10, generator=torch.Generator().manual_seed(0))
    curves = flipping_curves(mean_score, inputs, maps, order=order, steps=10)
    assert_close(curves[0], 1 - torch.arange(11) / 10)


def test_tied_places_go_in_an_order_that_is_seeded_and_leaves_the_generator_alone() -> None:
    cells = torch.tensor([0.0, 1.0, 0.0, 0.0, 2.0, 0.0]).double()
    first = ranking(cells, "most", None)
    assert first[:2].tolist() == [4, 1]
    assert sorted(first[2:].tolist()) == [0, 2, 3, 5]
    assert torch.equal(first, ranking(cells, "most", None))
    orders = {tuple(ranking(cells, "least", torch.Generator().manual_seed(seed)).tolist()) for seed in range(9)}
    assert len(orders) > 3
    assert {order[-2:] for order in orders} == {(1, 4)}
    generator = torch.Generator().manual_seed(3)
    state = generator.get_state()
    ranking(cells, "most", generator)
    assert torch.equal(generator.get_state(), state)


def test_steps_split_the_cells_evenly_and_end_with_all_of_them() -> None:
    assert step_counts(10, 4) == [0, 2, 5, 8, 10]
    assert step_counts(3, 100) == [0, 1, 2, 3]
    with refused("argument.invalid", InputError, name="steps", value=0):
        step_counts(10, 0)


@pytest.mark.parametrize("metric", ALL)
def test_a_constant_map_has_no_order_and_the_model_is_not_asked(metric) -> None:
    toy = ToyScore(4, 4)
    maps = torch.stack([torch.zeros(4, 4), toy.maps[1]])
    assert metric(toy, toy.inputs, maps).isnan().tolist() == [True, False]
    assert toy.asked[0] == 0


@pytest.mark.parametrize("metric", ALL)
def test_the_result_of_an_image_does_not_depend_on_the_batch(metric) -> None:
    toy = ToyScore(6, 6)
    maps = (toy.maps * 2).round()
    both = metric(toy, toy.inputs, maps)
    alone = metric(lambda inputs, row: toy(inputs, row + 1), toy.inputs[1:], maps[1:])
    assert_close(both[1:], alone)


@pytest.mark.parametrize("metric", ALL)
def test_the_model_is_asked_about_a_bounded_number_of_images_at_once(metric) -> None:
    toy = ToyScore(20, 20)
    sizes = []

    def score(inputs: Tensor, row: int) -> Tensor:
        sizes.append(len(inputs))
        return toy(inputs, row)

    metric(score, toy.inputs, toy.maps, steps=100)
    assert sum(sizes) == 2 * 101
    assert max(sizes) <= 32


def test_maps_and_baselines_that_do_not_fit_are_refused() -> None:
    toy = ToyScore(4, 4)
    with refused("maps.shape", InputError, shape=(2, 2, 4)):
        deletion_auc(toy, toy.inputs, toy.maps[:, :2])
    with refused("baseline.shape", InputError, shape=(5,)):
        deletion_auc(toy, toy.inputs, toy.maps, baseline=torch.zeros(5))


def test_a_colour_image_and_a_map_of_one_channel_go_together() -> None:
    colour = torch.tensor([0.1, 0.2, 0.3]).view(3, 1, 1)
    curves = flipping_curves(mean_score, torch.ones(1, 3, 2, 2), torch.rand(1, 2, 2), steps=4, baseline=colour)
    assert_close(curves[0], torch.tensor([1.0, 0.8, 0.6, 0.4, 0.2]))
