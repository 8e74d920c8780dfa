"""Run one case, and list every promise that was broken."""

import copy
import pickle
import random
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import scipy.special  # noqa: F401 - adds filters of warnings when it is imported
import sklearn.decomposition  # noqa: F401
import sympy  # noqa: F401
import torch
from torch import Tensor, nn

from camlens import METHODS, CamlensError, Explanation, explain
from camlens.core.errors import EvidenceWarning
from tests.fuzz.cases import Case, first_tensor, one_image
from tests.fuzz.fuse import FUSE, LINES, interrupts, raises, ticking_lines
from tests.fuzz.state import State, changes, of_model, of_process, of_tensor

# What the model's own code makes torch say, whoever runs it.
_OF_THE_MODEL = ("None of the inputs have requires_grad", "Full backward hook is firing when gradients are computed")


@dataclass
class Report:
    """The broken promises of one case, and whether it came to an explanation at all."""

    failures: list[str] = field(default_factory=list)
    outcome: str = ""
    struck: bool = False

    def expect(self, holds: bool, failure: str) -> None:
        if not holds:
            self.failures.append(failure)


def run(case: Case) -> Report:
    report = Report()
    torch.manual_seed(case.number)
    random.seed(case.number)
    np.random.seed(case.number % 2**32)
    works = plain_run_works(case)
    loss = open_loss(case)
    copies, pickles = can_be(copy.deepcopy, case.model), can_be(pickle.dumps, case.model)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        results, error = attempt(case, report, "first call")
        check_outcome(case, report, results, error, works, caught)
        strike(case, report, results)
        again, error_again = attempt(case, report, "second call")
        if not documented(case) and not draws_anew(case):
            check_repeated(report, results, error, again, error_again)
        check_batch(case, report, results)
    if loss is not None:
        report.expect(loss.is_as_it_was(), "a backward pass of the user's gives other gradients than before")
    if copies:
        copy.deepcopy(case.model)
    if pickles:
        report.expect(b"camlens" not in pickle.dumps(case.model), "the model's pickle names camlens")
    return report


@contextmanager
def untouched(case: Case, report: Report, when: str) -> Iterator[None]:
    """Report what the block has changed of the model, its inputs and the process."""

    def state() -> State:
        kept = {**of_model(case.model), **of_tensor("inputs", case.inputs), **of_process()}
        for extra in (*case.arguments.get("args", ()), *case.arguments.get("kwargs", {}).values()):
            kept.update(of_tensor("extra", extra))
        return kept

    excused = documented(case)
    before = state()
    try:
        yield
    finally:
        found = [name for name in changes(before, state()) if not name.endswith(excused)]
        report.expect(not found, f"changed by {when}: {', '.join(found[:6])}")
        torch.set_grad_enabled(True)


def documented(case: Case) -> tuple[str, ...]:
    """Endings of names of state that docs/do-no-harm.md says are not restored."""
    endings = []
    if "draws elsewhere" in case.model.all_traits:
        endings += ["numpy random state", "python random state"]
    if "memory_budget" in case.arguments and "writes to weights" in case.model.all_traits:
        endings += ["weight] content"]
    return tuple(endings)


def draws_anew(case: Case) -> bool:
    """Whether a model that draws may draw other numbers at the second call, for which more is known (documented)."""
    replays = any(METHODS[name].replays for name in case.methods if name in METHODS)
    return "draws" in case.model.all_traits and (replays or "layers" not in case.arguments)


def attempt(case: Case, report: Report, when: str) -> tuple[dict[str, Explanation] | None, BaseException | None]:
    FUSE.reset()
    results, error = None, None
    with case.enter(), untouched(case, report, when):
        try:
            explained = explain(case.model, case.inputs, **case.arguments)
            results = explained if isinstance(explained, dict) else {"": explained}
        except Exception as caught:  # noqa: BLE001 - it is looked at afterwards
            error = caught
    return results, error


def check_outcome(
    case: Case,
    report: Report,
    results: dict[str, Explanation] | None,
    error: BaseException | None,
    works: bool,
    caught: list[warnings.WarningMessage],
) -> None:
    """An Explanation with finite maps, or with a warning that they are not; or an error with a code."""
    report.outcome = "explained" if error is None else getattr(error, "code", type(error).__name__)
    if isinstance(error, CamlensError):
        report.expect(error.code not in ("", "camlens"), f"error without a code: {error!r}")
    elif error is not None and works:
        place = traceback.extract_tb(error.__traceback__)[-1]
        report.expect(False, f"raised {type(error).__name__}: {str(error)[:160]} at {place.filename}:{place.lineno}")
    told = {
        fact["code"] for one in caught if isinstance(one.message, EvidenceWarning) for fact in one.message.facts["maps"]
    }
    for one in caught:
        expected = issubclass(one.category, EvidenceWarning) or any(text in str(one.message) for text in _OF_THE_MODEL)
        report.expect(expected, f"stray warning: {one.category.__name__}: {str(one.message)[:160]}")
    images, sizes = len(case.inputs), tuple(case.inputs.shape[2:])
    for name, explanation in (results or {}).items():
        report.expect(explanation.scores.shape[0] == images, f"{name} scores of shape {explanation.scores.shape}")
        for layer, maps in explanation.maps.items():
            targets = explanation.scores.shape[1]
            right = maps.shape[:2] == (images, targets) and maps.ndim > 2
            report.expect(right, f"{name} map of {layer} has shape {tuple(maps.shape)}")
            wanted = torch.float64 if case.inputs.dtype == torch.float64 else torch.float32
            report.expect(maps.dtype == wanted, f"{name} map of {layer} is {maps.dtype}")
            report.expect(not maps.requires_grad, f"{name} map of {layer} belongs to a graph")
            finite = bool(maps.isfinite().all()) or "map.not-finite" in told
            report.expect(finite, f"{name} map of {layer} is not finite, without a warning")
        heat = explanation.heatmaps(next(iter(explanation.maps)))
        report.expect(heat.shape == (images, explanation.scores.shape[1], *sizes), f"heatmaps of {tuple(heat.shape)}")
        inside = bool(((heat >= 0) & (heat <= 1)).all()) or "map.not-finite" in told
        report.expect(inside, f"{name} heatmaps leave [0, 1]")
        pickle.dumps(explanation.maps)


def strike(case: Case, report: Report, results: dict[str, Explanation] | None) -> None:
    """Explain once more, with an exception at a random one of the points that the first call came by."""
    if case.exception == "none":
        return
    error: BaseException = (RuntimeError if case.exception == "RuntimeError" else KeyboardInterrupt)("struck")
    fuse = LINES if case.exception == "line" else FUSE
    if case.exception == "line":
        LINES.reset()
        with suppress(Exception), ticking_lines(), case.enter():
            explain(case.model, case.inputs, **case.arguments)
    if fuse.count == 0:
        return
    points = fuse.count
    at = case.rng.randint(1, points)
    explained = None
    fuse.reset(at, interrupts if case.exception == "signal" else raises(error))
    raised: BaseException | None = None
    with case.enter(), untouched(case, report, f"{case.exception} at point {at} of {points}"):
        try:
            with ticking_lines() if case.exception == "line" else nullcontext():
                explained = explain(case.model, case.inputs, **case.arguments)
        except BaseException as caught:  # noqa: BLE001 - it is looked at afterwards
            raised = caught
    struck = fuse.count >= at
    fuse.reset()
    report.struck = struck
    if not struck:
        return
    if raised is None and isinstance(error, RuntimeError):
        # it came while a faster way was tried, and the slow one was taken: docs/do-no-harm.md
        check_close(case, report, results, explained)
        return
    if isinstance(error, RuntimeError):
        known = raised is error or (isinstance(raised, CamlensError) and error in chain(raised))
    else:
        known = isinstance(raised, KeyboardInterrupt)
    if results is not None:
        report.expect(known, f"{case.exception} at point {at} of {points} came out as {raised!r:.160}")


def check_close(case: Case, report: Report, results: Any, explained: Any) -> None:
    if {"draws", "draws elsewhere"} & case.model.all_traits:
        return  # the draws of the attempt that failed came before
    others = explained if isinstance(explained, dict) else {"": explained}
    for name, explanation in (results or {}).items():
        for layer, maps in explanation.maps.items():
            close = torch.allclose(maps, others[name].maps[layer], 1e-2, 1e-2 * float(maps.abs().max()), equal_nan=True)
            report.expect(close, f"{name} map of {layer} is another one after an error that nobody was told of")


def chain(error: BaseException) -> list[BaseException]:
    """An error and those that it came from."""
    links = [error]
    while (link := links[-1].__cause__ or links[-1].__context__) is not None and link not in links:
        links.append(link)
    return links


def check_repeated(
    report: Report,
    results: dict[str, Explanation] | None,
    error: BaseException | None,
    again: dict[str, Explanation] | None,
    error_again: BaseException | None,
) -> None:
    """The same call gives the same maps, bit for bit, or the same error."""
    if "memory.exhausted" in (getattr(error, "code", ""), getattr(error_again, "code", "")):
        return  # the first call also looks for the layer and tries faster ways, which takes more memory
    same = type(error) is type(error_again) and getattr(error, "code", "") == getattr(error_again, "code", "")
    report.expect(same, f"first {error!r:.200}, then {error_again!r:.200}")
    if results is None or again is None:
        return
    for name, explanation in results.items():
        other = again[name]
        report.expect(other.layers == explanation.layers, f"layers {explanation.layers}, then {other.layers}")
        for layer, maps in explanation.maps.items():
            equal = layer in other.maps and torch.equal(maps.nan_to_num(), other.maps[layer].nan_to_num())
            report.expect(equal, f"{name} map of {layer} is not the same at the second call")


def check_batch(case: Case, report: Report, results: dict[str, Explanation] | None) -> None:
    """Each image's map is that of the image explained alone, in float64, which leaves nothing to rounding."""
    images = len(case.inputs)
    if results is None or images == 1 or case.inputs.dtype != torch.float64 or case.surroundings == "autocast":
        return
    if "mixes images" in case.model.all_traits or not set(results) - {""} <= set(METHODS):
        return
    row = case.rng.randrange(images) if "layers" in case.arguments else 0  # whose image chooses the layer
    arguments = one_image(case, row)
    if arguments is None:
        return
    image = case.inputs[row : row + 1]
    with case.enter():
        try:
            alone = explain(case.model, image, **arguments)
        except CamlensError as error:  # what one image alone does not show, such as whether outputs are logits
            report.expect(error.code in ("target.needed", "layer.not-local"), f"image {row} alone: {error!r:.200}")
            return
    for name, explanation in results.items():
        other = alone[name] if isinstance(alone, dict) else alone
        if other.layers != explanation.layers:
            report.expect(False, f"layers of the batch {explanation.layers}, of image {row} alone {other.layers}")
            continue
        for layer, maps in explanation.maps.items():
            ours, theirs = maps[row], other.maps[layer][0]
            close = torch.allclose(ours, theirs, rtol=1e-6, atol=1e-6 * float(ours.abs().max()), equal_nan=True)
            if (
                not close
                and is_stable(case, case.inputs, case.arguments, name, layer, row)
                and is_stable(case, image, arguments, name, layer, 0)
            ):
                report.expect(False, f"{name} map of {layer}: image {row} of the batch differs from itself alone")


def is_stable(case: Case, inputs: Tensor, arguments: dict[str, Any], name: str, layer: str, row: int) -> bool:
    """Whether a change of the inputs in their last digits leaves the map alone, so that rounding explains nothing."""
    noise = torch.randn(inputs.shape, generator=torch.Generator().manual_seed(0), dtype=inputs.dtype)
    nudged = inputs.detach() + 1e-14 * noise * (1 + inputs.detach().abs())
    maps = []
    for one in (inputs, nudged):
        with case.enter():
            explained = explain(case.model, one, **arguments)
        maps.append((explained[name] if isinstance(explained, dict) else explained).maps[layer][row])
    return torch.allclose(*maps, rtol=1e-8, atol=1e-8 * float(maps[0].abs().max()), equal_nan=True)


def plain_run_works(case: Case) -> bool:
    """Whether the model itself runs forward and backward on such inputs, in evaluation mode, without camlens."""
    model = copy.deepcopy(case.model).eval()
    extra = (*case.arguments.get("args", ()), *case.arguments.get("kwargs", {}).values())
    try:
        with case.enter(), torch.inference_mode(False), torch.enable_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            leaf = case.inputs.detach().clone().requires_grad_()
            score = first_tensor(model(leaf.clone(), *extra)).sum()
            if score.requires_grad:
                torch.autograd.grad(score, leaf, allow_unused=True)
    except Exception:  # noqa: BLE001 - whatever the model's own code raises
        return False
    return True


@dataclass
class Loss:
    """A backward pass of the user's that is still to come, and the gradients that it is to give."""

    value: Tensor
    weights: list[nn.Parameter]
    gradients: tuple[Tensor | None, ...]

    def is_as_it_was(self) -> bool:
        now = torch.autograd.grad(self.value, self.weights, allow_unused=True)
        pairs = zip(now, self.gradients, strict=True)
        return all(one is other or (one is not None and torch.equal(one, other)) for one, other in pairs)


def open_loss(case: Case) -> Loss | None:
    """A loss of every third model, in the mode that it is in.

    Not of models that write to what they have: explaining them counts versions up (docs/do-no-harm.md).
    """
    weights = [one for one in case.model.parameters() if one.requires_grad]
    if case.number % 3 or "changes itself" in case.model.all_traits or not weights:
        return None
    extra = (*case.arguments.get("args", ()), *case.arguments.get("kwargs", {}).values())
    with (
        warnings.catch_warnings(),
        suppress(RuntimeError, ValueError),
    ):  # such as one value for a batch norm in training
        warnings.simplefilter("ignore")
        value = first_tensor(case.model(case.inputs.detach().clone(), *extra)).sum()
        return Loss(value, weights, torch.autograd.grad(value, weights, allow_unused=True, retain_graph=True))
    return None


def can_be(used: Callable[[nn.Module], object], model: nn.Module) -> bool:
    try:
        used(model)
    except Exception:  # noqa: BLE001 - whatever the model's own code raises
        return False
    return True
