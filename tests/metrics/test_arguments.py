"""What metrics check at their doors, and how they draw."""

import torch
from torch.testing import assert_close

from camlens.core.baselines import baseline_image
from camlens.core.errors import InputError
from camlens.metrics.arguments import (
    draws,
    probability,
    same_size,
    says_something,
    scores_of,
    within,
)
from tests.refusals import refused


def test_only_finite_maps_that_vary_say_something() -> None:
    cells = torch.tensor([[0.0, 1.0], [2.0, 2.0], [0.0, float("nan")], [0.0, float("inf")]])
    assert says_something(cells).tolist() == [True, False, False, False]


def test_one_map_per_image_of_its_size_is_required() -> None:
    images = torch.zeros(2, 3, 4, 5)
    same_size(images, torch.zeros(2, 4, 5))
    for size in [(1, 4, 5), (2, 5, 4), (2, 1, 4, 5), (4, 5)]:
        with refused("maps.shape", InputError, shape=size, inputs=(2, 3, 4, 5)):
            same_size(images, torch.zeros(size))


def test_a_baseline_is_a_number_or_broadcasts_to_the_images() -> None:
    images = torch.zeros(2, 3, 4)
    assert_close(baseline_image(0.5, images), torch.full((2, 3, 4), 0.5))
    assert_close(baseline_image(torch.ones(3, 1), images), torch.ones(2, 3, 4))
    with refused("baseline.shape", InputError, shape=(2,), image=(2, 3, 4)):
        baseline_image(torch.ones(2), images)


def test_draws_start_where_the_generator_stands_and_leave_it_there() -> None:
    assert_close(torch.rand(3, generator=draws(None)), torch.rand(3, generator=torch.Generator().manual_seed(0)))
    generator = torch.Generator().manual_seed(4)
    torch.rand(2, generator=generator)
    state = generator.get_state()
    first = torch.rand(3, generator=draws(generator))
    assert torch.equal(generator.get_state(), state)
    assert_close(torch.rand(3, generator=generator), first)


def test_numbers_out_of_range_are_refused() -> None:
    assert within("share", 0.5, 0, 1) == 0.5
    for value in (0.0, 1.0, -1.0, float("nan")):
        with refused("argument.invalid", InputError, name="share", value=value):
            within("share", value, 0, 1)


def test_probabilities_may_miss_by_rounding_and_logits_are_refused() -> None:
    assert probability(1 + 1e-7) == 1
    assert probability(-1e-7) == 0
    for value in (1.1, -0.1, float("nan")):
        with refused("score.not-a-probability", InputError):
            probability(value)


def test_scores_are_asked_for_part_by_part_without_a_graph() -> None:
    weight = torch.tensor(2.0, requires_grad=True)
    parts = [torch.ones(2, 1, 3), torch.ones(1, 1, 3)]
    result = scores_of(lambda inputs, row: inputs.sum(dim=(1, 2)) * weight + row, parts, 5)
    assert_close(result, torch.full((3,), 11.0, dtype=torch.float64))
    assert not result.requires_grad
