"""The model, the thread and the random numbers as they were, whatever happens inside.

A `Guard` stands around everything that runs the model. What it changes is written down before it is changed, in a
snapshot that captures which overlap in time share module by module: the first one in takes it, the last one out puts
everything back. Leaving may be interrupted and done again, and a guard that was never left is no longer an owner.
"""

import contextlib
import os
import threading
import traceback
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import wraps
from itertools import islice
from operator import is_
from typing import Any, ParamSpec, TypeVar, cast, no_type_check

import torch
from torch import Tensor, nn

from camlens.core.execution.draws import PrivateDraws
from camlens.core.execution.hooks import Relay, Roles, refuse_lazy, roles
from camlens.core.execution.saved_tensors import forget_saving
from camlens.core.layers import every_module

Result = TypeVar("Result")
Arguments = ParamSpec("Arguments")

_STANDARD = frozenset(vars(nn.Module()))  # the attributes that every module has
_MANY_BYTES = 2**30
_lock = threading.RLock()
_held: dict[int, "_Snapshot"] = {}
_writes_weights: "weakref.WeakKeyDictionary[nn.Module, bool]" = weakref.WeakKeyDictionary()  # as captures showed


class _Guards(list["Guard"]):
    """The guards that are open inside one call of a `harmless` function, and that it leaves if they were not left."""


class _Thread(threading.local):
    def __init__(self) -> None:
        self.open: Callable[[], _Guards | None] = lambda: None


_thread = _Thread()


def _locked(act: Callable[[], None]) -> None:
    """Run `act` under the lock, which is free again even if an interrupt comes between two of these lines."""
    try:
        _lock.acquire()
        act()
        _lock.release()
    finally:
        if _lock._is_owned():  # type: ignore[attr-defined]
            _lock.release()


def _without_dispatch_modes() -> AbstractContextManager[object]:
    """A block in which no mode, such as that of a memory budget, can stop the work."""
    watched = torch._C._len_torch_dispatch_stack() > 0
    return torch.utils._python_dispatch._disable_current_modes() if watched else nullcontext()


class _Snapshot:
    """Modules as they were before the first of the captures that share them.

    Buffers are copied, and weights when a model is explained for the first time. A tensor is written back if its
    version has changed. Contents are compared as well for floating buffers and in that first time, because the kernels
    of batch norms and writing through `.data` count no version up.
    """

    def __init__(self, modules: Sequence[nn.Module], device: torch.device, *, with_weights: bool) -> None:
        self.modules = modules
        self.owners: dict[int, weakref.ref[Guard]] = {}
        self.flags = [module.training for module in modules]
        self.calls: dict[int, tuple[nn.Module, Any]] = {}
        self.tables: list[dict[str, Any]] = [
            table for module in modules for table in (module._parameters, module._buffers, module._modules)
        ]
        self.copies = [table.copy() for table in self.tables]
        self.entries = self._entries()
        weights = _tensors(modules, "_parameters")
        if with_weights:
            refuse_lazy(weights)
        foreign = [module for module in modules if not _is_torchs(module)]
        theirs = _tensors((module for module in modules if _is_torchs(module)), "_buffers")
        own = _tensors(foreign, "_buffers")
        # the statistics of batch norms are hundreds of short vectors: one copy of them all is faster than one of each
        vectors = [one for one in theirs if one.ndim == 1 and one.dtype == torch.float32 and one.device == device]
        others = [one for one in theirs if not (one.ndim == 1 and one.dtype == torch.float32 and one.device == device)]
        counters = [one for one in others if not one.is_floating_point()]
        compared = [*(one for one in others if one.is_floating_point()), *own]
        self.tensors = [*weights, *vectors, *counters, *compared]
        self.first_vector, self.sizes = len(weights), [len(one) for one in vectors]
        self.facts = _facts(self.tensors)
        budget = torch._C._len_torch_dispatch_stack() > 0  # which copies of the weights would exceed
        self.with_weights = with_weights and not budget and sum(map(_bytes, weights)) <= _MANY_BYTES
        self.wrote_weights = False
        uncompared = 0 if self.with_weights else len(self.tensors) - len(compared)
        self.compared = range(uncompared, len(self.tensors))
        with torch.inference_mode(False), torch.no_grad():
            kept = [one.detach().clone() for one in weights] if self.with_weights else [None] * len(weights)
            self.packed = torch.cat(vectors) if vectors else None
            unpacked = [one.detach().clone() for one in self.tensors[len(weights) + len(vectors) :]]
        self.contents: list[Tensor | None] = [*kept, *[None] * len(vectors), *unpacked]
        self.attributes = [module.__dict__ for module in foreign]
        self.linked = [(held, key, one) for held, key, one in self._tensors_kept() if one.grad_fn is not None]

    def is_owned(self) -> bool:
        return any(owner() is not None for owner in self.owners.values())

    def install(self) -> None:
        for module in self.modules:
            if module.training:
                module.training = False
        self.relay(
            [one for one in self.modules if "_compiled_call_impl" in one.__dict__ or "_orig_mod" in one._modules]
        )

    def relay(self, modules: Iterable[nn.Module]) -> None:
        """Have every call of these modules go through a relay."""
        for module in modules:
            before = module.__dict__.get("_compiled_call_impl")
            if type(before) is not Relay:
                self.calls[id(module)] = module, before
                module.__dict__["_compiled_call_impl"] = Relay(module)

    def restore(self) -> None:
        """Put everything back that is not as it was. Doing it twice does no more than doing it once."""
        for module, call in self.calls.values():
            if call is None:
                module.__dict__.pop("_compiled_call_impl", None)
            else:
                module.__dict__["_compiled_call_impl"] = call
        self.rewind()
        if self.flags != [module.training for module in self.modules]:
            for module, training in zip(self.modules, self.flags, strict=True):
                if module.training is not training:
                    module.training = training

    def rewind(self) -> None:
        """Put back what a forward pass may have changed: tensors, the tables they stand in, and links to graphs."""
        entries = self._entries()
        if len(entries) != len(self.entries) or not all(map(is_, entries, self.entries)):
            for table, copied in zip(self.tables, self.copies, strict=True):
                if len(table) != len(copied) or not all(map(is_, table.values(), copied.values())):
                    table.clear()
                    table.update(copied)
        facts = _facts(self.tensors)
        if facts != self.facts:
            for place, (now, before) in enumerate(zip(facts, self.facts, strict=True)):
                if now[1] is not before[1]:
                    _unlink(self.tensors[place], before[1])
                if now[0] != before[0]:
                    self._put_back(place)
        if self.packed is not None:  # the kernels of batch norms count no version up
            first, last = self.first_vector, self.first_vector + len(self.sizes)
            if not torch.equal(torch.cat(self.tensors[first:last]), self.packed):
                for place in range(first, last):
                    self._put_back(place)
        for place in self.compared:
            if self.tensors[place].layout == torch.strided and self._content(place) is not None:
                self._put_back(place)
        for held, key, tensor in list(self._tensors_kept()):
            if tensor.grad_fn is not None:
                held[key] = tensor.detach()
        for held, key, tensor in self.linked:
            held[key] = tensor

    def _put_back(self, place: int) -> None:
        tensor, content = self.tensors[place], self._content(place)
        if content is None or not _same(tensor, content):
            self.wrote_weights = self.wrote_weights or place < self.first_vector
            if content is not None:
                _write(tensor, content)

    def _content(self, place: int) -> Tensor | None:
        """The copy of a tensor, where there is one."""
        vector = place - self.first_vector
        if self.packed is not None and 0 <= vector < len(self.sizes):
            copies: Sequence[Tensor] = self.packed.split(self.sizes)
            return copies[vector]
        return self.contents[place]

    def _entries(self) -> list[Any]:
        return [one for table in self.tables if table for one in table.values()]

    def _tensors_kept(self) -> Iterator[tuple[Any, Any, Tensor]]:
        """Tensors in attributes of the model's own classes, and in lists and dicts there: where each stands."""
        for attributes in self.attributes:
            places = [
                name
                for name, value in islice(attributes.items(), len(_STANDARD), None)
                if isinstance(value, Tensor | dict | list)
            ]
            for name in places:
                yield from _tensors_at(attributes, name, depth=3)


def _tensors_at(held: Any, key: Any, depth: int) -> Iterator[tuple[Any, Any, Tensor]]:
    value = held[key]
    if isinstance(value, Tensor):
        yield held, key, value
    elif depth and isinstance(value, dict | list):
        for place in list(value) if isinstance(value, dict) else range(len(value)):
            yield from _tensors_at(value, place, depth - 1)


def _tensors(modules: Iterable[nn.Module], table: str) -> list[Tensor]:
    held = [module.__dict__[table] for module in modules]
    return [one for each in held if each for one in each.values() if one is not None]


def _is_torchs(module: nn.Module) -> bool:
    return type(module).__module__.startswith("torch.nn.modules.")


def _facts(tensors: Sequence[Tensor]) -> list[tuple[int, bool]]:
    """Of each tensor how often it was written to, and whether it wants a gradient."""
    try:
        return [(one._version, one.requires_grad) for one in tensors]
    except RuntimeError:  # inference tensors do not count
        return [(-1 if one.is_inference() else one._version, one.requires_grad) for one in tensors]


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _unlink(tensor: Tensor, requires_grad: bool) -> None:
    """Free a buffer that has become part of a graph."""
    with torch.inference_mode(False):  # in which tensors would stay linked
        if tensor.grad_fn is not None:
            tensor.detach_()
        tensor.requires_grad_(requires_grad)


def _same(tensor: Tensor, content: Tensor) -> bool:
    if tensor.layout != torch.strided or tensor.shape != content.shape:
        return False
    return torch.equal(tensor, content) or (
        tensor.is_floating_point() and torch.allclose(tensor, content, rtol=0, atol=0, equal_nan=True)
    )


def _write(tensor: Tensor, content: Tensor) -> None:
    with torch.inference_mode(tensor.is_inference()), torch.no_grad():
        if tensor.shape != content.shape:
            tensor.resize_(content.shape)
        tensor.copy_(content)


class Guard:
    """A block in which the model runs in evaluation mode without grad, and after which all is as it was.

    The block runs under no_grad rather than inference_mode: a model that keeps a tensor for later, such as a resized
    position embedding, would otherwise keep one that can never be trained with.
    """

    def __init__(self, model: nn.Module, device: torch.device, modules: Sequence[nn.Module] | None = None) -> None:
        self.model, self.device = model, device
        self.modules = every_module(model) if modules is None else modules
        self.snapshots: list[_Snapshot] = []
        self.before = _Surroundings()
        self.random: list[Tensor] = []
        self.has_run = False
        self.succeeded = False
        self.normal: Any = None

    def __enter__(self) -> "Guard":
        guards = _thread.open()
        if guards is not None:
            guards.append(self)
        try:
            _locked(self._share)
            self.before.forget_the_unended()
            known = self.before.roles or Roles()
            roles.set(replace(known, guard=weakref.ref(self)))
            for role in (known.observe, known.announce, known.answer):
                if role is not None:
                    self.relay(role[1].values())
            if threading.active_count() == 1:
                self.random = self._random_state()
            else:  # others may draw meanwhile: what this thread draws comes from elsewhere
                PrivateDraws(self).__enter__()  # type: ignore[no-untyped-call]
            if torch.is_inference_mode_enabled():
                self.normal = torch.inference_mode(False)
                self.normal.__enter__()
            torch._C._set_grad_enabled(False)
        except BaseException:
            self.leave()
            raise
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        self.succeeded = self.has_run and error is None
        try:
            self.leave()
        finally:
            self.leave()

    def leave(self) -> None:
        """Put everything back. An interrupted call is made good by the next one, and a further one does nothing."""
        if self.normal is not None:
            self.normal.__exit__(None, None, None)
            self.normal = None
        self.before.put_back()
        with _without_dispatch_modes():
            if self.random:
                now = self._random_state()
                if not all(map(torch.equal, now, self.random)):
                    self._set_random_state(self.random)
                self.random = []
            _locked(self._part)
        guards = _thread.open()
        if guards is not None and self in guards:
            guards.remove(self)

    def relay(self, modules: Iterable[nn.Module]) -> None:
        """Have every call of these modules of the model go through a relay until the last capture of them ends."""

        def relay() -> None:
            for module in modules:
                if id(module) in _held:
                    _held[id(module)].relay([module])

        _locked(relay)

    def rewind(self) -> None:
        """Undo what a forward pass changed, before another one; not while other captures are in theirs."""
        if self.has_run:
            _locked(self._rewind)
        self.has_run = True

    def _share(self) -> None:
        for snapshot in list(dict.fromkeys(_held.values())):
            if not snapshot.is_owned():  # of a capture that never ended
                _drop(snapshot)
        new = [module for module in self.modules if id(module) not in _held] if _held else self.modules
        shared = dict.fromkeys(_held[id(module)] for module in self.modules if id(module) in _held)
        self.snapshots = list(shared)
        if new:
            taken = _Snapshot(new, self.device, with_weights=_writes_weights.get(self.model, True))
            self.snapshots.append(taken)
            _held.update(dict.fromkeys(map(id, new), taken))
        for snapshot in self.snapshots:
            snapshot.owners[id(self)] = weakref.ref(self)
        if new:
            taken.install()

    def _part(self) -> None:
        for snapshot in self.snapshots:
            snapshot.owners.pop(id(self), None)
            if not snapshot.is_owned():
                _drop(snapshot)
                if snapshot.wrote_weights:
                    _writes_weights[self.model] = True
                elif (
                    self.succeeded and snapshot.with_weights
                ):  # what runs only in part does not show that a model writes
                    _writes_weights.setdefault(self.model, False)
        self.snapshots = []

    def _rewind(self) -> None:
        for snapshot in self.snapshots:
            if len(snapshot.owners) == 1:
                snapshot.rewind()

    def _random_state(self) -> list[Tensor]:
        states = [torch.get_rng_state()]
        return [*states, torch.cuda.get_rng_state(self.device)] if self.device.type == "cuda" else states

    def _set_random_state(self, states: list[Tensor]) -> None:
        torch.set_rng_state(states[0])
        if len(states) > 1:
            torch.cuda.set_rng_state(states[1], self.device)


undisturbed = Guard


def _drop(snapshot: _Snapshot) -> None:
    if _held.get(id(snapshot.modules[0])) is snapshot:
        snapshot.restore()
        for module in reversed(snapshot.modules):  # so that an interrupted call can be made good
            _held.pop(id(module), None)


class _Surroundings:
    """This thread's modes and roles, to be put back as they are now."""

    def __init__(self) -> None:
        self.roles = roles.get()
        self.grad = torch.is_grad_enabled()
        self.functions = torch.overrides._get_current_function_mode_stack()
        self.dispatches = torch._C._len_torch_dispatch_stack()

    def forget_the_unended(self) -> None:
        """Drop what belongs to a capture that was never left, which nobody will put back any more."""
        if self.roles is not None and self.roles.guard is not None and self.roles.guard() is None:
            self.roles = None
        self.functions = [
            mode for mode in self.functions if not isinstance(mode, PrivateDraws) or mode.guard() is not None
        ]

    def put_back(self) -> None:
        while torch._C._len_torch_dispatch_stack() > self.dispatches:
            torch.utils._python_dispatch._get_current_dispatch_mode().__exit__(None, None, None)  # type: ignore[union-attr]
        now = torch.overrides._get_current_function_mode_stack()
        if len(now) != len(self.functions) or not all(map(is_, now, self.functions)):
            while torch._C._len_torch_function_stack():
                torch._C._pop_torch_function_stack()
            for mode in self.functions:
                torch.overrides._push_mode(mode)
        torch._C._set_grad_enabled(self.grad)
        if roles.get() is not self.roles:
            roles.set(self.roles)


def harmless(call: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """The same function, after which nothing is left behind wherever it was interrupted."""

    @no_type_check  # warnings look for its caller
    @wraps(call)
    def door(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        before, outer = _Surroundings(), _thread.open
        guards = _Guards()
        try:
            _thread.open = weakref.ref(guards)
            return call(*args, **kwargs)
        except BaseException as error:
            try:
                _finish_context_managers(error)
                _leave_all(before, guards)
            finally:
                _leave_all(before, guards)
            if isinstance(error, RuntimeError) and isinstance(error.__context__, KeyboardInterrupt):
                raise error.__context__ from error  # torch's own clean-up has failed on the way
            raise
        finally:
            _thread.open = outer

    return cast(Callable[Arguments, Result], door)


def _finish_context_managers(error: BaseException) -> None:
    """End the generators of context managers in which an interrupt came, before the garbage collector does."""
    link: BaseException | None = error
    while link is not None:
        for frame, _ in traceback.walk_tb(link.__traceback__):
            manager = frame.f_locals.get("self") if frame.f_code.co_filename == contextlib.__file__ else None
            if not isinstance(manager, contextlib._GeneratorContextManager) or not hasattr(manager, "gen"):
                continue  # the interrupt came before it had a generator
            with contextlib.suppress(RuntimeError, ValueError):  # it runs, or raises by itself
                manager.gen.close()
        link = link.__context__


def _leave_all(before: _Surroundings, guards: _Guards) -> None:
    for guard in reversed(guards.copy()):
        guard.leave()
    forget_saving()
    before.put_back()


def _reset_in_child() -> None:
    """In a forked process no other thread goes on, so nothing is being explained."""
    global _lock
    _lock = threading.RLock()
    for snapshot in list(dict.fromkeys(_held.values())):
        _drop(snapshot)
    _thread.open = lambda: None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_in_child)
