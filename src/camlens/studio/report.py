"""The HTML report of a view."""

from camlens.core.layers import layer_in_words
from camlens.render.interactive.page import LiveImage, LiveMap, live_page
from camlens.studio.bench import Workbench
from camlens.studio.explaining import Explained, explanation_result
from camlens.studio.schemas import ExplanationRequest, MapResult


def report_html(
    bench: Workbench, request: ExplanationRequest, explained: Explained, *, opacity: float, colours: str
) -> str:
    """Render maps, picture, predictions and provenance of a request as one self-contained HTML file."""
    result = explanation_result(bench, request, explained)
    explanations = list(explained.explanations.values())
    several = len(result.maps) > 1
    values = [
        explanation.maps[layer][0, number].cpu().numpy()
        for explanation in explanations
        for layer in explanation.layers
        for number in range(len(explanation.targets))
    ]
    maps = [
        LiveMap(
            _title(shown) if several else "Overlay",
            grid,
            shown.warning,
            diverging=shown.diverging,
        )
        for shown, grid in zip(result.maps, values, strict=True)
        if grid.ndim == 2
    ]
    first = result.maps[0]
    layers = ", ".join(dict.fromkeys(layer_in_words(shown.layer) for shown in result.maps))
    facts = [
        ("Target", first.class_name or first.target),
        ("True class", result.image.label_name or "unknown"),
        ("Score", "–" if first.score is None else f"{first.score:.4g}"),
        ("Layer", layers),
        ("Method", ", ".join(explained.explanations)),
        ("Model", bench.settings.model),
        ("Weights", str(explanations[0].provenance["weights"])[:23]),
        (
            "Created with",
            f"camlens {explanations[0].provenance['camlens']}, torch {explanations[0].provenance['torch']}",
        ),
    ]
    picture, region = bench.picture(request.image)
    image = LiveImage(
        title=result.image.name,
        picture=picture,
        region=region,
        maps=maps,
        facts=facts,
        predictions=[(prediction.name, prediction.confidence) for prediction in result.predictions],
        task=bench.model.task,
    )
    return live_page(
        [image],
        title=f"{first.class_name or first.target}: where {bench.settings.model} looks",
        subtitle=f"{', '.join(explained.explanations)} at {layers}",
        opacity=opacity,
        colormap=colours,
    )


def _title(shown: MapResult) -> str:
    return f"{shown.class_name or shown.target} · {layer_in_words(shown.layer)} · {shown.method}"
