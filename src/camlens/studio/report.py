"""A view of the studio as one file that needs no server."""

from camlens.core.layers import layer_in_words
from camlens.render.interactive.page import LiveImage, LiveMap, live_page
from camlens.studio.bench import Workbench
from camlens.studio.explaining import Explained, explanation_result
from camlens.studio.schemas import ExplanationRequest


def report_html(
    bench: Workbench, request: ExplanationRequest, explained: Explained, *, opacity: float, colours: str
) -> str:
    """The maps of a request with their picture, predictions and provenance, live in one file of HTML."""
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
            _title(one.method, layer_in_words(one.layer), one.class_name or one.target) if several else "Overlay",
            grid,
            one.warning,
            diverging=one.diverging,
        )
        for one, grid in zip(result.maps, values, strict=True)
        if grid.ndim == 2
    ]
    first = result.maps[0]
    places = ", ".join(dict.fromkeys(layer_in_words(one.layer) for one in result.maps))
    facts = [
        ("Explains", first.class_name or first.target),
        ("True class", result.image.label_name or "not known"),
        ("Score", "–" if first.score is None else f"{first.score:.4g}"),
        ("Layer", places),
        ("Method", ", ".join(explained.explanations)),
        ("Model", bench.settings.model),
        ("Weights", str(explanations[0].provenance["weights"])[:23]),
        (
            "Made with",
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
        predictions=[(one.name, one.confidence) for one in result.predictions],
        task=bench.model.task,
    )
    return live_page(
        [image],
        title=f"{first.class_name or first.target}: where {bench.settings.model} looks",
        subtitle=f"{', '.join(explained.explanations)} at {places}",
        opacity=opacity,
        colormap=colours,
    )


def _title(method: str, layer: str, target: str) -> str:
    return f"{target} · {layer} · {method}"
