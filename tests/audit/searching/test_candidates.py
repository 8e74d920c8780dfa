"""Candidates for shortcuts: what images of a class share, removing it and adding it."""

import numpy as np
import pytest
import torch
from torch import Tensor

from camlens.audit.shortcuts.candidates import LocalCandidate, bounding_box, elsewhere, filled
from camlens.audit.shortcuts.places import common_places
from camlens.audit.shortcuts.properties import PROPERTIES
from camlens.audit.shortcuts.wandering import recurring_patches

SIDE = 40
CHECKER = (np.indices((8, 8)).sum(0) % 2).astype(np.float32)


def textures(count: int, seed: int) -> Tensor:
    """Return smooth random textures, which have no place or patch in common."""
    noise = torch.from_numpy(np.random.default_rng(seed).random((count, 3, SIDE // 4, SIDE // 4), np.float32))
    return torch.nn.functional.interpolate(noise, size=(SIDE, SIDE), mode="bilinear", align_corners=False)


def stamped(images: Tensor, seed: int | None) -> tuple[Tensor, list[tuple[int, int]]]:
    """Return images with a checker pattern, at random places or at (30, 2) if `seed` is None, and the places."""
    images, places = images.clone(), []
    random = np.random.default_rng(seed)
    for image in images:
        top, left = (30, 2) if seed is None else random.integers(0, SIDE - 8, 2).tolist()
        image[:, top : top + 8, left : left + 8] = torch.from_numpy(CHECKER)
        places.append((top, left))
    return images, places


def test_common_place_is_where_a_pattern_was_stamped() -> None:
    images, _ = stamped(textures(30, 0), None)
    images[:4] = textures(4, 5)  # a few images lack it
    (place,) = common_places(images, textures(40, 1))
    assert place.sameness > 0.95
    assert place.shape == "patch"
    assert place.carries.tolist() == [False] * 4 + [True] * 26
    expected = (2 / SIDE, 30 / SIDE, 10 / SIDE, 38 / SIDE)
    np.testing.assert_allclose(bounding_box(place.mask), expected, atol=1.5 / SIDE)


@pytest.mark.parametrize(("region", "shape"), [((slice(30, 32), slice(None)), "line"), (None, "frame")])
def test_common_place_has_a_shape(region: tuple[slice, slice] | None, shape: str) -> None:
    images = textures(30, 0)
    inside = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    if region is None:
        inside[:] = True
        inside[2:-2, 2:-2] = False
    else:
        inside[region] = True
    (place,) = common_places(torch.where(inside, 1.0, images), textures(40, 1))
    assert place.shape == shape


def test_textures_and_patterns_of_all_classes_have_no_common_place() -> None:
    assert common_places(textures(30, 0), textures(40, 1)) == []
    assert common_places(stamped(textures(30, 0), None)[0], stamped(textures(40, 1), None)[0]) == []


def test_recurring_patch_is_found_wherever_it_is() -> None:
    images, places = stamped(textures(30, 0), 7)
    patch = recurring_patches(images, textures(40, 1), np.random.default_rng(0))[0]
    assert patch.carries.sum() >= 28
    assert patch.spread > 0.12
    near = []
    for mask, (top, left) in zip(patch.masks(images), places, strict=True):
        center = torch.nonzero(mask).float().mean(0)
        near.append(abs(center[0] - top - 3.5) <= 4 and abs(center[1] - left - 3.5) <= 4)
    assert sum(near) >= 28


def test_textures_have_no_recurring_patch() -> None:
    assert recurring_patches(textures(30, 0), textures(40, 1), np.random.default_rng(0)) == []


def test_filled_pixels_come_from_the_surroundings() -> None:
    images = torch.full((2, 3, 12, 12), 0.25)
    masks = torch.zeros(2, 12, 12, dtype=torch.bool)
    masks[0, 2:9, 3:10], masks[1, :, 0] = True, True
    marked = torch.where(masks[:, None], 1.0, images)
    np.testing.assert_allclose(filled(marked, masks), images, atol=1e-6)
    untouched = torch.rand(2, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    outside = ~masks[:, None].expand(-1, 3, -1, -1)
    assert torch.equal(filled(untouched, masks)[outside], untouched[outside])
    assert torch.equal(filled(images, torch.ones_like(masks)), torch.zeros_like(images))


def test_control_is_as_large_and_elsewhere() -> None:
    masks = torch.zeros(1, 10, 10, dtype=torch.bool)
    masks[0, :3, :2] = True
    control = elsewhere(masks, np.random.default_rng(0))
    assert control.sum() == masks.sum()
    assert not (control & masks).any()


def test_local_candidate_moves_the_part_of_the_donor() -> None:
    mask = torch.zeros(8, 8, dtype=torch.bool)
    mask[:2, :2] = True
    region = (0.0, 0.0, 0.25, 0.25)
    candidate = LocalCandidate(
        0,
        "patch",
        np.arange(3),
        region,
        1.0,
        0.05,
        1.0,
        lambda images: mask.expand(len(images), -1, -1),
    )
    targets, donors, controls = (torch.full((3, 3, 8, 8), value) for value in (0.1, 0.5, 0.9))
    with_it, without = candidate.added(targets, donors, controls)
    assert torch.equal(with_it, torch.where(mask, donors, targets))
    assert torch.equal(without, torch.where(mask, controls, targets))
    assert candidate.regions(targets) == [region] * 3


@pytest.mark.parametrize("prop", PROPERTIES, ids=lambda prop: prop.name)
def test_rendered_images_have_the_values_of_others(prop: object) -> None:
    grain = torch.rand(8, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(3))
    plain, other = 0.3 + 0.3 * textures(8, 0), 0.2 + 0.7 * textures(8, 2)
    if prop.name == "tint":
        other = other * torch.tensor([1.0, 0.6, 0.7])[:, None, None]
    if prop.name == "blur":
        plain, other = (plain + 0.2 * (grain - 0.5)).clamp(0, 1), plain
    if prop.name == "noise":
        other = (plain + 0.1 * (grain - 0.5)).clamp(0, 1)
    if prop.name == "JPEG compression":
        other = PROPERTIES[-1].render(plain, np.full((8, 1), 10.0))
    wanted = prop.measure(other)
    before, after = (np.abs(prop.measure(images) - wanted).mean() for images in (plain, prop.render(plain, wanted)))
    assert after < 0.5 * before
