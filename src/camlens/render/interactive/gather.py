"""Titles, facts, predictions and warnings of an explanation for an interactive page."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from camlens.core.errors import InputError
from camlens.core.layers import layer_in_words
from camlens.core.probabilities import best_outputs, class_name
from camlens.render.interactive.page import LiveImage, LiveMap
from camlens.render.pictures import Picture
from camlens.render.placing import Region

if TYPE_CHECKING:
    from camlens.explanation import Explanation

_BEST = 5


def live_images(
    explanation: "Explanation",
    pictures: Sequence[tuple[Picture, Region]] | None = None,
    *,
    class_names: Sequence[str] | None = None,
) -> list[LiveImage]:
    """Return one live image per explained image; without `pictures` only the maps are drawn.

    `pictures` are photographs with the region that the maps cover, in fractions. Raises InputError for maps that are
    not two-dimensional, and for a wrong number of pictures.
    """
    if len(explanation.input_size) != 2:
        raise InputError(
            f"a page shows maps with two axes, not {len(explanation.input_size)}",
            code="images.axes",
            axes=len(explanation.input_size),
        )
    if pictures is not None and len(pictures) != len(explanation.scores):
        raise InputError(
            f"{len(pictures)} pictures were passed for {len(explanation.scores)} explained images",
            code="images.count",
            expected=len(explanation.scores),
            given=len(pictures),
        )
    return [
        LiveImage(
            title=f"Image {number}"
            if len(explanation.scores) > 1
            else f"{explanation.method} at {explanation.layers[-1]}",
            picture=None if pictures is None else pictures[number][0],
            region=None if pictures is None else pictures[number][1],
            maps=_maps(explanation, number, class_names),
            facts=_facts(explanation, number, class_names),
            predictions=_predictions(explanation, number, class_names),
            size=(explanation.input_size[0], explanation.input_size[1]),
            task=explanation.task,
        )
        for number in range(len(explanation.scores))
    ]


def _maps(explanation: "Explanation", image: int, class_names: Sequence[str] | None) -> list[LiveMap]:
    return [
        LiveMap(
            f"{explanation.label(image, target, class_names)} at {layer_in_words(layer)}",
            values := _values(explanation, layer, image, target),
            _warning(values, both),
            diverging=both,
        )
        for layer in explanation.layers
        for target, both in enumerate(explanation.diverging or (False,) * len(explanation.targets))
    ]


def _values(explanation: "Explanation", layer: str, image: int, target: int) -> Float[np.ndarray, "h w"]:
    values: np.ndarray = explanation.maps[layer][image, target].detach().cpu().numpy()
    return values


def _warning(values: Float[np.ndarray, "h w"], both_signs: bool) -> str | None:
    """Return why a map shows nothing, or None."""
    if not np.isfinite(values).all():
        return "The map has NaN or infinite values."
    if values.max() == values.min():
        return "The map is constant: it locates nothing."
    if values.max() > 0:
        return None
    return f"There is only negative evidence{'' if both_signs else ', so nothing is drawn'}."


def _facts(explanation: "Explanation", image: int, class_names: Sequence[str] | None) -> list[tuple[str, str]]:
    scores = ", ".join(
        f"{explanation.label(image, target, class_names)}: {float(explanation.scores[image, target]):.4g}"
        for target in range(len(explanation.targets))
    )
    provenance = explanation.provenance
    return [
        ("Scores", scores),
        ("Method", explanation.method),
        ("Layers", ", ".join(map(layer_in_words, explanation.layers))),
        ("Model", f"{provenance.get('model', '')} {str(provenance.get('weights', ''))[:23]}"),
        ("Made with", f"camlens {provenance.get('camlens', '')}, torch {provenance.get('torch', '')}"),
    ]


def _predictions(explanation: "Explanation", image: int, class_names: Sequence[str] | None) -> list[tuple[str, float]]:
    if explanation.logits is None:
        return []
    best = best_outputs(explanation.logits[image], _BEST, explanation.activation, explanation.task)
    return [(class_name(index, class_names or ()), confidence) for index, confidence in best]
