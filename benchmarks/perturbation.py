"""Ablation-CAM and Score-CAM compared with pytorch-grad-cam, and Eigen-CAM with a full SVD."""

import copy
import io
from collections.abc import Iterator
from contextlib import redirect_stderr

import torch
from torch import Tensor, nn

from benchmarks.harness import Candidate, Plan, Row, Timing, race
from benchmarks.networks import CLASS, network, pictures
from camlens import Explainer
from camlens.methods.projection import eigencam


def run(plan: Plan) -> Iterator[Row]:
    model, inputs = network("resnet18"), pictures(1, plan.size)
    layers: dict[str, float | None] = {"layer1": None} if plan.quick else {"layer4.1": 150.0, "layer2": None}
    for layer, target in layers.items():
        yield from ablation(plan, model, inputs, layer, target)
    yield from score(plan, model, inputs)
    yield eigen(plan)


def ablation(plan: Plan, model: nn.Module, inputs: Tensor, layer: str, target: float | None) -> list[Row]:
    """Time Ablation-CAM over all channels; pytorch-grad-cam runs fewer times because it is slow."""
    ours = race({"camlens": _ours(model, inputs, layer, "ablationcam")}, plan.rounds)["camlens"]
    case = f"Ablation-CAM resnet18 {layer}, all channels"
    rows = [Row(f"{case}: camlens", "s", ours.median, ours.minimum)]
    theirs = _peer(plan, model, inputs, layer, "AblationCAM")
    if theirs is None:
        return rows
    return [
        *rows,
        Row(f"{case}: pytorch-grad-cam", "s", theirs.median, theirs.minimum, note=_runs(theirs)),
        Row(
            f"{case}: camlens",
            "times faster",
            theirs.median / ours.median,
            theirs.minimum / ours.minimum,
            target,
            "least",
        ),
    ]


def score(plan: Plan, model: nn.Module, inputs: Tensor) -> list[Row]:
    """Time Score-CAM of both in the same rounds."""
    layer = "layer1" if plan.quick else "layer4"
    candidates = {"camlens": _ours(model, inputs, layer, "scorecam")}
    peer = _peer_call(model, inputs, layer, "ScoreCAM")
    if peer is not None:
        candidates["pytorch-grad-cam"] = peer
    timings = race(candidates, 1 if plan.quick else 3, warmups=0 if plan.quick else 1)
    ours, case = timings["camlens"], f"Score-CAM resnet18 {layer}"
    rows = [Row(f"{case}: camlens", "s", ours.median, ours.minimum)]
    if peer is not None:
        theirs = timings["pytorch-grad-cam"]
        rows.append(
            Row(
                f"{case}: camlens",
                "x pytorch-grad-cam",
                ours.median / theirs.median,
                ours.minimum / theirs.minimum,
                0.85,
                note=f"theirs {theirs.median:.1f} s; {_runs(theirs)}",
            )
        )
    return rows


def eigen(plan: Plan) -> Row:
    """Time the first principal component of 16 x 2048 x 7 x 7 against a full SVD."""
    shape = (2, 64, 7, 7) if plan.quick else (16, 2048, 7, 7)
    features = torch.randn(shape, generator=torch.Generator().manual_seed(2)).relu()
    cells = features.flatten(2).transpose(1, 2)
    centred = cells - cells.mean(dim=1, keepdim=True)
    ours = race({"ours": lambda: eigencam(features)}, plan.rounds)["ours"]
    theirs = race(
        {"svd": lambda: torch.linalg.svd(centred, full_matrices=True)},
        1 if plan.quick else 3,
        warmups=0 if plan.quick else 1,
    )["svd"]
    return Row(
        f"eigen projection {' x '.join(map(str, shape))}",
        "times faster than full SVD",
        theirs.median / ours.median,
        theirs.minimum / ours.minimum,
        50.0,
        "least",
        f"{ours.median * 1000:.0f} ms; SVD {theirs.median:.1f} s",
    )


def _ours(model: nn.Module, inputs: Tensor, layer: str, method: str) -> Candidate:
    explainer = Explainer(model, method=method, layers=layer)
    return lambda: explainer(inputs, target=CLASS)


def _peer(plan: Plan, model: nn.Module, inputs: Tensor, layer: str, method: str) -> Timing | None:
    call = _peer_call(model, inputs, layer, method)
    if call is None:
        return None
    return race({"theirs": call}, 1 if plan.quick else 3, warmups=0 if plan.quick else 1)["theirs"]


def _peer_call(model: nn.Module, inputs: Tensor, layer: str, method: str) -> Candidate | None:
    """Return a call of pytorch-grad-cam without its progress bar, or None if it is not installed."""
    try:
        import pytorch_grad_cam
        from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
    except ImportError:
        return None
    mine = copy.deepcopy(model)
    theirs = getattr(pytorch_grad_cam, method)(model=mine, target_layers=[mine.get_submodule(layer)])
    theirs.batch_size = 32  # the default of camlens

    def call() -> object:
        with redirect_stderr(io.StringIO()):
            return theirs(input_tensor=inputs, targets=[ClassifierOutputTarget(CLASS)])

    return call


def _runs(timing: Timing) -> str:
    return f"{len(timing.seconds)} runs"
