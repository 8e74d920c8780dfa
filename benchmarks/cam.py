"""Grad-CAM and its relatives over the plain forward pass."""

from collections.abc import Iterator

from benchmarks.harness import Plan, Row, race, ratios
from benchmarks.networks import CLASS, FORWARD, bare_hook, network, peers, pictures, plain_forward, two_convolutions
from camlens import Explainer
from camlens.core.layers import conv_layers
from camlens.targets import AllClasses, ClassScore

OURS = "camlens"
CALLS = 40  # at once, since a single call of the smallest network is too short to be timed
CONVOLUTIONAL = ("resnet18", "resnet50", "vgg16", "mobilenet_v3_large", "densenet121", "convnext_tiny")
TRANSFORMERS = ("vit_b_16", "swin_t")
GRADIENT_METHODS = ("gradcam", "gradcam++", "xgradcam", "layercam", "hirescam", "gradcam-elementwise")


def run(plan: Plan) -> Iterator[Row]:
    names = ("resnet18",) if plan.quick else (*CONVOLUTIONAL, *TRANSFORMERS)
    for name in names:
        for batch in plan.batches:
            yield from one_class(plan, name, batch)
    yield from many_maps(plan)
    yield from many_layers(plan)
    yield from fixed_cost(plan)


def one_class(plan: Plan, name: str, batch: int) -> list[Row]:
    """One class at the layer that camlens picks; peers on convolutional networks, of batches on resnet50."""
    model, inputs = network(name), pictures(batch, plan.size)
    explainer = Explainer(model)
    layer = explainer(inputs[:1], target=CLASS).layers[0]
    candidates = {FORWARD: plain_forward(model, inputs), OURS: lambda: explainer(inputs, target=CLASS)}
    if name in CONVOLUTIONAL and batch == 1:
        candidates["bare hook"] = bare_hook(model, layer, inputs)
    if name in CONVOLUTIONAL and (batch == 1 or name == "resnet50"):
        for peer, call in peers(model, layer, inputs).items():
            try:
                call()
            except (RuntimeError, AttributeError, TypeError, ValueError):
                continue  # a peer that cannot do this network is left out
            candidates[peer] = call
    timings = race(candidates, plan.single_rounds if batch == 1 else plan.rounds)
    target = 1.20 if name in TRANSFORMERS else 1.10
    note = f"forward {timings[FORWARD].median * 1000:.0f} ms, layer {layer}"
    return ratios(timings, FORWARD, {OURS: target}, f"Grad-CAM {name}, batch {batch}", {OURS: note})


def many_maps(plan: Plan) -> list[Row]:
    """Classes, methods and layers from one capture."""
    name = "resnet18" if plan.quick else "resnet50"
    model, inputs = network(name), pictures(1, plan.size)
    layer = "layer4"
    # a list of targets gives several maps per image; a list of numbers would be one class per image
    five, everything = [ClassScore(number) for number in range(5)], AllClasses()
    single = Explainer(model, layers=layer)
    several = Explainer(model, layers=layer, method=GRADIENT_METHODS)
    names = [convolution for convolution, _ in conv_layers(model)]
    layers = Explainer(model, layers=names)
    candidates = {
        FORWARD: plain_forward(model, inputs),
        "five classes": lambda: single(inputs, target=five),
        "all 1000 classes": lambda: single(inputs, target=everything),
        "six gradient methods": lambda: several(inputs, target=CLASS),
        f"all {len(names)} convolutions": lambda: layers(inputs, target=CLASS),
    }
    limits = dict(zip(list(candidates)[1:], (1.15, 1.25, 1.20, 2.5), strict=True))
    return ratios(race(candidates, plan.single_rounds), FORWARD, limits, f"{name}, batch 1")


def many_layers(plan: Plan) -> list[Row]:
    """All convolutions of many images."""
    name, batch = ("resnet18", 2) if plan.quick else ("resnet50", 16)
    model, inputs = network(name), pictures(batch, plan.size)
    explainer = Explainer(model, layers=[convolution for convolution, _ in conv_layers(model)])
    candidates = {FORWARD: plain_forward(model, inputs), "all convolutions": lambda: explainer(inputs, target=CLASS)}
    return ratios(race(candidates, plan.rounds), FORWARD, {}, f"{name}, batch {batch}")


def fixed_cost(plan: Plan) -> list[Row]:
    """What a call costs beyond a bare hook, relative to a whole call of torchcam, on a very small network."""
    model, layer, inputs = two_convolutions(), "2", pictures(1, 32)
    explainer = Explainer(model, layers=layer)
    others = {name: call for name, call in peers(model, layer, inputs).items() if name == "torchcam"}
    if not others:
        return []
    calls = {OURS: lambda: explainer(inputs, target=CLASS), "bare hook": bare_hook(model, layer, inputs), **others}
    candidates = {name: lambda call=call: [call() for _ in range(CALLS)] for name, call in calls.items()}
    timings = race(candidates, plan.single_rounds)
    value, best = (
        (getattr(timings[OURS], measure) - getattr(timings["bare hook"], measure))
        / getattr(timings["torchcam"], measure)
        for measure in ("median", "minimum")
    )
    note = f"{timings[OURS].minimum / CALLS * 1e6:.0f} microseconds per call"
    return [
        Row("fixed cost on two convolutions, 32 x 32: camlens", "x torchcam's whole call", value, best, 1.0, note=note)
    ]
