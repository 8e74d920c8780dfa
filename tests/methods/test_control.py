"""The random control: formula, seed and independence of the batch."""

import numpy as np
import torch
from torch.testing import assert_close

from camlens.methods.control import random
from tests.methods import reference
from tests.methods.toy import ToyProbe
from tests.twins import twin_of


@twin_of("random")
def test_random_maps_weight_channels_uniformly() -> None:
    probe = ToyProbe()
    twin = torch.Generator().manual_seed(0)
    weights = 2 * torch.rand(2, 4, generator=twin) - 1
    assert weights.min() < 0 < weights.max()
    expected = [
        [reference.combined(row.tolist(), image) for row in weights.double()]
        for image in probe.activations.double().numpy()
    ]
    assert_close(random(probe), torch.from_numpy(np.array(expected)).float(), rtol=1e-5, atol=1e-6)


def test_random_maps_are_the_same_twice_and_differ_by_seed_and_target() -> None:
    probe = ToyProbe()
    first = random(probe)
    assert torch.equal(first, random(probe))
    assert not torch.allclose(first[:, 0], first[:, 1])
    probe.generator.manual_seed(1)
    assert not torch.allclose(first, random(probe))


def test_random_maps_do_not_depend_on_the_batch() -> None:
    both, second = ToyProbe(), ToyProbe()
    second.__dict__["images"] = both.inputs[1:]
    assert_close(random(both)[1:], random(second))
