"""The model as it was: training flags, buffers and random state survive whatever happens inside."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from threading import RLock

import torch
from torch import Tensor, nn

from camlens.core.layers import every_module


@dataclass
class _Evaluating:
    """Modules of one model that were training when the first of its captures began."""

    trained: list[nn.Module] = field(default_factory=list)
    owners: int = 0


_lock = RLock()
_evaluating: dict[int, _Evaluating] = {}


@contextmanager
def evaluating(model: nn.Module, modules: Sequence[nn.Module]) -> Iterator[None]:
    """Run `model`, whose `modules` these are, in evaluation mode, and give each its own training flag back.

    Captures that overlap in time share the switch: the first one in flips the flags, the last one out
    restores them, so no capture sees the model in training mode because another one has just ended.
    """
    with _lock:
        state = _evaluating.setdefault(id(model), _Evaluating())
        state.owners += 1
    try:
        with _lock:
            for module in modules:
                if module.training:
                    state.trained.append(module)
                    module.training = False
        yield
    finally:
        with _lock:
            state.owners -= 1
            if state.owners == 0:
                for module in state.trained:
                    module.training = True
                del _evaluating[id(model)]


@contextmanager
def random_state_kept(device: torch.device) -> Iterator[None]:
    """Put the random state back if the block has drawn from it, for the CPU and for `device`."""
    cpu = torch.get_rng_state()
    accelerator = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
    try:
        yield
    finally:
        if not torch.equal(torch.get_rng_state(), cpu):
            torch.set_rng_state(cpu)
        if accelerator is not None:
            torch.cuda.set_rng_state(accelerator, device)


@dataclass(frozen=True)
class _Kept:
    """A buffer as it was: its place, the tensor itself, and a copy of what it held."""

    module: nn.Module
    name: str
    tensor: Tensor | None
    copy: Tensor | None


def _own_buffers(modules: Sequence[nn.Module]) -> list[_Kept]:
    """Buffers that a forward pass in evaluation mode might change.

    torch's own layers do not write to their buffers in evaluation mode; copying the thousands of batch
    norm statistics would cost more than the hooks.
    """
    return [
        _Kept(module, name, tensor, None if tensor is None else tensor.detach().clone())
        for module in modules
        if module._buffers and not type(module).__module__.startswith("torch.nn.modules.")
        for name, tensor in module._buffers.items()
    ]


@contextmanager
def buffers_kept(modules: Sequence[nn.Module]) -> Iterator[None]:
    """Put every buffer of these modules back that the block has written to or exchanged."""
    kept = _own_buffers(modules)
    try:
        yield
    finally:
        for buffer in kept:
            buffer.module._buffers[buffer.name] = buffer.tensor
            if buffer.tensor is not None and buffer.copy is not None:
                _put_back(buffer.tensor, buffer.copy)


def _put_back(tensor: Tensor, copy: Tensor) -> None:
    if tensor.shape == copy.shape and torch.equal(tensor, copy):
        return
    with torch.inference_mode(tensor.is_inference()), torch.no_grad():
        tensor.resize_(copy.shape).copy_(copy)


@contextmanager
def undisturbed(model: nn.Module, device: torch.device, modules: Sequence[nn.Module] | None = None) -> Iterator[None]:
    """Run `model` in evaluation mode without grad; leave flags, buffers, grad mode and random state alone.

    `modules` are all of the model's, where the caller has walked them already.

    The block runs under no_grad rather than inference_mode: a model that keeps a tensor for later, such
    as a resized position embedding, would otherwise keep one that can never be trained with.
    """
    modules = every_module(model) if modules is None else modules
    with ExitStack() as stack:
        stack.enter_context(random_state_kept(device))
        stack.enter_context(evaluating(model, modules))
        stack.enter_context(buffers_kept(modules))
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.no_grad())
        yield
