"""Why a model fails on its inputs, where that can be told: their axes, channels, size, type or device."""

import re

import torch
from torch import Tensor, nn

from camlens.core.errors import MisfitError

_CHANNELS = re.compile(r"expected input\[([\d, ]+)\] to have (\d+) channels")


def misfit(error: RuntimeError, model: nn.Module, inputs: Tensor) -> MisfitError | None:
    """An error that says why `model` failed with `error` on `inputs`; None where the inputs are not to blame."""
    reason = None if isinstance(error, torch.OutOfMemoryError) else _reason(str(error), model, inputs)
    if reason is None:
        return None
    said = str(error).splitlines()[0]
    return MisfitError(f"the model cannot run on inputs {tuple(inputs.shape)}, {_kind(inputs)}: {reason} ({said})")


def _reason(said: str, model: nn.Module, inputs: Tensor) -> str | None:
    if inputs.ndim == 3 and any(isinstance(module, nn.Conv2d) for module in model.modules()):
        return (
            f"they are {len(inputs)} signals of one spatial axis; add the batch axis of a single image with image[None]"
        )
    weights = next((one for one in model.parameters() if one.is_floating_point()), None)
    if weights is not None and (weights.dtype, weights.device) != (inputs.dtype, inputs.device):
        return f"its weights are {_kind(weights)}; pass inputs.to({str(weights.device)!r}, {weights.dtype})"
    found = _CHANNELS.search(said)
    if found and tuple(map(int, found[1].split(","))) == tuple(inputs.shape):
        return f"it takes {found[2]} channels; {_other_channels(int(found[2]), inputs.shape[1])}"
    if "mat1 and mat2 shapes cannot be multiplied" in said:
        return "perhaps it fits one image size only, as networks with Flatten before Linear do; resize the images to it"
    return None


def _kind(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} on {tensor.device}"


def _other_channels(wanted: int, given: int) -> str:
    """The likely mend for inputs of another number of channels."""
    if given == 1:
        return f"repeat the one of grey images with inputs.expand(-1, {wanted}, *inputs.shape[2:])"
    if (given, wanted) == (4, 3):
        return "leave out the alpha channel with inputs[:, :3]"
    return f"pass {wanted}, not {given}, in the second axis"
