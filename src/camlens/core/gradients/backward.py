"""Gradients of scores with respect to the outputs of layers, computed in the cheapest exact way."""

from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

FEW_TARGETS = 8
_BATCHED_BYTES = 256 * 2**20


def gradients_of(
    scores: Float[Tensor, "n t"],
    kept: Sequence[Tensor],
    logits: Float[Tensor, "n classes"] | None,
    classes: Int[Tensor, "n t"] | None,
    modules: Iterable[nn.Module],
) -> list[Tensor | None]:
    """Return for each kept tensor the gradients (t, *its shape) of the scores, or None if no score depends on it.

    `classes` are given if each score is the logit of its class. Up to FEW_TARGETS targets take one backward pass
    each. More take the closed form if pooling and one linear layer follow the kept tensor, else batched passes.
    """
    if scores.shape[1] > FEW_TARGETS:
        if len(kept) == 1 and logits is not None and classes is not None:
            constant = _pooled_linear(logits, kept[0], classes, modules)
            if constant is not None:
                return [constant]
        try:
            return _batched(scores, kept)
        except RuntimeError:
            pass  # an operation without a batching rule: one pass per target is slower and as exact
    return one_by_one(scores, kept)


def one_by_one(scores: Float[Tensor, "n t"], kept: Sequence[Tensor], *, again: bool = False) -> list[Tensor | None]:
    """The gradients by one backward pass per target, which needs no more memory than a single pass.

    With `again` the graph is kept for further passes.
    """
    # images do not influence each other in evaluation mode: the gradient of the sum at an image is that of its score
    with torch.enable_grad():
        totals = [scores.sum()] if scores.shape[1] == 1 else scores.sum(dim=0).unbind()
    columns = [
        torch.autograd.grad(total, kept, retain_graph=again or number < len(totals), allow_unused=True)
        for number, total in enumerate(totals, start=1)
    ]
    return [_stacked(gradients, like) for gradients, like in zip(zip(*columns, strict=True), kept, strict=True)]


def _stacked(gradients: Sequence[Tensor | None], like: Tensor) -> Tensor | None:
    """One tensor of all targets' gradients; a target that does not depend on the layer has gradient zero."""
    first = gradients[0]
    if len(gradients) == 1 and first is not None:
        return first[None]
    if all(gradient is None for gradient in gradients):
        return None
    return torch.stack([torch.zeros_like(like) if gradient is None else gradient for gradient in gradients])


def _batched(scores: Tensor, kept: Sequence[Tensor]) -> list[Tensor | None]:
    """Backward passes of many targets at once, as many as fit a fixed amount of memory."""
    with torch.enable_grad():
        totals = scores.sum(dim=0)
    bytes_each = sum(tensor.numel() * tensor.element_size() for tensor in kept)
    step = max(1, min(len(totals), _BATCHED_BYTES // max(1, bytes_each)))
    parts = [
        torch.autograd.grad(totals, kept, chosen, retain_graph=True, allow_unused=True, is_grads_batched=True)
        for chosen in torch.eye(len(totals), dtype=totals.dtype, device=totals.device).split(step)
    ]
    joined: list[Tensor | None] = []
    for pieces in zip(*parts, strict=True):
        joined.append(None if pieces[0] is None else torch.cat(pieces))
    return joined


def _pooled_linear(logits: Tensor, kept: Tensor, classes: Tensor, modules: Iterable[nn.Module]) -> Tensor | None:
    """The gradients (t, n, k, *grid) of class logits if average pooling and one linear layer follow, else None.

    Then d logit_c / d A_kij is the weight of channel k for class c divided by the number of cells, at every cell.
    This is verified: for a random mixture of logits, the true gradient must be the same mixture of those weights.
    """
    if kept.ndim < 3 or kept.dtype != logits.dtype:
        return None
    shape, dtype, cells = (logits.shape[1], kept.shape[1]), logits.dtype, kept.shape[2:].numel()
    linear = [module.weight.detach() for module in modules if isinstance(module, nn.Linear)]
    candidates = [weight / cells for weight in linear if weight.shape == shape and weight.dtype == dtype]
    if not candidates:
        return None
    mixture = torch.randn(logits.shape, generator=torch.Generator().manual_seed(kept.shape[1])).to(logits)
    (true,) = torch.autograd.grad(logits, kept, mixture, retain_graph=True, allow_unused=True)
    grid = [1] * (kept.ndim - 2)
    for weight in candidates if true is not None else ():
        claimed = (mixture @ weight).reshape(*kept.shape[:2], *grid).expand_as(kept)
        if (true - claimed).norm() <= 1e-4 * claimed.norm():
            chosen = weight[classes].movedim(1, 0)
            return chosen.reshape(*chosen.shape, *grid).expand(*chosen.shape, *kept.shape[2:])
    return None
