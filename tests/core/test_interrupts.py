"""Ctrl-C at any instruction of an explanation: the model, the thread and the process are restored."""

import gc
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils import _python_dispatch

from camlens import METHODS, explain
from camlens.core.execution import harmless, hooks
from tests.core.test_harmless import OPTIONS, assert_untouched, fingerprint, used_model
from tests.nets import images

pytestmark = pytest.mark.filterwarnings("ignore::camlens.core.errors.EvidenceWarning")

ENGINE = ("core/execution/", "core/capture.py", "core/probe.py", "core/gradients/", "explainer.py", "contextlib.py")
POINTS = 200  # of each method, spread over all of its instructions


class Injector:
    """Counts the bytecode instructions that run in the engine's files, and raises KeyboardInterrupt at one of them."""

    def __init__(self, at: int | None = None) -> None:
        self.at, self.count = at, 0

    def __call__(self, frame: FrameType, event: str, _argument: object) -> Any:
        if event == "call":
            watched = any(part in frame.f_code.co_filename for part in ENGINE)
            frame.f_trace_opcodes, frame.f_trace_lines = watched, False
            return self if watched else None
        if event == "opcode":
            self.count += 1
            if self.count == self.at:
                raise KeyboardInterrupt
        return self


@contextmanager
def traced(injector: Injector) -> Iterator[None]:
    before = sys.gettrace()
    sys.settrace(injector)
    try:
        yield
    finally:
        sys.settrace(before)


def surroundings() -> dict[str, Any]:
    return {
        "modes": (torch._C._len_torch_function_stack(), torch._C._len_torch_dispatch_stack()),
        "flags": [value for name, value in sorted(vars(_python_dispatch).items()) if name.startswith("_is_in_")],
        "saving": torch._C._autograd._top_saved_tensors_default_hooks(True),
        "roles": hooks.roles.get(),
        "held": len(harmless._held),
        "handler": signal.getsignal(signal.SIGINT),
    }


def state(model: nn.Module) -> dict[str, Any]:
    return {**fingerprint(model), **surroundings()}


def interrupted(model: nn.Module, method: str, at: int | None, budget: int | None) -> tuple[bool, int]:
    """Whether KeyboardInterrupt came out of `explain`, and how many instructions ran."""
    injector, layers = Injector(at), None if METHODS[method].scope == "input" else "5"
    options = OPTIONS.get(method)
    try:
        with traced(injector):
            explain(model, images(), method=method, layers=layers, options=options, target=1, memory_budget=budget)
    except KeyboardInterrupt:
        return True, injector.count
    return False, injector.count


CASES = [
    (method, None) for method in ("gradcam", "balanced", "fullgrad", "shapleycam", "ablationcam", "saliency", "rise")
]


@pytest.mark.parametrize(("method", "budget"), [*CASES, ("gradcam", 2**30)])
def test_an_interrupt_at_any_instruction_changes_nothing(method: str, budget: int | None) -> None:
    model = used_model()
    _, total = interrupted(model, method, None, budget)  # which also imports what is imported late
    _, total = interrupted(model, method, None, budget)
    assert total > POINTS
    before = state(model)
    for number in range(POINTS):
        at = 1 + number * (total - 1) // POINTS
        struck, count = interrupted(model, method, at, budget)
        assert struck or count < at  # runs differ by a few instructions
        assert_untouched(before, state(model))


def test_an_interrupt_at_every_instruction_of_the_guard() -> None:
    model = used_model()
    before, device = state(model), torch.device("cpu")

    @harmless.harmless
    def guarded() -> None:
        with harmless.undisturbed(model, device), hooks.observed([model[0]], lambda *_: None):
            model(images())

    at, struck = 0, True
    while struck:
        at += 1
        injector = Injector(at)
        try:
            with traced(injector):
                guarded()
            struck = injector.count >= at
        except KeyboardInterrupt:
            pass
        assert_untouched(before, state(model))
    assert at > 500


@pytest.mark.parametrize("threads", ["alone", "beside another thread"])
def test_a_capture_that_was_never_left_owns_nothing(threads: str, request: pytest.FixtureRequest) -> None:
    if threads != "alone":
        request.getfixturevalue("another_thread")
    model = used_model()
    before = state(model)
    harmless.undisturbed(model, torch.device("cpu")).__enter__()
    torch.set_grad_enabled(True)
    gc.collect()
    explain(model, images(), layers="5")
    assert_untouched(before, state(model))


@pytest.fixture
def another_thread() -> Iterator[None]:
    end = threading.Event()
    thread = threading.Thread(target=end.wait)
    thread.start()
    yield
    end.set()
    thread.join()


def test_a_real_signal() -> None:
    if threading.current_thread() is not threading.main_thread():
        pytest.skip("signals come to the main thread")
    model = used_model()
    before = state(model)
    calls = 0

    def strike(_module: nn.Module, _inputs: object) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            signal.raise_signal(signal.SIGINT)

    hook = model[7].register_forward_pre_hook(strike)
    with pytest.raises(KeyboardInterrupt):
        explain(model, images(), method="ablationcam", layers="5", memory_budget=2**30)
    hook.remove()
    assert_untouched(before, state(model))
