"""An explanation as a live view of bounded size, for notebooks, which keep what they show."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from camlens.render.interactive.gather import Explained, live_images
from camlens.render.interactive.page import LiveImage, LiveMap, live_frame, live_page
from camlens.render.pictures import Picture
from camlens.render.placing import Region

_MOST_MAPS = 24
_MOST_CELLS = 20_000  # of all maps together: some 110 kB as text
_FINEST = 96
_HEADER, _CARD, _ROW, _TALLEST = 150, 270, 290, 760  # points; the frame cannot measure what is in it
_TILES_IN_A_ROW = 4


@dataclass(frozen=True)
class LiveView:
    """A live page, shown by notebooks where it stands, in a frame that can reach nothing else."""

    page: str
    height: int

    def _repr_html_(self) -> str:
        """The page in its frame."""
        return live_frame(self.page, height=self.height)


def live_view(
    explained: Explained,
    pictures: Sequence[tuple[Picture, Region]] | None = None,
    *,
    title: str = "",
    class_names: Sequence[str] | None = None,
) -> LiveView:
    """As many maps as a notebook should hold, live; a line says how many were left out.

    Maps finer than 96 cells a side are averaged to that. Raises InputError for maps that are not
    two-dimensional, MissingExtraError where the script is not built.
    """
    images = live_images(explained, pictures, class_names=class_names)
    count = sum(len(image.maps) for image in images)
    shown = _bounded(images)
    left = count - sum(len(image.maps) for image in shown)
    words = f"{explained.method} at {', '.join(explained.layers)}"
    page = live_page(
        shown,
        title=title or "Where the model looks",
        subtitle=f"{words} · and {left} more maps: save_html() writes them all" if left else words,
    )
    return LiveView(page, _height(shown))


def _bounded(images: Sequence[LiveImage]) -> list[LiveImage]:
    """The first images and maps that keep within the bounds, at least one map."""
    shown: list[LiveImage] = []
    maps_left, cells_left = _MOST_MAPS, _MOST_CELLS
    for image in images:
        kept: list[LiveMap] = []
        for one in map(_coarser, image.maps):
            if (shown or kept) and (maps_left < 1 or one.values.size > cells_left):
                break
            kept.append(one)
            maps_left, cells_left = maps_left - 1, cells_left - one.values.size
        if not kept:
            break
        shown.append(replace(image, maps=kept))
    return shown


def _coarser(one: LiveMap) -> LiveMap:
    if max(one.values.shape) <= _FINEST:
        return one
    share = _FINEST / max(one.values.shape)
    height, width = (max(1, round(length * share)) for length in one.values.shape)
    averaged = torch.nn.functional.adaptive_avg_pool2d(torch.from_numpy(np.array(one.values))[None], (height, width))
    return replace(one, title=f"{one.title}, averaged to {height} × {width}", values=averaged[0].numpy())


def _height(images: Sequence[LiveImage]) -> int:
    tiles = [len(image.maps) + (image.picture is not None) * (2 if len(image.maps) == 1 else 1) for image in images]
    rows = [-(-count // _TILES_IN_A_ROW) for count in tiles]
    return min(_TALLEST, _HEADER + sum(_CARD + _ROW * count for count in rows))
