"""From a request about segments to their weights: computed by the worker, kept while there is room."""

import base64
import math
import time
import warnings
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import cast

import numpy as np
from torch import Tensor

from camlens.core.errors import EvidenceWarning, InputError
from camlens.explainer import explain
from camlens.explanation import Explanation
from camlens.studio.bench import Workbench
from camlens.studio.explaining import check_target, engine_target, finite, label_confidence, named_target
from camlens.studio.image_info import image_info, predictions_of
from camlens.studio.jobs import Report
from camlens.studio.reproduction import Lines
from camlens.studio.schemas import Labels, Segment, SegmentsRequest, SegmentsResult

BELIEVABLE = (
    (
        0.9,
        "The weights tell nearly everything: added up over the segments that are left in a picture, they predict "
        "the model's score almost exactly.",
    ),
    (
        0.7,
        "The weights tell most of it: the strongest segments can be believed, weak ones less. The rest comes from "
        "segments that only work together.",
    ),
    (
        0.4,
        "The weights tell a part of it: believe the few strongest segments only. More samples, or fewer segments, "
        "may tell more.",
    ),
    (
        -math.inf,
        "Do not rely on these weights: added up, they hardly predict what the model does. Try more samples, or "
        "other segments.",
    ),
)


@dataclass(frozen=True, eq=False)
class Weighed:
    """An explanation whose details hold segments and weights, and how many seconds it took."""

    explanation: Explanation
    seconds: float
    cached: bool = False


def checked_segments_request(bench: Workbench, request: SegmentsRequest) -> SegmentsRequest:
    """The request as it is, or an error that says what of it does not exist or cannot be computed."""
    check_target(bench, request.target)
    if request.target.kind == "top":
        raise InputError(
            "segments are weighed for one target at a time: choose a class or a contrast, not 'top'",
            code="target.several",
        )
    if request.method == "kernelshap" and request.samples < request.segments:
        raise InputError(
            f"KernelSHAP needs at least as many samples as segments: {request.samples} samples are too few for "
            f"{request.segments} segments",
            code="argument.invalid",
            name="samples",
            value=request.samples,
        )
    return request


def segments_key(request: SegmentsRequest) -> Hashable:
    """What tells one question about segments from another."""
    return "segments", request


def known_weights(bench: Workbench, request: SegmentsRequest) -> Weighed | None:
    """The answer to a request where it is held already."""
    kept = bench.cache.get(segments_key(request))
    return Weighed(kept.explanation, kept.seconds, cached=True) if isinstance(kept, Weighed) else None


def weigh_segments(bench: Workbench, request: SegmentsRequest, report: Report) -> Weighed:
    """The weights of a checked request. Runs in the worker."""
    start = time.perf_counter()
    with warnings.catch_warnings():  # the page shows the weights themselves, also where none is positive
        warnings.simplefilter("ignore", EvidenceWarning)
        explanation: Explanation = explain(
            bench.model,
            bench.inputs(request.image),
            method=request.method,
            target=engine_target(request.target, len(bench.model.class_names)),
            options={"segments": request.segments, "samples": request.samples},
            seed=request.seed,
            progress=report,
        )
    weighed = Weighed(explanation, time.perf_counter() - start)
    held = [*explanation.maps.values(), *explanation.details.values()]
    size = sum(one.numel() * one.element_size() for one in held if isinstance(one, Tensor))
    bench.cache.put(segments_key(request), weighed, size + 4096)
    return weighed


def segments_result(bench: Workbench, request: SegmentsRequest, weighed: Weighed) -> SegmentsResult:
    """What the page gets."""
    explanation = weighed.explanation
    info = image_info(bench, request.image)
    target, index, name = named_target(explanation)
    details = cast(Mapping[str, Tensor], explanation.details)
    labels = details["segments"][0].cpu().numpy()
    fidelity = finite(details["r_squared"][0, 0])
    lines = Lines(
        methods=(request.method,),
        target=request.target,
        seed=request.seed,
        options={"segments": request.segments, "samples": request.samples},
    )
    return SegmentsResult(
        image=info,
        size=(explanation.input_size[0], explanation.input_size[1]),
        region=bench.picture(request.image)[1],
        method=explanation.method,
        target=target,
        class_index=index,
        class_name=name,
        score=finite(explanation.scores[0, 0]),
        predictions=predictions_of(bench, request.image, explanation.logits),
        label_confidence=label_confidence(bench, info, explanation.logits),
        labels=_labels(labels),
        segments=_segments(labels, details["weights"][0, 0]),
        r_squared=fidelity,
        sentence=fidelity_sentence(fidelity),
        seconds=weighed.seconds,
        cached=weighed.cached,
        python=lines.python(bench, request.image),
        shell=lines.shell(bench, request.image),
    )


def fidelity_sentence(r_squared: float | None) -> str:
    """What an R squared means for somebody who reads the weights."""
    if r_squared is None:
        return "The score does not change with the segments, so there is nothing to weigh."
    return next(sentence for least, sentence in BELIEVABLE if r_squared >= least)


def _labels(labels: np.ndarray) -> Labels:
    values = np.ascontiguousarray(labels, dtype="<u2")
    return Labels(shape=(values.shape[0], values.shape[1]), values=base64.b64encode(values.tobytes()).decode())


def _segments(labels: np.ndarray, weights: Tensor) -> tuple[Segment, ...]:
    """Every segment of one image, the strongest first."""
    shares = np.bincount(labels.ravel()) / labels.size
    found = [
        Segment(
            index=index,
            weight=weight,
            effect="supports" if weight > 0 else "opposes" if weight < 0 else "none",
            share=float(share),
        )
        for index, (weight, share) in enumerate(zip(weights.tolist(), shares, strict=False))
    ]
    return tuple(sorted(found, key=lambda one: -abs(one.weight)))
