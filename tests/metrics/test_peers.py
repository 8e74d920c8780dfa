"""The same figures as captum and pytorch-grad-cam where they compute the same thing."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from camlens.metrics.faithfulness import gaussian_noise, imputed, infidelity
from camlens.metrics.stability import max_sensitivity
from tests.metrics.toy import ToyScore

pytestmark = pytest.mark.peers


@pytest.mark.parametrize("scaled", [True, False])
def test_infidelity_is_that_of_captum(scaled: bool) -> None:
    captum = pytest.importorskip("captum.metrics")
    toy = ToyScore(5, 6, images=1)
    perturb = gaussian_noise(0.3)
    taken = perturb(toy.inputs[0], 50, torch.Generator().manual_seed(0))
    wanted = captum.infidelity(
        lambda inputs: toy(inputs, 0),
        lambda inputs: (taken, inputs - taken),
        toy.inputs,
        toy.maps[:, None].expand(-1, 3, -1, -1),
        n_perturb_samples=50,
        max_examples_per_batch=50,
        normalize=scaled,
    )
    result = infidelity(toy, toy.inputs, toy.maps, perturb=perturb, samples=50, scaled=scaled)
    assert_close(result, wanted, rtol=1e-4, atol=1e-6)


def test_max_sensitivity_is_that_of_captum() -> None:
    captum = pytest.importorskip("captum.metrics")
    inputs = torch.randn(1, 3, 5, 6, generator=torch.Generator().manual_seed(1))
    noise = 0.02 * (2 * torch.rand(10, 3, 5, 6, generator=torch.Generator().manual_seed(0)) - 1)

    def explain(images: Tensor, row: int = 0) -> Tensor:
        return images.sum(dim=1).sin()

    wanted = captum.sensitivity_max(
        lambda images: (explain(images[0] if isinstance(images, tuple) else images),),
        inputs,
        perturb_func=lambda images: inputs + noise,
        n_perturb_samples=10,
        max_examples_per_batch=10,
    )
    assert_close(max_sensitivity(explain, inputs), wanted, rtol=1e-4, atol=1e-6)


def test_road_imputation_is_that_of_pytorch_grad_cam() -> None:
    road = pytest.importorskip("pytorch_grad_cam.metrics.road")
    draw = torch.Generator().manual_seed(0)
    picture = torch.rand(3, 12, 10, generator=draw)
    removed = torch.rand(12, 10, generator=draw) < 0.6
    matrix, right = road.NoisyLinearImputer.setup_sparse_system(
        (~removed).float().numpy(), picture.numpy(), road.neighbors_weights
    )
    wanted = torch.from_numpy(np.linalg.solve(matrix.toarray(), right)).float()
    result = imputed(picture[None], removed[None], noise=0.0)[0]
    assert_close(result[:, removed].T, wanted, rtol=0, atol=1e-4)
