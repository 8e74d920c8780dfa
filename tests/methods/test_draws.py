"""Twins of a generator draw the same and leave it alone."""

import torch

from camlens.methods.draws import same_draws


def test_every_twin_draws_what_the_generator_would_draw_next() -> None:
    generator = torch.Generator().manual_seed(7)
    torch.rand(3, generator=generator)
    first, second = (torch.rand(5, generator=same_draws(generator)) for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(first, torch.rand(5, generator=generator))
