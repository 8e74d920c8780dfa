"""Draws of other libraries: those that the same code makes after the same global seed, with nothing global touched."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Barrier

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli, Categorical, Normal
from torch.testing import assert_close
from torch.utils.data import DataLoader, TensorDataset

from camlens import explain
from camlens.core.execution.draws import SeededDraws
from tests.nets import images, plain_cnn, seeded

HALVES = torch.full((20,), 0.5)

DRAWS: dict[str, Callable[[], Tensor]] = {
    "rand": lambda: torch.rand(3),
    "randn": lambda: torch.randn(2, 20),
    "randint": lambda: torch.randint(0, 99, (5,)),
    "randperm": lambda: torch.randperm(9),
    "normal of a tensor": lambda: torch.normal(0, HALVES),
    "normal of numbers": lambda: torch.normal(0.0, 1.0, (3,)),
    "bernoulli": lambda: torch.bernoulli(HALVES),
    "bernoulli as a method": lambda: HALVES.bernoulli(),
    "multinomial": lambda: torch.multinomial(HALVES, 4),
    "multinomial as a method": lambda: HALVES.multinomial(4, True),
    "poisson": lambda: torch.poisson(HALVES),
    "binomial": lambda: torch.binomial(10 * HALVES, HALVES),
    "random_": lambda: torch.empty((), dtype=torch.int64).random_(),
    "normal_": lambda: torch.empty(5).normal_(1.0, 2.0),
    "uniform_": lambda: torch.empty(5).uniform_(),
    "bernoulli_": lambda: torch.empty(20).bernoulli_(HALVES),
    "exponential_": lambda: torch.empty(5).exponential_(),
    "geometric_": lambda: torch.empty(5).geometric_(0.5),
    "cauchy_": lambda: torch.empty(5).cauchy_(),
    "log_normal_": lambda: torch.empty(5).log_normal_(),
    "distributions": lambda: torch.cat(
        [Categorical(HALVES).sample((4,)), Normal(0.0, 1.0).sample((3,)), Bernoulli(HALVES).sample()]
    ),
    "a shuffling loader": lambda: torch.cat(
        [one for (one,) in DataLoader(TensorDataset(torch.arange(9)), batch_size=2, shuffle=True)]
    ),
}


@pytest.mark.parametrize("name", list(DRAWS))
def test_draws_are_those_after_the_same_global_seed_which_stays_as_it_was(name: str) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(7)
        expected = DRAWS[name]()
        torch.manual_seed(1)
        before = torch.get_rng_state()
        with SeededDraws(torch.Generator().manual_seed(7)):
            found = DRAWS[name]()
        assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(found, expected)


def test_a_loader_that_does_not_shuffle_leaves_the_global_state_too() -> None:
    before = torch.get_rng_state()
    with SeededDraws(torch.Generator().manual_seed(7)):
        list(DataLoader(TensorDataset(torch.arange(9)), batch_size=2))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_call_with_a_generator_of_its_own_keeps_it() -> None:
    own, mine = torch.Generator().manual_seed(4), torch.Generator().manual_seed(7)
    with SeededDraws(mine):
        found = torch.rand(3, generator=own)
    assert torch.equal(found, torch.rand(3, generator=torch.Generator().manual_seed(4)))
    assert torch.equal(mine.get_state(), torch.Generator().manual_seed(7).get_state())


def test_paused_leaves_draws_alone_also_when_the_block_fails() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(2)
        expected = torch.rand(3)
        torch.manual_seed(2)
        with SeededDraws(torch.Generator().manual_seed(7)) as draws:
            with draws.paused():
                paused = torch.rand(3)
            with suppress(KeyError), draws.paused():
                raise KeyError
            found = torch.rand(3)
    assert torch.equal(paused, expected)
    assert torch.equal(found, torch.rand(3, generator=torch.Generator().manual_seed(7)))


def test_threads_draw_side_by_side_as_each_would_alone() -> None:
    together = Barrier(8)

    def draw(seed: int) -> Tensor:
        with SeededDraws(torch.Generator().manual_seed(seed)):
            rows = []
            for _ in range(20):
                together.wait(timeout=30)
                rows.append(torch.normal(0, HALVES))
            return torch.stack(rows)

    before = torch.get_rng_state()
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(draw, range(8)))
    assert torch.equal(torch.get_rng_state(), before)
    for seed, rows in enumerate(found):
        generator = torch.Generator().manual_seed(seed)
        expected = torch.stack([torch.normal(torch.zeros(20), HALVES, generator=generator) for _ in range(20)])
        assert_close(rows, expected, rtol=0, atol=0)


class Restless(nn.Module):
    """A model that draws while it runs, from the global state as any model does, and tells what it drew."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.drawn = seeded(plain_cnn), list[float]()

    def forward(self, inputs: Tensor) -> Tensor:
        self.drawn.append(float(torch.rand(())))
        return self.inner(inputs)


@pytest.mark.parametrize("method", ["lime", "kernelshap", "smoothgrad"])
def test_what_the_model_draws_does_not_meet_what_the_method_draws(method: str) -> None:
    restless, inputs = Restless(), images(1)
    options = {"samples": 20} if method == "smoothgrad" else {"samples": 20, "segments": 6}
    with torch.random.fork_rng():
        torch.manual_seed(3)
        own, numbers = {float(torch.rand(())) for _ in range(2)}, np.random.get_state()[1].copy()
        torch.manual_seed(3)
        before = torch.get_rng_state()
        found = explain(restless, inputs, method=method, target=1, options=options, batch_size=5)
        assert torch.equal(torch.get_rng_state(), before)
    assert np.array_equal(np.random.get_state()[1], numbers)
    assert set(restless.drawn) <= own  # the global state is put back after one or two passes
    still = explain(restless.inner, inputs, method=method, target=1, options=options, batch_size=5)
    assert_close(found.maps["input"], still.maps["input"], rtol=1e-4, atol=1e-6)
