"""bfloat16 for the part of a model before the layer, full precision from the layer's output on."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from camlens.core.execution.harmless import undisturbed
from camlens.core.execution.outputs import map_tensors
from camlens.core.execution.session import Session
from camlens.core.layers import LayerCall


def narrow_before(session: Session, layers: Sequence[LayerCall]) -> None:
    """Convert the part of the session's model that runs before the earliest of `layers` to bfloat16, in place.

    The model must be a copy. Each layer returns its output in the dtype of the inputs, so scores and gradients are
    computed in full precision from features computed in bfloat16.
    """
    dtype = session.inputs.dtype
    for module in _finished_before(session.part(0, 1), [layer.module for layer in layers]):
        for tensor in [*module.parameters(recurse=False), *module.buffers(recurse=False)]:
            if tensor.is_floating_point():
                tensor.data = tensor.data.bfloat16()

    def narrow(_module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        return (inputs[0].bfloat16(), *inputs[1:])

    def widen(_module: nn.Module, _inputs: Any, output: Any) -> Any:
        return map_tensors(output, lambda tensor: _cast(tensor, dtype))

    session.model.register_forward_pre_hook(narrow)
    for layer in layers:
        layer.module.register_forward_hook(widen)


def _cast(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    return tensor.to(dtype) if tensor.is_floating_point() else tensor


def _finished_before(session: Session, layers: Sequence[nn.Module]) -> list[nn.Module]:
    """Return the modules that have run after the first of `layers`, including it and its submodules."""
    finished: list[nn.Module] = []
    done = False

    def note(module: nn.Module, _inputs: Any, _output: Any) -> None:
        nonlocal done
        if not done:
            finished.append(module)
        done = done or any(module is layer for layer in layers)

    handles = [module.register_forward_hook(note) for module in session.model.modules()]
    try:
        with undisturbed(session.model, session.inputs.device):
            session.run()
    finally:
        for handle in handles:
            handle.remove()
    return finished
