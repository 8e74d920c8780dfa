"""Folding of batch norms into the weights of the convolutions before them.

Pairs are detected by running the model once: the input of the batch norm must be the tensor that the convolution
returned, and no other operation may read it.
"""

from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from camlens.core.execution.session import Session

# exactly these types: subclasses may use their weights differently
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)

Pair = tuple[nn.Module, nn.Module]


class _Readers(TorchDispatchMode):
    """Counts the operations that read each tensor, by its id."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count: Counter[int] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count.update(id(leaf) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor))
        return func(*args, **(kwargs or {}))


class _Calls:
    """Outputs of convolutions and inputs of batch norms; the tensors are kept alive, so that ids are unique."""

    def __init__(self, readers: _Readers) -> None:
        self.readers = readers
        self.runs: Counter[int] = Counter()
        self.returned: dict[int, tuple[nn.Module, Any]] = {}
        self.given: list[tuple[nn.Module, Tensor]] = []

    def note(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        self.runs[id(module)] += 1
        if type(module) in _NORMS:
            self.given.append((module, inputs[0]))
        else:
            self.returned[id(output)] = module, output
            self.readers.count[id(output)] = 0  # a deleted tensor may have had the same id


def folding_pairs(session: Session, kept: Sequence[nn.Module]) -> list[Pair]:
    """Return pairs (convolution, batch norm) of the session's model that can be folded, without modules of `kept`.

    The session's model must be a copy: plain hooks are registered on it during one run.
    """
    readers = _Readers()
    calls = _Calls(readers)
    modules = [module for module in session.model.modules() if _foldable(module) and module not in kept]
    first = session.part(0, 1)
    with ExitStack() as stack:
        for module in modules:
            stack.callback(module.register_forward_hook(partial(_Calls.note, calls)).remove)
        guard = stack.enter_context(first.undisturbed())
        stack.enter_context(readers)
        first.run(guard)
    pairs = []
    for norm, given in calls.given:
        convolution, returned = calls.returned.get(id(given), (None, None))
        alone = readers.count[id(given)] == 1
        if convolution is not None and returned is given and alone:
            pairs.append((convolution, norm))
    return [pair for pair in pairs if all(calls.runs[id(module)] == 1 for module in pair)]


def _foldable(module: nn.Module) -> bool:
    """Whether a module is a plain convolution or a batch norm with running statistics, and has no hooks."""
    if module._forward_hooks or module._forward_pre_hooks or "forward" in module.__dict__:
        return False
    if type(module) in _NORMS:
        return module.running_mean is not None and module.running_var is not None
    return type(module) in _CONVOLUTIONS


def fold(model: nn.Module, pairs: Sequence[Pair]) -> None:
    """Fold each batch norm of `model` into its convolution and replace it by an Identity, so that names stay.

    `(w * x + b - mean) * scale + shift` with `scale = weight / sqrt(var + eps)` is a convolution with the
    weights `w * scale` and the bias `(b - mean) * scale + shift`; computed in float64, rounded once.
    """
    for convolution, norm in pairs:
        weight, bias = _folded(convolution, norm)
        convolution.weight = nn.Parameter(weight, requires_grad=False)
        convolution.bias = nn.Parameter(bias, requires_grad=False)
    norms = {id(norm) for _, norm in pairs}
    for parent in list(model.modules()):
        for name, child in parent._modules.items():
            if id(child) in norms:
                parent._modules[name] = nn.Identity()


@torch.no_grad()
def _folded(convolution: nn.Module, norm: nn.Module) -> tuple[Tensor, Tensor]:
    weight, mean = convolution.get_parameter("weight"), norm.get_buffer("running_mean").double()
    scale = torch.rsqrt(norm.get_buffer("running_var").double() + float(norm.eps))  # type: ignore[arg-type]
    if isinstance(norm.weight, Tensor):
        scale = scale * norm.weight.double()
    own = convolution.bias.double() if isinstance(convolution.bias, Tensor) else torch.zeros_like(mean)
    bias = (own - mean) * scale
    if isinstance(norm.bias, Tensor):
        bias = bias + norm.bias.double()
    scaled = weight.double() * scale.reshape(-1, *[1] * (weight.ndim - 1))
    return scaled.to(weight.dtype), bias.to(weight.dtype)
