"""Forgetting what a model has learned, from the score downwards or one layer at a time, on a copy.

A unit is a module with parameters of its own, also bare ones: class tokens, position embeddings, layer
scales. Units go in the order in which the forward pass uses their parameters, not in which the class
happens to define them. Nothing here draws from torch's global random state.
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
    """Modules, by name, whose own parameters forget together."""

    name: str
    modules: tuple[str, ...]


def copy_of(model: nn.Module) -> nn.Module:
    """A copy that shares nothing with `model`."""
    try:
        return deepcopy(model)
    except (RuntimeError, TypeError) as error:
        raise ModelError(
            f"{type(model).__name__} cannot be copied ({error}): randomise a model without tensors that carry"
            " a graph, such as one freshly loaded",
            code="model.no-copy",
            type=type(model).__name__,
        ) from error


class UsesInOrder(TorchFunctionMode):
    """Notes which parameters of a model its forward pass uses, first use first, while it is active."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.names = {id(parameter): name for name, parameter in model.named_parameters()}
        self.seen: dict[str, None] = {}
        self.running = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Note the parameters among the arguments and go on; reading an attribute is not using it."""
        if self.running and getattr(func, "__name__", "") != "__get__":
            for tensor in _tensors((args, kwargs or {})):
                if id(tensor) in self.names:
                    self.seen[self.names[id(tensor)]] = None
        return func(*args, **(kwargs or {}))

    def begin(self, *_: object) -> None:
        """The forward pass begins."""
        self.running += 1

    def end(self, *_: object) -> None:
        """The forward pass ends."""
        self.running -= 1


@contextmanager
def uses_noted(model: nn.Module) -> Iterator[list[str]]:
    """Collect the names of the parameters used by forward passes in the block, first use first."""
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
    """Units with parameters of their own, last used first, in at most `count` stages of about equal length.

    Units of which no use was seen, as in a scripted model, come last, in reversed order of definition.
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
            f"{type(model).__name__} has no parameters that could be randomised",
            code="model.no-parameters",
            type=type(model).__name__,
        )
    pieces = len(units) if count is None else min(checked_count("stages", count), len(units))
    bounds = [round(piece * len(units) / pieces) for piece in range(pieces + 1)]
    return [_stage(units[low:high]) for low, high in pairwise(bounds)]


def forget(model: nn.Module, stage: Stage, generator: torch.Generator) -> None:
    """Redraw the stage's parameters in place and reset its running statistics; only ever for a copy."""
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
    """Normal values with mean 0 and the root mean square of the given ones; of zeros, that of new tokens.

    The size is kept so that signals neither die nor explode on their way; 0.02 is how class tokens are
    commonly drawn.
    """
    size = values.detach().double().square().mean().sqrt()
    drawn = torch.randn(values.shape, generator=generator)
    return drawn.to(values.device, values.dtype) * (size if size > 0 else 0.02)


@contextmanager
def remembered(model: nn.Module, stage: Stage) -> Iterator[None]:
    """Give the stage its parameters and buffers back after the block."""
    modules = [model.get_submodule(name) for name in stage.modules]
    kept = [
        (tensor, tensor.detach().clone())
        for module in modules
        for tensor in (*module.parameters(recurse=False), *module.buffers(recurse=False))
    ]
    try:
        yield
    finally:
        with torch.no_grad():
            for tensor, values in kept:
                tensor.copy_(values)


def _stage(units: Sequence[str]) -> Stage:
    names = [unit or "(the model itself)" for unit in units]
    return Stage(names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}", tuple(units))


def _tensors(values: object) -> Iterator[Tensor]:
    """All tensors in nested arguments."""
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, dict):
        for value in values.values():
            yield from _tensors(value)
    elif isinstance(values, list | tuple):
        for value in values:
            yield from _tensors(value)
