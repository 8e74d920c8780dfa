"""Hooks that act only for the thread that asked, and that are gone when the last one leaves.

A hook that is added to a shared model is run by every thread that uses the model. Ours look into a
context variable first and pass through for everyone but their owner. Each module gets one relay, counted:
captures that overlap share it, and the last one to leave removes it.
"""

import copy
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from threading import RLock
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

Observe = Callable[[nn.Module, Any], Any]
Announce = Callable[[nn.Module], None]
Answer = Callable[[nn.Module, Callable[..., Any], tuple[Any, ...], dict[str, Any]], Any]


@dataclass(frozen=True)
class _Owner:
    """What one capture wants to be called with, and for which modules: other captures' relays are not its own."""

    call: Callable[..., Any]
    modules: frozenset[int]


_observe: ContextVar[_Owner | None] = ContextVar("camlens_observe", default=None)
_announce: ContextVar[_Owner | None] = ContextVar("camlens_announce", default=None)
_answer: ContextVar[_Owner | None] = ContextVar("camlens_answer", default=None)


def _asked_for(variable: ContextVar[_Owner | None], module: nn.Module) -> Callable[..., Any] | None:
    owner = variable.get()
    return owner.call if owner is not None and id(module) in owner.modules else None


def _relay_output(module: nn.Module, _inputs: Any, output: Any) -> Any:
    observe = _asked_for(_observe, module)
    return None if observe is None else observe(module, output)


def _relay_start(module: nn.Module, _inputs: Any) -> None:
    announce = _asked_for(_announce, module)
    if announce is not None:
        announce(module)


def _relay_call(module: nn.Module, forward: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    answer = _asked_for(_answer, module)
    return forward(*args, **kwargs) if answer is None else answer(module, forward, args, kwargs)


@dataclass
class _Installed:
    """One relay on one module and the number of captures that need it."""

    module: nn.Module
    remove: Callable[[], None]
    owners: int = 0


_lock = RLock()
_installed: dict[tuple[str, int], _Installed] = {}


def _install(kind: str, module: nn.Module) -> Callable[[], None]:
    if kind == "answer":
        return _override_forward(module)
    handle: RemovableHandle
    if kind == "observe":
        handle = module.register_forward_hook(_relay_output)
    else:
        handle = module.register_forward_pre_hook(_relay_start)
    return handle.remove


def _override_forward(module: nn.Module) -> Callable[[], None]:
    """Route `module.forward` through the relay by one instance attribute, and say how to undo it."""
    attributes = module.__dict__
    had_own = "forward" in attributes
    original = module.forward
    attributes["forward"] = partial(_relay_call, module, original)

    def undo() -> None:
        if had_own:
            attributes["forward"] = original
        else:
            attributes.pop("forward", None)

    return undo


def _enter(kind: str, module: nn.Module) -> None:
    with _lock:
        key = (kind, id(module))
        if key not in _installed:
            _installed[key] = _Installed(module, _install(kind, module))
        _installed[key].owners += 1


def _leave(kind: str, module: nn.Module) -> None:
    with _lock:
        installed = _installed[kind, id(module)]
        installed.owners -= 1
        if installed.owners == 0:
            installed.remove()
            del _installed[kind, id(module)]


@contextmanager
def _attached(
    kind: str, modules: Iterable[nn.Module], variable: ContextVar[_Owner | None], call: Callable[..., Any]
) -> Iterator[None]:
    entered: list[nn.Module] = []
    try:
        for module in modules:
            _enter(kind, module)
            entered.append(module)
        token = variable.set(_Owner(call, frozenset(map(id, entered))))
        try:
            yield
        finally:
            variable.reset(token)
    finally:
        for module in reversed(entered):
            _leave(kind, module)


def observed(modules: Iterable[nn.Module], observe: Observe) -> Any:
    """While the block runs, call `observe(module, output)` after each module, in this thread only.

    What `observe` returns, unless None, replaces the output.
    """
    return _attached("observe", modules, _observe, observe)


def announced(modules: Iterable[nn.Module], announce: Announce) -> Any:
    """While the block runs, call `announce(module)` before each module starts, in this thread only."""
    return _attached("announce", modules, _announce, announce)


def answered(modules: Iterable[nn.Module], answer: Answer) -> Any:
    """While the block runs, let `answer(module, forward, args, kwargs)` stand in for each module's forward."""
    return _attached("answer", modules, _answer, answer)


def fit_for_autograd(model: nn.Module) -> nn.Module:
    """The model itself, or a copy of one that was built in inference mode: autograd may not save its weights."""
    first = next(model.parameters(), None)
    if first is None or not first.is_inference():
        return model
    with torch.inference_mode(False):
        return copied(model)


def copied(model: nn.Module) -> nn.Module:
    """A deep copy of a model, without the relays of captures that are running on it in other threads."""
    with _lock:  # no relay comes or goes while the modules are walked
        twin = copy.deepcopy(model)
    for module in twin.modules():
        for hooks, relay in (
            (module._forward_hooks, _relay_output),
            (module._forward_pre_hooks, _relay_start),
        ):
            for key in [key for key, hook in hooks.items() if hook is relay]:
                del hooks[key]
        own = module.__dict__.get("forward")
        if isinstance(own, partial) and own.func is _relay_call:
            original = own.args[1]
            if getattr(original, "__func__", None) is type(module).forward:
                del module.__dict__["forward"]
            else:
                module.__dict__["forward"] = original
    return twin
