"""ShapleyCAM against a full Hessian."""

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from camlens.core.registry import METHODS
from camlens.methods.curvature import shapleycam
from tests.methods import reference
from tests.methods.toy import ToyProbe
from tests.twins import twin_of


@pytest.mark.parametrize("axes", [1, 2, 3])
@twin_of("shapleycam")
def test_shapleycam_equals_its_reference(axes: int) -> None:
    probe = ToyProbe(axes)
    maps = [
        [
            reference.shapleycam(
                probe.activations[row].double().numpy(),
                probe.gradients[row, target].double().numpy(),
                np.diag(probe.quadratic[target].double().numpy().reshape(-1)),
            )
            for target in range(2)
        ]
        for row in range(2)
    ]
    assert_close(shapleycam(probe), torch.from_numpy(np.array(maps)).float(), rtol=1e-4, atol=1e-5)


def test_shapleycam_of_a_linear_score_is_gradcam() -> None:
    probe = ToyProbe()
    probe.quadratic.zero_()
    each = [METHODS["gradcam"].function(probe.activations, one) for one in probe.gradients.unbind(1)]
    assert_close(shapleycam(probe), torch.stack(each, 1), rtol=1e-5, atol=1e-6)


def test_shapleycam_of_a_quadratic_score_weighs_channels_by_the_mean_slope_on_the_way_from_zero() -> None:
    probe = ToyProbe()
    halfway = probe.linear + probe.quadratic * probe.activations[:, None] / 2
    expected = torch.einsum("ntk,nkij->ntij", halfway.mean(dim=(3, 4)), probe.activations)
    assert_close(shapleycam(probe), expected, rtol=1e-5, atol=1e-5)
