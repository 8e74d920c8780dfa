"""Attention weights of a transformer and the gradients of the scores with respect to them.

Fused kernels return no weights. A function mode sees the calls of attention in one forward pass and keeps their
queries, keys and values, from which the weights A = softmax(q k / sqrt(d)) are recomputed; the kernels run as they are.
With the output O = A V of a call, the gradient of a score is dY/dA = dY/dO V^T.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from camlens.core.capture import scores_with_graph
from camlens.core.errors import LayerError, ModelError
from camlens.core.execution.harmless import Guard
from camlens.core.execution.hooks import answered, observed
from camlens.core.execution.outputs import tensors_in, with_tensor
from camlens.core.execution.saved_tensors import despite_writing
from camlens.core.execution.session import Session
from camlens.core.gradients.backward import one_by_one
from camlens.core.layouts import Layout, find_layout
from camlens.core.targets import Scorer
from camlens.core.types import precise

Wanted = Literal["weights", "gradients", "gradients by layer"]
_SOFTMAX = (functional.softmax, torch.softmax, Tensor.softmax)


@dataclass(frozen=True, eq=False)
class _Call:
    """One call: its output in the graph, and functions of nothing and of the output's gradients (t, *its shape)."""

    shape: tuple[int, ...]
    output: Tensor
    weights: Callable[[], Tensor]
    weight_gradients: Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Attention:
    """The attention of one layer, computed when asked for: the matrices of all layers may not fit into memory."""

    call: _Call
    gradient: Tensor | None
    targets: int

    @property
    def weights(self) -> Float[Tensor, "n heads queries keys"]:
        """The attention weights."""
        with torch.no_grad():
            return precise(self.call.weights().detach())

    @property
    def gradients(self) -> Float[Tensor, "n t heads queries keys"]:
        """The gradients of the scores with respect to the weights."""
        if self.gradient is None:
            return self.weights.new_zeros(self.call.shape).unsqueeze(1).repeat_interleave(self.targets, 1)
        with torch.no_grad():
            return precise(self.call.weight_gradients(self.gradient)).transpose(0, 1)


@dataclass(frozen=True, eq=False)
class TokenAttention:
    """Self-attention over the same tokens in every layer, and how the scores read the tokens.

    `tokens` is their number and `layout` arranges those after the prefix as a grid. `pooling` is a last attention of
    fewer queries over the tokens, or None. `readout` (n, t, queries) tells how much of each query of the last
    attention a score reads: equal shares of those for which it has a gradient.
    """

    tokens: int
    layout: Layout
    layers: Sequence[Attention]
    pooling: Attention | None
    readout: Float[Tensor, "n t queries"]

    def grid(self, tokens: Float[Tensor, "n t tokens"]) -> Float[Tensor, "n t *grid"]:
        """Arrange values of the tokens as maps, without the prefix."""
        maps: Tensor = tokens[..., self.layout.prefix :].unflatten(-1, self.layout.grid)
        return maps


class _Attended(TorchFunctionMode):
    """Keep the calls of attention in one forward pass, in this thread."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[_Call] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        call = None
        if func is functional.scaled_dot_product_attention:
            call = _of_product(result, *args, **kwargs)
        elif func is functional.multi_head_attention_forward:
            call = _of_module(func, result[0], args, kwargs)
        elif func in _SOFTMAX and isinstance(result, Tensor) and result.ndim >= 4:
            call = _Call(tuple(result.shape), result, result.detach, lambda gradients: gradients)
        if call is not None:
            self.calls.append(call)
        return result


def _of_product(
    output: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> _Call:
    query, key, value = query.detach(), key.detach(), value.detach()
    shape = (*query.shape[:-1], key.shape[-2])

    def repeated(heads: Tensor) -> Tensor:  # in grouped attention several queries share a key
        return heads.repeat_interleave(query.shape[-3] // heads.shape[-3], -3) if enable_gqa else heads

    def weights() -> Tensor:
        logits = query @ repeated(key).transpose(-2, -1) * (query.shape[-1] ** -0.5 if scale is None else scale)
        mask = logits.new_ones(shape[-2:], dtype=torch.bool).tril() if is_causal else attn_mask
        if mask is not None and mask.dtype == torch.bool:
            logits = logits.masked_fill(~mask, -math.inf)
        elif mask is not None:
            logits = logits + mask.detach()
        return logits.softmax(dim=-1)

    return _Call(shape, output, weights, lambda gradients: gradients @ repeated(value).transpose(-2, -1))


def _of_module(func: Any, output: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]) -> _Call | None:
    """The call of `multi_head_attention_forward`, whose arguments and output are (tokens, n, width)."""
    if len(args) < 13 or args[0].ndim != 3 or args[7] is not None or args[9]:
        return None  # torch.nn.MultiheadAttention passes these by position; additional keys are not supported
    query, key, value = (tensor.detach() for tensor in args[:3])
    _, heads, in_weight, in_bias = args[3:7]
    out_weight = args[11].detach()
    value_weight = kwargs["v_proj_weight"] if kwargs.get("use_separate_proj_weight") else in_weight.chunk(3)[2]
    value_bias = None if in_bias is None else in_bias.chunk(3)[2]
    values = _heads(functional.linear(value, value_weight, value_bias).detach(), heads)

    def weights() -> Tensor:
        chosen = {**kwargs, "need_weights": True, "average_attn_weights": False}
        with torch.no_grad():
            matrix: Tensor = func(query, key, value, *args[3:], **chosen)[1]
        return matrix

    def weight_gradients(gradients: Tensor) -> Tensor:
        to_heads = torch.stack([_heads(gradient, heads) for gradient in gradients @ out_weight])
        return to_heads @ values.transpose(-2, -1)

    return _Call((query.shape[1], heads, len(query), len(key)), output, weights, weight_gradients)


def _heads(tokens: Tensor, heads: int) -> Tensor:
    """Convert (tokens, n, width) to (n, heads, tokens, width / heads)."""
    split: Tensor = tokens.unflatten(-1, (heads, -1))
    return split.permute(1, 2, 0, 3)


def token_attention(session: Session, scorer: Scorer, wanted: Wanted) -> TokenAttention:
    """Return the attention of all layers of a transformer; gradients are zero unless they are wanted.

    "gradients by layer" are those of the scores that the head computes from the tokens after each layer. If attention
    pools the tokens, `layers` then holds that pooling for each layer. Raises ModelError if the model has no attention
    between all of its tokens.
    """
    outputs: dict[int, Any] = {}

    def keep(module: nn.Module, output: Any) -> Any:
        tensor = next(iter(tensors_in(output)), None)
        if tensor is None or tensor.ndim != 3:
            return None
        outputs[id(module)] = output
        return with_tensor(output, 0, tensor.clone())  # later in-place operations write to the copy

    def run() -> TokenAttention:
        outputs.clear()
        with_leaf = replace(session, inputs=inputs)
        with _Attended() as attended, observed(session.modules, keep):
            scores = scores_with_graph(guard, with_leaf, scorer, through_no_grad=True)
        own, pooling = _split(attended.calls, session, outputs)
        layout = _layout(session, own[0].shape[-1])
        chain = own if pooling is None else [*own, pooling]
        asked = chain if wanted == "gradients" else chain[-1:]
        found = one_by_one(scores, [call.output for call in asked], again=wanted == "gradients by layer")
        gradients = [None] * (len(chain) - len(found)) + found
        readout = _readout(chain[-1], gradients[-1])
        if wanted == "gradients by layer":
            layers = _by_layer(guard, with_leaf, scorer, own, pooling, _blocks(session, own, outputs), outputs)
            return TokenAttention(own[0].shape[-1], layout, layers, None, readout)
        layers = [Attention(call, each, scores.shape[1]) for call, each in zip(chain, gradients, strict=True)]
        pooled = None if pooling is None else layers.pop()
        return TokenAttention(own[0].shape[-1], layout, layers, pooled, readout)

    with session.undisturbed() as guard:
        inputs = session.inputs.detach().clone().requires_grad_()
        with torch.enable_grad():
            return despite_writing(run)


def _readout(call: _Call, gradient: Tensor | None) -> Tensor:
    """Equal shares (n, t, queries) of the queries on which the scores depend."""
    if gradient is None:
        raise ModelError("the score does not depend on the last attention", code="attention.unread")
    used = call.weight_gradients(gradient).abs().amax(dim=(2, 4)).transpose(0, 1) > 0
    return precise(used.to(call.output.dtype) / used.sum(dim=-1, keepdim=True).clamp_min(1))


def _by_layer(
    guard: Guard,
    session: Session,
    scorer: Scorer,
    own: Sequence[_Call],
    pooling: _Call | None,
    blocks: Sequence[nn.Module],
    outputs: dict[int, Any],
) -> list[Attention]:
    """Attention with the gradients of the scores that the head computes from the tokens after each layer."""
    layers = []
    outputs = {id(block): outputs[id(block)] for block in blocks}
    last = id(blocks[-1])
    for block, call in zip(blocks, own, strict=True):
        tokens = next(tensors_in(outputs[id(block)]))

        def answer(module: nn.Module, *_: Any, tokens: Tensor = tokens) -> Any:
            return with_tensor(outputs[last], 0, tokens.clone()) if id(module) == last else outputs[id(module)]

        with _Attended() as attended, answered(blocks, answer):
            scores = scores_with_graph(guard, session, scorer, through_no_grad=True)
        wanted = call if pooling is None else attended.calls[-1]
        (gradient,) = one_by_one(scores, [wanted.output], again=True)
        layers.append(Attention(wanted, gradient, scores.shape[1]))
    return layers


def _blocks(session: Session, own: Sequence[_Call], outputs: dict[int, Any]) -> list[nn.Module]:
    """The outermost modules of one type of which there are as many as layers of attention."""
    kinds: dict[type, list[nn.Module]] = {}
    for module in session.modules:
        if id(module) in outputs:
            kinds.setdefault(type(module), []).append(module)
    for blocks in kinds.values():
        if len(blocks) == len(own) and len({next(tensors_in(outputs[id(block)])).shape for block in blocks}) == 1:
            return blocks
    raise ModelError(
        f"the {len(own)} layers of attention of this model are not in as many modules of one type, so that the head "
        "cannot be applied after each of them: use gae",
        code="attention.no-blocks",
        layers=len(own),
    )


def _split(calls: list[_Call], session: Session, outputs: dict[int, Any]) -> tuple[list[_Call], _Call | None]:
    """Return the calls of self-attention and the last one that pools the tokens, or None; refuse other attention."""
    images = session.images
    if not calls:
        raise ModelError(
            "no attention was found: this method needs a transformer that computes it with "
            "scaled_dot_product_attention, torch.nn.MultiheadAttention or softmax; use gradcam or balanced",
            code="attention.none",
        )
    shapes = [call.shape for call in calls]
    counts = {next(tensors_in(output)).shape[1] for output in outputs.values()}
    counts |= {next(tensors_in(output)).shape[0] for output in outputs.values()}
    whole = [shape for shape in shapes if len(shape) == 4 and shape[0] == images]
    pooling = calls[-1] if len(calls) > 1 and len(whole) == len(shapes) and shapes[-1][2] < shapes[-1][3] else None
    own = calls[:-1] if pooling is not None else calls
    tokens = own[0].shape[-1]
    if len(whole) < len(shapes):
        reason, code = "its attention is confined to windows", "attention.windowed"
    elif any(call.shape[2] != call.shape[3] for call in own):
        reason, code = "some of its attention has fewer keys than queries, or the reverse", "attention.reduced"
    elif any(call.shape[-1] != tokens for call in calls):
        reason, code = "its layers have different numbers of tokens", "attention.several-grids"
    elif tokens not in counts:
        reason, code = "its attention is between channels", "attention.channels"
    else:
        return own, pooling
    raise ModelError(
        f"the attention of this model cannot be followed from layer to layer: {reason} "
        f"(batch, heads, queries, keys: {', '.join(map(str, dict.fromkeys(shapes)))}); use balanced or gradcam",
        code=code,
        shapes=list(dict.fromkeys(shapes)),
    )


def _layout(session: Session, tokens: int) -> Layout:
    like = session.inputs.new_empty(session.images, tokens, 2)
    try:
        return find_layout(
            nn.Identity(), like, images=session.images, spatial=session.spatial, model=session.model, kind="tokens"
        )
    except LayerError as error:
        raise ModelError(
            f"its {tokens} tokens are not a grid of patches: {error}", code="attention.no-grid", tokens=tokens
        ) from None
