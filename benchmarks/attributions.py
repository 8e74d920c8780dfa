"""LIME and Integrated Gradients compared with their libraries: same image, settings and random draws."""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks import layerless
from benchmarks.harness import Plan, Row, race, ratios
from benchmarks.networks import CLASS, network, pictures
from camlens import Explainer, load_model
from camlens.core.execution.draws import SeededDraws
from camlens.data.demo import DemoPhotos
from camlens.methods.segments import segmented
from camlens.methods.superpixels import fair_draws

SEGMENTS, BATCH, SEED = 100, 50, 0
ROUNDING = 1.0  # thousandths of R squared, from float32 scores


def run(plan: Plan) -> Iterator[Row]:
    yield from lime(plan)
    yield from integrated_gradients(plan)
    yield from layerless.run(plan)


class SameDraws(np.random.RandomState):
    """A random state that replaces the lime package's draw of its samples."""

    def __init__(self, present: np.ndarray) -> None:
        super().__init__(SEED)
        self.present = present

    def randint(self, low: int, high: int | None = None, size: Any = None, dtype: Any = int) -> Any:
        return super().randint(low, high, size, dtype) if size is None else self.present.ravel().copy()


def lime(plan: Plan) -> list[Row]:
    """Time LIME on a demo image, with the same segments, samples, batch size and draws for both."""
    samples = 60 if plan.quick else 1000
    loaded = load_model("demo:photos")
    image = loaded.preprocess(DemoPhotos(split="test")[0].image)
    segments = segmented(image, SEGMENTS, "slic", 0, SEED)
    with torch.inference_mode():
        label = int(loaded.model(image[None]).argmax())
    options = {"segments": segments, "samples": samples}
    explainer = Explainer(loaded.model, method="lime", options=options, batch_size=BATCH, seed=SEED)
    fidelity: dict[str, float] = {}

    def ours() -> None:
        fidelity["camlens"] = float(explainer(image[None], target=label).details["r_squared"])

    candidates: dict[str, Callable[[], object]] = {"camlens": ours}
    theirs = lime_package(loaded.model, image, segments, label, samples, fidelity)
    if theirs is not None:
        candidates["lime package"] = theirs
    timings = race(candidates, 2 if plan.quick else 7)
    count = int(segments.max()) + 1
    case = f"LIME demo image, {samples} samples, {count} segments, batch {BATCH}"
    rows = [Row(f"{case}: {name}", "s", timing.median, timing.minimum) for name, timing in timings.items()]
    rows.append(Row(f"{case}: camlens", "R squared", fidelity["camlens"]))
    if theirs is None:
        return rows
    mine, peer = timings["camlens"], timings["lime package"]
    gain = fidelity["camlens"] - fidelity["lime package"]
    return [
        *rows,
        Row(f"{case}: lime package", "R squared", fidelity["lime package"], note="on the same draws"),
        Row(f"{case}: camlens", "times faster", peer.median / mine.median, peer.minimum / mine.minimum, 1.5, "least"),
        Row(f"{case}: camlens", "thousandths of R squared above theirs", 1000 * gain, None, -ROUNDING, "least"),
    ]


def lime_package(
    model: nn.Module, image: Tensor, segments: Tensor, label: int, samples: int, fidelity: dict[str, float]
) -> Callable[[], object] | None:
    """Return a call of the lime package on the preprocessed image, or None if it is not installed."""
    try:
        from lime import lime_image
    except ImportError:
        return None

    lime_image.tqdm = iter
    whole = torch.ones(1, int(segments.max()) + 1)
    with SeededDraws(torch.Generator().manual_seed(SEED)):
        rows = list(islice(fair_draws(whole, num_interp_features=whole.shape[1]), samples))
    present = torch.cat(rows).long().numpy()
    pixels, labels = image.movedim(0, -1).numpy(), segments.numpy()

    def classify(batch: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return model(torch.from_numpy(batch).movedim(-1, 1)).numpy()

    def explain() -> None:
        peer = lime_image.LimeImageExplainer(feature_selection="none", random_state=SameDraws(present))
        explanation = peer.explain_instance(
            pixels,
            classify,
            labels=(label,),
            top_labels=None,
            num_samples=samples,
            batch_size=BATCH,
            segmentation_fn=lambda _: labels,
        )
        fidelity["lime package"] = float(explanation.score)

    return explain


def integrated_gradients(plan: Plan) -> list[Row]:
    """Time fifty steps on resnet18, in the same internal batches; camlens also computes the completeness gap."""
    import captum.attr

    steps, batch = (4, 4) if plan.quick else (50, 25)
    model, inputs = network("resnet18"), pictures(1, plan.size)
    explainer = Explainer(model, method="integratedgradients", options={"steps": steps}, batch_size=batch)
    peer = captum.attr.IntegratedGradients(model)
    candidates = {
        "captum": lambda: peer.attribute(
            inputs.clone().requires_grad_(), target=CLASS, n_steps=steps, internal_batch_size=batch
        ),
        "camlens": lambda: explainer(inputs, target=CLASS),
    }
    timings = race(candidates, 2 if plan.quick else 5)
    case = f"Integrated Gradients resnet18, {steps} steps"
    return ratios(timings, "captum", {"camlens": 1.05}, case, {"camlens": f"captum {timings['captum'].median:.2f} s"})
