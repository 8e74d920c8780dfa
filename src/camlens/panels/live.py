"""Explained images as one page that answers to the reader: live opacity, threshold and colours."""

from collections.abc import Sequence
from pathlib import Path

from camlens.core.store import atomic_file
from camlens.panels.explaining import ExplainedImage, Workplace
from camlens.panels.naming import layer_in_words
from camlens.panels.writing import check_replaceable_file
from camlens.render.interactive.page import LiveImage, LiveMap, live_page


def live_image(explained: ExplainedImage) -> LiveImage:
    """One explained image for the page, with its maps by layer and what they are about."""
    explanation = explained.explanation
    picture, region = explained.view.shown()
    warning = " ".join(explained.warnings) or None
    several = len(explanation.layers) > 1
    unknown = explained.confidence is None or explanation.task == "regression"  # whose score is its output
    confidence = "" if unknown else f" ({explained.confidence:.1%})"
    return LiveImage(
        title=explained.path.name,
        picture=picture,
        region=region,
        maps=[
            LiveMap(
                layer if several else "Overlay",
                explanation.maps[layer][0, 0].cpu().numpy(),
                warning,
                diverging=explanation.shows_both_signs(),
            )
            for layer in explanation.layers
        ],
        facts=[
            ("Explains", f"{explained.target}{confidence}"),
            ("Score", f"{float(explanation.scores[0, 0]):.4g}"),
            ("Layer", ", ".join(map(layer_in_words, explanation.layers))),
            ("Method", explanation.method),
            ("Weights", str(explanation.provenance["weights"])[:23]),
            ("camlens", f"{explanation.provenance['camlens']}, torch {explanation.provenance['torch']}"),
        ],
        predictions=[(one["class_name"], one["confidence"]) for one in explained.predictions],
        task=explanation.task,
    )


def write_report(
    path: Path,
    place: Workplace,
    explained: Sequence[ExplainedImage],
    *,
    colormap: str = "turbo",
    alpha: float = 0.5,
    force: bool = False,
) -> None:
    """Write the page to `path`, all or nothing."""
    check_replaceable_file(path, force=force)
    count = f"{len(explained)} image{'' if len(explained) == 1 else 's'}"
    page = live_page(
        [live_image(one) for one in explained],
        title=f"Where {place.loaded.spec} looks",
        subtitle=f"{count}, explained by {explained[0].explanation.method}",
        opacity=alpha,
        colormap=colormap,
    )
    with atomic_file(path, force=True) as unfinished:
        unfinished.write_text(page, encoding="utf-8")
