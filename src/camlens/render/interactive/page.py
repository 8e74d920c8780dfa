"""One self-contained file of HTML: maps travel as numbers, and a small script colours them in the browser.

Nothing is loaded from anywhere, so the file works from disk, in a mail and in a sandboxed frame. The script
is the studio's own overlay core, built from `studio-ui/`.
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
from camlens.render.colormaps import DEFAULT, colour_table
from camlens.render.pictures import Picture, as_picture, encode_png
from camlens.render.placing import WHOLE, Region, sized

_SCRIPT = "overlay.js"
_FRAME_HEIGHT = 560
_LONGEST = 640  # the longer side of a photograph in a page, in pixels


@dataclass(frozen=True, eq=False)
class LiveMap:
    """One signed map (h, w) at its layer's own resolution, its title, and a warning where it says little.

    `diverging` draws it as evidence for and against.
    """

    title: str
    values: Float[np.ndarray, "h w"]
    warning: str | None = None
    diverging: bool = False


@dataclass(frozen=True, eq=False)
class LiveImage:
    """One image with its maps: a title, facts as (name, value), and classes as (name, confidence).

    `picture` is the photograph, and `region` the part of it that the model saw and the maps cover: (left, top,
    right, bottom) in fractions of it, None for all of it. Without a picture the maps are drawn alone, at `size`.
    For a regression the confidences are its outputs, shown as plain numbers.
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
    """The whole file. Raises InputError without images, MissingExtraError where the script is not built."""
    if not images:
        raise InputError("a page needs at least one image", code="argument.empty", name="images")
    colour_table(colormap)
    data = {
        "opacity": opacity,
        "colours": colormap,
        "images": [_as_data(image) for image in images],
    }
    script = overlay_script()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    # '<' is written as an escape, so that no text in the data can end the element that holds it
    text = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        f'<meta name="generator" content="{SIGNATURE}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{escape(title)}</title></head><body>"
        f"<header><h1>{escape(title)}</h1><p>{escape(subtitle)}</p></header><main></main>"
        "<noscript>The maps are coloured by a script inside this file; it is switched off here.</noscript>"
        f'<script type="application/json" id="maps">{text}</script><script>{script}</script></body></html>\n'
    )


def live_frame(page: str, *, height: int = _FRAME_HEIGHT) -> str:
    """A page inside a sandboxed frame, for notebooks: it can run its script and reach nothing else."""
    return (
        f'<iframe sandbox="allow-scripts" style="width:100%;height:{height}px;border:0" '
        f'title="Interactive heat maps" srcdoc="{escape(page)}"></iframe>'
    )


def overlay_script() -> str:
    """The script that draws; raises MissingExtraError where the source tree has not built it."""
    return built_script(_SCRIPT)


def built_script(name: str) -> str:
    """One of the scripts that are made for pages without a server; raises MissingExtraError where it is not built."""
    file = files("camlens.render.interactive") / "static" / name
    if not file.is_file():
        raise MissingExtraError(
            "the script of interactive pages is not built in this source tree: run `make studio-ui` "
            "(needs Node), or install camlens from its wheel, which has it"
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
        "maps": [_map_data(one) for one in image.maps],
        "facts": [list(fact) for fact in image.facts],
        "task": image.task,
        "predictions": [[name, float(f"{confidence:.6g}")] for name, confidence in image.predictions],
    }


def _bounded(picture: Picture) -> Picture:
    """The picture, made smaller if a page need not hold it at its size."""
    return sized(picture, _LONGEST) if max(picture.shape) > _LONGEST else picture


def _map_data(one: LiveMap) -> dict[str, object]:
    values = np.ascontiguousarray(one.values, dtype="<f4")
    return {
        "title": one.title,
        "shape": list(values.shape),
        "values": base64.b64encode(values.tobytes()).decode(),
        "warning": one.warning,
        "diverging": one.diverging,
    }
