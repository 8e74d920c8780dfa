"""Methods computed from the attention weights of a transformer."""

import warnings

import torch
from jaxtyping import Float
from torch import Tensor

from camlens.core.details import Found
from camlens.core.errors import ClassBlindWarning, invalid_argument
from camlens.core.gradients.attention import TokenAttention, token_attention
from camlens.core.probe import InputProbe
from camlens.core.registry import register_method


@register_method(
    "attention",
    paper="Caron et al. 2021, Emerging Properties in Self-Supervised Vision Transformers, arXiv 2104.14294",
    needs="probe",
    good_for="what a token of a transformer attends to in one layer and head; not evidence for a class",
    signed=False,
    scope="tokens",
)
def attention(probe: InputProbe, *, layer: int = -1, head: int | None = None, query: int | None = None) -> Found:
    """Return the attention weights of a token in one layer.

    L_j = A_qj of layer `layer`, counted from 0 or from the end, and head `head`; default: the mean of the heads (Caron
    et al. 2021, arXiv 2104.14294, figure 1). `query` is the index of the token q in the sequence, in which class and
    register tokens come first; default: the mean of the tokens that the score reads, such as the class token. Never
    negative; the same for all classes. An attention that pools the tokens counts as the last layer. `details` holds
    attention_layers, tokens and prefix, the numbers of layers, of tokens, and of tokens before the grid.

        explain(model, images, method="attention", options={"layer": -1, "head": 3})
    """
    model = token_attention(probe.session, probe.captured.scorer, "weights")
    chain = [*model.layers, *([] if model.pooling is None else [model.pooling])]
    position = _index("layer", layer, len(chain))
    weights = chain[position].weights
    matrix = weights.mean(dim=1) if head is None else weights[:, _index("head", head, weights.shape[1])]
    if query is not None:
        rows = matrix[:, None, _index("query", query, matrix.shape[1])].expand(-1, probe.scores.shape[1], -1)
    elif matrix.shape[1] == model.readout.shape[2]:
        rows = model.readout @ matrix
    else:  # a layer before attention pooling, whose queries are the tokens
        rows = matrix.mean(dim=1, keepdim=True).expand(-1, probe.scores.shape[1], -1)
    return _found(model, rows)


@register_method(
    "rollout",
    paper="Abnar and Zuidema 2020, Quantifying Attention Flow in Transformers, arXiv 2005.00928",
    needs="probe",
    good_for="a baseline for transformers: the flow of attention through all layers, the same for all classes",
    signed=False,
    scope="tokens",
)
def rollout(probe: InputProbe) -> Found:
    """Multiply the attention weights of all layers, with half of each layer for the residual connection.

    R = prod_l (A_l + I) / 2, with A_l the mean of the heads (Abnar and Zuidema 2020, arXiv 2005.00928, eq. 1). The map
    is the mean of the rows of the tokens that the score reads. Never negative. It is the same for all classes and warns
    about that with a ClassBlindWarning; `details` as of `attention`.

        explain(model, images, method="rollout")
    """
    warnings.warn(ClassBlindWarning("rollout is the same for all classes: use gae or legrad"), stacklevel=2)
    model = token_attention(probe.session, probe.captured.scorer, "weights")
    flow = model.readout
    if model.pooling is not None:
        flow = flow @ model.pooling.weights.mean(dim=1)
    for layer in reversed(model.layers):
        flow = (flow + flow @ layer.weights.mean(dim=1)) / 2
    return _found(model, flow)


@register_method(
    "gae",
    paper="Chefer et al. 2021, Generic Attention-model Explainability, arXiv 2103.15679",
    needs="probe",
    good_for="evidence for a class in all layers of a transformer, weighted by gradients",
    signed=False,
    scope="tokens",
)
def gae(probe: InputProbe) -> Found:
    """Add up the relevance that attention with positive gradients carries from the tokens to the score.

    R = prod_l (I + E_h[relu(dY/dA_l * A_l)]) over layers l and heads h (Chefer et al. 2021, arXiv 2103.15679, eq. 5
    and 6). The map is the mean of the rows of the tokens that the score reads. Never negative; `details` as of
    `attention`.

        explain(model, images, method="gae", target=281)
    """
    model = token_attention(probe.session, probe.captured.scorer, "gradients")
    relevance = model.readout
    if model.pooling is not None:
        relevance = _through(relevance, model.pooling.weights, model.pooling.gradients)
    for layer in reversed(model.layers):
        relevance = relevance + _through(relevance, layer.weights, layer.gradients)
    return _found(model, relevance)


@register_method(
    "legrad",
    paper="Bousselham et al. 2024, LeGrad, arXiv 2404.03214",
    needs="probe",
    good_for="evidence for a class from the gradients of attention, layer by layer; also for image-text models",
    signed=False,
    scope="tokens",
)
def legrad(probe: InputProbe) -> Found:
    """Average the positive gradients of the attention weights over queries, heads and layers.

    L_j = mean over layers l, heads h and queries i of relu(dY_l/dA_l,hij), where Y_l is the score that the head of the
    model computes from the tokens after layer l (Bousselham et al. 2024, arXiv 2404.03214, eq. 6 to 9). If attention
    pools the tokens, A_l is that of the pooling. Never negative; `details` as of `attention`.

        explain(model, images, method="legrad", target=281)
    """
    model = token_attention(probe.session, probe.captured.scorer, "gradients by layer")
    positive = [layer.gradients.clamp_min(0).mean(dim=(2, 3)) for layer in model.layers]
    return _found(model, torch.stack(positive).mean(dim=0))


def _through(
    relevance: Float[Tensor, "n t queries"],
    weights: Float[Tensor, "n h queries keys"],
    gradients: Float[Tensor, "n t h queries keys"],
) -> Float[Tensor, "n t keys"]:
    """Relevance times the mean over heads of the positive part of gradient times weight."""
    positive = (gradients * weights[:, None]).clamp_min(0).mean(dim=2)
    return (relevance[:, :, None] @ positive)[:, :, 0]


def _found(model: TokenAttention, tokens: Float[Tensor, "n t tokens"]) -> Found:
    details = {
        "attention_layers": len(model.layers) + (model.pooling is not None),
        "tokens": model.tokens,
        "prefix": model.layout.prefix,
    }
    return Found(model.grid(tokens), details)


def _index(name: str, value: object, length: int) -> int:
    """Return a valid index as a number from 0, or raise InputError."""
    if isinstance(value, bool) or not isinstance(value, int) or not -length <= value < length:
        raise invalid_argument(name, value, f"an int from {-length} to {length - 1}")
    return value % length
