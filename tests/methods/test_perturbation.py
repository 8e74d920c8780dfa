"""Perturbation methods on a network of closed forms, against their references."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from camlens.core.errors import InputError, LayerError
from camlens.core.types import TargetMaps
from camlens.methods.perturbation import ablationcam, channel_masks, iscam, mask_weights, scorecam, sscam
from tests.methods import reference
from tests.methods.toy import ToyProbe
from tests.refusals import refused
from tests.twins import twin_of

METHODS = [scorecam, sscam, iscam, ablationcam]
AXES = [1, 2, 3]


def masked_by_reference(probe: ToyProbe, variants: list) -> Tensor:
    rows = zip(probe.activations.double().numpy(), probe.inputs.double().numpy(), strict=True)
    maps = [[reference.scorecam(a, x, probe.score_of(target), variants) for target in range(2)] for a, x in rows]
    return torch.from_numpy(np.array(maps)).float()


def drawn_fields(probe: ToyProbe, samples: int) -> list[np.ndarray]:
    """What the probe's generator gives when asked for one field of noise after the other."""
    twin = torch.Generator()
    twin.set_state(probe.generator.get_state())
    size = probe.inputs.shape[2:]
    return [torch.randn(size, generator=twin).double().numpy() for _ in range(samples)]


@pytest.mark.parametrize("axes", AXES)
@twin_of("scorecam")
def test_scorecam_equals_its_reference(axes: int) -> None:
    probe = ToyProbe(axes)
    expected = masked_by_reference(probe, [lambda mask: mask])
    assert_close(scorecam(probe), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("axes", AXES)
@twin_of("iscam")
def test_iscam_equals_its_reference(axes: int) -> None:
    probe = ToyProbe(axes)
    variants = [lambda mask, share=share: mask * share for share in (0.25, 0.5, 0.75, 1.0)]
    assert_close(iscam(probe, samples=4), masked_by_reference(probe, variants), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("axes", AXES)
@twin_of("sscam")
def test_sscam_equals_its_reference(axes: int) -> None:
    probe = ToyProbe(axes)
    variants = [lambda mask, field=field: mask + 0.3 * field for field in drawn_fields(probe, 3)]
    maps = sscam(probe, samples=3, noise=0.3)
    assert_close(maps, masked_by_reference(probe, variants), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("axes", AXES)
@twin_of("ablationcam")
def test_ablationcam_equals_its_reference(axes: int) -> None:
    probe = ToyProbe(axes)
    features = probe.activations.double().numpy()
    expected = [
        [reference.ablationcam(one, probe.score_of(target, of_features=True)) for target in range(2)]
        for one in features
    ]
    assert_close(ablationcam(probe), torch.from_numpy(np.array(expected)).float(), rtol=1e-4, atol=1e-5)


def test_ablationcam_of_a_linear_score_is_gradient_times_activation_per_channel() -> None:
    probe = ToyProbe()
    probe.quadratic.zero_()
    weights = (probe.linear * probe.activations[:, None]).flatten(3).sum(dim=3) / probe.scores[:, :, None]
    expected = torch.einsum("ntk,nkij->ntij", weights, probe.activations)
    assert_close(ablationcam(probe), expected, rtol=1e-4, atol=1e-5)


def test_ablationcam_turns_round_with_a_negative_score_unless_told_not_to() -> None:
    probe = ToyProbe()
    absolute = ablationcam(probe, relative=False)
    assert_close(ablationcam(probe), absolute / probe.scores[:, :, None, None], rtol=1e-5, atol=1e-6)
    probe.offset.sub_(probe.scores[0])  # moves every score, loses the same for each channel
    assert_close(ablationcam(probe, relative=False), absolute, rtol=1e-3, atol=1e-4)
    assert torch.isfinite(ablationcam(probe)).all()


def test_channels_that_cannot_matter_are_not_tried_and_weigh_nothing() -> None:
    probe = ToyProbe(images=1, batch_size=8)
    probe.mix[1] = 0  # a dead channel
    for method in (scorecam, ablationcam):
        probe.asked.clear()
        maps = method(probe)
        assert probe.asked == [(0, 3)]
        assert torch.isfinite(maps).all()
    assert (mask_weights(probe, [lambda mask: mask])[0, :, 1] == 0).all()
    assert_close(mask_weights(probe, [lambda mask: mask]).sum(dim=2), torch.ones(1, 2))


def test_all_targets_share_the_forward_passes() -> None:
    probe = ToyProbe(images=2, batch_size=4)
    scorecam(probe)
    assert probe.asked == [(0, 4), (1, 4)]


@pytest.mark.parametrize("method", METHODS, ids=lambda one: one.__name__)
def test_dead_features_give_a_zero_map_and_ask_nothing(method) -> None:
    probe = ToyProbe()
    probe.mix.zero_()
    assert torch.equal(method(probe), torch.zeros(2, 2, 3, 4))
    assert probe.asked == []


@pytest.mark.parametrize("method", METHODS, ids=lambda one: one.__name__)
def test_the_map_does_not_depend_on_how_many_are_evaluated_at_once(method) -> None:
    one_by_one, all_at_once = method(ToyProbe(batch_size=1)), method(ToyProbe(batch_size=64))
    assert_close(one_by_one, all_at_once, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("method", METHODS, ids=lambda one: one.__name__)
def test_the_map_does_not_depend_on_the_batch(method) -> None:
    both, second = ToyProbe(images=2), ToyProbe(images=2)
    second.__dict__["images"] = both.inputs[1:]
    assert_close(method(both)[1:], method(second), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("method", METHODS, ids=lambda one: one.__name__)
def test_equal_calls_give_equal_maps_and_leave_the_generator_alone(method) -> None:
    probe = ToyProbe()
    state = probe.generator.get_state()
    assert torch.equal(method(probe), method(probe))
    assert torch.equal(probe.generator.get_state(), state)


@pytest.mark.parametrize("method", METHODS, ids=lambda one: one.__name__)
def test_progress_rises_to_its_total(method) -> None:
    probe = ToyProbe()
    method(probe)
    done, totals = zip(*probe.reports, strict=True)
    assert list(done) == sorted(set(done))
    assert set(totals) == {done[-1]}


def test_sscam_without_noise_and_iscam_of_one_step_are_scorecam() -> None:
    expected: TargetMaps = scorecam(ToyProbe())
    assert_close(sscam(ToyProbe(), samples=2, noise=0.0), expected)
    assert_close(iscam(ToyProbe(), samples=1), expected)


def test_another_seed_gives_another_sscam_map() -> None:
    probe = ToyProbe()
    first = sscam(probe, samples=2, noise=0.5)
    probe.generator.manual_seed(1)
    assert not torch.allclose(first, sscam(probe, samples=2, noise=0.5))


def test_masks_reach_from_zero_to_one_and_keep_the_corners() -> None:
    channels = torch.tensor([[[1.0, 3.0], [5.0, 2.0]], [[7.0, 7.0], [7.0, 7.0]]])
    masks = channel_masks(channels, (3, 3))
    expected = [[0.0, 0.25, 0.5], [0.5, 0.4375, 0.375], [1.0, 0.625, 0.25]]
    assert_close(masks, torch.stack([torch.tensor(expected), torch.zeros(3, 3)]))


def test_masks_of_tiny_activations_are_masks() -> None:
    channels = torch.rand(3, 4, 4, generator=torch.Generator().manual_seed(0))
    assert_close(channel_masks(channels * 1e-20, (8, 8)), channel_masks(channels, (8, 8)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("samples", [0, -1])
def test_invalid_samples_are_refused(samples: int) -> None:
    for method in (sscam, iscam):
        with refused("argument.invalid", InputError, name="samples", value=samples):
            method(ToyProbe(), samples=samples)


@pytest.mark.parametrize("noise", [-0.1, float("nan"), float("inf")])
def test_invalid_noise_is_refused(noise: float) -> None:
    with refused("argument.invalid", InputError, name="noise"):
        sscam(ToyProbe(), noise=noise)


def test_a_grid_that_does_not_fit_the_input_is_refused_with_a_reason() -> None:
    with refused("size.invalid", LayerError, size=(8, 8)):
        channel_masks(torch.rand(3, 5), (8, 8))
