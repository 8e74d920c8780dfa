"""Artefacts are planted where the box says, depend on the seeds only, and leave the given image alone."""

import numpy as np
import pytest

from camlens.core.errors import InputError
from camlens.data.planting import CORNERS, KINDS, LOCAL_SIZES, PLACES, Artefact, plant, plant_decoy

GLOBAL = [kind for kind in KINDS if kind not in LOCAL_SIZES]


def _image(height: int = 40, width: int = 50) -> np.ndarray:
    return np.random.default_rng(0).integers(60, 180, (height, width, 3), np.uint8)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(28, 28), (17, 90), (5, 3), (1, 1)])
def test_artefact_changes_a_copy_and_only_the_box(kind: str, shape: tuple[int, int]) -> None:
    image = _image(*shape)
    before = image.copy()
    planted, box = plant(image, Artefact(kind, look=3), seed=4)
    assert np.array_equal(image, before)
    assert planted.shape == image.shape
    assert planted.dtype == np.uint8
    assert np.array_equal(planted, plant(image, Artefact(kind, look=3), seed=4)[0])
    if box is None:
        assert kind in GLOBAL
        return
    left, top, right, bottom = box
    assert 0 <= left < right <= shape[1]
    assert 0 <= top < bottom <= shape[0]
    outside = np.ones(shape, bool)
    outside[top:bottom, left:right] = False
    assert np.array_equal(planted[outside], image[outside])


@pytest.mark.parametrize("kind", KINDS)
def test_more_strength_changes_more(kind: str) -> None:
    image = _image().astype(float)
    weak, strong = (plant(_image(), Artefact(kind, strength=strength))[0] for strength in (0.25, 1.0))
    assert np.abs(strong - image).mean() > 1.1 * np.abs(weak - image).mean() > 0


@pytest.mark.parametrize(
    ("place", "box"),
    [
        ("upper-left", (0, 0, 8, 8)),
        ("center", (21, 16, 29, 24)),
        ("right", (42, 16, 50, 24)),
        ("lower", (21, 32, 29, 40)),
    ],
)
def test_patch_lies_at_its_place_with_its_size(place: str, box: tuple[int, int, int, int]) -> None:
    planted, measured = plant(_image(), Artefact("patch", place, size=0.2))
    assert measured == box
    left, top, right, bottom = box
    assert len(np.unique(planted[top:bottom, left:right].reshape(-1, 3), axis=0)) == 1


def test_half_strength_is_the_mean_of_image_and_full_strength() -> None:
    image = _image()
    full, half = (plant(image, Artefact("stamp", "left", strength=strength))[0] for strength in (1.0, 0.5))
    mean = (image.astype(float) + full) / 2
    assert np.abs(half - mean).max() <= 1


def test_wandering_marks_keep_their_look_and_change_their_place() -> None:
    flat = np.full((40, 40, 3), 100, np.uint8)
    crops, boxes = set(), set()
    for seed in range(20):
        planted, box = plant(flat, Artefact("glyph", "wandering"), seed=seed)
        assert box is not None
        crops.add(planted[box[1] : box[3], box[0] : box[2]].tobytes())
        boxes.add(box)
    assert len(crops) == 1
    assert len(boxes) > 10


def test_lines_cross_the_image_and_frames_surround_it() -> None:
    assert plant(_image(), Artefact("line", "upper", size=0.1))[1] == (0, 0, 50, 4)
    assert plant(_image(), Artefact("line", "right", size=0.1))[1] == (46, 0, 50, 40)
    framed, box = plant(_image(), Artefact("frame", size=0.1))
    assert box == (0, 0, 50, 40)
    assert np.array_equal(framed[4:-4, 4:-4], _image()[4:-4, 4:-4])
    assert len(np.unique(framed[:4].reshape(-1, 3), axis=0)) == 1


def test_tint_and_brightness_differ_as_told() -> None:
    image = _image()
    assert plant(image, Artefact("brightness", strength=0.1))[0].mean() == pytest.approx(image.mean() + 10, abs=0.5)
    gains = plant(image, Artefact("tint", strength=0.4))[0].mean((0, 1)) / image.mean((0, 1))
    assert sorted(gains) == pytest.approx([0.8, 1.0, 1.2], abs=0.02)


def test_noise_differs_between_images() -> None:
    first, second = (plant(_image(), Artefact("noise"), seed=seed)[0] for seed in (1, 2))
    assert not np.array_equal(first, second)


def test_decoy_has_its_shade_in_any_corner() -> None:
    image = _image(28, 28)
    boxes = set()
    for seed in range(30):
        planted, box = plant_decoy(image, 130, seed=seed)
        assert (planted[box[1] : box[3], box[0] : box[2]] == 130).all()
        boxes.add(box)
    assert boxes == {(0, 0, 4, 4), (24, 0, 28, 4), (0, 24, 4, 28), (24, 24, 28, 28)}
    assert set(CORNERS) < set(PLACES)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"kind": "pach"}, "kind"),
        ({"place": "top-left"}, "place"),
        ({"size": 0.0}, "size"),
        ({"size": 0.6}, "size"),
        ({"strength": 0.0}, "strength"),
        ({"strength": 1.5}, "strength"),
        ({"look": -1}, "look"),
        ({"kind": "tint", "place": "left"}, "place"),
        ({"kind": "frame", "place": "left"}, "place"),
        ({"kind": "tint", "size": 0.1}, "size"),
    ],
)
def test_invalid_artefacts_are_refused(arguments: dict, name: str) -> None:
    with pytest.raises(InputError) as caught:
        Artefact(**arguments)
    assert caught.value.code == "argument.invalid"
    assert caught.value.facts["name"] == name


def test_unknown_kind_suggests_the_right_one() -> None:
    with pytest.raises(InputError) as caught:
        Artefact("pach")
    assert caught.value.facts["suggestion"] == "patch"


@pytest.mark.parametrize("image", [np.zeros((4, 4), np.uint8), np.zeros((4, 0, 3), np.uint8)])
def test_other_images_are_refused(image: np.ndarray) -> None:
    for plant_it in (lambda: plant(image, Artefact()), lambda: plant_decoy(image, 3)):
        with pytest.raises(InputError) as caught:
            plant_it()
        assert caught.value.code == "argument.invalid"
