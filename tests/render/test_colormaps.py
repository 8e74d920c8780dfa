import base64
import json
import subprocess
import sys

import matplotlib
import numpy as np
import pytest
import torch

from camlens.core.errors import InputError
from camlens.render.colormaps import COLORMAPS, DIVERGING, color_table, colorize, exported_tables

ORIGINS = {
    "turbo": "turbo",
    "viridis": "viridis",
    "inferno": "inferno",
    "jet": "jet",
    "grey": "gray",
}


def luminance(table: np.ndarray) -> np.ndarray:
    """CIE lightness of sRGB colors."""
    share = table / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    y = linear @ [0.2126, 0.7152, 0.0722]
    return np.where(y > 216 / 24389, 116 * np.cbrt(y) - 16, y * 24389 / 27)


@pytest.mark.parametrize(("name", "origin"), ORIGINS.items())
def test_a_table_matches_its_source_within_one_level(name: str, origin: str) -> None:
    wanted = matplotlib.colormaps[origin](np.arange(256) / 255, bytes=True)[:, :3]
    assert np.abs(color_table(name).astype(int) - wanted).max() <= 1


def test_every_table_has_a_source_and_turbo_comes_first() -> None:
    assert set(COLORMAPS) == {*ORIGINS, DIVERGING}
    assert next(iter(COLORMAPS)) == "turbo"


@pytest.mark.parametrize("name", ["viridis", "inferno", "grey"])
def test_sequential_maps_get_lighter_in_every_row(name: str) -> None:
    steps = np.diff(luminance(color_table(name)))
    assert steps.min() > -0.05  # 8-bit rounding
    assert luminance(color_table(name))[[0, 64, 128, 192, 255]].tolist() == sorted(
        luminance(color_table(name))[[0, 64, 128, 192, 255]].tolist()
    )


def srgb(linear: np.ndarray) -> np.ndarray:
    """Linear light as bytes of sRGB."""
    share = np.clip(linear, 0, 1)
    curved = np.where(share <= 0.0031308, 12.92 * share, 1.055 * share ** (1 / 2.4) - 0.055)
    return np.floor(curved * 255 + 0.5)


def from_lab(lightness: np.ndarray, chroma: np.ndarray, hue: np.ndarray) -> np.ndarray:
    """CIELAB by lightness, chroma and hue in degrees, under D65, as linear sRGB."""
    middle = (lightness + 16) / 116
    first = middle + chroma * np.cos(np.radians(hue)) / 500
    last = middle - chroma * np.sin(np.radians(hue)) / 200
    x, y, z = (np.where(one > 6 / 29, one**3, 3 * (6 / 29) ** 2 * (one - 4 / 29)) for one in (first, middle, last))
    to_rgb = [
        [3.2404542, -1.5371385, -0.4985314],
        [-0.9692660, 1.8760108, 0.0415560],
        [0.0556434, -0.2040259, 1.0572252],
    ]
    return np.stack([0.95047 * x, y, 1.08883 * z], axis=-1) @ np.array(to_rgb).T


def test_the_diverging_map_matches_its_formula() -> None:
    value = np.clip((np.arange(256) - 128) / 127.5, -1, 1)
    size = np.abs(value)
    hue = np.where(value > 0, 78 - 28 * size, 255 + 30 * size)
    linear = from_lab(97.1 - 44.1 * size, 68 * size**0.85, hue)
    assert linear.min() > -1e-3, "every color exists on a screen"
    assert linear.max() < 1 + 1e-3
    assert np.abs(color_table(DIVERGING).astype(int) - srgb(linear)).max() <= 1


def test_the_diverging_map_is_neutral_at_zero_and_darkens_evenly_to_both_ends() -> None:
    table = color_table(DIVERGING)
    assert table[128].tolist() == [247, 247, 247]
    assert colorize(np.zeros((1, 1)), DIVERGING).tolist() == [[[247, 247, 247]]]
    light = luminance(table)
    assert np.abs(light[128:0:-1] - light[128:256]).max() < 0.5, "both sides are equally light"
    steps = -np.diff(light[128:])
    assert (steps.min(), steps.max()) == pytest.approx((44.1 / 127.5, 44.1 / 127.5), abs=0.3)  # 8-bit rounding


# what people see who lack one kind of cone, in linear light: Machado, Oliveira and Fernandes 2009, severity 1
BLINDNESS = {
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


@pytest.mark.parametrize("kind", BLINDNESS)
def test_both_signs_differ_for_a_color_blind_reader(kind: str) -> None:
    share = color_table(DIVERGING) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    seen = srgb(linear @ np.array(BLINDNESS[kind]).T)
    apart = np.abs(seen[128:0:-1] - seen[128:256]).max(axis=1)
    assert (apart[13:] > 24).all(), "from a tenth of the full evidence on"
    assert apart[-1] > 100


def test_a_value_has_the_color_of_its_rounded_row() -> None:
    values = np.array([[0, 0.5 / 255 - 1e-9, 0.5 / 255 + 1e-9, 0.5, 1]])
    assert colorize(values, "grey")[0, :, 0].tolist() == [0, 0, 1, 128, 255]


def test_signed_values_spread_over_the_whole_table() -> None:
    table = color_table(DIVERGING)
    wanted = table[[0, 64, 128, 191, 255]]
    assert np.array_equal(colorize(np.array([[-1, -0.5, 0, 0.5, 1]]), DIVERGING)[0], wanted)


def test_the_hottest_value_gets_the_warmest_color_also_as_uint8() -> None:
    warmest = color_table("turbo")[255].tolist()
    assert colorize(np.array([[255]], dtype=np.uint8)).tolist() == [[warmest]]
    assert colorize(torch.ones(1, 1, dtype=torch.bfloat16)).tolist() == [[warmest]]


def test_tables_are_read_only() -> None:
    with pytest.raises(ValueError, match="read-only"):
        color_table("turbo")[0] = 0
    with pytest.raises(TypeError):
        COLORMAPS["turbo"] = color_table("jet")  # type: ignore[index]


def test_an_unknown_color_map_is_refused() -> None:
    with pytest.raises(InputError) as caught:
        colorize(np.zeros((2, 2)), "rainbow")
    assert (caught.value.code, caught.value.facts) == ("argument.invalid", {"name": "colormap", "value": "rainbow"})


def test_exported_tables_survive_json() -> None:
    exported = json.loads(json.dumps(exported_tables()))
    assert (exported["default"], exported["diverging"]) == ("turbo", DIVERGING)
    for name, text in exported["tables"].items():
        assert base64.b64decode(text) == color_table(name).tobytes()


def test_overlays_need_numpy_only_and_figures_without_matplotlib_name_the_extra() -> None:
    code = (
        "import sys; sys.modules['PIL'] = sys.modules['matplotlib'] = None\n"
        "import numpy as np, camlens.render.overlays as o, camlens.render.colormaps as c\n"
        "print(o.overlay(np.zeros((2, 2, 3), 'uint8'), np.ones((2, 2))).sum())\n"
        "try: import camlens.render.figure\n"
        "except ImportError as error: print(type(error).__name__, error)"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    total, refusal = answer.stdout.splitlines()
    assert int(total) == 4 * sum((int(level) + 1) // 2 for level in color_table("turbo")[255])
    assert refusal.startswith("MissingExtraError this needs matplotlib, which")
    assert 'pip install "camlens[vision]"' in refusal
