"""Integrated Gradients and SmoothGrad: closed forms, references, captum called directly."""

import captum.attr
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from camlens import InputError, explain
from camlens.targets import ClassScore, Probability
from tests.methods import reference
from tests.nets import images, plain_cnn, seeded
from tests.refusals import refused
from tests.twins import twin_of

pytestmark = pytest.mark.filterwarnings("ignore::camlens.core.errors.EvidenceWarning")

TARGETS = [ClassScore(0), ClassScore(3)]


class Quadratic(nn.Module):
    """Scores a x + b x^2 summed over everything: integrals and gradients are known exactly."""

    def forward(self, inputs: Tensor) -> Tensor:
        flat = inputs.flatten(1)
        return torch.stack([2 * flat.sum(dim=1), flat.square().sum(dim=1)], dim=1)


def gradient(model: nn.Module, image: np.ndarray, target: int) -> np.ndarray:
    there = torch.from_numpy(image).float()[None].requires_grad_()
    (found,) = torch.autograd.grad(model(there)[0, target], there)
    return found[0].double().numpy()


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_integrated_gradients_of_a_polynomial_are_its_integral(axes: int) -> None:
    inputs = images(2, size=(4, 5, 3)[:axes])
    found = explain(
        Quadratic(), inputs, method="integratedgradients", target=[ClassScore(0), ClassScore(1)],
        options={"steps": 3, "baseline": 0.5},
    )  # fmt: skip
    expected = torch.stack([(2 * (inputs - 0.5)).sum(dim=1), (inputs.square() - 0.25).sum(dim=1)], dim=1)
    assert_close(found.maps["input"], expected, rtol=1e-5, atol=1e-5)
    assert_close(found.details["completeness_gap"], torch.zeros(2, 2), rtol=0, atol=1e-4)


@twin_of("integratedgradients")
def test_integrated_gradients_equal_a_slow_integral() -> None:
    model, inputs = seeded(plain_cnn), images(1)
    found = explain(model, inputs, method="integratedgradients", target=TARGETS, options={"steps": 120})
    for place, target in enumerate((0, 3)):
        image = inputs[0].double().numpy()
        expected = reference.integrated_gradients(
            image, np.zeros_like(image), lambda there, target=target: gradient(model, there, target), 120
        )
        scale = np.abs(expected).max()
        assert_close(found.maps["input"][0, place].double().numpy(), expected, rtol=0, atol=0.03 * scale)


@pytest.mark.peers
@pytest.mark.parametrize("batch_size", [5, 64])
def test_integrated_gradients_equal_captum_called_directly(batch_size: int) -> None:
    model, inputs = seeded(plain_cnn), images(2)
    found = explain(model, inputs, method="integratedgradients", target=TARGETS, batch_size=batch_size)
    for place, target in enumerate((0, 3)):
        theirs = captum.attr.IntegratedGradients(model).attribute(inputs.clone().requires_grad_(), target=target)
        assert_close(found.maps["input"][:, place], theirs.detach().sum(dim=1), rtol=1e-3, atol=1e-5)


def test_the_map_sums_to_the_score_difference_up_to_the_reported_gap() -> None:
    model, inputs = seeded(plain_cnn), images(2)
    found = explain(model, inputs, method="integratedgradients", target=Probability(1), options={"steps": 100})
    with torch.no_grad():
        start = model(torch.zeros_like(inputs)).softmax(dim=1)[:, 1:2]
    assert_close(found.details["baseline_scores"], start)
    gap = found.maps["input"].flatten(2).sum(dim=2) - (found.scores - start)
    assert_close(found.details["completeness_gap"], gap.abs(), rtol=1e-3, atol=1e-6)
    assert float(gap.abs().max()) < 0.01


def test_smoothgrad_of_a_linear_score_is_its_largest_weight_for_any_noise() -> None:
    class Fixed(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            return (inputs * torch.tensor([1.0, -3.0, 2.0]).view(3, 1, 1)).flatten(1).sum(dim=1, keepdim=True)

    found = explain(Fixed(), images(2), method="smoothgrad", target=0, options={"noise": 5.0})
    assert_close(found.maps["input"], torch.full((2, 1, 16, 16), 3.0))


@twin_of("smoothgrad")
def test_smoothgrad_equals_its_reference_on_the_same_draws() -> None:
    model, inputs = seeded(plain_cnn), images(1)
    found = explain(
        model, inputs, method="smoothgrad", target=TARGETS, options={"samples": 6, "noise": 0.2}, batch_size=4, seed=5
    )
    draw, spread = torch.Generator().manual_seed(5), 0.2 * float(inputs.max() - inputs.min())
    noisy = [(inputs[0] + spread * torch.randn(inputs[0].shape, generator=draw)).double().numpy() for _ in range(6)]
    for place, target in enumerate((0, 3)):
        expected = reference.smoothgrad([gradient(model, one, target) for one in noisy])
        assert_close(found.maps["input"][0, place].double().numpy(), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.peers
@pytest.mark.parametrize("batch_size", [4, 32])
def test_smoothgrad_equals_captums_noise_tunnel_after_the_same_seed(batch_size: int) -> None:
    model, inputs = seeded(plain_cnn), images(1)
    found = explain(
        model, inputs, method="smoothgrad", target=TARGETS, options={"samples": 9, "noise": 0.3}, seed=5,
        batch_size=batch_size,
    )  # fmt: skip
    for place, target in enumerate((0, 3)):
        peer = captum.attr.NoiseTunnel(captum.attr.Saliency(model))
        with torch.random.fork_rng():
            torch.manual_seed(5)
            theirs = peer.attribute(
                inputs, target=target, nt_samples=9, nt_samples_batch_size=batch_size, abs=False,
                stdevs=0.3 * float(inputs.max() - inputs.min()),
            )  # fmt: skip
        assert_close(found.maps["input"][:, place], theirs.abs().amax(dim=1), rtol=1e-4, atol=1e-6)


def test_smoothgrad_asks_once_for_all_targets_and_tells_how_far_it_is() -> None:
    model, inputs, seen, told = seeded(plain_cnn), images(2), [], []
    model.register_forward_pre_hook(lambda _module, args: seen.append(len(args[0])))
    options = {"samples": 5, "noise": 0.2}

    def forwards(target: object) -> int:
        seen.clear()
        explain(
            model, inputs, method="smoothgrad", target=target, options=options, batch_size=2,
            progress=lambda done, total: told.append((done, total)),
        )  # fmt: skip
        return sum(seen)

    assert forwards(TARGETS) == forwards([ClassScore(3)])
    assert told == 2 * [(done, 10) for done in (2, 4, 5, 7, 9, 10)]


@pytest.mark.peers
def test_smoothgrad_without_noise_is_captums_saliency() -> None:
    model, inputs = seeded(plain_cnn), images(2)
    found = explain(model, inputs, method="smoothgrad", target=3, options={"noise": 0.0, "samples": 1})
    theirs = captum.attr.Saliency(model).attribute(inputs.clone().requires_grad_(), target=3)
    assert_close(found.maps["input"][:, 0], theirs.amax(dim=1), rtol=1e-4, atol=1e-6)


def test_invalid_options_are_refused() -> None:
    model, inputs = seeded(plain_cnn), images(1)
    for method, options, code, facts in (
        ("integratedgradients", {"steps": 0}, "argument.invalid", {"name": "steps", "value": 0}),
        ("integratedgradients", {"baseline": "mean"}, "argument.invalid", {"name": "baseline", "value": "mean"}),
        ("integratedgradients", {"baseline": torch.zeros(4)}, "baseline.shape", {"shape": (4,)}),
        ("smoothgrad", {"samples": 0}, "argument.invalid", {"name": "samples", "value": 0}),
        ("smoothgrad", {"noise": -1}, "argument.invalid", {"name": "noise", "value": -1}),
    ):
        with refused(code, InputError, **facts):
            explain(model, inputs, method=method, options=options)
