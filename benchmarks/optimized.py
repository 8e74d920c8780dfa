"""`Explainer.optimized` over the plain forward pass of the model as it was given."""

import copy
from collections.abc import Iterator

import torch
from torch import nn

from benchmarks.harness import Plan, Row, race, ratios
from benchmarks.networks import CLASS, FORWARD, network, pictures, plain_forward
from camlens import Explainer


def run(plan: Plan) -> Iterator[Row]:
    yield narrow_convolution(plan)
    names = ("resnet18",) if plan.quick else ("resnet18", "resnet50", "mobilenet_v3_large", "densenet121")
    for name in names:
        for batch in plan.batches:
            yield from faster(plan, name, batch)


def narrow_convolution(plan: Plan) -> Row:
    """What the processor itself gains from bfloat16: one bare convolution, 16 images of 256 channels."""
    inputs = pictures(16, plan.size // 16).repeat(1, 86, 1, 1)[:, :256].contiguous(memory_format=torch.channels_last)
    convolution = nn.Conv2d(256, 256, 3, padding=1).to(memory_format=torch.channels_last)
    wide, narrow = (
        plain_forward(convolution, inputs),
        plain_forward(copy.deepcopy(convolution).bfloat16(), inputs.bfloat16()),
    )
    return ratios(race({FORWARD: wide, "bf16": narrow}, plan.rounds), FORWARD, {}, "one bare convolution")[0]


def faster(plan: Plan, name: str, batch: int) -> list[Row]:
    """Folded, compiled, and compiled in bfloat16, with the error of each in the note."""
    model, inputs = network(name), pictures(batch, plan.size)
    plain = Explainer(model)
    exact = plain.optimized(inputs)
    compiled = plain.optimized(inputs, compiled=True)
    narrow = plain.optimized(inputs, precision="bf16", compiled=True)
    candidates = {
        FORWARD: plain_forward(model, inputs),
        "camlens": lambda: plain(inputs, target=CLASS),
        "optimized": lambda: exact(inputs, target=CLASS),
        "compiled": lambda: compiled(inputs, target=CLASS),
        "compiled bf16": lambda: narrow(inputs, target=CLASS),
    }
    targets = {"compiled bf16": 0.5}
    if batch == 1:
        targets["compiled"] = 0.75
    if batch == 16 and name in ("resnet50", "mobilenet_v3_large"):
        targets["optimized"] = 0.85
    notes = {
        who: _note(explainer, candidates[who]())
        for who, explainer in (("optimized", exact), ("compiled", compiled), ("compiled bf16", narrow))
    }
    return ratios(race(candidates, plan.rounds), FORWARD, targets, f"{name}, batch {batch}", notes)


def _note(explainer: Explainer, explanation: object) -> str:
    facts = explanation.provenance["optimized"]  # type: ignore[attr-defined]
    reason = f"; {facts['reason']}" if facts["reason"] else ""
    return f"{' + '.join(facts['steps']) or 'nothing'}, error {facts['error']:.1e}{reason}"
