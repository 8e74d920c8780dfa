"""A model with its inputs and other arguments, and which part of its output is scored."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from camlens.core.errors import InputError
from camlens.core.execution.balanced import Balanced, Gradients
from camlens.core.execution.harmless import Guard
from camlens.core.execution.hooks import Observe, observed
from camlens.core.execution.misfit import misfit
from camlens.core.execution.outputs import map_tensors
from camlens.core.layers import checked_model, every_module
from camlens.core.probabilities import Task
from camlens.core.targets import Output
from camlens.core.types import SelectOutput


class _Unfused(TorchFunctionMode):
    """Keep torch's fused transformer layers from skipping the modules inside them."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*args, **(kwargs or {}))


def _copy(tensor: Tensor) -> Tensor:
    """A copy that is expanded along the same axes as the tensor."""
    once = tensor
    for axis, stride in enumerate(tensor.stride() if tensor.layout == torch.strided else ()):
        if stride == 0:
            once = once.narrow(axis, 0, min(1, once.shape[axis]))
    return tensor.clone() if once is tensor else once.clone().expand(tensor.shape)


@dataclass(frozen=True, eq=False)
class Session:
    """A model with its inputs (n, c, *spatial) and its further arguments.

    `args` and `kwargs` follow the inputs; tensors in them whose first axis is n hold one row per image. `output`
    selects the part of the model's output that targets see, and `task` tells what it means. `gradients` are the
    backward rules of what the model computes.
    """

    model: nn.Module
    inputs: Tensor
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    output: SelectOutput | None = None
    task: Task = "classification"
    gradients: Gradients = "plain"

    @classmethod
    def of(
        cls,
        model: object,
        inputs: object,
        *,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        output: SelectOutput | None = None,
        task: Task = "classification",
    ) -> "Session":
        """A session of a model and inputs that are checked here."""
        return cls(checked_model(model), checked_inputs(inputs), tuple(args), dict(kwargs or {}), output, task)

    @property
    def images(self) -> int:
        """The batch size n."""
        return len(self.inputs)

    @cached_property
    def modules(self) -> list[nn.Module]:
        """Every module of the model. Cached, because the walk costs as much as a small layer."""
        return every_module(self.model)

    @property
    def spatial(self) -> tuple[int, ...]:
        """The size of the input without batch and channels."""
        return tuple(self.inputs.shape[2:])

    def undisturbed(self) -> Guard:
        """A block in which the model runs in evaluation mode without grad, and is restored afterwards."""
        return Guard(self.model, self.inputs.device, self.modules)

    def predict(self, modules: Iterable[nn.Module] = (), observe: Observe | None = None) -> Output:
        """The model's output in evaluation mode and without grad; the model is left as it was.

        `observe(module, output)` is called after each of `modules`; a result other than None replaces the output.
        """
        with self.undisturbed() as guard, nullcontext() if observe is None else observed(modules, observe):
            return self.run(guard)

    def run(self, guard: Guard) -> Output:
        """The model's output. The model gets copies of the inputs, and starts from the state that `guard` found."""
        given = (self.inputs, self.args, dict(self.kwargs))
        inputs, args, kwargs = map_tensors(given, _copy)
        try:
            try:
                value = self._call(guard, inputs, args, kwargs)
            except RuntimeError as error:
                if "refers to a single memory location" not in str(error):
                    raise
                inputs, args, kwargs = map_tensors(given, Tensor.clone)
                value = self._call(guard, inputs, args, kwargs)
        except Exception as error:
            reason = misfit(error, self.model, inputs, self.args, self.kwargs)
            if reason is None:
                raise
            raise reason from error
        selected = value if self.output is None else self.output(value)
        return Output(selected, self.images, self.model if selected is value else None, self.task)

    def _call(self, guard: Guard, inputs: Tensor, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        guard.rewind()
        fused = any(isinstance(module, nn.TransformerEncoderLayer) for module in self.modules)
        unfused = Balanced() if self.gradients == "balanced" else _Unfused() if fused else nullcontext()
        with unfused:
            return self.model(inputs, *args, **kwargs)

    def part(self, start: int, stop: int) -> "Session":
        """The same session for the images from `start` to `stop`."""

        def cut(tensor: Tensor) -> Tensor:
            return tensor[start:stop] if self._per_image(tensor) else tensor

        return self._with(self.inputs[start:stop], cut)

    def replaced(self, inputs: Tensor, row: int) -> "Session":
        """The session of image `row`, with `inputs` (m, c, *spatial) instead of that image."""

        def repeat(tensor: Tensor) -> Tensor:
            if not self._per_image(tensor):
                return tensor
            return tensor[row : row + 1].expand(len(inputs), *tensor.shape[1:])

        return self._with(inputs, repeat)

    def _with(self, inputs: Tensor, change: Callable[[Tensor], Tensor]) -> "Session":
        args, kwargs = map_tensors(self.args, change), map_tensors(dict(self.kwargs), change)
        return replace(self, inputs=inputs, args=args, kwargs=kwargs)

    def _per_image(self, tensor: Tensor) -> bool:
        return tensor.ndim > 0 and len(tensor) == self.images


def checked_inputs(inputs: object) -> Tensor:
    """The inputs (n, c, *spatial) as a normal tensor, or an InputError for anything else."""
    if not isinstance(inputs, Tensor):
        kind = type(inputs).__name__
        raise InputError(
            f"inputs must be a tensor (n, c, *spatial), not {kind}; pictures need what load_model returns as model",
            code="input.type",
            type=kind,
        )
    shape, dtype = tuple(inputs.shape), str(inputs.dtype)
    if inputs.ndim == 2:
        raise InputError(
            f"inputs of shape {shape} have no batch axis: add one with image[None]",
            code="input.not-a-batch",
            shape=shape,
        )
    if not 3 <= inputs.ndim <= 5:
        raise InputError(
            f"inputs must be (n, c, *spatial) with 1, 2 or 3 spatial axes, not {shape}", code="input.axes", shape=shape
        )
    if 0 in shape:
        raise InputError(f"inputs of shape {shape} are empty: pass at least one image", code="input.empty", shape=shape)
    if not inputs.is_floating_point():
        raise InputError(
            f"inputs must be floating and preprocessed, not {inputs.dtype}; scale them, e.g. images / 255",
            code="input.dtype",
            dtype=dtype,
        )
    if inputs.layout != torch.strided or inputs.is_nested:
        raise InputError(
            f"inputs must be a dense tensor, not {inputs.layout}: pass inputs.to_dense()",
            code="input.layout",
            layout=str(inputs.layout),
        )
    if inputs.is_meta:
        raise InputError(
            "inputs on the meta device have no values: pass a tensor on the model's device",
            code="input.device",
            device="meta",
        )
    if inputs.requires_grad:
        inputs = inputs.detach()
    # the sum is finite only if all values are, and is cheaper to test; it may overflow although all are finite
    if not math.isfinite(inputs.sum(dtype=torch.float32).item()) and not torch.isfinite(inputs).all():
        raise InputError("inputs hold NaN or infinite values: check the preprocessing", code="input.not-finite")
    if inputs.is_inference() or 0 in inputs.stride():
        with torch.inference_mode(False), torch.no_grad():
            # autograd can save a normal tensor only, and a write to one image must not change others
            inputs = inputs.clone()
    return inputs
