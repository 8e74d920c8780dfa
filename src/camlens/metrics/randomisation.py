"""Randomization of the parameters of a copied model, in stages.

A unit is a module with parameters of its own, including bare ones such as class tokens, position embeddings and layer
scales. Units are ordered by the use of their parameters in the forward pass, not by their definition. torch's global
random state is not used.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from camlens.core.arguments import checked_count
from camlens.core.errors import ModelError


@dataclass(frozen=True)
class Stage:
    """Names of modules whose own parameters are randomized together."""

    name: str
    modules: tuple[str, ...]


def copy_of(model: nn.Module) -> nn.Module:
    """Return a deep copy of the model, or raise ModelError."""
    try:
        return deepcopy(model)
    except (RuntimeError, TypeError) as error:
        raise ModelError(
            f"{type(model).__name__} cannot be copied ({error}): pass a model without attributes that require"
            " gradients, such as a newly loaded one",
            code="model.no-copy",
            type=type(model).__name__,
        ) from error


class UsesInOrder(TorchFunctionMode):
    """Records the parameters that forward passes of a model use, in the order of their first use."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.names = {id(parameter): name for name, parameter in model.named_parameters()}
        self.seen: dict[str, None] = {}
        self.running = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Record parameters among the arguments, except if only an attribute is read."""
        if self.running and getattr(func, "__name__", "") != "__get__":
            for tensor in _tensors((args, kwargs or {})):
                if id(tensor) in self.names:
                    self.seen[self.names[id(tensor)]] = None
        return func(*args, **(kwargs or {}))

    def begin(self, *_: object) -> None:
        """Pre-hook of the forward pass."""
        self.running += 1

    def end(self, *_: object) -> None:
        """Hook after the forward pass."""
        self.running -= 1


@contextmanager
def recorded_uses(model: nn.Module) -> Iterator[list[str]]:
    """Collect the names of the parameters used by forward passes in the block, in the order of their first use."""
    order: list[str] = []
    uses = UsesInOrder(model)
    handles = [
        model.register_forward_pre_hook(uses.begin),
        model.register_forward_hook(uses.end, always_call=True),
    ]
    try:
        with uses:
            yield order
    finally:
        for handle in handles:
            handle.remove()
        order.extend(uses.seen)


def stages_of(model: nn.Module, uses: Sequence[str], count: int | None) -> list[Stage]:
    """Group the units, last used first, into at most `count` stages of about equal length.

    Units without a recorded use, as in a scripted model, come last in reversed order of definition.
    """
    place = {name: position for position, name in enumerate(uses)}
    uses_of: dict[str, list[int]] = {}
    for name, parameter in model.named_parameters():
        if parameter.is_floating_point():
            owned = uses_of.setdefault(name.rpartition(".")[0], [])
            owned.extend([place[name]] if name in place else [])
    units = sorted(uses_of, key=lambda owner: min(uses_of[owner], default=-1))[::-1]
    if not units:
        raise ModelError(
            f"{type(model).__name__} has no floating-point parameters to randomize",
            code="model.no-parameters",
            type=type(model).__name__,
        )
    pieces = len(units) if count is None else min(checked_count("stages", count), len(units))
    bounds = [round(piece * len(units) / pieces) for piece in range(pieces + 1)]
    return [_stage(units[low:high]) for low, high in pairwise(bounds)]


def randomize(model: nn.Module, stage: Stage, generator: torch.Generator) -> None:
    """Randomize the parameters of the stage in place and reset its running statistics."""
    for name in stage.modules:
        module = model.get_submodule(name)
        with torch.no_grad():
            for parameter in module.parameters(recurse=False):
                if parameter.is_floating_point():
                    parameter.copy_(normal_of_same_size(parameter, generator))
        reset = getattr(module, "reset_running_stats", None)
        if callable(reset):
            reset()


def normal_of_same_size(values: Tensor, generator: torch.Generator) -> Tensor:
    """Draw normal values with mean 0 and the root mean square of `values`, or 0.02 if that is zero.

    Keeping the root mean square avoids vanishing and exploding signals; 0.02 is a common scale of class tokens.
    """
    size = values.detach().double().square().mean().sqrt()
    drawn = torch.randn(values.shape, generator=generator)
    return drawn.to(values.device, values.dtype) * (size if size > 0 else 0.02)


@contextmanager
def restored(model: nn.Module, stage: Stage) -> Iterator[None]:
    """Restore the parameters and buffers of the stage after the block."""
    modules = [model.get_submodule(name) for name in stage.modules]
    saved = [
        (tensor, tensor.detach().clone())
        for module in modules
        for tensor in (*module.parameters(recurse=False), *module.buffers(recurse=False))
    ]
    try:
        yield
    finally:
        with torch.no_grad():
            for tensor, values in saved:
                tensor.copy_(values)


def _stage(units: Sequence[str]) -> Stage:
    names = [unit or "(the model itself)" for unit in units]
    return Stage(names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}", tuple(units))


def _tensors(values: object) -> Iterator[Tensor]:
    """Yield all tensors in nested arguments."""
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, dict):
        for value in values.values():
            yield from _tensors(value)
    elif isinstance(values, list | tuple):
        for value in values:
            yield from _tensors(value)
