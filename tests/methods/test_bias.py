"""FullGrad against its reference."""

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from camlens.methods.bias import fullgrad
from tests.methods import reference
from tests.methods.toy import ToyProbe
from tests.twins import twin_of


@pytest.mark.parametrize("axes", [1, 2, 3])
@twin_of("fullgrad")
def test_fullgrad_equals_its_reference_at_the_size_of_the_input(axes: int) -> None:
    probe = ToyProbe(axes)
    bias, gradients = next(iter(probe.bias_terms()))
    maps = [
        [
            reference.fullgrad(
                probe.inputs[row].double().numpy(),
                probe.input_gradients[row, target].double().numpy(),
                [(bias.double().numpy(), gradients[row, target].double().numpy())],
            )
            for target in range(2)
        ]
        for row in range(2)
    ]
    expected = torch.from_numpy(np.array(maps)).float()
    assert expected.shape == (2, 2, *probe.inputs.shape[2:])
    assert_close(fullgrad(probe), expected, rtol=1e-4, atol=1e-5)


def test_fullgrad_does_not_change_with_the_scale_of_the_score() -> None:
    probe, tiny = ToyProbe(), ToyProbe()
    tiny.linear.mul_(1e-20)
    tiny.quadratic.mul_(1e-20)
    assert_close(fullgrad(tiny), fullgrad(probe), rtol=1e-4, atol=1e-4)


def test_fullgrad_of_a_black_image_without_slopes_is_zero() -> None:
    probe = ToyProbe()
    for one in (probe.images, probe.linear, probe.quadratic):
        one.zero_()
    assert torch.equal(fullgrad(probe), torch.zeros(2, 2, 6, 8))
