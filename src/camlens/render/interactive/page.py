"""A self-contained HTML page: maps are stored as numbers and colored by a script in the browser.

The page loads nothing, so it works from disk, in an email and in a sandboxed frame. The script is the overlay core of
the studio, built from `studio-ui/`.
"""

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files

import numpy as np
from jaxtyping import Float

from camlens.core.errors import InputError, MissingExtraError
from camlens.core.probabilities import Task
from camlens.core.store import SIGNATURE
from camlens.render.colormaps import DEFAULT, color_table
from camlens.render.pictures import Picture, as_picture, encode_png
from camlens.render.placing import WHOLE, Region, sized

_SCRIPT = "overlay.js"
_LONGEST = 640  # the longer side of a photograph in a page, in pixels


@dataclass(frozen=True, eq=False)
class LiveMap:
    """A signed map (h, w) at the resolution of its layer, with a title and an optional warning.

    With `diverging` both signs are drawn.
    """

    title: str
    values: Float[np.ndarray, "h w"]
    warning: str | None = None
    diverging: bool = False


@dataclass(frozen=True, eq=False)
class LiveImage:
    """An image with its maps, facts as (name, value) and predictions as (name, confidence).

    `picture` is the photograph and `region` the part of it that the maps cover: (left, top, right, bottom) in
    fractions, or None for all of it. Without a picture only the maps are drawn, at `size`. For a regression the
    confidences are its outputs, shown as numbers.
    """

    title: str
    picture: Picture | None
    maps: Sequence[LiveMap]
    facts: Sequence[tuple[str, str]] = ()
    predictions: Sequence[tuple[str, float]] = ()
    size: tuple[int, int] = (224, 224)
    region: Region | None = None
    task: Task = "classification"


def live_page(
    images: Sequence[LiveImage],
    *,
    title: str,
    subtitle: str = "",
    opacity: float = 0.5,
    colormap: str = DEFAULT,
) -> str:
    """Return the page. Raises InputError without images, MissingExtraError if the script is not built."""
    if not images:
        raise InputError("images must not be empty", code="argument.empty", name="images")
    color_table(colormap)
    data = {
        "opacity": opacity,
        "colours": colormap,
        "images": [_as_data(image) for image in images],
    }
    script = overlay_script()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    # escape '<', so that no text in the data can end the script element
    text = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        f'<meta name="generator" content="{SIGNATURE}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{escape(title)}</title></head><body>"
        f"<header><h1>{escape(title)}</h1><p>{escape(subtitle)}</p></header><main></main>"
        "<noscript>The maps are drawn by a script in this file. Enable JavaScript to see them.</noscript>"
        f'<script type="application/json" id="maps">{text}</script><script>{script}</script></body></html>\n'
    )


def live_frame(page: str, *, height: int) -> str:
    """Return the page in a sandboxed frame for notebooks, which can only run its own script."""
    return (
        f'<iframe sandbox="allow-scripts" style="width:100%;height:{height}px;border:0" '
        f'title="Interactive heat maps" srcdoc="{escape(page)}"></iframe>'
    )


def overlay_script() -> str:
    """Return the script that draws the maps. Raises MissingExtraError if it is not built."""
    return built_script(_SCRIPT)


def built_script(name: str) -> str:
    """Return a built script by file name. Raises MissingExtraError if it is not built."""
    file = files("camlens.render.interactive") / "static" / name
    if not file.is_file():
        raise MissingExtraError(
            "the script of interactive pages is not built in this source tree: run `make studio-ui` (needs Node), or"
            " install the camlens wheel"
        )
    return file.read_text(encoding="utf-8").strip()


def _as_data(image: LiveImage) -> dict[str, object]:
    picture = None if image.picture is None else _bounded(as_picture(image.picture))
    size = image.size if picture is None else picture.shape[:2]
    return {
        "title": image.title,
        "size": list(size),
        "picture": None if picture is None else base64.b64encode(encode_png(picture)).decode(),
        "region": None if image.region in (None, WHOLE) else [round(share, 6) for share in image.region or ()],
        "maps": [_map_data(live_map) for live_map in image.maps],
        "facts": [list(fact) for fact in image.facts],
        "task": image.task,
        "predictions": [[name, float(f"{confidence:.6g}")] for name, confidence in image.predictions],
    }


def _bounded(picture: Picture) -> Picture:
    """Downscale the picture if it is larger than a page needs."""
    return sized(picture, _LONGEST) if max(picture.shape) > _LONGEST else picture


def _map_data(live_map: LiveMap) -> dict[str, object]:
    values = np.ascontiguousarray(live_map.values, dtype="<f4")
    return {
        "title": live_map.title,
        "shape": list(values.shape),
        "values": base64.b64encode(values.tobytes()).decode(),
        "warning": live_map.warning,
        "diverging": live_map.diverging,
    }
