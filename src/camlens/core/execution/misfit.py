"""Why a model fails on its inputs, where that can be told: their axes, channels, size, type or device."""

import re

import torch
from torch import Tensor, nn

from camlens.core.errors import MisfitError

_CHANNELS = re.compile(r"expected input\[([\d, ]+)\] to have (\d+) channels")
_ONE_SIZE = re.compile(
    r"mat1 and mat2 shapes cannot be multiplied|Wrong image (height|width)|Input .*doesn't match model"
)
_NORM_AXES = re.compile(r"^expected \d+D .*input \(got \d+D input\)$")
_TOO_SMALL = re.compile(r"Output size is too small|Kernel size can't be greater than actual input size")


def misfit(error: Exception, model: nn.Module, inputs: Tensor) -> MisfitError | None:
    """An error that says why `model` failed with `error` on `inputs`; None where the inputs are not to blame."""
    reason = None if isinstance(error, torch.OutOfMemoryError) else _reason(error, model, inputs)
    if reason is None:
        return None
    said = str(error).splitlines()[0]
    return MisfitError(f"the model cannot run on inputs {tuple(inputs.shape)}, {_kind(inputs)}: {reason} ({said})")


def _reason(error: Exception, model: nn.Module, inputs: Tensor) -> str | None:
    said = str(error)
    if _ONE_SIZE.search(said):
        return "perhaps it takes images of one size only; resize them to it"
    if not isinstance(error, RuntimeError) and not _NORM_AXES.search(said):
        return None
    axes = {len(module.kernel_size) for module in model.modules() if isinstance(module, nn.modules.conv._ConvNd)}
    if axes and inputs.ndim - 2 not in axes:
        return _other_axes(inputs, max(axes))
    weights = next((one for one in model.parameters() if one.is_floating_point()), None)
    if weights is not None and (weights.dtype, weights.device) != (inputs.dtype, inputs.device):
        return f"its weights are {_kind(weights)}; pass inputs.to({str(weights.device)!r}, {weights.dtype})"
    found = _CHANNELS.search(said)
    if found and tuple(map(int, found[1].split(","))) == tuple(inputs.shape):
        return f"it takes {found[2]} channels; {_other_channels(int(found[2]), inputs.shape[1])}"
    if _TOO_SMALL.search(said):
        return "perhaps they are too small for its strides; pass larger images"
    return None


def _other_axes(inputs: Tensor, wanted: int) -> str:
    if inputs.ndim == 3:
        return (
            f"they are {len(inputs)} signals of one spatial axis; add the batch axis of a single image with image[None]"
        )
    return f"they have {inputs.ndim - 2} spatial axes, and its convolutions {wanted}"


def _kind(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} on {tensor.device}"


def _other_channels(wanted: int, given: int) -> str:
    """The likely mend for inputs of another number of channels."""
    if given == 1:
        return f"repeat the one of grey images with inputs.expand(-1, {wanted}, *inputs.shape[2:])"
    if (given, wanted) == (4, 3):
        return "leave out the alpha channel with inputs[:, :3]"
    return f"pass {wanted}, not {given}, in the second axis"
