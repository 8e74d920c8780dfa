"""Answer requests about segments: weights by LIME or KernelSHAP, and how reliable they are."""

import base64
import math
import time
import warnings
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
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

RELIABILITY = (  # least R squared, and what it means
    (
        0.9,
        "Reliable: the sum of the weights of the visible segments predicts the model's score almost exactly.",
    ),
    (
        0.7,
        "Mostly reliable: trust the strongest segments, weak ones less. The rest of the score comes from segments "
        "that only matter in combination.",
    ),
    (
        0.4,
        "Partly reliable: trust only the few strongest segments. More samples or fewer segments may help.",
    ),
    (
        -math.inf,
        "Not reliable: the weights barely predict the model's score. Try more samples or a different number of "
        "segments.",
    ),
)


@dataclass(frozen=True, eq=False)
class Weighed:
    """An explanation with segments and weights in its details, and how many seconds it took to compute."""

    explanation: Explanation
    seconds: float
    cached: bool = False


def checked_segments_request(bench: Workbench, request: SegmentsRequest) -> SegmentsRequest:
    """Return the request, or raise an error if it cannot be answered."""
    check_target(bench, request.target)
    if request.target.kind == "top":
        raise InputError(
            "segments are weighted for one target at a time: choose a class or a contrast, not 'top'",
            code="target.several",
        )
    if request.method == "kernelshap" and request.samples < request.segments:
        raise InputError(
            f"{request.samples} samples are too few for {request.segments} segments: KernelSHAP needs at least as many "
            "samples as segments",
            code="argument.invalid",
            name="samples",
            value=request.samples,
        )
    return request


def segments_key(request: SegmentsRequest) -> Hashable:
    """Return the key under which equal requests share a job and a result."""
    return "segments", request


def known_weights(bench: Workbench, request: SegmentsRequest) -> Weighed | None:
    """Return the cached weights of a request, if any."""
    entry = bench.cache.get(segments_key(request), Weighed)
    return None if entry is None else replace(entry, cached=True)


def weigh_segments(bench: Workbench, request: SegmentsRequest, report: Report) -> Weighed:
    """Compute the weights of a checked request; runs in the worker."""
    start = time.perf_counter()
    with warnings.catch_warnings():  # the page shows the weights even if none is positive
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
    values = [*explanation.maps.values(), *explanation.details.values()]
    size = sum(value.numel() * value.element_size() for value in values if isinstance(value, Tensor))
    bench.cache.put(segments_key(request), weighed, size + 4096)
    return weighed


def segments_result(bench: Workbench, request: SegmentsRequest, weighed: Weighed) -> SegmentsResult:
    """Return the answer to a request."""
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
    """Return what an R squared means for the reader of the weights."""
    if r_squared is None:
        return "The score is the same whichever segments are visible, so there are no weights."
    return next(sentence for least, sentence in RELIABILITY if r_squared >= least)


def _labels(labels: np.ndarray) -> Labels:
    values = np.ascontiguousarray(labels, dtype="<u2")
    return Labels(shape=(values.shape[0], values.shape[1]), values=base64.b64encode(values.tobytes()).decode())


def _segments(labels: np.ndarray, weights: Tensor) -> tuple[Segment, ...]:
    """Return the segments of one image, the strongest first."""
    shares = np.bincount(labels.ravel()) / labels.size
    segments = [
        Segment(
            index=index,
            weight=weight,
            effect="supports" if weight > 0 else "opposes" if weight < 0 else "none",
            share=float(share),
        )
        for index, (weight, share) in enumerate(zip(weights.tolist(), shares, strict=False))
    ]
    return tuple(sorted(segments, key=lambda segment: -abs(segment.weight)))
