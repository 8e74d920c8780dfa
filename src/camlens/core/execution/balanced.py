"""Backward rules under which gradient x input adds up to the score, for normalizations, activations and attention.

The rules are those of LibraGrad (Mehri et al. 2024, arXiv 2411.16760). What scales a tensor depending on the tensor
itself is a constant in the backward pass: the deviation of a normalization, the ratio f(x) / x of an activation such
as GELU, the attention weights, and a gate. The forward pass is the same, except for rounding.
"""

# ruff: noqa: A002 - callers may pass torch's arguments by name, and one of them is called `input`

from collections.abc import Callable, Iterator
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

Gradients = Literal["plain", "balanced"]
GRADIENTS: tuple[Gradients, ...] = get_args(Gradients)

Run = Callable[..., Any]
_BOUNDED = ("Softmax", "Sigmoid", "Hardsigmoid", "Rsqrt", "Reciprocal")  # nodes of the graph whose output is a gate
_VIEWS = ("View", "UnsafeView", "Reshape", "Transpose", "Permute", "Split", "Slice", "Select", "Unbind", "Clone", "To")


class Balanced(TorchFunctionMode):
    """While entered, what this thread computes has balanced backward rules; torch and the model are not changed.

    Functions of torch that are made of others, such as `multi_head_attention_forward`, are handled as a whole: a mode
    does not see the calls inside them. Compiled and scripted code keeps its plain gradients.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        rule = _RULES.get(func) if torch.is_grad_enabled() else None
        if rule is None or not any(
            isinstance(given, Tensor) and given.requires_grad for given in args or kwargs.values()
        ):
            return func(*args, **kwargs)
        return rule(func, *args, **kwargs)


def _layer_norm(
    run: Run,
    input: Tensor,
    normalized_shape: Any,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    *rest: Any,
) -> Tensor:
    rows = (*input.shape[: -len(normalized_shape)], -1)
    values: Tensor = _Normalized.apply(
        input, lambda x: run(x, normalized_shape, weight, bias, eps, *rest), rows, weight, eps, True
    )
    return values


def _rms_norm(
    run: Run, input: Tensor, normalized_shape: Any, weight: Tensor | None = None, eps: float | None = None
) -> Tensor:
    rows = (*input.shape[: -len(normalized_shape)], -1)
    least = torch.finfo(input.dtype).eps if eps is None else eps
    values: Tensor = _Normalized.apply(
        input, lambda x: run(x, normalized_shape, weight, eps), rows, weight, least, False
    )
    return values


def _group_norm(
    run: Run,
    input: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    *rest: Any,
) -> Tensor:
    values: Tensor = _Normalized.apply(
        input,
        lambda x: run(x, num_groups, weight, bias, eps, *rest),
        (len(input), num_groups, -1),
        None if weight is None else weight.reshape(-1, *[1] * (input.ndim - 2)),
        eps,
        True,
    )
    return values


class _Normalized(torch.autograd.Function):
    """A normalization of rows whose deviation is a constant in the backward pass."""

    @staticmethod
    def forward(
        ctx: Any,
        input: Tensor,
        run: Run,
        rows: tuple[int, ...],
        weight: Tensor | None,
        eps: float,
        centered: bool,
    ) -> Tensor:
        wide = input.reshape(rows).to(torch.promote_types(input.dtype, torch.float32))
        spread = wide.var(dim=-1, correction=0, keepdim=True) if centered else wide.square().mean(-1, keepdim=True)
        ctx.save_for_backward((spread + eps).rsqrt(), weight)
        ctx.rows, ctx.centered = rows, centered
        values: Tensor = run(input)
        return values

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        (gradient,) = gradients
        scale, weight = ctx.saved_tensors
        weighted = gradient if weight is None else gradient * weight
        scaled = weighted.reshape(ctx.rows) * scale
        if ctx.centered:
            scaled = scaled - scaled.mean(dim=-1, keepdim=True)
        return scaled.reshape(gradient.shape), None, None, None, None, None


def _normalize(
    run: Run, input: Tensor, p: float = 2.0, dim: int = 1, eps: float = 1e-12, out: Tensor | None = None
) -> Any:
    if out is not None:
        return run(input, p, dim, eps, out)
    return input / input.norm(p, dim, keepdim=True).clamp_min(eps).detach()


def _activation(run: Run, input: Tensor, *args: Any, inplace: bool = False, **kwargs: Any) -> Tensor:
    """An activation f with f(0) = 0, of which f(x) / x is a constant in the backward pass."""
    inplace = inplace or any(given is True for given in args)  # the only flag that these functions have
    others = [given for given in args if not isinstance(given, bool)]

    def compute(x: Tensor) -> Tensor:
        values: Tensor = run(x, *others, **kwargs)
        return values

    if inplace:
        with torch.no_grad():
            ratio = _ratio(input, compute(input), compute)
        return input.mul_(ratio)
    values: Tensor = _Activation.apply(input, compute)
    return values


class _Activation(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, input: Tensor, run: Run) -> Tensor:
        values: Tensor = run(input)
        ctx.save_for_backward(_ratio(input, values, run))
        return values

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        (ratio,) = ctx.saved_tensors
        return gradients[0] * ratio, None


def _ratio(input: Tensor, values: Tensor, run: Run) -> Tensor:
    """f(x) / x, and the slope at zero where x is nearly zero."""
    small = 1e-4
    slope = run(input.new_full((1,), small)) / small
    return torch.where(input.abs() > torch.finfo(input.dtype).tiny, values / input, slope)


def _attention(run: Run, query: Tensor, key: Tensor, value: Tensor, *args: Any, **kwargs: Any) -> Any:
    """Attention whose weights are constants in the backward pass: only the values carry gradients."""
    return run(query.detach(), key.detach(), value, *args, **kwargs)


def _glu(run: Run, input: Tensor, dim: int = -1) -> Tensor:
    content, gate = input.chunk(2, dim)
    return content * gate.sigmoid().detach()


def _product(run: Run, *args: Any, **kwargs: Any) -> Any:
    """A product of two tensors that depend on the features: the gate is a constant, or both share the gradient."""
    if len(args) != 2 or kwargs or not all(map(_may_depend, args)):
        return run(*args, **kwargs)
    first, second = args
    if not _depends(first) or not _depends(second):
        return run(first, second)
    for is_gate in (_is_bounded_gate, _is_activation):
        gates = is_gate(first), is_gate(second)
        if gates == (True, False):
            return run(first.detach(), second)
        if gates == (False, True):
            return run(first, second.detach())
    return run(_Halved.apply(first), _Halved.apply(second))


def _product_in_place(run: Run, *args: Any, **kwargs: Any) -> Any:
    if len(args) == 2 and not kwargs and all(map(_may_depend, args)) and _depends(args[0]) and _depends(args[1]):
        return run(args[0], args[1].detach())
    return run(*args, **kwargs)


def _einsum(run: Run, equation: Any, *operands: Any) -> Any:
    if len(operands) == 1 and isinstance(operands[0], list | tuple):
        operands = tuple(operands[0])
    return _product(lambda *pair: run(equation, *pair), *operands)


def _quotient(run: Run, *args: Any, **kwargs: Any) -> Any:
    """A quotient of two tensors that depend on the features: the denominator is a constant."""
    if len(args) == 2 and all(map(_may_depend, args)) and _depends(args[0]) and _depends(args[1]):
        return run(args[0], args[1].detach(), **kwargs)
    return run(*args, **kwargs)


class _Halved(torch.autograd.Function):
    @staticmethod
    def forward(_ctx: Any, input: Tensor) -> Tensor:
        return input.clone()

    @staticmethod
    def backward(_ctx: Any, *gradients: Tensor) -> Any:
        return gradients[0] / 2


def _may_depend(value: Any) -> bool:
    return isinstance(value, Tensor) and value.grad_fn is not None


def _depends(tensor: Tensor, *, past_gates: bool = True) -> bool:
    """Whether the graph of a tensor leads to a leaf that is not a weight; paths through gates count if `past_gates`."""
    waiting, seen = [tensor.grad_fn], set[Any]()
    while waiting:
        node: Any = waiting.pop()
        if node is None or node in seen or (not past_gates and node.name().startswith(_BOUNDED)):
            continue
        seen.add(node)
        variable = getattr(node, "variable", None)
        if variable is not None and not isinstance(variable, nn.Parameter):
            return True
        waiting += [other for other, _ in node.next_functions]
    return False


def _is_bounded_gate(tensor: Tensor) -> bool:
    """Whether the tensor depends on the features through softmax, sigmoid or an inverse norm only."""
    return not _depends(tensor, past_gates=False)


def _is_activation(tensor: Tensor) -> bool:
    """Whether the tensor is the output of an activation, or a view of it."""
    node: Any = tensor.grad_fn
    while node is not None and node.name().startswith(_VIEWS):
        node = node.next_functions[0][0]
    return node is not None and node.name().startswith(_Activation.__name__)


def _named(*names: str) -> Iterator[Any]:
    """The functions and methods of torch with these names."""
    for name in names:
        for room in (torch, Tensor, functional, torch._C._nn):
            if hasattr(room, name):
                yield getattr(room, name)


_RULES: dict[Any, Callable[..., Any]] = {
    **dict.fromkeys(_named("layer_norm"), _layer_norm),
    **dict.fromkeys(_named("rms_norm"), _rms_norm),
    **dict.fromkeys(_named("group_norm"), _group_norm),
    functional.normalize: _normalize,
    **dict.fromkeys(_named("gelu", "silu", "mish", "hardswish", "relu6", "elu", "hardtanh", "tanh"), _activation),
    **dict.fromkeys(_named("scaled_dot_product_attention", "multi_head_attention_forward"), _attention),
    **dict.fromkeys(_named("glu"), _glu),
    **dict.fromkeys(_named("mul", "multiply", "__mul__", "__rmul__", "matmul", "__matmul__", "bmm", "mm"), _product),
    **dict.fromkeys(_named("mul_", "multiply_", "__imul__"), _product_in_place),
    torch.einsum: _einsum,
    **dict.fromkeys(_named("div", "divide", "true_divide", "__truediv__", "div_", "__itruediv__"), _quotient),
}
