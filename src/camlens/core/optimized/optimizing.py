"""Optimization of a copy of a model, verified on an example."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from subprocess import SubprocessError

import torch
from torch import nn

from camlens.core.capture import Capture, Request, capture_session
from camlens.core.errors import CamlensError
from camlens.core.execution.session import Session
from camlens.core.layers import LayerCall, resolve_layer
from camlens.core.layouts import Kind
from camlens.core.optimized.agreement import disagreement, rounding_error
from camlens.core.optimized.compiling import compile_before
from camlens.core.optimized.folding import fold, folding_pairs

_SLACK = 8.0  # allowed error, in multiples of the rounding error of the given model
_LEAST = 1e-4  # always allowed: not visible in a map
_PROOF_IMAGES = 2
_FAILURES = (CamlensError, RuntimeError, TypeError, ValueError, AttributeError, IndexError, KeyError)
_COMPILER_FAILURES = (AssertionError, OSError, ImportError, SubprocessError)  # no compiler, or a failing one


@dataclass(frozen=True, eq=False)
class Optimized:
    """An optimized model and its measured error.

    Attributes:
        model: an optimized copy, or the given model if it cannot be copied.
        steps: the applied steps of "folding", "channels_last" and "compiled".
        folded: the number of folded batch norms.
        error: relative distance of logits, activations and gradients to those of the given model, on the example.
        rounding: the same distance between the given model and itself in float64, or None if it cannot run in float64.
        reason: why steps were skipped; empty if none was.
    """

    model: nn.Module
    steps: tuple[str, ...]
    folded: int
    error: float
    rounding: float | None
    reason: str

    @property
    def facts(self) -> Mapping[str, object]:
        """All fields except the model."""
        return {
            "steps": list(self.steps),
            "folded": self.folded,
            "error": self.error,
            "rounding": self.rounding,
            "reason": self.reason,
        }


def optimize(
    session: Session,
    layers: Sequence[LayerCall],
    *,
    compiled: bool = False,
    reads_all_layers: bool = False,
    kind: Kind | None = None,
) -> Optimized:
    """Return a faster copy of the model with the same scores, activations and gradients at `layers`.

    Every step is verified on the first images of the session. It is skipped if it fails or if its error exceeds
    rounding, and `reason` tells why. For a method that `reads_all_layers`, such as one that uses all biases, nothing is
    folded or compiled.
    """
    example = session.part(0, min(_PROOF_IMAGES, session.images))
    truth = capture_session(example, Request(layers, kind=kind))
    rounding = rounding_error(example, layers, truth, kind=kind)
    allowed = max(_LEAST, _SLACK * (rounding or 0.0))
    reasons = ["not folded, since the method reads the biases of all layers"] * reads_all_layers
    best = Optimized(session.model, (), 0, 0.0, rounding, "")
    for steps in _ways(reads_all_layers):
        try:
            attempt = _attempt(example, layers, steps, truth, kind)
        except _FAILURES as error:
            reasons.append(f"{' + '.join(steps) or 'copying'} failed: {error}")
            continue
        if attempt.error <= allowed:
            best = replace(attempt, rounding=rounding)
            break
        reasons.append(f"{' + '.join(steps) or 'copying'}: error {attempt.error:.1e} exceeds {allowed:.1e}")
    if compiled:
        best, refusal = _compiled(session, layers, best, allowed, kind, reads_all_layers)
        reasons += refusal
    return replace(best, reason="; ".join(reasons))


def _ways(reads_all_layers: bool) -> list[tuple[str, ...]]:
    ways: list[tuple[str, ...]] = [("folding", "channels_last"), ("folding",), ("channels_last",), ()]
    return ways[2:] if reads_all_layers else ways


def _attempt(
    example: Session, layers: Sequence[LayerCall], steps: Sequence[str], truth: Capture, kind: Kind | None
) -> Optimized:
    """Return a copy with these steps applied and its error."""
    model = copy.deepcopy(example.model).eval().requires_grad_(False)
    ours = replace(example, model=model)
    wanted = [resolve_layer(model, layer.label) for layer in layers]
    folded = 0
    if "folding" in steps:
        pairs = folding_pairs(ours, [layer.module for layer in wanted])
        fold(model, pairs)
        folded = len(pairs)
    if "channels_last" in steps:
        model.to(memory_format=torch.channels_last)
    again = capture_session(ours, Request(wanted, scorer=truth.scorer, kind=kind))
    taken = tuple(step for step in steps if step != "folding" or folded)
    return Optimized(model, taken, folded, disagreement(again, truth), None, "")


def _compiled(
    session: Session,
    layers: Sequence[LayerCall],
    eager: Optimized,
    allowed: float,
    kind: Kind | None,
    reads_all_layers: bool,
) -> tuple[Optimized, list[str]]:
    """Return the model compiled before the layers for the session's batch size, or the eager one with the reason."""
    if reads_all_layers:
        return eager, ["compiling is only available for methods that use single layers"]
    truth = capture_session(session, Request(layers, kind=kind))
    try:
        model = copy.deepcopy(eager.model).eval().requires_grad_(False)
        ours = replace(session, model=model)
        layouts = {resolve_layer(model, name): record.layout for name, record in truth.records.items()}
        device = session.inputs.device
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            graph = compile_before(ours, layouts)
        again = replace(session, model=graph)
        wanted = [resolve_layer(graph, layer.label) for layer in layers]
        error = disagreement(capture_session(again, Request(wanted, scorer=truth.scorer, kind=kind)), truth)
    except (*_FAILURES, *_COMPILER_FAILURES) as failure:
        return eager, [f"compiling failed: {_first_line(failure)}"]
    if not error <= allowed:
        return eager, [f"compiling: error {error:.1e} exceeds {allowed:.1e}"]
    return replace(eager, model=graph, steps=(*eager.steps, "compiled"), error=error), []


def _first_line(failure: BaseException) -> str:
    lines = [line for line in str(failure).splitlines() if line.strip()] or [""]
    return f"{type(failure).__name__}: {lines[0].strip()}"
