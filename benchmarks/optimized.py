"""`Explainer.optimized` over the plain forward pass of the model as it was given."""

from collections.abc import Iterator

from benchmarks.harness import Plan, Row, race, ratios
from benchmarks.networks import CLASS, FORWARD, network, pictures, plain_forward
from camlens import Explainer


def run(plan: Plan) -> Iterator[Row]:
    names = ("resnet18",) if plan.quick else ("resnet18", "resnet50", "mobilenet_v3_large", "densenet121")
    for name in names:
        for batch in plan.batches:
            yield from faster(plan, name, batch)


def faster(plan: Plan, name: str, batch: int) -> list[Row]:
    """Folded and compiled, with the error of each in the note."""
    model, inputs = network(name), pictures(batch, plan.size)
    plain = Explainer(model)
    exact = plain.optimized(inputs)
    compiled = plain.optimized(inputs, compiled=True)
    candidates = {
        FORWARD: plain_forward(model, inputs),
        "camlens": lambda: plain(inputs, target=CLASS),
        "optimized": lambda: exact(inputs, target=CLASS),
        "compiled": lambda: compiled(inputs, target=CLASS),
    }
    targets = {"compiled": 0.75} if batch == 1 else {}
    if batch == 16 and name in ("resnet50", "mobilenet_v3_large"):
        targets["optimized"] = 0.85
    notes = {
        who: _note(explainer, candidates[who]()) for who, explainer in (("optimized", exact), ("compiled", compiled))
    }
    return ratios(race(candidates, plan.rounds), FORWARD, targets, f"{name}, batch {batch}", notes)


def _note(explainer: Explainer, explanation: object) -> str:
    facts = explanation.provenance["optimized"]  # type: ignore[attr-defined]
    reason = f"; {facts['reason']}" if facts["reason"] else ""
    return f"{' + '.join(facts['steps']) or 'nothing'}, error {facts['error']:.1e}{reason}"
