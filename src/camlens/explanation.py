"""The frozen result of explaining: signed maps with everything needed to judge and repeat them."""

import operator
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from html import escape
from itertools import product
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from camlens.core.details import described, joined_details
from camlens.core.errors import InputError, LayerError, MissingExtraError
from camlens.core.heatmaps import balanced, normalised, rectified, resized
from camlens.core.types import Classes, Heatmaps, Scores, TargetMaps

_TILES = 24
_TILE_SIDE = 140


@dataclass(frozen=True, eq=False)
class Explanation:
    """Where a model looked, for n images and t targets.

    Attributes:
        maps: by layer name, (n, t, *grid), float64 for a float64 model and else float32: signed evidence at the
            layer's own resolution.
        scores: (n, t) of the same dtype, the explained scores.
        logits: (n, classes) of the same dtype, or None where the model's output is not one row of logits per image.
        classes: int64 (n, t), the class each score is about, or None where scores are not about classes.
        layers: the layers' names, in the order asked for.
        method: the method's name.
        targets: one label per target.
        input_size: the spatial size of the inputs.
        provenance: versions, weights hash, seed, dtype, layout and layer choice with the reason.
        details: what else the method found, by name: for LIME the segments, their weights and how well these
            explain the score. Tensors have the n images as their first axis.
        diverging: for each target whether its map is evidence for and against alike; pictures then show both.
    """

    maps: Mapping[str, TargetMaps]
    scores: Scores
    logits: Float[Tensor, "n classes"] | None
    classes: Classes | None
    layers: tuple[str, ...]
    method: str
    targets: tuple[str, ...]
    input_size: tuple[int, ...]
    provenance: Mapping[str, Any]
    details: Mapping[str, Any] = field(default_factory=dict)
    diverging: tuple[bool, ...] = ()

    def __getstate__(self) -> dict[str, Any]:
        """The fields for a copy or a pickle, which cannot hold read-only views."""
        return {name: dict(one) if isinstance(one, Mapping) else one for name, one in vars(self).items()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(
            {name: MappingProxyType(one) if isinstance(one, dict) else one for name, one in state.items()}
        )

    def heatmaps(self, layer: str | None = None, size: Sequence[int] | None = None) -> Heatmaps:
        """Heat maps in [0, 1] of shape (n, t, *size): rectified, normalised per map, then bilinear.

        `layer` defaults to the last one in `layers`, `size` to the size of the inputs. A map without positive
        evidence, or a constant one, is all zero: its magnitude is in `maps`.
        """
        return resized(normalised(rectified(self.maps[self._layer(layer)])), self._size(size))

    def signedmaps(self, layer: str | None = None, size: Sequence[int] | None = None) -> Heatmaps:
        """Evidence for (positive) and against (negative) in [-1, 1], of shape (n, t, *size).

        Each map is divided by the magnitude that only one of its cells in 200 exceeds, cut off at -1 and 1, then
        bilinear. Zero stays zero. `layer` and `size` are as for `heatmaps`.
        """
        return resized(balanced(self.maps[self._layer(layer)]), self._size(size))

    def shows_both_signs(self, target: int = 0) -> bool:
        """Whether the map of a target is drawn as evidence for and against."""
        return any(self.diverging[self._target(target) :][:1])

    def overlay(
        self,
        images: Any,
        alpha: float | int = 0.5,
        *,
        layer: str | None = None,
        target: int = 0,
        colormap: str | None = None,
    ) -> list[Any]:
        """Each image under its heat map, as uint8 arrays (H, W, 3).

        `images` are n arrays or tensors, uint8 or in [0, 1], (H, W, 3), (3, H, W) or grey (H, W); they may be
        of any size. `alpha` is the opacity of the heat map from 0 to 1. Without a `colormap`, evidence for and
        against is drawn in orange and striped blue where the map holds both, else its heat map in `turbo`.
        """
        from camlens.render.overlay import overlay

        pictures = self._pictures(images)
        signed = self.shows_both_signs(target) if colormap is None else colormap == "diverging"
        drawn = []
        for number, picture in enumerate(pictures):
            maps = (self.signedmaps if signed else self.heatmaps)(layer, picture.shape[:2])
            heatmap = maps[number, self._target(target)].nan_to_num(0).cpu().numpy()
            colours = "diverging" if signed else colormap or "turbo"
            drawn.append(
                overlay(picture, heatmap, alpha=alpha, colormap=colours, mode="evidence" if signed else "blend")
            )
        return drawn

    def figure(self, images: Any, *, class_names: Sequence[str] | None = None, **options: Any) -> Any:
        """A labelled Pillow image: a panel for one map per image, else all maps of an image side by side.

        `images` are as in `overlay`. `options` are those of `camlens.render.theme.Look` (colormap, alpha,
        threshold, contour, mode, theme, scale) and `title`.
        """
        from camlens.render.figure import map_row, panel
        from camlens.render.theme import Look

        title = options.pop("title", "")
        if not isinstance(title, str):
            raise InputError(f"title must be a text, not {title!r}")
        known = [*Look.__dataclass_fields__, "title"]
        for name in options:
            if name not in known:
                raise InputError(f"a figure has no option {name!r}; its options are {', '.join(known)}")
        look = Look(**options)
        signed = "colormap" not in options
        rows = []
        for number, picture in enumerate(self._pictures(images)):
            heatmaps, both = self._labelled_heatmaps(number, picture.shape[:2], class_names, signed=signed)
            place = f"{self.method} at {', '.join(self.layers)}"
            label = self._target_label(number, 0, class_names)
            subtitle = f"{label}  ·  {place}" if len(self.targets) == 1 else place
            if len(heatmaps) > 1:
                rows.append(map_row(picture, heatmaps, title=title, subtitle=subtitle, signed=both, look=look))
                continue
            (heatmap,) = heatmaps.values()
            best = self._best_classes(number, class_names)
            target = None if self.classes is None else int(self.classes[number, 0])
            rows.append(
                panel(
                    picture,
                    heatmap,
                    title=title,
                    subtitle=subtitle,
                    predictions=best,
                    target=target,
                    look=look.for_evidence() if both else look,
                )
            )
        return _stacked(rows)

    def _labelled_heatmaps(
        self, image: int, size: tuple[int, int], class_names: Sequence[str] | None, *, signed: bool
    ) -> tuple[dict[str, Any], set[str]]:
        """The maps of one image by class and layer, as far as these tell them apart; and which show both signs."""
        found: dict[str, Any] = {}
        both: set[str] = set()
        for layer in self.layers:
            heatmaps, signedmaps = self.heatmaps(layer, size)[image], self.signedmaps(layer, size)[image]
            for target in range(len(self.targets)):
                words = [layer] if len(self.layers) > 1 else []
                if len(self.targets) > 1 or not words:
                    words.insert(0, self._target_label(image, target, class_names))
                label = " at ".join(words)
                label = label if label not in found else f"{label} ({self.targets[target]})"
                if signed and self.shows_both_signs(target):
                    both.add(label)
                found[label] = (signedmaps if label in both else heatmaps)[target].nan_to_num(0).cpu().numpy()
        return found, both

    def _target_label(self, image: int, target: int, class_names: Sequence[str] | None) -> str:
        if self.classes is None:
            return self.targets[target]
        index = int(self.classes[image, target])
        return f"class {index}" if class_names is None or index >= len(class_names) else class_names[index]

    def _best_classes(self, image: int, class_names: Sequence[str] | None, top_k: int = 5) -> list[dict[str, Any]]:
        """The classes that the model finds most likely for one image, best first."""
        if self.logits is None:
            return []
        best = self.logits[image].float().softmax(dim=0).topk(min(top_k, self.logits.shape[1]))
        named = class_names or ()
        return [
            {
                "class_idx": index,
                "class_name": named[index] if index < len(named) else f"class {index}",
                "confidence": confidence,
            }
            for confidence, index in zip(best.values.tolist(), best.indices.tolist(), strict=True)
        ]

    def save(self, directory: str | Path, *, force: bool = False) -> Path:
        """Write maps, scores, logits and details as `.npy` beside `manifest.json` into `directory`, all or nothing.

        They are read back with `json.loads` and `numpy.load`: the manifest's "files" says which file holds what,
        and `map-0` is the map of its first layer. Raises StoreError where something stands there already and
        `force` is not said; `force` replaces what an earlier call has written, and never anything else.
        """
        from camlens.core.store import write_bundle

        arrays = {f"map-{number}": self.maps[name].cpu().numpy() for number, name in enumerate(self.layers)}
        arrays["scores"] = self.scores.cpu().numpy()
        if self.logits is not None:
            arrays["logits"] = self.logits.cpu().numpy()
        for name, one in self.details.items():
            if isinstance(one, Tensor):
                arrays[f"detail-{name}"] = one.cpu().numpy()
        return write_bundle(Path(directory), arrays, self.to_dict(), force=force)

    def to_dict(self) -> dict[str, Any]:
        """Everything but the maps themselves, as plain values that JSON can hold."""
        return {
            "method": self.method,
            "layers": list(self.layers),
            "targets": list(self.targets),
            "input_size": list(self.input_size),
            "maps": {
                name: {"shape": list(one.shape), "dtype": str(one.dtype).removeprefix("torch.")}
                for name, one in self.maps.items()
            },
            "scores": self.scores.tolist(),
            "classes": None if self.classes is None else self.classes.tolist(),
            "provenance": dict(self.provenance),
            "details": described(self.details),
            "diverging": [self.shows_both_signs(target) for target in range(len(self.targets))],
        }

    def __repr__(self) -> str:
        images, targets = self.scores.shape
        layers = ", ".join(f"{name} {tuple(self.maps[name].shape[2:])}" for name in self.layers)
        return f"<Explanation: {self.method}, {images} image(s), {targets} target(s), {layers}>"

    def save_html(
        self,
        path: str | Path,
        images: Any = None,
        *,
        class_names: Sequence[str] | None = None,
        force: bool = False,
    ) -> Path:
        """Write one self-contained page with live opacity, threshold and colours, that works from disk.

        `images` are what the model saw, as for `overlay`; without them the maps are drawn alone. Raises
        StoreError where `path` exists and `force` is not said, InputError for inputs that are not pictures.
        """
        from camlens.core.store import atomic_file
        from camlens.render.interactive.gather import live_images
        from camlens.render.interactive.page import live_page

        pictures = None if images is None else self._pictures(images)
        shown = live_images(self, pictures, class_names=class_names)
        page = live_page(shown, title=f"{self.method}: where the model looks", subtitle=repr(self))
        with atomic_file(Path(path), force=force) as unfinished:
            unfinished.write_text(page, encoding="utf-8")
        return Path(path)

    def show(self, images: Any = None, *, class_names: Sequence[str] | None = None) -> Any:
        """The same page as `save_html` writes, to end a cell of a notebook with: `explanation.show(images)`.

        `images` are what the model saw, as for `overlay`; without them the maps are drawn alone. Very many
        maps, or very fine ones, are bounded, and the page says so.
        """
        from camlens.render.interactive.notebook import live_view

        pictures = None if images is None else self._pictures(images)
        return live_view(self, pictures, class_names=class_names)

    def _about(self, image: int, target: int) -> str:
        """What one map is about, in a few words."""
        return self.targets[target] if self.classes is None else f"class {int(self.classes[image, target])}"

    def _repr_html_(self) -> str:
        """The maps, live in a frame; as coloured tiles where the script is not built or inputs are no pictures."""
        with suppress(MissingExtraError, InputError):
            html: str = self.show()._repr_html_()
            return html
        return self._tiles_html()

    def _tiles_html(self) -> str:
        """The maps as coloured tiles with their scores, in one piece of HTML that needs nothing else."""
        tiles = [
            self._tile(layer, image, target)
            for image, target, layer in product(range(len(self.scores)), range(len(self.targets)), self.layers)
        ]
        rest = "" if len(tiles) <= _TILES else f"<p>and {len(tiles) - _TILES} more maps</p>"
        shown = "".join(tiles[:_TILES])
        return f"<div><code>{escape(repr(self))}</code><div>{shown}</div>{rest}</div>"

    def _tile(self, layer: str, image: int, target: int) -> str:
        """One map as a figure of HTML."""
        from camlens.render.colormaps import colorize
        from camlens.render.overlay import striped
        from camlens.render.pictures import encode_png

        text = f"image {image}, {self._about(image, target)} at {layer}, score {float(self.scores[image, target]):.3g}"
        picture = ""
        if len(self.input_size) == 2:
            size = _tile_size(self.input_size)
            if self.shows_both_signs(target):
                signed = self.signedmaps(layer, size)[image, target].nan_to_num(0).cpu().numpy()
                colours = colorize(striped(signed), "diverging")
            else:
                colours = colorize(self.heatmaps(layer, size)[image, target].nan_to_num(0))
            encoded = b64encode(encode_png(colours)).decode()
            picture = f'<img alt="{escape(text)}" src="data:image/png;base64,{encoded}">'
        style = "display:inline-block;margin:8px 12px 0 0;vertical-align:top;max-width:160px;font-size:12px"
        return f'<figure style="{style}">{picture}<figcaption>{escape(text)}</figcaption></figure>'

    def _layer(self, layer: str | None) -> str:
        name = self.layers[-1] if layer is None else layer
        if name not in self.maps:
            raise LayerError(f"there is no map for layer {layer!r}; there are maps for {', '.join(self.layers)}")
        return name

    def _size(self, size: Sequence[int] | None) -> tuple[int, ...]:
        try:
            wanted = self.input_size if size is None else tuple(operator.index(length) for length in size)
        except TypeError:
            wanted = ()
        if len(wanted) != len(self.input_size) or any(length < 1 for length in wanted):
            raise InputError(f"size must be {len(self.input_size)} positive lengths, not {size}")
        return wanted

    def _target(self, target: int) -> int:
        if not isinstance(target, int | np.integer) or not 0 <= target < len(self.targets):
            raise InputError(f"there is no target number {target!r}: it must be from 0 to {len(self.targets) - 1}")
        return int(target)

    def _pictures(self, images: Any) -> list[Any]:
        from camlens.render.overlay import as_picture

        if len(self.input_size) != 2:
            raise InputError(f"pictures have two axes, these maps {len(self.input_size)}: draw heatmaps() yourself")
        one = not isinstance(images, Iterable) or (getattr(images, "ndim", 4) == 3 and len(self.scores) == 1)
        given = [images] if one else list(images)
        if len(given) != len(self.scores):
            raise InputError(f"{len(given)} images were given for {len(self.scores)} explained ones")
        return [as_picture(image) for image in given]


def _stacked(rows: list[Any]) -> Any:
    """Pillow images one below the other."""
    if len(rows) == 1:
        return rows[0]
    from PIL import Image

    size = max(row.width for row in rows), sum(row.height for row in rows)
    sheet = Image.new("RGB", size, rows[0].getpixel((0, 0)))
    top = 0
    for row in rows:
        sheet.paste(row, (0, top))
        top += row.height
    return sheet


def _tile_size(size: Sequence[int]) -> tuple[int, int]:
    """The size with its longer side as long as a tile's."""
    scale = _TILE_SIDE / max(size)
    height, width = (max(1, round(length * scale)) for length in size)
    return height, width


def joined(parts: Sequence[Explanation]) -> Explanation:
    """One explanation of several batches that were explained alike."""
    first = parts[0]
    if len(parts) == 1:
        return first
    return Explanation(
        {name: torch.cat([part.maps[name] for part in parts]) for name in first.maps},
        torch.cat([part.scores for part in parts]),
        None if first.logits is None else torch.cat([part.logits for part in parts if part.logits is not None]),
        None if first.classes is None else torch.cat([part.classes for part in parts if part.classes is not None]),
        first.layers,
        first.method,
        first.targets,
        first.input_size,
        first.provenance,
        joined_details([part.details for part in parts]),
        diverging=first.diverging,
    )
