"""The frozen result of explaining: signed maps with everything needed to judge and repeat them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from camlens.core.errors import InputError, LayerError
from camlens.core.heatmaps import normalised, rectified, resized
from camlens.core.types import Classes, Heatmaps, Scores, TargetMaps


@dataclass(frozen=True, eq=False)
class Explanation:
    """Where a model looked, for n images and t targets.

    Attributes:
        maps: by layer name, float32 (n, t, *grid): signed evidence at the layer's own resolution.
        scores: float32 (n, t), the explained scores.
        logits: float32 (n, classes), or None where the model's output is not one row of logits per image.
        classes: int64 (n, t), the class each score is about, or None where scores are not about classes.
        layers: the layers' names, in the order asked for.
        method: the method's name.
        targets: one label per target.
        input_size: the spatial size of the inputs.
        provenance: versions, weights hash, seed, dtype, layout and layer choice with the reason.
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

    def heatmaps(self, layer: str | None = None, size: Sequence[int] | None = None) -> Heatmaps:
        """Heat maps in [0, 1] of shape (n, t, *size): rectified, normalised per map, then bilinear.

        `layer` defaults to the last one in `layers`, `size` to the size of the inputs. A map without positive
        evidence, or a constant one, is all zero: its magnitude is in `maps`.
        """
        name = self._layer(layer)
        wanted = self.input_size if size is None else tuple(size)
        if len(wanted) != len(self.input_size) or any(length < 1 for length in wanted):
            raise InputError(f"size must be {len(self.input_size)} positive lengths, not {wanted}")
        return resized(normalised(rectified(self.maps[name])), wanted)

    def overlay(
        self,
        images: Any,
        alpha: float = 0.5,
        *,
        layer: str | None = None,
        target: int = 0,
        colormap: str = "turbo",
    ) -> list[Any]:
        """Each image under its heat map, as uint8 arrays (H, W, 3).

        `images` are n arrays or tensors, uint8 or in [0, 1], (H, W, 3), (3, H, W) or grey (H, W); they may be
        of any size. `alpha` is the opacity of the heat map from 0 to 1.
        """
        from camlens.render.overlay import overlay

        pictures = self._pictures(images)
        drawn = []
        for number, picture in enumerate(pictures):
            heatmap = self.heatmaps(layer, picture.shape[:2])[number, self._target(target)]
            drawn.append(overlay(picture, heatmap.cpu().numpy(), alpha=alpha, colormap=colormap))
        return drawn

    def figure(self, images: Any, *, class_names: Sequence[str] | None = None, **options: Any) -> Any:
        """A labelled picture: for each image the original, the heat map and the overlay of every target."""
        from camlens.drawing import explanation_figure

        return explanation_figure(self, self._pictures(images), class_names=class_names, **options)

    def save(self, directory: str | Path, *, force: bool = False) -> Path:
        """Write maps as `.npy` and `manifest.json` into `directory`, all or nothing; see `Explanation.load`.

        Raises StoreError where something stands there already and `force` is not said.
        """
        from camlens.core.store import write_bundle

        arrays = {f"map-{number}": self.maps[name].cpu().numpy() for number, name in enumerate(self.layers)}
        arrays["scores"] = self.scores.cpu().numpy()
        if self.logits is not None:
            arrays["logits"] = self.logits.cpu().numpy()
        return write_bundle(Path(directory), arrays, self.to_dict(), force=force)

    def to_dict(self) -> dict[str, Any]:
        """Everything but the maps themselves, as plain values that JSON can hold."""
        return {
            "method": self.method,
            "layers": list(self.layers),
            "targets": list(self.targets),
            "input_size": list(self.input_size),
            "maps": {name: {"shape": list(one.shape), "dtype": "float32"} for name, one in self.maps.items()},
            "scores": self.scores.tolist(),
            "classes": None if self.classes is None else self.classes.tolist(),
            "provenance": dict(self.provenance),
        }

    def __repr__(self) -> str:
        images, targets = self.scores.shape
        layers = ", ".join(f"{name} {tuple(self.maps[name].shape[2:])}" for name in self.layers)
        return f"<Explanation: {self.method}, {images} image(s), {targets} target(s), {layers}>"

    def _repr_html_(self) -> str:
        from camlens.drawing import explanation_html

        return explanation_html(self)

    def _layer(self, layer: str | None) -> str:
        name = self.layers[-1] if layer is None else layer
        if name not in self.maps:
            raise LayerError(
                f"there is no map for layer {layer!r}; there are maps for {', '.join(self.layers)}"
            )
        return name

    def _target(self, target: int) -> int:
        if not 0 <= target < len(self.targets):
            raise InputError(
                f"there is no target number {target}: it must be from 0 to {len(self.targets) - 1}"
            )
        return target

    def _pictures(self, images: Any) -> list[Any]:
        from camlens.render.overlay import as_picture

        given = list(images) if getattr(images, "ndim", 4) != 3 or len(self.scores) > 1 else [images]
        if len(given) != len(self.scores):
            raise InputError(f"{len(given)} images were given for {len(self.scores)} explained ones")
        return [as_picture(image) for image in given]


def joined(parts: Sequence[Explanation]) -> Explanation:
    """One explanation of several batches that were explained alike."""
    first = parts[0]
    if len(parts) == 1:
        return first
    return Explanation(
        {name: torch.cat([part.maps[name] for part in parts]) for name in first.maps},
        torch.cat([part.scores for part in parts]),
        None
        if first.logits is None
        else torch.cat([part.logits for part in parts if part.logits is not None]),
        None
        if first.classes is None
        else torch.cat([part.classes for part in parts if part.classes is not None]),
        first.layers,
        first.method,
        first.targets,
        first.input_size,
        first.provenance,
    )
