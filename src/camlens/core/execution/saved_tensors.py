"""What autograd saves for the backward pass, kept from the model's own code where that writes to it."""

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

from camlens.core.errors import ModelError

Result = TypeVar("Result")


def despite_writing(run: Callable[[], Result]) -> Result:
    """The result of a forward and a backward pass, also where the model writes to what autograd has saved.

    `relu_()` followed by `mul_()` is fine without grad and fails with it: the backward pass of the first needs what
    the second has overwritten. Such a model runs once more, and autograd saves copies.
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
        if "modified by an inplace operation" not in str(error):
            raise
    with torch.autograd.graph.saved_tensors_hooks(_copied, _as_it_is):
        return run()


def forget_saving() -> None:
    """Take away hooks of ours that an interrupt has left behind."""
    while (torch._C._autograd._top_saved_tensors_default_hooks(True) or ())[:1] == (_copied,):
        torch._C._autograd._pop_saved_tensors_default_hooks()


def _copied(tensor: Tensor) -> Tensor:
    return tensor.detach().clone()


def _as_it_is(tensor: Tensor) -> Tensor:
    return tensor
