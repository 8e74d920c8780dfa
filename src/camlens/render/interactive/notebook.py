"""An interactive view of an explanation for notebooks, limited in size because notebooks store it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from camlens.render.interactive.gather import live_images
from camlens.render.interactive.page import LiveImage, LiveMap, live_frame, live_page
from camlens.render.pictures import Picture
from camlens.render.placing import Region

if TYPE_CHECKING:
    from camlens.explanation import Explanation

_MOST_MAPS = 24
_MOST_CELLS = 20_000  # of all maps together, about 110 kB as text
_FINEST = 96
_HEADER, _CARD, _ROW, _TALLEST = 150, 270, 290, 760  # points; a sandboxed frame cannot adapt to its content
_TILES_IN_A_ROW = 4


@dataclass(frozen=True)
class LiveView:
    """An interactive page that notebooks show in a sandboxed frame."""

    page: str
    height: int

    def _repr_html_(self) -> str:
        """Return the page in its frame."""
        return live_frame(self.page, height=self.height)


def live_view(
    explanation: "Explanation",
    pictures: Sequence[tuple[Picture, Region]] | None = None,
    *,
    title: str = "",
    class_names: Sequence[str] | None = None,
) -> LiveView:
    """Return an interactive view with a limited number of maps; the subtitle says how many are left out.

    Maps with more than 96 cells per side are downsampled by averaging. Raises InputError for maps that are not
    two-dimensional, MissingExtraError if the script is not built.
    """
    images = live_images(explanation, pictures, class_names=class_names)
    count = sum(len(image.maps) for image in images)
    shown = _bounded(images)
    omitted = count - sum(len(image.maps) for image in shown)
    words = f"{explanation.method} at {', '.join(explanation.layers)}"
    page = live_page(
        shown,
        title=title or "Where the model looks",
        subtitle=f"{words} · and {omitted} more maps: save_html() writes them all" if omitted else words,
    )
    return LiveView(page, _height(shown))


def _bounded(images: Sequence[LiveImage]) -> list[LiveImage]:
    """Return the first images and maps within the limits, at least one map."""
    shown: list[LiveImage] = []
    maps_left, cells_left = _MOST_MAPS, _MOST_CELLS
    for image in images:
        kept: list[LiveMap] = []
        for live_map in map(_downsampled, image.maps):
            if (shown or kept) and (maps_left < 1 or live_map.values.size > cells_left):
                break
            kept.append(live_map)
            maps_left, cells_left = maps_left - 1, cells_left - live_map.values.size
        if not kept:
            break
        shown.append(replace(image, maps=kept))
    return shown


def _downsampled(live_map: LiveMap) -> LiveMap:
    if max(live_map.values.shape) <= _FINEST:
        return live_map
    share = _FINEST / max(live_map.values.shape)
    height, width = (max(1, round(length * share)) for length in live_map.values.shape)
    averaged = torch.nn.functional.adaptive_avg_pool2d(
        torch.from_numpy(np.array(live_map.values))[None], (height, width)
    )
    return replace(live_map, title=f"{live_map.title}, averaged to {height} × {width}", values=averaged[0].numpy())


def _height(images: Sequence[LiveImage]) -> int:
    tiles = [len(image.maps) + (image.picture is not None) * (2 if len(image.maps) == 1 else 1) for image in images]
    rows = [-(-count // _TILES_IN_A_ROW) for count in tiles]
    return min(_TALLEST, _HEADER + sum(_CARD + _ROW * count for count in rows))
