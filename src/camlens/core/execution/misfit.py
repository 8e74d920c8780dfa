"""Explain why a model fails on its inputs: its arguments, or the inputs' axes, size, type or device."""

import inspect
import re
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from camlens.core.errors import CamlensError, MisfitError, ModelError

_CHANNELS = re.compile(r"expected input\[([\d, ]+)\] to have (\d+) channels")
_ONE_SIZE = re.compile(
    r"mat1 and mat2 shapes cannot be multiplied|Wrong image (height|width)|Input .*doesn't match model"
)
_NORM_AXES = re.compile(r"^expected \d+D .*input \(got \d+D input\)$")
_TOO_SMALL = re.compile(r"Output size is too small|Kernel size can't be greater than actual input size")


def misfit(
    error: Exception, model: nn.Module, inputs: Tensor, args: Sequence[object], kwargs: Mapping[str, object]
) -> CamlensError | None:
    """Return an error with the reason why `model` failed with `error`; None if the call and the inputs do not tell."""
    if isinstance(error, torch.OutOfMemoryError | CamlensError):
        return None
    if isinstance(error, TypeError | AttributeError | ValueError):
        wrong = _wrong_call(model, inputs, args, kwargs)
        if wrong is not None:
            return wrong
    unbatched = not_a_batch(model, inputs)
    if unbatched is not None:
        return unbatched
    if not isinstance(error, RuntimeError | AssertionError | ValueError):
        return None
    reason = _reason(error, model, inputs)
    if reason is None:
        return None
    code, hint = reason
    first_line = str(error).splitlines()[0]
    return MisfitError(
        f"the model cannot run on inputs {tuple(inputs.shape)}, {_kind(inputs)}: {hint} ({first_line})",
        code=code,
        shape=tuple(inputs.shape),
        dtype=str(inputs.dtype),
        device=str(inputs.device),
    )


def not_a_batch(model: nn.Module, inputs: Tensor) -> MisfitError | None:
    """Return the error for inputs that lack the batch axis of the model's convolutions, or None."""
    if inputs.ndim - 1 != min(_convolution_axes(model), default=0):
        return None
    return MisfitError(
        f"inputs of shape {tuple(inputs.shape)} are a single image: add the batch axis with image[None], "
        f"of shape {(1, *inputs.shape)}",
        code="input.not-a-batch",
        shape=tuple(inputs.shape),
    )


def _wrong_call(
    model: nn.Module, inputs: Tensor, args: Sequence[object], kwargs: Mapping[str, object]
) -> ModelError | None:
    """Return the error for a model that takes other arguments, or None."""
    signature = inspect.signature(model.forward)
    first = next(iter(signature.parameters), None)
    kind = type(model).__name__
    if first != "pixel_values" and "pixel_values" in signature.parameters and "pixel_values" not in kwargs:
        return ModelError(
            f"{kind}.forward takes {first!r} first and images as 'pixel_values': explain its vision part, or a module "
            f"whose forward(images) calls the model with pixel_values=images",
            code="model.image-argument",
            first=first,
            images="pixel_values",
        )
    try:
        signature.bind(inputs, *args, **kwargs)
    except TypeError as error:
        return ModelError(
            f"{kind}.forward{signature} cannot be called with these arguments: {error}; pass those that follow the "
            f"inputs as args=(...) or kwargs={{...}}",
            code="model.arguments",
            parameters=tuple(signature.parameters),
        )
    return None


def _convolution_axes(model: nn.Module) -> set[int]:
    return {len(module.kernel_size) for module in model.modules() if isinstance(module, nn.modules.conv._ConvNd)}


def _reason(error: Exception, model: nn.Module, inputs: Tensor) -> tuple[str, str] | None:
    """Return an error code and a hint, or None."""
    message = str(error)
    if _ONE_SIZE.search(message):
        return "input.size", "the model may take images of one size only; resize them to that size"
    if not isinstance(error, RuntimeError) and not _NORM_AXES.search(message):
        return None
    axes = _convolution_axes(model)
    if axes and inputs.ndim - 2 not in axes:
        return "input.axes", f"they have {inputs.ndim - 2} spatial axes, its convolutions {max(axes)}"
    weights = next((weight for weight in model.parameters() if weight.is_floating_point()), None)
    if weights is not None and (weights.dtype, weights.device) != (inputs.dtype, inputs.device):
        hint = f"its weights are {_kind(weights)}; pass inputs.to({str(weights.device)!r}, {weights.dtype})"
        return "input.dtype" if weights.device == inputs.device else "input.device", hint
    expected = _CHANNELS.search(message)
    if expected and tuple(map(int, expected[1].split(","))) == tuple(inputs.shape):
        return (
            "input.channels",
            f"the model takes {expected[2]} channels; {_other_channels(int(expected[2]), inputs.shape[1])}",
        )
    if _TOO_SMALL.search(message):
        return "input.too-small", "they may be too small for its strides; pass larger images"
    return None


def _kind(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} on {tensor.device}"


def _other_channels(wanted: int, given: int) -> str:
    """Return the likely fix for inputs with another number of channels."""
    if given == 1:
        return f"repeat the channel of gray images with inputs.expand(-1, {wanted}, *inputs.shape[2:])"
    if (given, wanted) == (4, 3):
        return "drop the alpha channel with inputs[:, :3]"
    return f"the second axis must have length {wanted}, not {given}"
