"""RISE against its reference, and against what is known in expectation."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from camlens import explain
from camlens.core.errors import InputError
from camlens.core.probe import Probe
from camlens.methods.draws import same_draws
from camlens.methods.rise import Draws, draws, rise, rise_estimates
from camlens.targets import AllClasses, ClassScore
from tests.methods import reference
from tests.methods.quadratic import SIZES, Quadratic, pictures, probe_of
from tests.nets import images, plain_cnn, seeded
from tests.refusals import refused
from tests.twins import twin_of

TARGETS = [ClassScore(2), ClassScore(0)]


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_masks_are_enlarged_grids_cut_out_at_their_shift(axes: int) -> None:
    drawn = draws(torch.Generator().manual_seed(3), 5, SIZES[axes], cells=3)
    masks = drawn.masks(1, 4, SIZES[axes])
    for place, number in enumerate(range(1, 4)):
        grid = drawn.grids[number].double().numpy()
        expected = reference.rise_mask(grid, tuple(drawn.shifts[number].tolist()), SIZES[axes])
        assert_close(masks[place], torch.from_numpy(expected).float(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize("axes", [1, 2, 3])
@twin_of("rise")
def test_rise_equals_its_reference(axes: int, centred: bool) -> None:
    model, inputs = Quadratic(axes), pictures(axes)
    probe = probe_of(model, inputs, TARGETS, batch_size=4)
    drawn = draws(same_draws(probe.generator), 30, SIZES[axes], cells=3, keep=0.4)
    masks = [
        reference.rise_mask(grid.double().numpy(), tuple(shift.tolist()), SIZES[axes])
        for grid, shift in zip(drawn.grids, drawn.shifts, strict=True)
    ]
    expected = [
        [reference.rise(one, model.score_of(target), masks, 0.4, centred=centred) for target in (2, 0)]
        for one in inputs.double().numpy()
    ]
    found = rise(probe, masks=30, cells=3, keep=0.4, centred=centred)
    assert_close(found.maps, torch.from_numpy(np.array(expected)).float(), rtol=1e-4, atol=1e-4)


def every_mask(size: tuple[int, int], keep: float) -> tuple[np.ndarray, np.ndarray]:
    """All masks of a 2 x 2 grid with all shifts, and how likely each is."""
    steps = [math.ceil(length / 2) for length in size]
    masks, chances = [], []
    for bits in itertools.product((0.0, 1.0), repeat=4):
        for shift in itertools.product(*(range(step) for step in steps)):
            masks.append(reference.rise_mask(np.array(bits).reshape(2, 2), shift, size))
            chances.append(keep ** sum(bits) * (1 - keep) ** (4 - sum(bits)) / math.prod(steps))
    return np.array(masks), np.array(chances)


@pytest.mark.parametrize("keep", [0.5, 0.3])
def test_rise_of_a_linear_score_is_its_covariance_with_what_is_shown_in_expectation(keep: float) -> None:
    model, inputs = Quadratic(curved=False), pictures(count=1)
    masks, chances = every_mask(SIZES[2], keep)
    assert_close(np.einsum("i,ihw->hw", chances, masks), np.full(SIZES[2], keep))
    evidence = (model.linear[2] * inputs[0]).sum(dim=0).double().numpy()
    answers = np.einsum("ihw,hw->i", masks, evidence) + 3.0
    mean, together = chances @ answers, np.einsum("i,i,ihw->hw", chances, answers, masks)
    number = 40_000
    error = 5 * np.sqrt(np.einsum("i,i,ihw->hw", chances, answers**2, masks**2) / number).max() / keep
    options = {"masks": number, "cells": 2, "keep": keep}
    model.offset.fill_(3.0)
    probe = probe_of(model, inputs, 2, batch_size=1000)
    paper = rise(probe, **options, centred=False).maps[0, 0].double().numpy()
    ours = rise(probe, **options).maps[0, 0].double().numpy()
    assert np.abs(paper - together / keep).max() < error
    assert np.abs(ours - (together / keep - mean)).max() < error
    assert error < np.abs(together / keep - mean).max() / 2, "the bound would let anything pass"


def test_centred_maps_do_not_see_an_offset_of_the_score() -> None:
    model, inputs = Quadratic(), pictures()
    before = rise(probe_of(model, inputs, TARGETS), masks=20, cells=3).maps
    model.offset.add_(100)
    assert_close(rise(probe_of(model, inputs, TARGETS), masks=20, cells=3).maps, before, rtol=1e-3, atol=1e-3)


def test_a_score_that_reads_one_corner_lights_up_that_corner() -> None:
    model, inputs = Quadratic(curved=False), torch.ones(1, 2, 6, 8)
    model.linear.zero_()
    model.linear[1, :, :2, 6:] = 1
    maps = rise(probe_of(model, inputs, 1), masks=2000, cells=4).maps[0, 0]
    assert maps.argmax().item() in {6, 7, 14, 15}
    assert maps[:2, 6:].mean() > 5 * maps[3:, :4].abs().mean()


def test_all_images_and_targets_share_masks_and_targets_share_forward_passes() -> None:
    model, inputs = Quadratic(), pictures(count=3)
    together = rise(probe_of(model, inputs, AllClasses(), batch_size=8), masks=20, cells=3).maps
    assert model.batches == [3, 1, *[8] * 6, *[4] * 3]  # the 1 is the proof that channels-last is the same
    alone = rise(probe_of(model, inputs[2:], 1, batch_size=8), masks=20, cells=3).maps
    assert_close(together[2:, 1:2], alone, rtol=1e-4, atol=1e-5)


def test_no_more_masks_exist_at_a_time_than_the_batch_size(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    usual = Draws.masks

    def counted(self: Draws, start: int, stop: int, size: tuple[int, ...]) -> torch.Tensor:
        made.append(stop - start)
        return usual(self, start, stop, size)

    monkeypatch.setattr(Draws, "masks", counted)
    rise(probe_of(Quadratic(), pictures(), 0, batch_size=16), masks=50, cells=3)
    assert made == [16, 16, 16, 2]


def test_the_map_does_not_depend_on_the_batch_size_and_equal_calls_are_equal() -> None:
    model, inputs = Quadratic(), pictures()
    first = rise(probe_of(model, inputs, TARGETS, batch_size=1), masks=21, cells=3)
    second = rise(probe_of(model, inputs, TARGETS, batch_size=64), masks=21, cells=3)
    assert_close(first.maps, second.maps, rtol=1e-5, atol=1e-5)
    assert_close(first.details["agreement"], second.details["agreement"], rtol=1e-4, atol=1e-5)
    probe = probe_of(model, inputs, TARGETS)
    assert torch.equal(rise(probe, masks=21, cells=3).maps, rise(probe, masks=21, cells=3).maps)
    other = rise(probe_of(model, inputs, TARGETS, seed=1), masks=21, cells=3).maps
    assert not torch.allclose(first.maps, other, atol=1e-2)


def test_the_running_estimate_ends_at_the_map_and_its_halves_agree_more_and_more() -> None:
    probe = probe_of(Quadratic(), pictures(), TARGETS, batch_size=10)
    estimates = list(rise_estimates(probe, masks=600, cells=3))
    assert [one.done for one in estimates] == list(range(10, 601, 10))
    assert torch.equal(estimates[-1].maps(), rise(probe, masks=600, cells=3).maps)
    early, late = estimates[1].agreement(), estimates[-1].agreement()
    assert (late > early).all()
    assert (late > 0.8).all()
    half = rise(probe, masks=300, cells=3).maps
    assert not torch.equal(half, estimates[-1].maps())


def test_a_custom_method_can_stop_early() -> None:
    model, inputs, counts = seeded(plain_cnn), images(), []

    def settled(probe: Probe) -> torch.Tensor:
        for estimate in rise_estimates(probe.at_input, masks=100_000, cells=4):
            counts.append(estimate.done)
            if estimate.agreement().min() > 0.8:
                break
        return estimate.maps()

    result = explain(model, inputs, method=settled, layers="5", target=0, batch_size=64)
    assert 128 <= counts[-1] < 20_000
    options = {"masks": counts[-1], "cells": 4}
    same = explain(model, inputs, method="rise", target=0, options=options)
    # the draws of fewer masks are others: the maps agree as well as the halves promised, not to the digit
    both = torch.stack([result.maps["5"].flatten(), same.maps["input"].flatten()])
    assert torch.corrcoef(both)[0, 1] > 0.7


def test_a_single_mask_says_nothing_about_agreement() -> None:
    found = rise(probe_of(Quadratic(), pictures(), 0), masks=1, cells=3)
    assert torch.equal(found.details["agreement"], torch.zeros(2, 1))
    assert torch.isfinite(found.maps).all()


def test_progress_rises_to_its_total_and_raising_in_it_cancels() -> None:
    reports: list[tuple[int, int]] = []
    model = Quadratic()
    probe = probe_of(model, pictures(), 0, batch_size=8, progress=lambda *report: reports.append(report))
    rise(probe, masks=20, cells=3)
    assert reports == [(16, 40), (32, 40), (40, 40)]

    def cancel(done: int, _total: int) -> None:
        if done >= 16:
            raise KeyboardInterrupt

    model.batches.clear()
    with pytest.raises(KeyboardInterrupt):
        explain(model, pictures(), method="rise", batch_size=8, progress=cancel, options={"masks": 4000, "cells": 3})
    assert sum(model.batches) == 2 + 16 + model.batches.count(1)


@pytest.mark.parametrize("centred", [True, False])
def test_the_maps_so_far_are_those_of_the_masks_so_far(centred: bool) -> None:
    model, inputs, told, seen = Quadratic(), pictures(), [], []
    options = {"masks": 20, "cells": 3, "centred": centred}

    def progress(done: int, _total: int) -> None:
        told.append((done // len(inputs), len(seen)))

    found = explain(
        model, inputs, method="rise", target=TARGETS, options=options, batch_size=8, progress=progress,
        estimate=seen.append,
    )  # fmt: skip
    assert told == [(8, 1), (16, 2), (20, 3)]
    expected = rise_estimates(probe_of(model, inputs, TARGETS, batch_size=8), masks=20, cells=3)
    for maps, estimate in zip(seen, expected, strict=True):
        assert_close(maps, estimate.maps(centred=centred), rtol=1e-5, atol=1e-6)
    assert torch.equal(seen[-1], found.maps["input"])


def test_raising_at_the_sight_of_the_maps_cancels() -> None:
    def enough(_maps: torch.Tensor) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        explain(Quadratic(), pictures(), method="rise", estimate=enough, options={"masks": 4000, "cells": 3})


def test_it_is_found_by_name_with_its_agreement() -> None:
    result = explain(
        seeded(plain_cnn), images(), method="rise", target=[0, ClassScore(3)], options={"masks": 40, "cells": 4}
    )
    assert result.maps["input"].shape == (2, 2, 16, 16)
    assert result.details["agreement"].shape == (2, 2)


@pytest.mark.parametrize(("name", "value"), [("masks", 0), ("cells", 0), ("cells", 7), ("keep", 0.0), ("keep", 1.0)])
def test_invalid_options_are_refused(name: str, value: float) -> None:
    with refused("argument.invalid", InputError, name=name, value=value):
        rise(probe_of(Quadratic(), pictures(), 0), **{"cells": 3, name: value})
