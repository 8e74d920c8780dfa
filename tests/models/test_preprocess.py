"""Tests of preprocessing: equality with torchvision and timm, display, custom transforms."""

import math
from typing import Any, ClassVar

import numpy as np
import pytest
import timm.data
import torch
from PIL import Image
from torchvision import models, transforms

from camlens.core.errors import InputError
from camlens.models import load_model
from camlens.models import preprocess as preprocessing
from camlens.models.preprocess import MOST_PIXELS, AdoptedPreprocess, Preprocess, adopt, as_rgb
from tests.refusals import refused

SHAPES = [(240, 320), (321, 243), (100, 60), (224, 224), (57, 301)]


def photograph(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Smooth colours with some noise: what resizing has something to do with."""
    random = np.random.default_rng(seed)
    rough = Image.fromarray(random.integers(0, 256, (9, 11, 3), dtype=np.uint8)).resize((width, height), 3)
    return np.clip(np.asarray(rough).astype(int) + random.integers(-9, 10, (height, width, 3)), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", ["resnet50", "efficientnet_b0", "inception_v3", "swin_v2_t", "vit_h_14"])
def test_preprocessing_matches_torchvision(name: str, shape: tuple[int, int]) -> None:
    from camlens.models.torchvision import _preprocess

    weights = models.get_model_weights(name).DEFAULT
    image = photograph(*shape)
    theirs = weights.transforms()(Image.fromarray(image))
    ours = _preprocess(weights)(image)
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=0)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("crop", [(224, 224), (130, 131), (301, 90), None])
def test_crop_and_padding_match_torchvision(shape: tuple[int, int], crop: tuple[int, int] | None) -> None:
    image = photograph(*shape)
    steps = [
        transforms.Resize(131),
        *([transforms.CenterCrop(crop)] if crop else []),
        transforms.PILToTensor(),
    ]
    theirs = transforms.Compose(steps)(Image.fromarray(image))
    ours = Preprocess(resize=131, crop=crop).display(image)
    np.testing.assert_array_equal(ours, theirs.permute(1, 2, 0).numpy())


@pytest.mark.parametrize("name", ["resnet10t", "test_vit", "test_efficientnet_ln"])
def test_preprocessing_matches_timm(name: str) -> None:
    loaded = load_model(f"timm:{name}", weights="random", num_classes=4)
    config = timm.data.resolve_model_data_config(loaded.model)
    for shape in SHAPES:
        image = photograph(*shape)
        theirs = timm.data.create_transform(**config, is_training=False)(Image.fromarray(image))
        torch.testing.assert_close(loaded.preprocess(image), theirs, atol=1e-6, rtol=0)


@pytest.mark.parametrize("mode", ["center", "border", "squash"])
def test_display_matches_the_input_for_every_crop_mode_of_timm(mode: str) -> None:
    from camlens.models.timm import _preprocess

    class Configured(torch.nn.Module):
        pretrained_cfg: ClassVar = {
            "input_size": (3, 64, 48),
            "crop_pct": 0.9,
            "crop_mode": mode,
            "mean": (0.4, 0.5, 0.6),
        }

    prepared = _preprocess(Configured())
    image = photograph(91, 120)
    config = timm.data.resolve_data_config(pretrained_cfg=Configured.pretrained_cfg)
    theirs = timm.data.create_transform(**config, is_training=False)(Image.fromarray(image))
    torch.testing.assert_close(prepared(image), theirs, atol=1e-6, rtol=0)
    shown = torch.from_numpy(prepared.display(image)).permute(2, 0, 1) / 255
    mean, std = (torch.tensor(config[name]).view(3, 1, 1) for name in ("mean", "std"))
    torch.testing.assert_close((shown - mean) / std, theirs, atol=1e-5, rtol=0)


def test_display_is_the_tensor_before_normalization() -> None:
    prepare = Preprocess(resize=40, crop=(36, 30), interpolation="bicubic")
    image = photograph(90, 70)
    shown = prepare.display(image)
    assert shown.dtype == np.uint8
    assert shown.shape == (36, 30, 3)
    mean, std = (torch.tensor(numbers).view(3, 1, 1) for numbers in (prepare.mean, prepare.std))
    expected = (torch.from_numpy(shown).permute(2, 0, 1) / 255 - mean) / std
    torch.testing.assert_close(prepare(image), expected, atol=1e-6, rtol=0)


def test_a_mask_is_cropped_like_the_image() -> None:
    prepare = Preprocess(resize=64, crop=(48, 56))
    mask = np.zeros((200, 300), dtype=np.bool_)
    mask[60:140, 90:200] = True
    image = np.where(mask, 255, 0).astype(np.uint8)[:, :, None].repeat(3, axis=2)
    seen = prepare.display_mask(mask)
    assert seen.shape == (48, 56)
    np.testing.assert_array_equal(seen, prepare.display(image)[:, :, 0] > 128)
    assert abs(seen.mean() * 48 * 56 - mask.sum() * (64 / 200) ** 2) < 40


def test_a_gray_model_gets_one_channel_and_display_has_colors() -> None:
    prepare = Preprocess(resize=None, crop=None, mean=(0.5,), std=(0.25,))
    image = np.full((4, 5, 3), 255, dtype=np.uint8)
    torch.testing.assert_close(prepare(image), torch.full((1, 4, 5), 2.0))
    assert prepare.display(image).shape == (4, 5, 3)


def test_pil_images_and_arrays_give_the_same_tensor_and_are_not_modified() -> None:
    image = photograph(60, 50)
    kept = image.copy()
    prepare = Preprocess(resize=32, crop=(32, 32))
    torch.testing.assert_close(prepare(image), prepare(Image.fromarray(image)), atol=0, rtol=0)
    np.testing.assert_array_equal(image, kept)


@pytest.mark.parametrize(
    ("image", "first"),
    [
        (Image.new("L", (2, 2), 7), (7, 7, 7)),
        (Image.new("RGBA", (2, 2), (9, 9, 9, 0)), (255, 255, 255)),
        (Image.new("LA", (2, 2), (30, 255)), (30, 30, 30)),
        (Image.new("1", (2, 2), 1), (255, 255, 255)),
        (np.full((2, 2), 5, np.uint8), (5, 5, 5)),
    ],
)
def test_other_modes_become_rgb(image: object, first: tuple[int, int, int]) -> None:
    assert as_rgb(image).getpixel((0, 0)) == first


@pytest.mark.parametrize(
    ("image", "described"),
    [
        (np.zeros((4, 4, 3), np.float32), "ndarray (4, 4, 3) of float32"),
        (np.zeros((3, 4, 4), np.uint8), "ndarray (3, 4, 4) of uint8"),
        (torch.zeros(3, 4, 4), "Tensor (3, 4, 4) of torch.float32"),
        (Image.new("I;16", (2, 2)), "a PIL image of mode I;16"),
        ("photo.jpg", "'photo.jpg'"),
    ],
)
def test_other_objects_than_images_are_refused(image: object, described: str) -> None:
    with refused("image.type", InputError, image=described):
        Preprocess()(image)


def test_display_undoes_the_normalization_of_a_custom_transform() -> None:
    geometry = [transforms.Resize(40), transforms.CenterCrop(32)]
    normalise = transforms.Normalize((0.4, 0.5, 0.6), (0.2, 0.3, 0.1))
    transform = transforms.Compose([*geometry, transforms.ToTensor(), normalise])
    image = photograph(50, 70)
    prepared = adopt(transform)
    torch.testing.assert_close(prepared(image), transform(Image.fromarray(image)), atol=0, rtol=0)
    np.testing.assert_array_equal(
        prepared.display(image), np.asarray(transforms.Compose(geometry)(Image.fromarray(image)))
    )
    assert prepared.display_mask(np.ones((50, 70), np.bool_)).all()


@pytest.mark.parametrize("answer", [np.zeros((3, 8, 8), np.float32), torch.zeros(3, 8, 8, dtype=torch.uint8), None])
@pytest.mark.parametrize("use", ["__call__", "display"])
def test_a_custom_transform_must_return_a_floating_tensor(answer: object, use: str) -> None:
    prepared = adopt(lambda _image: answer)  # type: ignore[arg-type, return-value]
    with pytest.raises(InputError) as caught:
        getattr(prepared, use)(np.zeros((20, 30, 3), np.uint8))
    assert caught.value.code == "preprocess.not-a-tensor"
    assert caught.value.facts["returned"] == type(answer).__name__


def test_a_failing_custom_transform_is_an_error_of_the_image() -> None:
    def failing(_image: object) -> torch.Tensor:
        raise ZeroDivisionError("nothing to divide")

    with pytest.raises(InputError) as caught:
        adopt(failing)(np.zeros((20, 30, 3), np.uint8))
    assert caught.value.code == "preprocess.failed"
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_display_undoes_the_normalization_of_a_preset() -> None:
    preset = models.ResNet18_Weights.DEFAULT.transforms()
    image = photograph(300, 400)
    np.testing.assert_array_equal(adopt(preset).display(image), Preprocess().display(image))


def test_values_of_unknown_scale_are_stretched_for_display() -> None:
    prepared = adopt(lambda image: torch.tensor([[-2.0, 0.0, 2.0]])[None])
    np.testing.assert_array_equal(prepared.display(photograph(4, 4))[0, :, 2], [0, 128, 255])


def test_a_preprocessing_is_adopted_unchanged() -> None:
    prepare = Preprocess()
    assert adopt(prepare) is prepare


def test_a_custom_transform_must_return_a_tensor() -> None:
    prepared = AdoptedPreprocess(lambda image: image, lambda image: np.asarray(image))  # type: ignore[arg-type, return-value]
    with refused("preprocess.not-a-tensor", InputError, returned="Image"):
        prepared(photograph(4, 4))


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of pixels of every picture that is made by resizing or cropping."""
    sizes: list[int] = []
    for name in ("resize", "crop"):
        really = getattr(Image.Image, name)

        def noted(image: Image.Image, *args: Any, really: Any = really, **more: Any) -> Image.Image:
            result: Image.Image = really(image, *args, **more)
            sizes.append(result.width * result.height)
            return result

        monkeypatch.setattr(Image.Image, name, noted)
    return sizes


@pytest.mark.parametrize("size", [(1, 60_000), (60_000, 1), (3, 1_000_000)])
def test_an_elongated_picture_is_cropped_before_it_is_resized(made: list[int], size: tuple[int, int]) -> None:
    picture = Image.new("RGB", size, (10, 200, 30))
    prepare = Preprocess(resize=256, crop=(224, 224))
    shown = prepare.display(picture)
    assert shown.shape == (224, 224, 3)
    assert (shown == (10, 200, 30)).all()
    assert prepare(picture).shape == (3, 224, 224)
    assert max(made) <= 224 * 224


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize("shape", [(3000, 4), (5, 2000), (400, 2)])
@pytest.mark.parametrize("crop", [(112, 112), (160, 90), (90, 160)])
def test_cropping_first_equals_resizing_first(
    monkeypatch: pytest.MonkeyPatch, interpolation: str, shape: tuple[int, int], crop: tuple[int, int]
) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    prepare = Preprocess(resize=131, crop=crop, interpolation=interpolation)
    resized_first = prepare.display(picture).astype(int)
    monkeypatch.setattr(preprocessing, "MOST_PIXELS", math.prod(crop))
    cropped_first = prepare.display(picture).astype(int)
    assert np.abs(cropped_first - resized_first).max() <= 1, "more than a different rounding"


def test_an_elongated_picture_is_refused_without_a_crop(made: list[int]) -> None:
    with pytest.raises(InputError) as caught:
        Preprocess(resize=256, crop=None)(Image.new("RGB", (1, 60_000)))
    assert caught.value.code == "preprocess.too-large"
    assert caught.value.facts == {"size": (1, 60_000), "resized": (256, 15_360_000), "allowed": MOST_PIXELS}
    assert made == []


def test_an_elongated_picture_is_not_passed_to_custom_preprocessing(made: list[int]) -> None:
    adopted = adopt(transforms.Compose([transforms.Resize(256), transforms.CenterCrop(224), transforms.ToTensor()]))
    picture = np.zeros((60_000, 1, 3), np.uint8)
    for ask in (adopted, adopted.display):
        with pytest.raises(InputError) as caught:
            ask(picture)
        assert caught.value.code == "preprocess.too-elongated"
        assert caught.value.facts["size"] == (1, 60_000)
    assert adopted.geometry(60_000, 1) is None
    assert made == []


@pytest.mark.parametrize(
    "error", [MemoryError("no"), Image.DecompressionBombError("no"), ValueError("no"), KeyError(1)]
)
def test_any_failure_of_a_preprocessing_is_an_error_about_that_picture(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_ignored: object, **_more: object) -> None:
        raise error

    monkeypatch.setattr(Image.Image, "resize", fail)
    for prepare in (Preprocess(), AdoptedPreprocess(fail, fail)):  # type: ignore[arg-type]
        for ask in (prepare, prepare.display):
            with pytest.raises(InputError) as caught:
                ask(np.zeros((30, 40, 3), np.uint8))
            assert caught.value.code == "preprocess.failed"
            assert caught.value.facts == {"size": (40, 30)}
            assert caught.value.__cause__ is error
    assert AdoptedPreprocess(fail, fail).geometry(30, 40) is None  # type: ignore[arg-type]
