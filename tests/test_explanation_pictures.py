"""Pictures of an Explanation: overlays, figures, and the view in a notebook."""

import base64
import io
import json
import re
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from camlens import Explanation, InputError, StoreError, explain
from camlens.render.overlays import overlay
from camlens.targets import ClassScore, Contrast, TopK
from tests.nets import images, plain_cnn, seeded
from tests.refusals import refused

NAMES = ["ant", "bee", "cat", "dog", "<elk>"]


@pytest.fixture(scope="module")
def pictures() -> Tensor:
    return torch.rand(2, 3, 24, 24, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def explanation() -> Explanation:
    explained: Explanation = explain(seeded(plain_cnn), images(2), layers=["0", "3"], target=TopK(2))
    return explained


def test_an_overlay_is_the_heat_map_of_its_image_at_the_images_own_size(
    explanation: Explanation, pictures: Tensor
) -> None:
    drawn = explanation.overlay(pictures, 0.3, layer="3", target=1, colormap="viridis")
    heatmaps = explanation.heatmaps("3", (24, 24))[:, 1].numpy()
    for picture, heatmap, one in zip(pictures, heatmaps, drawn, strict=True):
        np.testing.assert_array_equal(one, overlay(picture, heatmap, alpha=0.3, colormap="viridis"))


def test_a_figure_of_one_map_is_a_panel_and_one_of_many_images_a_grid(pictures: Tensor) -> None:
    def figure(count: int) -> Image.Image:
        explained = explain(seeded(plain_cnn), images(1).repeat(count, 1, 1, 1), layers="3")
        return explained.figure(pictures[:1].repeat(count, 1, 1, 1), class_names=NAMES, scale=1)

    alone, sixteen = figure(1), figure(16)
    assert alone.width > 2 * alone.height, "a panel"
    assert 0.5 < sixteen.width / sixteen.height < 2, "no tower"


def test_a_figure_says_of_every_map_what_it_is_about(explanation: Explanation, pictures: Tensor) -> None:
    first, second = (explanation.label(0, target, NAMES) for target in range(2))
    assert {first, second} <= set(NAMES)
    captions = [explanation._caption(0, target, layer, NAMES) for layer in ("0", "3") for target in range(2)]
    assert captions == [f"{first} at 0", f"{second} at 0", f"{first} at 3", f"{second} at 3"]
    few, many = (
        result.figure(pictures, scale=1) for result in (explain(seeded(plain_cnn), images(2), layers="3"), explanation)
    )
    assert many.height > few.height


@pytest.fixture(scope="module")
def mixed() -> Explanation:
    """A class, and that class against another one."""
    explained: Explanation = explain(seeded(plain_cnn), images(2), layers="3", target=[ClassScore(1), Contrast(1, 2)])
    return explained


def test_only_a_contrast_shows_both_signs_and_only_where_the_sign_means_so(mixed: Explanation) -> None:
    assert mixed.diverging == (False, True)
    assert mixed.to_dict()["diverging"] == [False, True]
    unsigned = explain(seeded(plain_cnn), images(2), method="eigencam", layers="3", target=Contrast(1, 2))
    assert unsigned.diverging == (False,)


def test_signed_maps_keep_the_signs_of_the_maps(mixed: Explanation) -> None:
    maps = mixed.maps["3"]
    drawn = mixed.signedmaps(size=maps.shape[2:])
    assert (maps.min() < 0) & (maps.max() > 0)
    assert torch.equal(drawn.sign(), maps.sign())
    assert drawn.abs().flatten(2).amax(dim=2).tolist() == [[1.0] * 2] * 2
    with refused("size.invalid", InputError, size=(5,)):
        mixed.signedmaps(size=(5,))


def test_an_overlay_shows_both_signs_unless_a_colour_map_is_asked_for(mixed: Explanation, pictures: Tensor) -> None:
    signed = mixed.signedmaps(size=(24, 24))[0, 1].numpy()
    drawn = mixed.overlay(pictures, 0.6, target=1)[0]
    evidence = overlay(pictures[0], signed, alpha=0.6, colormap="diverging", mode="evidence")
    np.testing.assert_array_equal(drawn, evidence)
    plain = overlay(pictures[0], mixed.heatmaps(size=(24, 24))[0, 1].numpy(), alpha=0.6)
    np.testing.assert_array_equal(mixed.overlay(pictures, 0.6, target=1, colormap="turbo")[0], plain)
    np.testing.assert_array_equal(
        mixed.overlay(pictures, 0.6)[0], overlay(pictures[0], mixed.heatmaps(size=(24, 24))[0, 0].numpy(), alpha=0.6)
    )


def test_figures_pages_and_notebooks_show_both_signs(mixed: Explanation, pictures: Tensor, tmp_path: Path) -> None:
    contrast = explain(seeded(plain_cnn), images(2), layers="3", target=Contrast(1, 2))
    chosen = np.asarray(contrast.figure(pictures, colormap="turbo"))
    assert np.asarray(contrast.figure(pictures)).shape == chosen.shape
    assert (np.asarray(contrast.figure(pictures)) != chosen).mean() > 0.02
    encoded = re.findall(r'data:image/png;base64,([^"]+)', contrast._tiles_html())[0]
    tile = np.asarray(Image.open(io.BytesIO(base64.b64decode(encoded))).convert("RGB")).astype(int)
    assert (tile[..., 2] - tile[..., 0]).max() > 60, "blue: what opposes"
    assert (tile[..., 0] - tile[..., 2]).max() > 60, "orange: what supports"


@pytest.mark.usefixtures("script")
def test_the_notebook_view_knows_which_maps_hold_both_signs(mixed: Explanation) -> None:
    (first, _) = frame_of(mixed._repr_html_())["images"]
    assert [one["diverging"] for one in first["maps"]] == [False, True]


def test_the_look_of_a_figure_can_be_chosen(explanation: Explanation, pictures: Tensor) -> None:
    light = explanation.figure(pictures, class_names=NAMES)
    dark = explanation.figure(pictures, class_names=NAMES, theme="dark", colormap="inferno", scale=1)
    assert np.asarray(light).mean() > np.asarray(dark).mean()
    assert dark.width < light.width


def test_a_figure_needs_one_picture_per_image(explanation: Explanation, pictures: Tensor) -> None:
    with refused("images.count", InputError, expected=2, given=1):
        explanation.figure(pictures[:1])


def frame_of(html: str) -> dict[str, Any]:
    """The data of the live page inside a notebook's frame."""
    (page,) = re.findall(r'<iframe sandbox="allow-scripts" [^>]*srcdoc="(.*)"></iframe>', html, re.DOTALL)
    (data,) = re.findall(r'<script type="application/json" id="maps">(.*?)</script>', unescape(page))
    found: dict[str, Any] = json.loads(data)
    return found


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some script: the tests of the page itself run the real one in a browser."""
    from camlens.render.interactive import page

    monkeypatch.setattr(page, "overlay_script", lambda: "const built = 1;")


@pytest.mark.usefixtures("script")
def test_the_notebook_view_is_the_live_page_with_every_map(explanation: Explanation) -> None:
    data = frame_of(explanation._repr_html_())
    assert [image["picture"] for image in data["images"]] == [None, None]
    maps = [one for image in data["images"] for one in image["maps"]]
    assert len(maps) == 2 * 2 * 2
    values = np.frombuffer(base64.b64decode(maps[0]["values"]), "<f4").reshape(maps[0]["shape"])
    np.testing.assert_array_equal(values, explanation.maps["0"][0, 0].numpy())


@pytest.mark.usefixtures("script")
def test_images_can_be_shown_under_their_maps_with_the_names_of_classes(
    explanation: Explanation, pictures: Tensor
) -> None:
    data = frame_of(explanation.show(pictures, class_names=NAMES)._repr_html_())
    shown = Image.open(io.BytesIO(base64.b64decode(data["images"][1]["picture"])))
    assert shown.size == (pictures.shape[3], pictures.shape[2])
    assert data["images"][0]["maps"][0]["title"] == f"{NAMES[int(explanation.classes[0, 0])]} at 0"  # type: ignore[index]
    with refused("images.count", InputError, expected=2, given=1):
        explanation.show(pictures[:1])


@pytest.mark.usefixtures("script")
def test_the_notebook_view_of_very_many_maps_says_how_many_are_left_out() -> None:
    many = explain(seeded(plain_cnn), images(6), layers=["0", "3"], target=TopK(3))
    html = many._repr_html_()
    assert sum(len(image["maps"]) for image in frame_of(html)["images"]) == 24
    assert "and 12 more maps" in html


@pytest.mark.usefixtures("script")
def test_very_fine_maps_are_averaged_so_that_a_notebook_stays_small() -> None:
    fine = Explanation(
        maps={"0": torch.arange(2.0 * 3 * 384 * 192).view(2, 3, 384, 192)},
        scores=torch.zeros(2, 3),
        logits=None,
        classes=None,
        layers=("0",),
        method="some",
        targets=("a", "b", "c"),
        input_size=(384, 192),
        provenance={},
    )
    html = fine._repr_html_()
    assert len(html) < 150_000
    first, second = frame_of(html)["images"]
    assert [one["shape"] for one in first["maps"] + second["maps"]] == [[96, 48]] * 4
    values = np.frombuffer(base64.b64decode(first["maps"][1]["values"]), "<f4").reshape(96, 48)
    np.testing.assert_allclose(values[95, 47], fine.maps["0"][0, 1, -4:, -4:].mean(), rtol=1e-6)
    assert "averaged to 96 × 48" in first["maps"][0]["title"]
    assert "and 2 more maps" in html


def test_without_the_script_the_notebook_view_is_tiles_that_need_nothing(
    explanation: Explanation, monkeypatch: pytest.MonkeyPatch
) -> None:
    from camlens.core.errors import MissingExtraError
    from camlens.render.interactive import page

    def not_built() -> str:
        raise MissingExtraError("not built")

    monkeypatch.setattr(page, "overlay_script", not_built)
    html = explanation._repr_html_()
    tiles = re.findall(r'src="data:image/png;base64,([^"]+)"', html)
    assert len(tiles) == 2 * 2 * 2
    for tile in tiles:
        with Image.open(io.BytesIO(base64.b64decode(tile))) as picture:
            assert max(picture.size) == 140
    assert "http" not in html
    assert f"score {float(explanation.scores[0, 0]):.3g}" in html
    assert "<script" not in html
    with refused("extra.missing", MissingExtraError):
        explanation.show()


@pytest.mark.filterwarnings("ignore::camlens.core.errors.EvidenceWarning")
def test_the_notebook_view_of_inputs_that_are_no_pictures_is_their_scores() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv3d(1, 4, 3), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(4, 2)).eval()
    volume = explain(net, torch.rand(1, 1, 6, 6, 6), layers="0", target=1)
    html = volume._repr_html_()
    assert "<iframe" not in html
    assert f"score {float(volume.scores[0, 0]):.3g}" in html


@pytest.mark.filterwarnings("ignore::camlens.core.errors.EvidenceWarning")
def test_a_page_is_one_file_that_loads_nothing_and_is_not_overwritten(tmp_path: Path) -> None:
    result = explain(seeded(plain_cnn), images(2), layers="5", target=[ClassScore(1), ClassScore(2)])
    path = result.save_html(tmp_path / "maps.html", np.zeros((2, 16, 16, 3), dtype=np.uint8))
    page = path.read_text(encoding="utf-8")
    assert "class 2 at 5" in page
    assert "default-src 'none'" in page
    assert 'src="http' not in page
    assert len(page) < 150_000
    with pytest.raises(StoreError) as refused:
        result.save_html(path)
    assert refused.value.code == "output.exists"
    assert path.read_text(encoding="utf-8") == page


def test_pictures_that_cannot_be_are_refused_in_words(explanation: Explanation, pictures: Tensor) -> None:
    for call in (lambda: explanation.overlay(), lambda: explanation.figure(pictures[:1])):
        with pytest.raises(InputError) as caught:
            call()
        assert (caught.value.code, caught.value.facts["expected"]) == ("images.count", 2)
