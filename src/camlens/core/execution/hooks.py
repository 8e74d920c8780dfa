"""Callbacks for the calls of a model's modules, active in one thread only.

While a model is explained, the calls of observed modules go through a relay in the module's `_compiled_call_impl`.
torch calls that attribute first and leaves it out of copies and pickles, so a relay is never copied along. A relay
reads a context variable to find the callbacks of its thread. In other threads it does what the module would have done;
in its own it runs the module uncompiled, since a compiled graph runs no callbacks.
"""

import copy
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from camlens.core.errors import ModelError

Observe = Callable[[nn.Module, Any], Any]
Announce = Callable[[nn.Module], None]
Answer = Callable[[nn.Module, Callable[..., Any], tuple[Any, ...], dict[str, Any]], Any]
Role = tuple[Callable[..., Any], dict[int, nn.Module]]


@dataclass(frozen=True)
class Roles:
    """The callbacks of a capture, each with its modules by id, and the guard that it runs in."""

    observe: Role | None = None
    announce: Role | None = None
    answer: Role | None = None
    guard: Any = None  # a weak reference


roles: ContextVar[Roles | None] = ContextVar("camlens_roles", default=None)  # None: this thread explains nothing


def _asked(role: Role | None, key: int) -> Callable[..., Any] | None:
    return role[0] if role is not None and key in role[1] else None


class Relay:
    """Replaces `other` in a module's `_compiled_call_impl`."""

    __slots__ = ("eager", "key", "module", "other")

    def __init__(self, module: nn.Module) -> None:
        self.module, self.key = module, id(module)
        inner = module.__dict__["_modules"].get("_orig_mod")  # of torch.compile's wrapper
        self.eager: Callable[..., Any] = module._call_impl if inner is None else inner
        self.other: Callable[..., Any] = getattr(module, "_compiled_call_impl", None) or module._call_impl

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the module, with the callbacks of this thread."""
        now = roles.get()
        if now is None:
            return self.other(*args, **kwargs)
        announce, answer = _asked(now.announce, self.key), _asked(now.answer, self.key)
        if announce is not None:
            announce(self.module)
        output = self.eager(*args, **kwargs) if answer is None else answer(self.module, self.eager, args, kwargs)
        observe = _asked(now.observe, self.key)
        changed = None if observe is None else observe(self.module, output)
        return output if changed is None else changed

    def __deepcopy__(self, _memo: object) -> None:
        return None

    def __reduce__(self) -> tuple[Any, ...]:
        return type(None), ()


class _Called:
    """A block in which `call` plays a role for these modules."""

    def __init__(self, role: str, modules: Iterable[nn.Module], call: Callable[..., Any]) -> None:
        self.before = roles.get()
        self.modules = {id(module): module for module in modules}
        self.now = replace(self.before or Roles(), **{role: (call, self.modules)})

    def __enter__(self) -> None:
        roles.set(self.now)
        guard = self.now.guard and self.now.guard()
        if guard is not None:
            guard.relay(self.modules.values())

    def __exit__(self, *_: object) -> None:
        if roles.get() is self.now:
            roles.set(self.before)


def observed(modules: Iterable[nn.Module], observe: Observe) -> Any:
    """Call `observe(module, output)` after each of these modules; a result other than None replaces the output."""
    return _Called("observe", modules, observe)


def announced(modules: Iterable[nn.Module], announce: Announce) -> Any:
    """Call `announce(module)` before each of these modules starts."""
    return _Called("announce", modules, announce)


def answered(modules: Iterable[nn.Module], answer: Answer) -> Any:
    """Call `answer(module, run, args, kwargs)` instead of each of these modules."""
    return _Called("answer", modules, answer)


def refuse_lazy(weights: Iterable[Tensor]) -> None:
    """Raise a ModelError if one of these weights has no shape yet."""
    if any(map(nn.parameter.is_lazy, weights)):
        raise ModelError(
            "the model has lazy layers that have not seen an input yet: run it once, model(inputs), first",
            code="model.lazy",
        )


def fit_for_autograd(model: nn.Module) -> nn.Module:
    """The model, or a copy if it was built in inference mode: autograd cannot save inference tensors."""
    first = next(model.parameters(), None)
    if first is not None:
        refuse_lazy([first])
    if first is None or not first.is_inference():
        return model
    with torch.inference_mode(False):
        return copy.deepcopy(model)
