"""From an explanation's numbers to what a live page shows: titles, facts, predictions, warnings."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float
from torch import Tensor

from camlens.core.errors import InputError
from camlens.core.probabilities import Activation, Task, best_outputs
from camlens.render.interactive.page import LiveImage, LiveMap
from camlens.render.pictures import Picture
from camlens.render.placing import Region

_BEST = 5


@runtime_checkable
class Explained(Protocol):
    """What is read of an explanation: n images, t targets, maps {layer: (n, t, *grid)}, scores (n, t)."""

    @property
    def maps(self) -> Mapping[str, Tensor]:
        """Signed maps by layer."""
        ...

    @property
    def scores(self) -> Tensor:
        """The explained scores."""
        ...

    @property
    def logits(self) -> Tensor | None:
        """Logits (n, classes), where there are such."""
        ...

    @property
    def classes(self) -> Tensor | None:
        """Classes (n, t), where scores are about classes."""
        ...

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers' names."""
        ...

    @property
    def method(self) -> str:
        """The method's name."""
        ...

    @property
    def targets(self) -> tuple[str, ...]:
        """One label per target."""
        ...

    @property
    def input_size(self) -> tuple[int, ...]:
        """The spatial size of the inputs."""
        ...

    @property
    def diverging(self) -> tuple[bool, ...]:
        """For each target whether its map is evidence for and against alike; empty: none is."""
        ...

    @property
    def provenance(self) -> Mapping[str, Any]:
        """Where it comes from."""
        ...

    @property
    def activation(self) -> Activation | None:
        """How the logits become probabilities."""
        ...

    @property
    def task(self) -> Task:
        """Whether the logits are of classes or outputs of a regression."""
        ...

    def label(self, image: int, target: int = 0, class_names: Sequence[str] | None = None) -> str:
        """What one map is about."""
        ...


def live_images(
    explained: Explained,
    pictures: Sequence[tuple[Picture, Region]] | None = None,
    *,
    class_names: Sequence[str] | None = None,
) -> list[LiveImage]:
    """One live image for each explained one; without `pictures` the maps are drawn alone.

    `pictures` are photographs with the region of each that the maps cover, in fractions. Raises InputError for
    maps that are not two-dimensional, and for a wrong number of pictures.
    """
    if len(explained.input_size) != 2:
        raise InputError(
            f"a page shows maps of two axes, not of {len(explained.input_size)}",
            code="images.axes",
            axes=len(explained.input_size),
        )
    if pictures is not None and len(pictures) != len(explained.scores):
        raise InputError(
            f"{len(pictures)} pictures were given for {len(explained.scores)} explained images",
            code="images.count",
            expected=len(explained.scores),
            given=len(pictures),
        )
    return [
        LiveImage(
            title=f"Image {number}" if len(explained.scores) > 1 else f"{explained.method} at {explained.layers[-1]}",
            picture=None if pictures is None else pictures[number][0],
            region=None if pictures is None else pictures[number][1],
            maps=_maps(explained, number, class_names),
            facts=_facts(explained, number, class_names),
            predictions=_predictions(explained, number, class_names),
            size=(explained.input_size[0], explained.input_size[1]),
            task=explained.task,
        )
        for number in range(len(explained.scores))
    ]


def _named(index: int, class_names: Sequence[str] | None) -> str:
    return f"class {index}" if class_names is None or index >= len(class_names) else class_names[index]


def _maps(explained: Explained, image: int, class_names: Sequence[str] | None) -> list[LiveMap]:
    return [
        LiveMap(
            f"{explained.label(image, target, class_names)} at {layer}",
            values := _values(explained, layer, image, target),
            _warning(values, both),
            diverging=both,
        )
        for layer in explained.layers
        for target, both in enumerate(explained.diverging or (False,) * len(explained.targets))
    ]


def _values(explained: Explained, layer: str, image: int, target: int) -> Float[np.ndarray, "h w"]:
    values: np.ndarray = explained.maps[layer][image, target].detach().cpu().numpy()
    return values


def _warning(values: Float[np.ndarray, "h w"], both_signs: bool) -> str | None:
    """Why the picture of a map is empty, or cold throughout, where it is."""
    if not np.isfinite(values).all():
        return "The map holds NaN or infinite values."
    if values.max() == values.min():
        return "The map is constant: it says nothing about where."
    if values.max() > 0:
        return None
    return f"There is only evidence against this here{'' if both_signs else ': nothing is drawn'}."


def _facts(explained: Explained, image: int, class_names: Sequence[str] | None) -> list[tuple[str, str]]:
    scores = ", ".join(
        f"{explained.label(image, target, class_names)}: {float(explained.scores[image, target]):.4g}"
        for target in range(len(explained.targets))
    )
    provenance = explained.provenance
    return [
        ("Scores", scores),
        ("Method", explained.method),
        ("Layers", ", ".join(explained.layers)),
        ("Model", f"{provenance.get('model', '')} {str(provenance.get('weights', ''))[:23]}"),
        ("Made with", f"camlens {provenance.get('camlens', '')}, torch {provenance.get('torch', '')}"),
    ]


def _predictions(explained: Explained, image: int, class_names: Sequence[str] | None) -> list[tuple[str, float]]:
    if explained.logits is None:
        return []
    best = best_outputs(explained.logits[image], _BEST, explained.activation, explained.task)
    return [(_named(index, class_names), confidence) for index, confidence in best]
