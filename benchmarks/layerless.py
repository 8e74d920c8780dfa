"""RISE compared with one mask at a time, and Winsor-CAM compared with the forward pass."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.testing import assert_close

from benchmarks.harness import Plan, Row, race, ratios
from benchmarks.networks import CLASS, FORWARD, network, pictures, plain_forward
from camlens import Explainer, load_model
from camlens.data.demo import DemoPhotos
from camlens.methods.rise import draws

SEED = 0


def run(plan: Plan) -> Iterator[Row]:
    yield from rise(plan)
    yield from winsor(plan)


def rise(plan: Plan) -> list[Row]:
    """Time RISE on a demo image and on resnet18, with the same masks for both candidates."""
    loaded = load_model("demo:photos")
    image = loaded.preprocess(DemoPhotos(split="test")[0].image)[None]
    rows = _masked(plan, "demo image", loaded.model, image, 40 if plan.quick else 4000, 2.0)
    if plan.quick:
        return rows
    return rows + _masked(plan, "resnet18", network("resnet18"), pictures(1, plan.size), 400, None)


def _masked(plan: Plan, name: str, model: nn.Module, image: Tensor, masks: int, target: float | None) -> list[Row]:
    explainer = Explainer(model, method="rise", options={"masks": masks}, seed=SEED)
    maps: dict[str, Tensor] = {}

    def ours() -> None:
        maps["camlens"] = explainer(image, target=CLASS).maps["input"][0, 0]

    candidates = {"camlens": ours, "one mask at a time": _one_at_a_time(model, image, masks, maps)}
    timings = race(candidates, 2 if plan.quick else 3, warmups=0)
    assert_close(maps["camlens"], maps["one mask at a time"], rtol=1e-2, atol=1e-3)
    mine, single = timings["camlens"], timings["one mask at a time"]
    case = f"RISE {name}, {masks} masks"
    return [
        Row(f"{case}: camlens", "s", mine.median, mine.minimum),
        Row(
            f"{case}: camlens",
            "times faster than one mask at a time",
            single.median / mine.median,
            single.minimum / mine.minimum,
            target,
            "least",
            f"one at a time {single.median:.1f} s, the same map",
        ),
    ]


def _one_at_a_time(model: nn.Module, image: Tensor, masks: int, maps: dict[str, Tensor]) -> Callable[[], None]:
    """Return a plain loop: draw a mask, run the model, sum up."""
    size = tuple(image.shape[2:])

    def explain() -> None:
        drawn = draws(torch.Generator().manual_seed(SEED), masks, size)
        shown, scored, total = torch.zeros(size), torch.zeros(size), 0.0
        with torch.inference_mode():
            for number in range(masks):
                mask = drawn.masks(number, number + 1, size)
                score = model(image * mask)[0, CLASS]
                shown, scored, total = shown + mask[0], scored + score * mask[0], total + float(score)
        maps["one mask at a time"] = scored / shown - total / masks

    return explain


def winsor(plan: Plan) -> list[Row]:
    """Time all convolutions of resnet50, with the layers already chosen."""
    model = network("resnet18" if plan.quick else "resnet50")
    rows = []
    for batch in plan.batches:
        inputs = pictures(batch, plan.size)
        explainer = Explainer(model, method="winsorcam")
        explainer(inputs, target=CLASS)
        candidates = {
            FORWARD: plain_forward(model, inputs),
            "camlens": lambda explainer=explainer, inputs=inputs: explainer(inputs, target=CLASS),
        }
        timings = race(candidates, plan.rounds if batch == 1 else max(2, plan.rounds // 2))
        case = f"Winsor-CAM {'resnet18' if plan.quick else 'resnet50'}, all convolutions, batch {batch}"
        rows += ratios(timings, FORWARD, {"camlens": 4.0}, case)
    return rows
