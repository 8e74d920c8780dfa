"""Explained images as pictures: what the renderers need, taken from explanations."""

from typing import TYPE_CHECKING

from camlens.panels.comparing import Comparison
from camlens.panels.explaining import ExplainedImage
from camlens.panels.naming import layer_in_words
from camlens.render.figure import class_difference, layer_row, map_row, method_row, panel
from camlens.render.theme import Look

if TYPE_CHECKING:
    from PIL.Image import Image


def panel_picture(
    image: ExplainedImage, look: Look, *, title: str | None = None, true_class: int | None = None
) -> "Image":
    """The original, the heat map with its colour bar, the overlay, and bars of the best classes."""
    explanation = image.explanation
    picture, region = image.view.shown(crop=look.crop)
    return panel(
        picture,
        image.heat,
        title=image.path.name if title is None else title,
        subtitle=f"{image.target}  ·  {explanation.method} at {layer_in_words(explanation.layers[-1])}",
        predictions=image.predictions,
        true_class=true_class,
        target=image.class_index,
        task=explanation.task,
        notes=[text[0].upper() + text[1:] for text in image.warnings],
        region=region,
        look=look.for_evidence() if explanation.shows_both_signs() else look,
    )


def comparison_picture(comparison: Comparison, look: Look) -> "Image":
    """The views of a comparison side by side; of two classes also the signed difference of their maps."""
    views, kind = comparison.views, comparison.question.kind
    heatmaps = {view.label: view.heatmap if view.evidence is None else view.evidence for view in views}
    signed = {view.label for view in views if view.evidence is not None}
    name, first = comparison.path.name, views[0]
    picture, region = comparison.picture.shown(crop=look.crop)
    if kind == "layers":
        subtitle = f"{first.method} for {first.class_name}"
        grids = {view.label: view.grid for view in views}
        return layer_row(
            picture, heatmaps, grids=grids, title=name, subtitle=subtitle, signed=signed, region=region, look=look
        )
    if kind == "methods":
        subtitle = f"{first.class_name} at {layer_in_words(first.layer)}"
        return method_row(picture, heatmaps, title=name, subtitle=subtitle, signed=signed, region=region, look=look)
    subtitle = f"{first.method} at {layer_in_words(first.layer)}"
    if len(views) == 2:
        names = _short(views[0].label, views[1].label)
        return class_difference(
            picture,
            views[0].heatmap,
            views[1].heatmap,
            names=names,
            title=f"{name}: {names[0]} against {names[1]}",
            subtitle=subtitle,
            region=region,
            look=look,
        )
    details = {view.label: f"score {view.score:.2f}" for view in views}
    return map_row(
        picture, heatmaps, details=details, title=name, subtitle=subtitle, signed=signed, region=region, look=look
    )


def _short(first: str, second: str) -> tuple[str, str]:
    """Both names up to their first comma, where that still tells them apart."""
    short = first.partition(",")[0], second.partition(",")[0]
    return short if short[0] != short[1] else (first, second)
