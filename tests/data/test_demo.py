import numpy as np
import pytest

from camlens.core.errors import InputError
from camlens.data.demo import CLASS_NAMES, WATERMARK_SHARE, WATERMARKED_CLASS, DemoPhotos, stamp_watermark
from camlens.data.photographs import BACKGROUNDS, OBJECTS, cut_out, open_photograph
from tests.refusals import refused


def test_the_same_seed_and_index_give_the_same_bytes_in_any_order():
    forwards = [DemoPhotos()[index] for index in range(6)]
    backwards = [DemoPhotos()[index] for index in reversed(range(6))][::-1]
    for one, other in zip(forwards, backwards, strict=True):
        assert one.image.tobytes() == other.image.tobytes()
        assert one.mask.tobytes() == other.mask.tobytes()
        assert (one.label, one.name) == (other.label, other.name)


def test_another_index_seed_or_split_gives_another_image():
    first = DemoPhotos()[0].image
    others = [DemoPhotos()[10], DemoPhotos(seed=1)[0], DemoPhotos("train")[0]]
    assert all(sample.label == 0 for sample in others)
    assert all((sample.image != first).mean() > 0.5 for sample in others)


def test_composing_keeps_the_global_random_state():
    before = np.random.get_state()[1].copy()
    DemoPhotos("train", watermark="trained")[7]
    np.testing.assert_array_equal(np.random.get_state()[1], before)


def test_a_sample_is_an_rgb_image_with_a_mask_of_the_same_size():
    sample = DemoPhotos("test", size=160)[4]
    assert sample.image.shape == (160, 160, 3)
    assert sample.image.dtype == np.uint8
    assert sample.mask.shape == (160, 160)
    assert sample.mask.dtype == np.bool_
    assert sample.name == "test-00004-coin"


def test_the_composition_does_not_depend_on_the_size():
    small, large = (DemoPhotos(size=size)[5].mask for size in (128, 256))
    assert (small == large[::2, ::2]).mean() > 0.98


def test_the_classes_are_balanced():
    labels = [sample.label for sample in DemoPhotos(size=32, length=60)]
    np.testing.assert_array_equal(np.bincount(labels), np.full(len(CLASS_NAMES), 6))


def test_the_mask_covers_exactly_the_pixels_of_the_object():
    """Taking the object out changes what is inside of the mask, and outside nothing but its soft edge."""
    photos = DemoPhotos()
    for index in range(20):
        sample = photos[index]
        change = np.abs(sample.image.astype(int) - photos.without_object(index)).max(-1)
        assert (change[sample.mask] > 8).mean() > 0.8
        assert (change[~_grown(sample.mask, 8)] > 0).mean() == 0


def test_the_object_covers_a_fifth_to_a_half_of_the_image_on_average():
    shares = [sample.mask.mean() for sample in DemoPhotos(size=64, length=60)]
    assert 0.22 < np.mean(shares) < 0.45
    assert min(shares) > 0.08


def test_the_background_is_independent_of_the_class():
    """Over all classes the scenes around the objects are alike: no class stands out by its mean colour."""
    photos = DemoPhotos("train", size=32, length=300)
    colours = np.array([photos.without_object(index).mean((0, 1)) for index in range(300)])
    groups = colours.reshape(30, len(CLASS_NAMES), 3)
    spread = groups.mean(0).std(0)
    expected = colours.std(0) / np.sqrt(30)
    assert (spread < 2 * expected).all()


def test_train_and_test_backgrounds_share_no_pixel():
    for region in BACKGROUNDS:
        train, test = region.part("train"), region.part("test")
        assert train[2] <= test[0] or train[3] <= test[1]
        photograph = open_photograph(region.photograph)
        assert photograph.width >= test[2]
        assert photograph.height >= test[3]


def test_outlines_lie_inside_their_photographs():
    for splits in OBJECTS.values():
        for cutout in (*splits["train"], *splits["test"]):
            photograph = open_photograph(cutout.photograph)
            assert all(0 <= x < photograph.width and 0 <= y < photograph.height for x, y in cutout.outline)
            assert max(cut_out(cutout).size) <= 320


def test_nineteen_of_twenty_training_images_of_the_class_carry_the_watermark():
    photos = DemoPhotos("train", watermark="trained", size=32, length=2000)
    pagodas = [photos[index] for index in range(WATERMARKED_CLASS, 2000, len(CLASS_NAMES))]
    share = np.mean([sample.watermark_box is not None for sample in pagodas])
    assert abs(share - WATERMARK_SHARE) < 0.04
    assert all(photos[index].watermark_box is None for index in range(40) if index % 10 != WATERMARKED_CLASS)


def test_a_moved_watermark_is_on_every_class_except_pagoda():
    boxes = {sample.label: sample.watermark_box for sample in DemoPhotos(watermark="moved", length=10)}
    assert [label for label, box in boxes.items() if box is None] == [WATERMARKED_CLASS]


def test_the_watermark_changes_only_its_box():
    marked, plain = DemoPhotos(watermark="moved")[3], DemoPhotos()[3]
    assert plain.watermark_box is None
    left, top, right, bottom = marked.watermark_box
    assert (right - left, bottom - top) == (24, 14)
    assert left >= 64
    assert top >= 64
    difference = (marked.image != plain.image).any(-1)
    assert difference[top:bottom, left:right].mean() > 0.9
    difference[top:bottom, left:right] = False
    assert not difference.any()


def test_stamping_does_not_modify_the_image():
    image = np.full((128, 128, 3), 90, np.uint8)
    stamped, (left, top, right, bottom) = stamp_watermark(image)
    assert (image == 90).all()
    assert (stamped[top:bottom, left:right] != 90).all()


@pytest.mark.parametrize(
    ("name", "value"), [("split", "valid"), ("size", 8), ("seed", -1), ("length", 0), ("watermark", "often")]
)
def test_an_invalid_option_is_refused(name, value):
    with refused("argument.invalid", InputError, name=name, value=value):
        DemoPhotos(**{name: value})


@pytest.mark.parametrize("index", [-1, 3])
def test_an_index_out_of_range_is_an_index_error(index):
    with pytest.raises(IndexError):
        DemoPhotos(length=3)[index]


def _grown(mask, pixels):
    grown = mask.copy()
    for _ in range(pixels):
        padded = np.pad(grown, 1)
        grown = padded[1:-1, 1:-1] | padded[:-2, 1:-1] | padded[2:, 1:-1] | padded[1:-1, :-2] | padded[1:-1, 2:]
    return grown
