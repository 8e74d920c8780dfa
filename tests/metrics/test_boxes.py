"""Regions and boxes against flood fill, by hand, and with regions that wind."""

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from camlens.core.errors import InputError
from camlens.metrics.boxes import best_box_threshold, box_overlap, largest_regions, max_box_accuracy, regions
from tests.metrics import reference
from tests.metrics.test_localisation import drawn, expected
from tests.refusals import refused
from tests.twins import twin_of


def picture(*lines: str) -> Tensor:
    return torch.tensor([[[cell == "#" for cell in line] for line in lines]])


@pytest.mark.parametrize("size", [(9,), (6, 7), (3, 4, 4)])
@pytest.mark.parametrize("diagonal", [True, False])
def test_regions_are_those_of_flood_fill(size: tuple[int, ...], diagonal: bool) -> None:
    _, masks = drawn(*size, images=5)
    for labels, mask in zip(regions(masks, diagonal=diagonal), masks, strict=True):
        assert ((labels >= 0) == mask).all()
        found = [{place for place in reference.places(size) if labels[place] == name} for name in labels.unique()]
        wanted = reference.regions(mask.numpy(), diagonal)
        assert sorted(map(sorted, found[-len(wanted) :])) == sorted(map(sorted, wanted))


@pytest.mark.parametrize("diagonal", [True, False])
@pytest.mark.parametrize("levels", [None, 2])
@twin_of("max_box_accuracy")
def test_boxes_are_those_of_flood_fill(diagonal: bool, levels: int | None) -> None:
    maps, masks = drawn(6, 7, images=8, levels=levels)
    for threshold in (0.1, 0.5):
        wanted = expected(reference.box_overlap, maps, masks, threshold, diagonal)
        assert_close(box_overlap(maps, masks, threshold=threshold, diagonal=diagonal), wanted)
        wanted = expected(reference.max_box_accuracy, maps, masks, threshold, 0.4, diagonal)
        options = {"threshold": threshold, "overlap": 0.4, "diagonal": diagonal}
        assert_close(max_box_accuracy(maps, masks, **options), wanted)


def test_corners_connect_only_when_diagonals_do() -> None:
    mask = picture("##..", "..##", "....")
    assert largest_regions(mask, diagonal=True).sum() == 4
    assert torch.equal(largest_regions(mask, diagonal=False), picture("##..", "....", "...."))


def test_a_region_that_winds_is_one_region() -> None:
    spiral = picture("#######", "......#", "#####.#", "#...#.#", "#.###.#", "#.....#", "#######")
    assert len(regions(spiral, diagonal=False).unique()) == 2
    snake = torch.zeros(1, 64, 64, dtype=torch.bool)
    snake[0, ::2] = True
    snake[0, 1::4, -1] = True
    snake[0, 3::4, 0] = True
    assert len(regions(snake, diagonal=False).unique()) == 2


def test_batches_do_not_flow_into_each_other() -> None:
    masks = torch.ones(3, 4, 4, dtype=torch.bool)
    assert regions(masks).flatten(1).amin(dim=1).tolist() == [15, 31, 47]


def test_overlap_by_hand_is_that_of_the_largest_region_alone() -> None:
    heat = picture("##..#", "##...", ".....").float()
    mask = picture(".##..", ".##..", ".##..")
    assert_close(box_overlap(heat, mask), torch.tensor([2 / 8]))
    assert max_box_accuracy(heat, mask, overlap=0.25).tolist() == [1]
    assert max_box_accuracy(heat, mask, overlap=0.3).tolist() == [0]


def test_maps_and_masks_that_say_nothing_are_no_hits() -> None:
    heat, mask = torch.rand(1, 4, 4), picture("....", ".##.", ".##.", "....")
    for nothing in (torch.zeros(1, 4, 4), torch.ones(1, 4, 4), -heat, heat * float("nan")):
        assert max_box_accuracy(nothing, mask).isnan().all()
    assert max_box_accuracy(heat, ~torch.ones_like(mask)).isnan().all()


def test_the_best_threshold_has_most_hits_and_ignores_undefined_images() -> None:
    heat = torch.tensor([[[0.3, 0.3, 0.6, 1.0, 0.3]], [[0.0] * 5]])
    mask = torch.tensor([[[False, False, True, True, False]]] * 2)
    assert best_box_threshold(heat, mask, thresholds=[0.9, 0.5, 0.4, 0.2], overlap=0.8) == 0.4
    with refused("argument.empty", InputError, name="thresholds"):
        best_box_threshold(heat, mask, thresholds=[])
