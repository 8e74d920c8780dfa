"""Heat lies where the model looked: pictures of any proportions, explained by a model whose evidence is known."""

import io
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from numpy.typing import NDArray
from PIL import Image
from skimage import data
from torch import Tensor, nn
from torchvision import transforms

from camlens import DataError, Explainer, Explanation, InputError, explain
from camlens.models import LoadedModel
from camlens.models.preprocess import AdoptedPreprocess, Preprocess, adopt
from camlens.targets import ClassScore

NAMES = ["red", "green"]
BOTH = [ClassScore(0), ClassScore(1)]
PREPROCESS = Preprocess(resize=64, crop=(56, 56), mean=(0.0,) * 3, std=(1.0,) * 3)
SHAPES = [(300, 900), (900, 300), (360, 640), (500, 400), (333, 333)]  # height, width: from 3:1 to 1:3


def colors() -> nn.Module:
    """Its evidence for class 0 is how red each block of 4 x 4 pixels is, that for class 1 how green."""
    model = nn.Sequential(
        nn.Conv2d(3, 2, 4, stride=4, bias=False), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 2, bias=False)
    )
    with torch.no_grad():
        model[0].weight.zero_()
        model[0].weight[0, 0] = model[0].weight[1, 1] = 1 / 16  # type: ignore[index]
        model[3].weight.copy_(torch.eye(2))  # type: ignore[operator]
    return model.eval()


def loaded(preprocess: Any = PREPROCESS, default_layer: str | None = None) -> LoadedModel:
    return LoadedModel(colors(), preprocess, NAMES, default_layer, "tests:colors")


def spotted(shape: tuple[int, int], row: float, column: float, radius: int = 12) -> NDArray[np.uint8]:
    """A dark picture, blue and a little green above, with one red square."""
    picture = np.full((*shape, 3), (0, 0, 40), np.uint8)
    picture[: shape[0] // 2, :, 1] = 9
    top, left = round(row) - radius, round(column) - radius
    picture[max(top, 0) : top + 2 * radius, max(left, 0) : left + 2 * radius] = (255, 0, 0)
    return picture


def heat(result: Explanation, **options: Any) -> NDArray[np.float64]:
    """The map of the first picture as it is drawn: at full opacity its grey level is the evidence."""
    (drawn,) = result.overlay(alpha=1.0, colormap="grey", **options)
    return drawn[:, :, 0].astype(float)


def center(values: NDArray[np.float64]) -> tuple[float, float]:
    """Row and column of the center of mass of what is above half."""
    rows, columns = np.nonzero(values > 128)
    return float(rows.mean() + 0.5), float(columns.mean() + 0.5)


def seen(shape: tuple[int, int]) -> tuple[slice, slice]:
    """The pixels that lie wholly in the region that the model saw."""
    left, top, right, bottom = PREPROCESS.geometry(*shape).region
    rows = slice(int(np.ceil(max(top, 0))), int(min(bottom, shape[0])))
    return rows, slice(int(np.ceil(max(left, 0))), int(min(right, shape[1])))


def test_an_object_at_column_350_of_a_wide_photograph_has_its_heat_there() -> None:
    picture = spotted((300, 900), 150, 350)
    result = explain(loaded(), picture, layers="0", target=0)
    inside = np.zeros((300, 900))
    inside[seen((300, 900))] = heat(result)[seen((300, 900))]
    row, column = center(inside)
    assert abs(row - 150) < 3
    assert abs(column - 350) < 3


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("place", [(0.5, 0.5), (0.35, 0.4), (0.7, 0.62)])
def test_the_evidence_lights_its_own_place_in_pictures_of_any_proportions(
    shape: tuple[int, int], place: tuple[float, float]
) -> None:
    short = min(shape)
    row, column = (length / 2 + (share - 0.5) * short for length, share in zip(shape, place, strict=True))
    result = explain(loaded(), spotted(shape, row, column, radius=short // 16), layers="0", target=0)
    inside = np.zeros(shape)
    inside[seen(shape)] = heat(result)[seen(shape)]
    drawn = center(inside)
    cell = 4 * short / 64  # of the layer's grid, in pixels of the picture
    assert abs(drawn[0] - round(row)) < cell / 2
    assert abs(drawn[1] - round(column)) < cell / 2


def test_each_picture_keeps_its_size_and_what_was_cropped_away_has_no_heat() -> None:
    pictures = [spotted(shape, shape[0] / 2, shape[1] / 2) for shape in SHAPES]
    result = explain(loaded(), pictures, layers="0", target=0)
    drawn = result.overlay()
    assert [one.shape[:2] for one in drawn] == SHAPES
    wide = drawn[0]
    left, _, right, _ = result.views[0].geometry.region  # type: ignore[union-attr]
    assert (np.ptp(wide[:, : int(left) - 8], axis=2) == 0).all(), "no color where the model did not look"
    assert (np.ptp(wide[:, int(right) + 8 :], axis=2) == 0).all()
    assert np.ptp(wide[seen((300, 900))], axis=2).min() > 0
    crop = result.overlay(crop=True)[0]
    assert crop.shape == (56, 56, 3)
    assert np.ptp(crop, axis=2).min() > 0


def test_a_map_is_placed_to_a_fraction_of_a_pixel() -> None:
    """The linear ramp of a two-cell map, continued over a region whose edges lie within pixels."""
    from camlens.render.placing import coverage, placed

    ramp = np.array([[0.0, 1.0]])
    region = (0.05, -0.5, 0.95, 1.5)  # of 10 pixels: from 0.5 to 9.5
    drawn = placed(ramp, (3, 10), region)
    expected = ((np.arange(10) + 0.5 - 0.5) / 9 * 2 - 0.5).clip(0, 1)
    np.testing.assert_allclose(drawn, np.tile(expected, (3, 1)), atol=1e-6)
    np.testing.assert_allclose(coverage((3, 10), region), np.tile([0.5, *[1.0] * 8, 0.5], (3, 1)), atol=1e-12)
    whole = torch.rand(1, 1, 5, 7, generator=torch.Generator().manual_seed(0))
    theirs = torch.nn.functional.interpolate(whole, size=(31, 17), mode="bilinear", align_corners=False)
    np.testing.assert_allclose(placed(whole[0, 0].numpy(), (31, 17)), theirs[0, 0].numpy(), atol=1e-5)


def test_padding_lies_outside_of_the_picture_and_a_squash_spreads_over_it() -> None:
    padding = loaded(Preprocess(resize=None, crop=(56, 56), mean=(0.0,) * 3, std=(1.0,) * 3))
    small = spotted((20, 40), 10, 10, radius=4)
    result = explain(padding, small, layers="0", target=0)
    assert result.views[0].geometry.region == (-8, -18, 48, 38)  # type: ignore[union-attr]
    np.testing.assert_allclose(center(heat(result)), (10, 10), atol=1)
    squashed = loaded(Preprocess(resize=(56, 56), crop=None, mean=(0.0,) * 3, std=(1.0,) * 3))
    result = explain(squashed, spotted((300, 900), 150, 100, radius=30), layers="0", target=0)
    np.testing.assert_allclose(center(heat(result)), (150, 100), atol=16)


def test_a_picture_is_an_image_an_array_or_a_file_and_turned_upright(tmp_path: Path) -> None:
    picture = spotted((60, 90), 30, 40)
    image = Image.fromarray(picture)
    exif = Image.Exif()
    exif[0x0112] = 6  # shown after a quarter turn
    turned = image.transpose(Image.Transpose.ROTATE_90)
    turned.save(tmp_path / "turned.png", exif=exif)
    given = [picture, image, str(tmp_path / "turned.png"), tmp_path / "turned.png", Image.open(tmp_path / "turned.png")]
    together = explain(loaded(), given, layers="0", target=0)
    assert len(together.views) == 5
    for view in together.views:
        np.testing.assert_array_equal(view.picture, picture)
    for alone in (explain(loaded(), one, layers="0", target=0) for one in given):
        torch.testing.assert_close(alone.maps["0"], together.maps["0"][:1])
    assert [view.name for view in together.views] == ["", "", "turned.png", "turned.png", ""]


def test_a_loaded_model_with_a_tensor_is_explained_as_its_module() -> None:
    inputs = torch.rand(2, 3, 56, 56, generator=torch.Generator().manual_seed(0))
    one, other = explain(loaded(), inputs, layers="0"), explain(colors(), inputs, layers="0")
    assert torch.equal(one.maps["0"], other.maps["0"])
    assert one.views == ()
    assert one.class_names == tuple(NAMES)
    with pytest.raises(InputError) as caught:
        one.overlay()
    assert caught.value.code == "images.count"


def test_the_default_layer_is_the_loaded_models_own_and_provenance_says_so() -> None:
    picture = spotted((60, 60), 30, 30)
    own = Explainer(loaded(default_layer="0"))(picture)
    assert own.layers == ("0",)
    assert own.provenance["layer_choice"] == {"0": "default layer of tests:colors"}
    asked = explain(loaded(default_layer="nowhere"), picture, layers="0")
    assert asked.provenance["layer_choice"] == {"0": "asked for"}


def test_pictures_of_other_proportions_than_the_input_are_refused() -> None:
    result = explain(colors(), torch.rand(2, 3, 56, 56, generator=torch.Generator().manual_seed(0)), layers="0")
    square, wide = np.zeros((100, 100, 3), np.uint8), np.zeros((300, 900, 3), np.uint8)
    assert [one.shape for one in result.overlay([square, square])] == [(100, 100, 3)] * 2
    calls: list[Callable[[], object]] = [
        lambda: result.overlay([square, wide]),
        lambda: result.figure([square, wide]),
        lambda: result.show([square, wide]),
    ]
    for call in calls:
        with pytest.raises(InputError) as caught:
            call()
        assert caught.value.code == "images.proportions"
        assert caught.value.facts == {"image": 1, "picture": (300, 900), "input": (56, 56)}


def test_an_overlay_can_be_asked_for_at_a_size() -> None:
    result = explain(loaded(), [spotted((300, 900), 150, 350), spotted((90, 60), 40, 30)], layers="0", target=0)
    assert [one.shape[:2] for one in result.overlay(size=300)] == [(100, 300), (300, 200)]
    (wide,) = explain(loaded(), spotted((300, 900), 150, 350), layers="0", target=0).overlay(size=(100, 300))
    assert wide.shape == (100, 300, 3)
    for size, code in (((300, 300), "size.proportions"), (0, "size.invalid"), ((3, 4, 5), "size.invalid")):
        with pytest.raises(InputError) as caught:
            result.overlay(size=size)
        assert caught.value.code == code


@pytest.mark.parametrize(
    ("pictures", "error", "code"),
    [
        ([], InputError, "input.empty"),
        ("nowhere.png", DataError, None),
        (3, InputError, None),
        ([torch.full((3, 8, 8), -2.0)], InputError, None),
    ],
)
def test_what_is_no_picture_is_refused(pictures: object, error: type[Exception], code: str | None) -> None:
    with pytest.raises(error) as caught:
        explain(loaded(), pictures)
    assert code is None or caught.value.code == code  # type: ignore[attr-defined]


def test_pictures_that_make_no_batch_are_refused() -> None:
    ragged = loaded(Preprocess(resize=56, crop=None, mean=(0.0,) * 3, std=(1.0,) * 3))
    with pytest.raises(InputError) as caught:
        explain(ragged, [spotted((60, 90), 30, 40), spotted((90, 60), 30, 40)])
    assert caught.value.facts["shapes"] == [(3, 56, 84), (3, 84, 56)]


def test_everything_that_is_written_and_shown_has_the_photograph(tmp_path: Path) -> None:
    result = explain(loaded(), [spotted((60, 180), 30, 80), spotted((60, 60), 30, 30)], layers="0", target=BOTH)
    files = json.loads((result.save(tmp_path / "saved") / "manifest.json").read_text(encoding="utf-8"))["files"]
    assert {"overlay-0", "overlay-1", "overlay-0-1", "overlay-1-1"} <= set(files)
    with Image.open(tmp_path / "saved" / files["overlay-0"]) as drawn:
        np.testing.assert_array_equal(np.asarray(drawn), result.overlay()[0])
    wide, square = result.to_dict()["pictures"]
    assert wide["picture_size"] == [60, 180]
    assert wide["region"] == pytest.approx([63.75, 3.75, 116.25, 56.25])
    assert square["region"] == pytest.approx([3.75, 3.75, 56.25, 56.25])
    sheet = np.asarray(result.figure(scale=1))
    assert not np.array_equal(sheet, np.asarray(result.figure(scale=1, crop=True)))


def test_an_explanation_with_pictures_can_be_copied_and_explained_by_several_methods() -> None:
    import copy
    import pickle

    results = explain(loaded(), spotted((60, 90), 30, 40), method=["gradcam", "layercam"], layers="0", target=0)
    assert {len(result.views) for result in results.values()} == {1}
    for again in (copy.deepcopy(results["gradcam"]), pickle.loads(pickle.dumps(results["gradcam"]))):
        np.testing.assert_array_equal(again.overlay()[0], results["gradcam"].overlay()[0])


# Preprocessings that belong to somebody else


def composed(*steps: Any) -> Any:
    return adopt(transforms.Compose([*steps, transforms.ToTensor(), transforms.Normalize([0.5] * 3, [0.2] * 3)]))


@pytest.mark.parametrize("shape", [(300, 900), (900, 300), (240, 320), (57, 301), (40, 40)])
@pytest.mark.parametrize(
    ("resize", "crop"), [(256, (224, 224)), ((224, 224), None), (224, None), (100, (224, 224)), (None, (200, 160))]
)
def test_the_geometry_of_a_compose_is_measured(shape: tuple[int, int], resize: Any, crop: Any) -> None:
    steps = [transforms.Resize(resize)] if resize else []
    geometry = composed(*steps, *([transforms.CenterCrop(crop)] if crop else [])).geometry(*shape)
    expected = Preprocess(resize=resize, crop=crop).geometry(*shape)
    assert geometry is not None
    assert geometry.size == expected.size
    pixel = (expected.region[2] - expected.region[0]) / expected.size[1]
    np.testing.assert_allclose(geometry.region, expected.region, atol=max(0.5 * pixel, 0.25))


@pytest.mark.parametrize(
    ("name", "settings", "alike"),
    [
        ("CLIPImageProcessor", {}, Preprocess(resize=224, crop=(224, 224))),
        ("ViTImageProcessor", {}, Preprocess(resize=(224, 224), crop=None)),
        ("ConvNextImageProcessor", {"size": {"shortest_edge": 224}}, Preprocess(resize=256, crop=(224, 224))),
        ("DeiTImageProcessor", {}, Preprocess(resize=(256, 256), crop=(224, 224))),
    ],
)
@pytest.mark.parametrize("shape", [(300, 900), (333, 210)])
def test_the_geometry_of_an_image_processor_is_measured(
    name: str, settings: Any, alike: Preprocess, shape: tuple[int, int]
) -> None:
    from camlens.models.transformers import _picture, _tensor

    processor = getattr(transformers, name)(**settings)
    adopted = AdoptedPreprocess(partial(_tensor, processor), partial(_picture, processor))
    measured, expected = adopted.geometry(*shape), alike.geometry(*shape)
    assert measured is not None
    assert measured.size == expected.size
    np.testing.assert_allclose(measured.region, expected.region, atol=1)


@pytest.mark.parametrize(
    "step",
    [transforms.RandomCrop(100), transforms.RandomHorizontalFlip(1.0), transforms.RandomRotation((20, 30))],
    ids=lambda step: type(step).__name__,
)
def test_what_no_region_describes_is_not_guessed(step: Any) -> None:
    torch.manual_seed(0)
    assert composed(transforms.Resize(120), step).geometry(240, 320) is None


def test_a_preprocessing_that_stretches_contrast_is_not_trusted() -> None:
    prepare = adopt(
        transforms.Compose([transforms.Resize(60), transforms.CenterCrop(40), transforms.ToTensor(), _doubled])
    )
    assert prepare.geometry(240, 320) is None


def _doubled(values: Tensor) -> Tensor:
    return values * 2 - 1


def test_without_a_geometry_what_the_model_saw_is_drawn_on() -> None:
    mirrored = transforms.Compose(
        [transforms.Resize((56, 56)), transforms.RandomHorizontalFlip(1.0), transforms.ToTensor()]
    )
    result = explain(loaded(adopt(mirrored)), spotted((60, 90), 30, 40), layers="0", target=0)
    assert result.views[0].geometry is None
    assert result.overlay()[0].shape == (56, 56, 3)
    assert result.to_dict()["pictures"][0]["region"] is None


def photographs() -> list[NDArray[np.uint8]]:
    """Five real photographs, from 1:3 to 3:1."""
    astronaut, cat, rocket = data.astronaut(), data.chelsea(), data.rocket()
    return [astronaut[:, 130:300], rocket[:, 180:420], astronaut[:360, 60:420], cat, cat[100:250]]


def test_real_photographs_keep_their_pixels_where_nothing_is_hot() -> None:
    pictures = photographs()
    result = explain(loaded(), pictures, layers="0", target=0)
    for picture, drawn in zip(pictures, result.overlay(alpha=0.0), strict=True):
        rows, columns = seen(picture.shape[:2])
        np.testing.assert_array_equal(drawn[rows, columns], picture[rows, columns])
    stream = io.BytesIO()
    result.figure(scale=1).save(stream, format="PNG")
    assert stream.getbuffer().nbytes > 10_000
