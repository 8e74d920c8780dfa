"""Protect what autograd saves for the backward pass from in-place operations of the model."""

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor
from torch.utils.checkpoint import CheckpointError

from camlens.core.errors import ModelError

Result = TypeVar("Result")


def despite_writing(run: Callable[[], Result]) -> Result:
    """Return the result of a forward and a backward pass, even if the model overwrites what autograd has saved.

    `relu_()` followed by `mul_()` works without grad and fails with it: the backward pass of the first needs what the
    second has overwritten. Such a model is run again, and autograd saves copies.
    """
    try:
        return run()
    except RuntimeError as error:
        if "heckpoint" in str(error) and ".grad()" in str(error):
            raise ModelError(
                "the model uses reentrant checkpointing, through which no gradient of a layer passes: "
                "set use_reentrant=False in its torch.utils.checkpoint.checkpoint calls",
                code="model.reentrant-checkpoint",
            ) from error
        if isinstance(error, CheckpointError):
            raise ModelError(
                "a checkpointed part of the model computes something else when it runs again for the backward pass, "
                "as it does with balanced gradients: disable checkpointing, or pass gradients='plain'",
                code="model.checkpoint-differs",
            ) from error
        if "modified by an inplace operation" not in str(error):
            raise
    with torch.autograd.graph.saved_tensors_hooks(_copied, _as_it_is):
        return run()


def forget_saving() -> None:
    """Remove our hooks if an interrupt has left them behind."""
    while (torch._C._autograd._top_saved_tensors_default_hooks(True) or ())[:1] == (_copied,):
        torch._C._autograd._pop_saved_tensors_default_hooks()


def _copied(tensor: Tensor) -> Tensor:
    return tensor.detach().clone()


def _as_it_is(tensor: Tensor) -> Tensor:
    return tensor
