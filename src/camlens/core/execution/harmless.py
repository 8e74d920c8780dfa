"""Restore the model, the thread's modes and the random state after the model has run, whatever happens.

Everything that runs the model does so inside a `Guard`. It takes a snapshot of each module before it changes anything.
Guards that overlap in time share the snapshots: the first one takes them, and the last one restores them. Leaving a
guard may be interrupted and repeated. A guard that was never left no longer owns its snapshots once it is collected.
"""

import contextlib
import os
import threading
import traceback
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import wraps
from itertools import islice
from operator import is_
from typing import Any, ParamSpec, TypeVar, cast, no_type_check

import torch
from torch import Tensor, nn
from torch.utils import _python_dispatch

from camlens.core.execution.draws import PrivateDraws
from camlens.core.execution.hooks import Relay, Roles, refuse_lazy, roles
from camlens.core.execution.saved_tensors import forget_saving
from camlens.core.layers import every_module

Result = TypeVar("Result")
Arguments = ParamSpec("Arguments")

_FLAGS = tuple(name for name in vars(_python_dispatch) if name.startswith("_is_in_"))
_TELL_COMPILER = "set_is_in_mode_without_ignore_compile_internals"  # newer versions of torch
_STANDARD = frozenset(vars(nn.Module()))  # attributes that every module has
_MANY_BYTES = 2**30
_lock = threading.RLock()
_held: dict[int, "_Snapshot"] = {}
# whether a model writes to its weights, as earlier captures have shown
_writes_weights: "weakref.WeakKeyDictionary[nn.Module, bool]" = weakref.WeakKeyDictionary()


class _Guards(list["Guard"]):
    """The open guards of one call of a `harmless` function, which leaves those that were not left."""


class _Thread(threading.local):
    def __init__(self) -> None:
        self.open: Callable[[], _Guards | None] = lambda: None


_thread = _Thread()


def _locked(act: Callable[Arguments, None], *args: Arguments.args, **kwargs: Arguments.kwargs) -> None:
    """Call `act` under the lock, and release the lock even if an interrupt comes between two of these lines."""
    try:
        _lock.acquire()
        act(*args, **kwargs)
        _lock.release()
    finally:
        if _lock._is_owned():  # type: ignore[attr-defined]
            _lock.release()


class _Snapshot:
    """The state of modules before the first of the captures that share them. It is taken under no_grad.

    Buffers are copied, and weights when a model is explained for the first time. A tensor is written back if its
    version has changed. For floating buffers, and for all tensors that first time, contents are compared as well:
    the kernels of batch norms and writes through `.data` do not increase the version.
    """

    def __init__(self, modules: Sequence[nn.Module], device: torch.device, *, with_weights: bool) -> None:
        self.modules = modules
        self.owners: dict[int, weakref.ref[Guard]] = {}
        self.flags: list[bool] = []
        self.calls: dict[int, tuple[nn.Module, Any]] = {}
        self.tables: list[dict[str, Any]] = []
        self.attributes: list[dict[str, Any]] = []
        weights: list[Tensor] = []
        vectors: list[Tensor] = []
        counters: list[Tensor] = []
        compared: list[Tensor] = []
        of_torch = {kind for kind in set(map(type, modules)) if kind.__module__.startswith("torch.nn.modules.")}
        self.compiled: list[nn.Module] = []
        for module in modules:
            attributes = module.__dict__
            parameters, buffers, children = attributes["_parameters"], attributes["_buffers"], attributes["_modules"]
            self.tables += parameters, buffers, children
            self.flags.append(module.training)
            if "_compiled_call_impl" in attributes or "_orig_mod" in children:
                self.compiled.append(module)
            if parameters:
                weights += [weight for weight in parameters.values() if weight is not None]
            is_torchs = type(module) in of_torch
            if not is_torchs:
                self.attributes.append(attributes)
            for buffer in buffers.values() if buffers else ():
                if buffer is None:
                    continue
                if not is_torchs:
                    compared.append(buffer)
                elif buffer.ndim == 1 and buffer.dtype == torch.float32 and buffer.device == device:
                    vectors.append(buffer)  # batch norms have hundreds: one copy of all is faster than one of each
                else:
                    (compared if buffer.is_floating_point() else counters).append(buffer)
        self.copies = [table.copy() if table else {} for table in self.tables]
        self.entries = self._entries()
        if with_weights:
            refuse_lazy(weights)
        self.tensors = [*weights, *vectors, *counters, *compared]
        self.first_vector, self.sizes = len(weights), [len(one) for one in vectors]
        self.facts = _facts(self.tensors)
        budget = torch._C._len_torch_dispatch_stack() > 0  # copies of the weights would exceed it
        self.with_weights = with_weights and not budget and sum(map(_bytes, weights)) <= _MANY_BYTES
        self.wrote_weights = False
        uncompared = 0 if self.with_weights else len(self.tensors) - len(compared)
        self.compared = range(uncompared, len(self.tensors))
        kept = [one.detach().clone() for one in weights] if self.with_weights else [None] * len(weights)
        self.packed = torch.cat(vectors) if vectors else None
        unpacked = [one.detach().clone() for one in self.tensors[len(weights) + len(vectors) :]]
        self.contents: list[Tensor | None] = [*kept, *[None] * len(vectors), *unpacked]
        self.linked = [entry for entry in self._tensors_kept() if entry[2].grad_fn is not None]

    def is_owned(self) -> bool:
        return any(owner() is not None for owner in self.owners.values())

    def install(self) -> None:
        if any(self.flags):
            for module in self.modules:
                if module.training:
                    module.training = False
        self.relay(self.compiled)

    def relay(self, modules: Iterable[nn.Module]) -> None:
        """Send every call of these modules through a relay."""
        for module in modules:
            before = module.__dict__.get("_compiled_call_impl")
            if type(before) is not Relay:
                self.calls[id(module)] = module, before
                module.__dict__["_compiled_call_impl"] = Relay(module)

    def restore(self) -> None:
        """Put back whatever has changed. Calling it twice is the same as calling it once."""
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
        """Put back what a forward pass may have changed: tensors, the tables that hold them, and links to graphs."""
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
        if self.packed is not None:  # the kernels of batch norms do not increase the version
            first, last = self.first_vector, self.first_vector + len(self.sizes)
            if not torch.equal(torch.cat(self.tensors[first:last]), self.packed):
                for place in range(first, last):
                    self._put_back(place)
        for place in self.compared:
            if self.tensors[place].layout == torch.strided and self._content(place) is not None:
                self._put_back(place)
        for container, key, tensor in list(self._tensors_kept()):
            if tensor.grad_fn is not None:
                container[key] = tensor.detach()
        for container, key, tensor in self.linked:
            container[key] = tensor

    def _put_back(self, place: int) -> None:
        tensor, content = self.tensors[place], self._content(place)
        if content is None or not _same(tensor, content):
            self.wrote_weights = self.wrote_weights or place < self.first_vector
            if content is not None:
                _write(tensor, content)

    def _content(self, place: int) -> Tensor | None:
        """Return the copy of a tensor, or None for a tensor that was not copied."""
        vector = place - self.first_vector
        if self.packed is not None and 0 <= vector < len(self.sizes):
            copies: Sequence[Tensor] = self.packed.split(self.sizes)
            return copies[vector]
        return self.contents[place]

    def _entries(self) -> list[Any]:
        return [entry for table in self.tables if table for entry in table.values()]

    def _tensors_kept(self) -> Iterator[tuple[Any, Any, Tensor]]:
        """Tensors in attributes of the user's own modules, and in lists and dicts there: container, key and tensor."""
        for attributes in self.attributes:
            places = [
                name
                for name, value in islice(attributes.items(), len(_STANDARD), None)
                if isinstance(value, (dict, list, Tensor))
            ]
            for name in places:
                yield from _tensors_at(attributes, name, depth=3)


def _tensors_at(container: Any, key: Any, depth: int) -> Iterator[tuple[Any, Any, Tensor]]:
    value = container[key]
    if isinstance(value, Tensor):
        yield container, key, value
    elif depth and isinstance(value, dict | list):
        for place in list(value) if isinstance(value, dict) else range(len(value)):
            yield from _tensors_at(value, place, depth - 1)


def _facts(tensors: Sequence[Tensor]) -> list[tuple[int, bool]]:
    """The version and `requires_grad` of each tensor."""
    try:
        return [(tensor._version, tensor.requires_grad) for tensor in tensors]
    except RuntimeError:  # inference tensors have no version
        return [(-1 if tensor.is_inference() else tensor._version, tensor.requires_grad) for tensor in tensors]


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _unlink(tensor: Tensor, requires_grad: bool) -> None:
    """Detach a buffer that has become part of a graph."""
    with torch.inference_mode(False):  # detach_ has no effect in inference mode
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
    """A block in which the model runs in evaluation mode without grad, and is restored afterwards.

    The block runs under no_grad, not inference_mode: a tensor that the model keeps for later, such as a resized
    position embedding, could otherwise never be trained with.
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
            if torch.is_inference_mode_enabled():
                self.normal = torch.inference_mode(False)
                self.normal.__enter__()
            torch._C._set_grad_enabled(False)
            _locked(self._share)
            self.before.forget_the_unended()
            known = self.before.roles or Roles()
            roles.set(Roles(known.observe, known.announce, known.answer, weakref.ref(self)))
            for role in (known.observe, known.announce, known.answer):
                if role is not None:
                    self.relay(role[1].values())
            if threading.active_count() == 1:
                self.random = self._random_state()
            else:  # other threads may draw meanwhile, so the global state must not be rewound
                PrivateDraws(self).__enter__()  # type: ignore[no-untyped-call]
        except BaseException:
            self.leave()
            raise
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        self.succeeded = self.has_run and error is None
        try:
            self.leave()
        except BaseException:  # an interrupt: finish what is left
            self.leave()
            raise

    def leave(self) -> None:
        """Put everything back. A call after an interrupted one completes it, and any further call does nothing."""
        if self.normal is not None:
            self.normal.__exit__(None, None, None)
            self.normal = None
        self.before.put_back()
        if self.snapshots or self.random:
            _pop_modes()  # a memory budget must not stop the work
            if self.random:
                now = self._random_state()
                if not all(map(torch.equal, now, self.random)):
                    self._set_random_state(self.random)
                self.random = []
            _locked(self._part)
            self.before.put_back()
        guards = _thread.open()
        if guards is not None and self in guards:
            guards.remove(self)

    def relay(self, modules: Iterable[nn.Module]) -> None:
        """Send every call of these modules through a relay until the last capture of them ends."""
        _locked(self._relay, modules)

    def rewind(self) -> None:
        """Undo what a forward pass has changed, unless other captures share the modules."""
        if self.has_run:
            _locked(self._rewind)
        self.has_run = True

    def _relay(self, modules: Iterable[nn.Module]) -> None:
        for module in modules:
            if id(module) in _held:
                _held[id(module)].relay([module])

    def _share(self) -> None:
        for snapshot in list(dict.fromkeys(_held.values())):
            if not snapshot.is_owned():  # its captures were never left
                _drop(snapshot)
        new = [module for module in self.modules if id(module) not in _held] if _held else self.modules
        shared = [_held[id(module)] for module in self.modules if id(module) in _held] if _held else []
        self.snapshots = list(dict.fromkeys(shared))
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
                ):  # a failed run does not prove that weights are left alone
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
        for module in reversed(snapshot.modules):  # the first module last: an interrupted call can be repeated
            _held.pop(id(module), None)


class _Surroundings:
    """This thread's modes and roles at the time of creation, to be put back later."""

    def __init__(self) -> None:
        self.roles = roles.get()
        self.grad = torch.is_grad_enabled()
        self.functions = torch.overrides._get_current_function_mode_stack()
        self.modes = _modes()
        self.flags = [getattr(_python_dispatch, name) for name in _FLAGS]

    def forget_the_unended(self) -> None:
        """Drop the roles and modes of captures that were never left and are gone."""
        if self.roles is not None and self.roles.guard is not None and self.roles.guard() is None:
            self.roles = None
        self.functions = [
            mode for mode in self.functions if not isinstance(mode, PrivateDraws) or mode.guard() is not None
        ]

    def put_back(self) -> None:
        modes = _modes()
        if len(modes) != len(self.modes) or not all(map(is_, modes, self.modes)):
            _pop_modes()
            for mode in self.modes:
                torch._C._push_on_torch_dispatch_stack(mode)
        now = torch.overrides._get_current_function_mode_stack()
        if len(now) != len(self.functions) or not all(map(is_, now, self.functions)):
            while torch._C._len_torch_function_stack():
                torch._C._pop_torch_function_stack()
            for mode in self.functions:
                torch.overrides._push_mode(mode)
        torch._C._set_grad_enabled(self.grad)
        if roles.get() is not self.roles:
            roles.set(self.roles)

    def put_back_flags(self) -> None:
        """Put back what torch notes about its dispatch modes, which an interrupted mode has left wrong."""
        for name, flag in zip(_FLAGS, self.flags, strict=True):
            setattr(_python_dispatch, name, flag)
        getattr(_python_dispatch, _TELL_COMPILER, bool)(self.flags[-1])


def _modes() -> list[Any]:
    stack = torch._C._len_torch_dispatch_stack()
    return [torch._C._get_dispatch_stack_at(place) for place in range(stack)] if stack else []


def _pop_modes() -> None:
    while torch._C._len_torch_dispatch_stack():
        torch._C._pop_torch_dispatch_stack(None)


def harmless(call: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Decorate a public function: nothing is left behind, wherever it is interrupted."""

    @no_type_check  # a checking wrapper would be taken for the caller that warnings point at
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
            if isinstance(error, RuntimeError | IndexError) and isinstance(error.__context__, KeyboardInterrupt):
                raise error.__context__ from error  # torch's own clean-up failed
            raise
        finally:
            _thread.open = outer

    return cast(Callable[Arguments, Result], door)


def _finish_context_managers(error: BaseException) -> None:
    """Close the generators of interrupted context managers, before the garbage collector does."""
    link: BaseException | None = error
    while link is not None:
        for frame, _ in traceback.walk_tb(link.__traceback__):
            manager = frame.f_locals.get("self") if frame.f_code.co_filename == contextlib.__file__ else None
            if not isinstance(manager, contextlib._GeneratorContextManager) or not hasattr(manager, "gen"):
                continue  # interrupted before its generator existed
            with contextlib.suppress(RuntimeError, ValueError):  # the generator is running, or raises
                manager.gen.close()
        link = link.__context__


def _leave_all(before: _Surroundings, guards: _Guards) -> None:
    for guard in reversed(guards.copy()):
        guard.leave()
    forget_saving()
    before.put_back()
    if not before.modes:
        before.put_back_flags()


def _reset_in_child() -> None:
    """Drop all snapshots in a forked process: the threads that were explaining do not exist there."""
    global _lock
    _lock = threading.RLock()
    for snapshot in list(dict.fromkeys(_held.values())):
        _drop(snapshot)
    _thread.open = lambda: None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_in_child)
