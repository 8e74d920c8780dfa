"""Colour maps: from values to colours by a table of 256 rows, the same in Python and in a browser."""

import base64
from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
from jaxtyping import Int, UInt8

from camlens.core.errors import InputError
from camlens.render.colormap_tables import BASE64
from camlens.render.pictures import Heat, Picture, as_heatmap

Table = UInt8[np.ndarray, "256 3"]

DEFAULT = "turbo"
DIVERGING = "diverging"


def _tables() -> dict[str, Table]:
    """The stored tables and the grey one; views of bytes, so nobody can write on them."""
    stored = {name: base64.b64decode(text) for name, text in BASE64.items()}
    grey = bytes(level for level in range(256) for _ in range(3))
    ordered = ("turbo", "viridis", "inferno", "jet", "grey", DIVERGING)
    return {name: np.frombuffer(stored.get(name, grey), dtype=np.uint8).reshape(256, 3) for name in ordered}


COLORMAPS: Mapping[str, Table] = MappingProxyType(_tables())
"""Read-only tables by name. `diverging` takes values in [-1, 1], with 0 neutral; all others take [0, 1]."""


def colour_table(name: str) -> Table:
    """The 256 RGB triples of a colour map, uint8 (256, 3), read-only.

    Raises InputError where there is no such colour map; the message lists those there are.
    """
    if name not in COLORMAPS:
        raise InputError(
            f"there is no colour map {name!r}; choose one of {', '.join(COLORMAPS)}",
            code="argument.invalid",
            name="colormap",
            value=name,
        )
    return COLORMAPS[name]


def table_rows(values: Heat, *, signed: bool = False) -> Int[np.ndarray, "_ _"]:
    """The row of the table for each value: `floor(share * 255 + 0.5)`, within 0 and 255.

    The share is the value itself, or `(value + 1) / 2` of a signed one, so that 0 falls on row 128.
    Computed in float64, as browsers do.
    """
    exact = values.astype(np.float64)
    share = (exact + 1) / 2 if signed else exact
    return np.clip(np.floor(share * 255 + 0.5), 0, 255).astype(np.intp)


def colorize(heatmap: object, colormap: str = DEFAULT) -> Picture:
    """The colours of a heat map (H, W), uint8 RGB (H, W, 3).

    `heatmap` is an array or tensor in [0, 1], or in [-1, 1] for the colour map `diverging`.
    Raises InputError for other values, and for a colour map that does not exist.
    """
    table = colour_table(colormap)
    signed = colormap == DIVERGING
    colours: Picture = table[table_rows(as_heatmap(heatmap, signed=signed), signed=signed)]
    return colours


def exported_tables() -> dict[str, object]:
    """All tables as plain values for JSON: base64 of 768 bytes by name, and the names with a special part."""
    tables = {name: base64.b64encode(table.tobytes()).decode() for name, table in COLORMAPS.items()}
    return {"default": DEFAULT, "diverging": DIVERGING, "tables": tables}
