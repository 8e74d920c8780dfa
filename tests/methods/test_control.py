"""The random control is random, seeded, and blind to the image's neighbours."""

import torch
from torch.testing import assert_close

from camlens.methods.control import random
from tests.methods.toy import ToyProbe


def test_random_maps_weigh_channels_between_minus_one_and_one() -> None:
    probe = ToyProbe()
    twin = torch.Generator().manual_seed(0)
    weights = 2 * torch.rand(2, 4, generator=twin) - 1
    assert weights.min() < 0 < weights.max()
    assert_close(random(probe), torch.einsum("tk,nkij->ntij", weights, probe.activations), rtol=1e-5, atol=1e-6)


def test_random_maps_are_the_same_twice_and_differ_by_seed_and_target() -> None:
    probe = ToyProbe()
    first = random(probe)
    assert torch.equal(first, random(probe))
    assert not torch.allclose(first[:, 0], first[:, 1])
    probe.generator.manual_seed(1)
    assert not torch.allclose(first, random(probe))


def test_random_maps_do_not_depend_on_the_neighbours_in_the_batch() -> None:
    both, second = ToyProbe(), ToyProbe()
    second.__dict__["images"] = both.inputs[1:]
    assert_close(random(both)[1:], random(second))
