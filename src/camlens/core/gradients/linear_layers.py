"""The backward pass through the linear layers that end a network: read off instead of multiplied out.

Between the logits and the last features most networks have one linear layer, older ones three with ReLUs between.
For a single image what autograd does there costs more than the rest: it reads every weight once, while the
gradient of one logit at the last layer's input is a row of weights, and behind a ReLU half of it is zero.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge

Start = tuple[Tensor | GradientEdge, Tensor | None]

_LARGE = 2**20  # weights: fewer are multiplied faster than zeros are looked for
_BAGS = 8
_SHAPE_CHECK = "torch.fx.experimental.symbolic_shapes"


@dataclass(frozen=True, eq=False)
class LinearLayer:
    """A linear layer in the graph: its weights (k, out) and the edge to its input (n, k)."""

    weight: Tensor
    source: GradientEdge


def linear_layer(node: Any) -> LinearLayer | None:
    """The linear layer that this node of the graph is, with parameters for weights; None where that is not sure."""
    places = {"AddmmBackward0": 1, "MmBackward0": 0}
    name = None if node is None else node.name()
    if name not in places:
        return None
    weight = getattr(node, "_saved_mat2", None)
    others = [other for index, (other, _) in enumerate(node.next_functions) if index != places[name]]
    scales = getattr(node, "_saved_alpha", 1), getattr(node, "_saved_beta", 1)
    source, number = node.next_functions[places[name]]
    if source is None or not isinstance(weight, Tensor) or scales != (1, 1) or not all(map(_is_parameter, others)):
        return None
    return LinearLayer(weight, GradientEdge(source, number))


def _is_parameter(node: Any) -> bool:
    """Whether a node of the graph is a leaf, a leaf transposed, or nothing that needs a gradient."""
    if node is not None and node.name() == "TBackward0":
        node = node.next_functions[0][0]
    return node is None or node.name() == "torch::autograd::AccumulateGrad"


def past_linear_layers(logits: Tensor | None, classes: Tensor | None) -> Sequence[Start] | None:
    """Where to begin the backward pass of each class logit, and with what; None where beginning there does not pay.

    It pays where the logits come from a linear layer that is large. Multiplying with a small matrix gives the same
    numbers and costs microseconds, and torch, the first time in a process, loads sympy for 0.4 s to compare the
    shapes of such a beginning.

    `classes` (n, t) are given where each score is the logit of its class. The gradient of logit c at the last
    layer's input is column c of its weights. From there a single image goes on through ReLUs and further
    linear layers, as long as the graph is a chain of nothing else and the gradient has zeros to spare.
    """
    layer = None if logits is None or classes is None else linear_layer(logits.grad_fn)
    if layer is None or classes is None or (layer.weight.numel() < _LARGE and _SHAPE_CHECK not in sys.modules):
        return None
    return [_further(layer.source, layer.weight.T[each]) for each in classes.unbind(dim=1)]


def _further(edge: GradientEdge, gradient: Tensor) -> tuple[GradientEdge, Tensor]:
    while len(gradient) == 1:
        node: Any = edge.node
        layer = linear_layer(node)
        if node.name() == "ReluBackward0":
            gradient = gradient * (node._saved_result > 0)
            edge = GradientEdge(*node.next_functions[0])
        elif layer is not None and _is_worth_it(gradient, layer.weight):
            gradient, edge = _product_of_non_zeros(gradient[0], layer.weight.T)[None], layer.source
        else:
            break
    return edge, gradient


def _is_worth_it(gradient: Tensor, weight: Tensor) -> bool:
    """Whether skipping zeros pays: a float32 matrix in its usual order on a CPU, and a quarter of zeros or more."""
    plain = weight.device.type == "cpu" and weight.dtype == torch.float32 and weight.T.is_contiguous()
    return plain and weight.numel() >= _LARGE and int(gradient.count_nonzero()) <= 0.75 * gradient.numel()


def _product_of_non_zeros(gradient: Tensor, rows: Tensor) -> Tensor:
    """The product of (out,) with (out, k) that reads only rows whose factor is not zero.

    Rows are summed as bags of embeddings, which gathers, scales and adds in one go. Each bag reads whole rows,
    one after the other, as memory likes it best; several bags can be summed in parallel.
    """
    chosen = gradient.nonzero().squeeze(1)
    bags = torch.arange(0, len(chosen), max(1, -(-len(chosen) // _BAGS)), device=rows.device)
    with torch.no_grad():
        sums = torch.nn.functional.embedding_bag(chosen, rows, bags, mode="sum", per_sample_weights=gradient[chosen])
    return sums.sum(dim=0)
