"""Who is called when a module of the model runs, in this thread only.

While a model is explained, the calls of modules that someone asks about go through a relay in `_compiled_call_impl`.
That is where torch looks first, and what it leaves out of copies and pickles, so no trace of a relay leaves the model
with either. A relay asks a context variable who wants to know. For threads that explain nothing it does what the
module would have done; for the others it runs the module uncompiled, since a compiled graph calls no one.
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
    """What a capture wants to be called with, each for these modules by id; and the guard it runs in."""

    observe: Role | None = None
    announce: Role | None = None
    answer: Role | None = None
    guard: Any = None  # a weak reference


roles: ContextVar[Roles | None] = ContextVar("camlens_roles", default=None)  # None where nothing is explained


def _asked(role: Role | None, key: int) -> Callable[..., Any] | None:
    return role[0] if role is not None and key in role[1] else None


class Relay:
    """Stands in a module's `_compiled_call_impl`, in the place of `other`, which is what stood there."""

    __slots__ = ("eager", "key", "module", "other")

    def __init__(self, module: nn.Module) -> None:
        self.module, self.key = module, id(module)
        inner = module.__dict__["_modules"].get("_orig_mod")  # of torch.compile's wrapper
        self.eager: Callable[..., Any] = module._call_impl if inner is None else inner
        self.other: Callable[..., Any] = getattr(module, "_compiled_call_impl", None) or module._call_impl

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the module, and tell whoever asked."""
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
    """A block in which `call` has a role for these modules."""

    def __init__(self, role: str, modules: Iterable[nn.Module], call: Callable[..., Any]) -> None:
        self.before = roles.get()
        self.modules = {id(module): module for module in modules}
        changed: Any = {role: (call, self.modules)}
        self.now = replace(self.before or Roles(), **changed)

    def __enter__(self) -> None:
        roles.set(self.now)
        guard = self.now.guard and self.now.guard()
        if guard is not None:
            guard.relay(self.modules.values())

    def __exit__(self, *_: object) -> None:
        if roles.get() is self.now:
            roles.set(self.before)


def observed(modules: Iterable[nn.Module], observe: Observe) -> Any:
    """Call `observe(module, output)` after each of these modules. What it returns, unless None, replaces the output."""
    return _Called("observe", modules, observe)


def announced(modules: Iterable[nn.Module], announce: Announce) -> Any:
    """Call `announce(module)` before each of these modules starts."""
    return _Called("announce", modules, announce)


def answered(modules: Iterable[nn.Module], answer: Answer) -> Any:
    """Let `answer(module, run, args, kwargs)` stand in for each of these modules."""
    return _Called("answer", modules, answer)


def rewind() -> None:
    """Give the model that is explained the state that it was in when that began, for another forward pass."""
    now = roles.get()
    guard = None if now is None or now.guard is None else now.guard()
    if guard is not None:
        guard.rewind()


def refuse_lazy(weights: Iterable[Tensor]) -> None:
    """Raise a ModelError if one of these weights has no shape yet."""
    if any(map(nn.parameter.is_lazy, weights)):
        raise ModelError(
            "the model has lazy layers that have not seen an input yet: run it once, model(inputs), first",
            code="model.lazy",
        )


def fit_for_autograd(model: nn.Module) -> nn.Module:
    """The model itself, or a copy of one that was built in inference mode: autograd may not save its weights."""
    first = next(model.parameters(), None)
    if first is not None:
        refuse_lazy([first])
    if first is None or not first.is_inference():
        return model
    with torch.inference_mode(False):
        return copy.deepcopy(model)
