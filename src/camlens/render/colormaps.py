"""Color maps as tables of 256 colors, the same in Python and in the browser."""

import base64
from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
from jaxtyping import Int, UInt8

from camlens.core.arguments import check_choice
from camlens.render.colormap_tables import BASE64
from camlens.render.pictures import Heat, Picture, as_heatmap

Table = UInt8[np.ndarray, "256 3"]

DEFAULT = "turbo"
DIVERGING = "diverging"


def _tables() -> dict[str, Table]:
    """Return the stored tables and the gray one, as read-only arrays."""
    stored = {name: base64.b64decode(text) for name, text in BASE64.items()}
    grey = bytes(level for level in range(256) for _ in range(3))
    ordered = ("turbo", "viridis", "inferno", "jet", "grey", DIVERGING)
    return {name: np.frombuffer(stored.get(name, grey), dtype=np.uint8).reshape(256, 3) for name in ordered}


COLORMAPS: Mapping[str, Table] = MappingProxyType(_tables())
"""Read-only tables by name. `diverging` is for values in [-1, 1], all others are for [0, 1]."""


def color_table(name: str) -> Table:
    """Return the 256 RGB triples of a color map, uint8 (256, 3), read-only."""
    check_choice("colormap", name, COLORMAPS)
    return COLORMAPS[name]


def table_rows(values: Heat, *, signed: bool = False) -> Int[np.ndarray, "_ _"]:
    """Return the table row of each value: `floor(share * 255 + 0.5)`, clipped to 0..255.

    The share is the value itself, or `(value + 1) / 2` of a signed value, so that 0 is row 128. It is computed in
    float64, as in browsers.
    """
    exact = values.astype(np.float64)
    share = (exact + 1) / 2 if signed else exact
    return np.clip(np.floor(share * 255 + 0.5), 0, 255).astype(np.intp)


def colorize(heatmap: object, colormap: str = DEFAULT) -> Picture:
    """Color a heat map (H, W) as uint8 RGB (H, W, 3).

    `heatmap` is an array or tensor in [0, 1], or in [-1, 1] for the color map `diverging`. Raises InputError for other
    values and for unknown color maps.
    """
    table = color_table(colormap)
    signed = colormap == DIVERGING
    colors: Picture = table[table_rows(as_heatmap(heatmap, signed=signed), signed=signed)]
    return colors


def exported_tables() -> dict[str, object]:
    """Return all tables as JSON values: base64 by name, with the names of the default and the diverging one."""
    tables = {name: base64.b64encode(table.tobytes()).decode() for name, table in COLORMAPS.items()}
    return {"default": DEFAULT, "diverging": DIVERGING, "tables": tables}
