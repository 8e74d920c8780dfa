"""The frozen result of `explain`: signed maps with scores, classes and provenance."""

import copyreg
import operator
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from html import escape
from itertools import product
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from camlens.core.details import described, joined_details
from camlens.core.errors import InputError, LayerError, MissingExtraError, invalid_argument
from camlens.core.heatmaps import balanced, normalized, rectified, resized
from camlens.core.probabilities import Activation, Task, best_outputs
from camlens.core.provenance import Provenance
from camlens.core.types import Classes, Heatmaps, Pictures, Scores, SelectOutput, TargetMaps
from camlens.models.geometry import WHOLE, Picture, Region, View

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import nn

    from camlens.core.targets import TargetLike
    from camlens.models.loading import LoadedModel
    from camlens.render.interactive.notebook import LiveView
    from camlens.trust.checking import Check

_TILES = 24
_TILE_SIDE = 140


@dataclass(frozen=True, eq=False)
class Explanation:
    """Signed maps of n images for t targets, with everything needed to judge and repeat them.

    Attributes:
        maps: signed evidence (n, t, *grid) by layer name, at the resolution of the layer. float64 for a float64 model,
            else float32.
        scores: (n, t) of the same dtype, the explained scores.
        logits: (n, classes) of the same dtype, or None if the model's output is not one row of logits per image.
        classes: int64 (n, t), the class of each score, or None if scores are not scores of classes.
        layers: the names of the layers, in the given order.
        method: the method's name.
        targets: one label per target.
        input_size: the spatial size of the inputs.
        provenance: versions, weights hash, seed, dtype, layout and layer choice with the reason.
        details: further results of the method by name, such as the segments of LIME and their weights. Tensors have
            the n images as their first axis.
        diverging: for each target whether negative values are evidence against it; pictures then show both signs.
        against: int64 (n, t), the class that each class is contrasted with, or -1; None if no target is a contrast of
            classes.
        views: the explained pictures with the region that the model saw; empty if tensors were explained.
        class_names: the names of the model's classes; empty if unknown.
        activation, task: how the logits become probabilities, as in `LoadedModel`.
    """

    maps: Mapping[str, TargetMaps]
    scores: Scores
    logits: Float[Tensor, "n classes"] | None
    classes: Classes | None
    layers: tuple[str, ...]
    method: str
    targets: tuple[str, ...]
    input_size: tuple[int, ...]
    provenance: Provenance
    details: Mapping[str, object] = field(default_factory=dict)
    diverging: tuple[bool, ...] = ()
    against: Classes | None = None
    views: tuple[View, ...] = ()
    class_names: tuple[str, ...] = ()
    activation: Activation | None = None
    task: Task = "classification"

    def heatmaps(self, layer: str | None = None, size: Sequence[int] | None = None) -> Heatmaps:
        """Return heat maps (n, t, *size) in [0, 1]: rectified, normalized per map, then resized bilinearly.

        `layer` defaults to the last one in `layers`, `size` to the size of the inputs. Maps that are constant or
        without positive evidence become zero; `maps` has their values.
        """
        return resized(normalized(rectified(self.maps[self._layer(layer)])), self._size(size))

    def signedmaps(self, layer: str | None = None, size: Sequence[int] | None = None) -> Heatmaps:
        """Return evidence for (positive) and against (negative) the target, (n, t, *size) in [-1, 1].

        Each map is divided by the magnitude that 1 in 200 of its cells exceeds, clipped to [-1, 1], and resized
        bilinearly. Zero stays zero. `layer` and `size` are as for `heatmaps`.
        """
        return resized(balanced(self.maps[self._layer(layer)]), self._size(size))

    def shows_both_signs(self, target: int = 0) -> bool:
        """Whether the map of a target is drawn with both signs."""
        return any(self.diverging[self._target(target) :][:1])

    def overlay(
        self,
        images: Pictures | None = None,
        alpha: float | int = 0.5,
        *,
        layer: str | None = None,
        target: int = 0,
        colormap: str | None = None,
        size: int | Sequence[int] | None = None,
        crop: bool = False,
    ) -> list[Picture]:
        """Blend each picture with its heat map; return uint8 arrays (H, W, 3).

        By default the explained pictures are used at their own proportions: the map covers the region that the model
        saw, and the rest is faded. With `crop`, only the seen region is drawn. If tensors were explained, pass
        `images`: n arrays or tensors, uint8 or in [0, 1], (H, W, 3), (3, H, W) or gray (H, W), with the proportions
        of the model's input.

        `alpha` is the opacity of the heat map from 0 to 1. Without a `colormap`, a map that shows both signs is drawn
        in orange and striped blue, and other maps in `turbo`. `size` is the longer side of the result in pixels, or its
        (height, width); it defaults to the size of the picture.

        Raises InputError if `images` or `size` have other proportions, which would stretch the map.
        """
        from camlens.render.overlays import overlay
        from camlens.render.placing import marked_unseen, placed, sized

        name, number = self._layer(layer), self._target(target)
        signed = self.shows_both_signs(number) if colormap is None else colormap == "diverging"
        maps = self._drawable(name, signed=signed)
        drawn = []
        for (picture, region), heat in zip(self._shown(images, crop=crop), maps[:, number], strict=True):
            picture = sized(picture, size)
            blended = overlay(
                picture,
                placed(heat, picture.shape[:2], region),
                alpha=alpha,
                colormap="diverging" if signed else colormap or "turbo",
                mode="evidence" if signed else "blend",
            )
            drawn.append(marked_unseen(blended, picture, region))
        return drawn

    def figure(
        self,
        images: Pictures | None = None,
        *,
        class_names: Sequence[str] | None = None,
        crop: bool = False,
        title: str = "",
        colormap: str | None = None,
        alpha: float | int = 0.5,
        threshold: float | int | None = None,
        contour: float | int | Sequence[float | int] | None = None,
        mode: Literal["blend", "weighted", "evidence"] = "blend",
        theme: Literal["light", "dark"] = "light",
        scale: float | int = 1.5,
    ) -> "Image":
        """Draw a labeled figure as a Pillow image: a panel for a single map, or a grid of all maps.

        `images`, `crop`, `colormap` and `alpha` are as in `overlay`. `class_names` defaults to those of the
        LoadedModel. `threshold`, `contour` and `mode` are as in `camlens.render.overlays.overlay`. `scale` is the
        number of pixels per unit: 1 for a small picture, 2 for print and high-resolution screens.
        """
        from camlens.render.colormaps import DEFAULT
        from camlens.render.figure import map_grid, panel
        from camlens.render.theme import Look
        from camlens.render.tiles import Tile

        if not isinstance(title, str):
            raise invalid_argument("title", title, "a string")
        look = Look(colormap or DEFAULT, alpha, threshold, contour, mode, theme, scale)
        names = self.class_names if class_names is None else class_names
        place = f"{self.method} at {', '.join(self.layers)}"
        shown = self._shown(images, crop=crop)
        groups = []
        for number, (picture, region) in enumerate(shown):
            tiles = []
            for layer, target in product(self.layers, range(len(self.targets))):
                signed = self.shows_both_signs(target) and colormap is None
                heat = self._drawable(layer, signed=signed)[number, target]
                caption = self._caption(number, target, layer, names)
                tiles.append(Tile(caption, picture, heat, signed=signed, region=region))
            groups.append(tiles)
        if len(self.scores) > 1 or len(groups[0]) > 1:
            subtitle = (
                place if len(self.targets) > 1 or len(self.scores) > 1 else f"{self.label(0, 0, names)}  ·  {place}"
            )
            return map_grid(groups, title=title, subtitle=subtitle, look=look)
        (picture, region), ((tile,),) = shown[0], groups
        return panel(
            picture,
            tile.heat,
            title=title,
            subtitle=f"{self.label(0, 0, names)}  ·  {place}",
            predictions=self._best_classes(0, names),
            target=None if self.classes is None else int(self.classes[0, 0]),
            task=self.task,
            region=region,
            look=look.for_evidence() if tile.signed else look,
        )

    def label(self, image: int, target: int = 0, class_names: Sequence[str] | None = None) -> str:
        """Return a label of the target, such as "boot", "class 3", or "boot minus shirt" for a contrast."""
        names = self.class_names if class_names is None else class_names
        if self.classes is None:
            return self.targets[target]
        indices = [int(self.classes[image, target])]
        if self.against is not None and self.contrasts(image, target):
            indices.append(int(self.against[image, target]))
        return " minus ".join(names[index] if index < len(names) else f"class {index}" for index in indices)

    def contrasts(self, image: int, target: int = 0) -> bool:
        """Whether a target is one class minus another."""
        return self.against is not None and int(self.against[image, target]) >= 0

    def _caption(self, image: int, target: int, layer: str, class_names: Sequence[str]) -> str:
        """Return the caption of one map of a grid: the target, the layer or both, if there are several."""
        words = [self.label(image, target, class_names)] if len(self.targets) > 1 or len(self.layers) == 1 else []
        if len(self.layers) > 1:
            words.append(layer)
        return " at ".join(words)

    def _drawable(self, layer: str, *, signed: bool) -> NDArray[np.float32]:
        """Return maps (n, t, *grid) at the layer's resolution for drawing: in [-1, 1] if signed, else in [0, 1]."""
        grid = self.maps[layer].shape[2:]
        maps = (self.signedmaps if signed else self.heatmaps)(layer, grid)
        drawable: NDArray[np.float32] = maps.nan_to_num(0).cpu().numpy()
        return drawable

    def _best_classes(self, image: int, class_names: Sequence[str], top_k: int = 5) -> list[dict[str, Any]]:
        """Return the most likely classes of one image, best first."""
        if self.logits is None:
            return []
        return [
            {
                "class_idx": index,
                "class_name": class_names[index] if index < len(class_names) else f"class {index}",
                "confidence": confidence,
            }
            for index, confidence in best_outputs(self.logits[image], top_k, self.activation, self.task)
        ]

    def save(self, directory: str | Path, *, force: bool = False) -> Path:
        """Write maps, scores, logits and details as `.npy` beside `manifest.json` into `directory`, all or nothing.

        They are read back with `json.loads` and `numpy.load`: the manifest's "files" says which file holds what,
        and `map-0` is the map of its first layer. If pictures were explained, their overlays are `overlay-0.png`
        and so on, `overlay-0-1.png` for the second target of the first. Raises StoreError if the directory is not
        empty and `force` is False; `force` replaces what an earlier call has written, and never anything else.
        """
        from camlens.core.store import write_bundle
        from camlens.render.pictures import encode_png

        arrays = {f"map-{number}": self.maps[name].cpu().numpy() for number, name in enumerate(self.layers)}
        arrays["scores"] = self.scores.cpu().numpy()
        if self.logits is not None:
            arrays["logits"] = self.logits.cpu().numpy()
        for name, detail in self.details.items():
            if isinstance(detail, Tensor):
                arrays[f"detail-{name}"] = detail.cpu().numpy()
        pictures = {}
        for target in range(len(self.targets)) if self.views else ():
            for image, picture in enumerate(self.overlay(target=target)):
                pictures[f"overlay-{image}-{target}" if target else f"overlay-{image}"] = encode_png(picture)
        return write_bundle(Path(directory), arrays, self.to_dict(), pictures=pictures, force=force)

    def to_dict(self) -> dict[str, object]:
        """Return everything except the maps as values that JSON can represent."""
        return {
            "method": self.method,
            "layers": list(self.layers),
            "targets": list(self.targets),
            "input_size": list(self.input_size),
            "maps": {
                name: {"shape": list(maps.shape), "dtype": str(maps.dtype).removeprefix("torch.")}
                for name, maps in self.maps.items()
            },
            "scores": self.scores.tolist(),
            "classes": None if self.classes is None else self.classes.tolist(),
            "against": None if self.against is None else self.against.tolist(),
            "provenance": dict(self.provenance),
            "details": described(self.details),
            "diverging": [self.shows_both_signs(target) for target in range(len(self.targets))],
            "pictures": [view.to_dict() for view in self.views],
        }

    def check(
        self,
        model: "nn.Module | LoadedModel",
        inputs: Tensor | Pictures | None = None,
        *,
        patches: int = 4,
        permutations: int = 999,
        seed: int = 0,
        layer: str | None = None,
        target: "TargetLike" = None,
        output: SelectOutput | None = None,
    ) -> "Check":
        """Check facts about each map, and test it against the measured effects of deleting patches.

        One patch of `patches` per axis at a time is filled, with the image's mean color and with a blur, and the drop
        of the score is compared with the heat of the patch by rank. This takes 2 * patches^2 forward passes per image
        in 2-D, in batches, and the method is run once more, for the most likely other class.

        Args:
            model: the explained model.
            inputs: the explained inputs. They can be left out if pictures were explained with a LoadedModel.
            patches: number of patches along each axis, from 2 to the shortest side of the inputs.
            permutations: number of random permutations of the map for the p-value.
            seed: seed of the permutations, at least 0.
            layer: the layer of the map; the last one by default.
            target: the explained target, if it is neither a class nor a contrast of classes.
            output: as in `explain`, if it was passed there.

        Raises:
            InputError: if the scores of the inputs are not those of the explanation ("check.other-scores"), if the
                target is needed ("target.needed"), or for invalid arguments.

        Hesse et al. 2024, arXiv 2407.11910 (single deletion); Phipson and Smyth 2010, arXiv 1603.05766 (p-value).
        """
        from camlens.trust.checking import check

        return check(
            self,
            model,
            inputs,
            patches=patches,
            permutations=permutations,
            seed=seed,
            layer=layer,
            target=target,
            output=output,
        )

    def __repr__(self) -> str:
        images, targets = self.scores.shape
        layers = ", ".join(f"{name} {tuple(self.maps[name].shape[2:])}" for name in self.layers)
        return f"<Explanation: {self.method}, {images} image(s), {targets} target(s), {layers}>"

    def save_html(
        self,
        path: str | Path,
        images: Pictures | None = None,
        *,
        class_names: Sequence[str] | None = None,
        force: bool = False,
    ) -> Path:
        """Write one self-contained page with controls for opacity, threshold and colors.

        `images` are as in `overlay`; if tensors were explained and no `images` are given, only the maps are drawn.
        Raises StoreError if `path` exists and `force` is False, and InputError for inputs that are not pictures.
        """
        from camlens.core.store import atomic_file
        from camlens.render.interactive.gather import live_images
        from camlens.render.interactive.page import live_page

        shown = live_images(self, self._shown_if_any(images), class_names=class_names or self.class_names)
        page = live_page(shown, title=f"{self.method}: where the model looks", subtitle=repr(self))
        with atomic_file(Path(path), force=force) as unfinished:
            unfinished.write_text(page, encoding="utf-8")
        return Path(path)

    def show(self, images: Pictures | None = None, *, class_names: Sequence[str] | None = None) -> "LiveView":
        """Return the page of `save_html` for display in a notebook cell.

        `images` are as in `save_html`. The number and size of the maps are limited; the page says if some are left out.
        """
        from camlens.render.interactive.notebook import live_view

        return live_view(self, self._shown_if_any(images), class_names=class_names or self.class_names)

    def _repr_html_(self) -> str:
        """Return the page in a frame, or colored tiles if its script is not built or inputs are not pictures."""
        with suppress(MissingExtraError, InputError):
            html: str = self.show()._repr_html_()
            return html
        return self._tiles_html()

    def _tiles_html(self) -> str:
        """Return the maps as colored tiles with their scores, as self-contained HTML."""
        tiles = [
            self._tile(layer, image, target)
            for image, target, layer in product(range(len(self.scores)), range(len(self.targets)), self.layers)
        ]
        rest = "" if len(tiles) <= _TILES else f"<p>and {len(tiles) - _TILES} more maps</p>"
        shown = "".join(tiles[:_TILES])
        return f"<div><code>{escape(repr(self))}</code><div>{shown}</div>{rest}</div>"

    def _tile(self, layer: str, image: int, target: int) -> str:
        """Return one map as an HTML figure."""
        from camlens.render.colormaps import colorize
        from camlens.render.overlays import striped
        from camlens.render.pictures import encode_png

        text = f"image {image}, {self.label(image, target)} at {layer}, score {float(self.scores[image, target]):.3g}"
        picture = ""
        if len(self.input_size) == 2:
            size = _tile_size(self.input_size)
            if self.shows_both_signs(target):
                signed = self.signedmaps(layer, size)[image, target].nan_to_num(0).cpu().numpy()
                colors = colorize(striped(signed), "diverging")
            else:
                colors = colorize(self.heatmaps(layer, size)[image, target].nan_to_num(0))
            encoded = b64encode(encode_png(colors)).decode()
            picture = f'<img alt="{escape(text)}" src="data:image/png;base64,{encoded}">'
        style = "display:inline-block;margin:8px 12px 0 0;vertical-align:top;max-width:160px;font-size:12px"
        return f'<figure style="{style}">{picture}<figcaption>{escape(text)}</figcaption></figure>'

    def _layer(self, layer: str | None) -> str:
        name = self.layers[-1] if layer is None else layer
        if name not in self.maps:
            raise LayerError(
                f"no map for layer {layer!r}; available: {', '.join(self.layers)}",
                code="layer.unknown",
                layer=layer,
                candidates=list(self.layers),
            )
        return name

    def _size(self, size: Sequence[int] | None) -> tuple[int, ...]:
        try:
            wanted = self.input_size if size is None else tuple(operator.index(length) for length in size)
        except TypeError:
            wanted = ()
        if len(wanted) != len(self.input_size) or any(length < 1 for length in wanted):
            raise InputError(
                f"size must have {len(self.input_size)} positive integers, not {size}", code="size.invalid", size=size
            )
        return wanted

    def _target(self, target: int) -> int:
        if not isinstance(target, int | np.integer) or not 0 <= target < len(self.targets):
            raise InputError(
                f"target must be an int from 0 to {len(self.targets) - 1}, not {target!r}",
                code="target.out-of-range",
                value=target,
                targets=len(self.targets),
            )
        return int(target)

    def _shown_if_any(self, images: Pictures | None) -> list[tuple[Picture, Region]] | None:
        return None if images is None and not self.views else self._shown(images)

    def _shown(self, images: Pictures | None, *, crop: bool = False) -> list[tuple[Picture, Region]]:
        """Return the picture of each image and the region that its map covers."""
        from camlens.render.pictures import as_picture
        from camlens.render.placing import check_proportions

        if len(self.input_size) != 2:
            raise InputError(
                f"only maps with two axes can be drawn, not {len(self.input_size)}: use heatmaps()",
                code="images.axes",
                axes=len(self.input_size),
            )
        if images is None and self.views:
            return [view.shown(crop=crop) for view in self.views]
        alone = not isinstance(images, Iterable) or (getattr(images, "ndim", 4) == 3 and len(self.scores) == 1)
        given: list[object] = [] if images is None else [images] if alone else list(cast(Iterable[object], images))
        if len(given) != len(self.scores):
            raise InputError(
                f"expected {len(self.scores)} images, one per explained input, not {len(given)}: "
                "pass each picture as the model saw it, or explain pictures with a LoadedModel",
                code="images.count",
                expected=len(self.scores),
                given=len(given),
            )
        pictures = [as_picture(image) for image in given]
        for number, picture in enumerate(pictures):
            check_proportions(picture.shape[:2], self.input_size, number)
        return [(picture, WHOLE) for picture in pictures]


def _tile_size(size: Sequence[int]) -> tuple[int, int]:
    """Scale the size to the longer side of a tile."""
    scale = _TILE_SIDE / max(size)
    height, width = (max(1, round(length * scale)) for length in size)
    return height, width


def joined(parts: Sequence[Explanation]) -> Explanation:
    """Concatenate the explanations of several batches with the same settings."""
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
        against=None
        if first.against is None
        else torch.cat([part.against for part in parts if part.against is not None]),
    )


def _read_only(values: dict[str, Any]) -> MappingProxyType[str, Any]:
    return MappingProxyType(values)


# maps, details and provenance are mapping proxies, which Python cannot pickle or copy without this
copyreg.pickle(MappingProxyType, lambda view: (_read_only, (dict(view),)))
