"""Gradients of many scores with respect to a layer, in the cheapest way that is exact."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor

from camlens.core.gradients.linear_layers import Start, linear_layer, past_linear_layers
from camlens.core.targets import Output

See = Callable[[int, Tensor], None]

FEW_TARGETS = 8
_BATCHED_BYTES = 256 * 2**20


def gradients_of(
    scores: Float[Tensor, "n t"], kept: Sequence[Tensor], output: Output, classes: Int[Tensor, "n t"] | None
) -> list[Tensor | None]:
    """For each kept tensor the gradients (t, *its shape) of the scores, or None where no score depends on it.

    `classes` are given where each score is just the logit of its class. Few targets take one pass each over the
    part after the layer. Many take the closed form where what follows is pooling and one linear layer, else
    passes that are batched.
    """
    targets = scores.shape[1]
    if targets > FEW_TARGETS and len(kept) == 1 and classes is not None:
        constant = _pooled_linear(output.logits_or_none(), kept[0], classes)
        if constant is not None:
            return [constant]
    if targets > FEW_TARGETS:
        try:
            return _batched(_totals(scores), kept)
        except RuntimeError:
            pass  # an operation without a batching rule: pass by pass is slower and as exact
    return _each_from(_starts(scores, output, classes), kept)


def as_they_come(
    scores: Float[Tensor, "n t"],
    kept: Sequence[Tensor],
    output: Output,
    classes: Int[Tensor, "n t"] | None,
    see: See,
) -> None:
    """The gradients of a few scores, target by target, each given to `see(place, gradient)` when the pass meets it.

    Nobody else holds it: while the pass goes on its memory serves for the next ones. What the pass does not meet on
    its way to those of the kept tensors where the graph begins is not seen; the graph is still there afterwards.
    """
    begin = [place for place, tensor in enumerate(kept) if tensor.is_leaf]
    inside = [place for place, tensor in enumerate(kept) if not tensor.is_leaf]
    for start, along in _starts(scores, output, classes) if begin else ():
        hooks = [kept[place].register_hook(partial(see, place)) for place in inside]
        try:
            found = torch.autograd.grad(
                start, [kept[place] for place in begin], along, retain_graph=True, allow_unused=True
            )
        finally:
            for hook in hooks:
                hook.remove()
        for place, gradient in zip(begin, found, strict=True):
            if gradient is not None:
                see(place, gradient)


def _starts(scores: Tensor, output: Output, classes: Tensor | None) -> Sequence[Start]:
    """Where to begin the backward pass of each target, and with what."""
    return past_linear_layers(output.logits_or_none(), classes) or [(total, None) for total in _each_total(scores)]


def one_by_one(scores: Float[Tensor, "n t"], kept: Sequence[Tensor]) -> list[Tensor | None]:
    """The same by one backward pass per target and no other knowledge: it takes no more memory than one does."""
    return _each_from([(total, None) for total in _each_total(scores)], kept)


def _each_total(scores: Tensor) -> Sequence[Tensor]:
    with torch.enable_grad():
        return _totals(scores).unbind()


def _totals(scores: Tensor) -> Tensor:
    """The scores (t,) summed over the images.

    Images do not influence each other in evaluation mode, so the sum's gradient at an image is that of its own score.
    """
    with torch.enable_grad():
        return scores.sum(dim=0)


def _each_from(starts: Sequence[Start], kept: Sequence[Tensor]) -> list[Tensor | None]:
    columns = [
        torch.autograd.grad(start, kept, along, retain_graph=index < len(starts) - 1, allow_unused=True)
        for index, (start, along) in enumerate(starts)
    ]
    return [_stacked([column[place] for column in columns], kept[place]) for place in range(len(kept))]


def _stacked(gradients: Sequence[Tensor | None], like: Tensor) -> Tensor | None:
    """One tensor of all targets' gradients; a target that does not depend on the layer has gradient zero."""
    if all(gradient is None for gradient in gradients):
        return None
    if len(gradients) == 1 and gradients[0] is not None:
        return gradients[0][None]
    return torch.stack([torch.zeros_like(like) if gradient is None else gradient for gradient in gradients])


def _batched(totals: Tensor, kept: Sequence[Tensor]) -> list[Tensor | None]:
    """Backward passes of many targets at once, as many as fit a fixed amount of memory."""
    targets = len(totals)
    bytes_each = sum(tensor.numel() * tensor.element_size() for tensor in kept)
    step = max(1, min(targets, _BATCHED_BYTES // max(1, bytes_each)))
    choose = torch.eye(targets, dtype=totals.dtype, device=totals.device)
    parts = []
    for start in range(0, targets, step):
        chosen = choose[start : start + step]
        parts.append(
            torch.autograd.grad(totals, kept, chosen, retain_graph=True, allow_unused=True, is_grads_batched=True)
        )
    joined: list[Tensor | None] = []
    for place in range(len(kept)):
        pieces = [part[place] for part in parts]
        joined.append(None if pieces[0] is None else torch.cat(pieces))
    return joined


def _pooled_linear(logits: Tensor | None, kept: Tensor, classes: Tensor) -> Tensor | None:
    """The gradients (t, n, k, *grid) of class logits where average pooling and one linear layer follow.

    Then d logit_c / d A_kij is the weight of channel k for class c over the number of cells, for every cell.
    That this is so is not believed from the graph's shape but checked: for a random mixture of logits, the
    true gradient must be the same mixture of the claimed ones.
    """
    linear = None if logits is None else linear_layer(logits.grad_fn)
    weight = None if linear is None else linear.weight
    if logits is None or weight is None or kept.ndim < 3 or weight.shape[0] != kept.shape[1]:
        return None
    cells = kept[0, 0].numel()
    generator = torch.Generator().manual_seed(len(weight))
    mixture = torch.randn(logits.shape, generator=generator).to(logits)
    (true,) = torch.autograd.grad(logits, kept, mixture, retain_graph=True, allow_unused=True)
    if true is None:
        return None
    with torch.no_grad():
        claimed = (mixture @ weight.T / cells).reshape(*kept.shape[:2], *[1] * (kept.ndim - 2)).expand_as(kept)
        if not (true - claimed).norm() <= 1e-4 * claimed.norm():
            return None
        chosen = (weight / cells).T[classes].movedim(1, 0)
        return chosen.reshape(*chosen.shape, *[1] * (kept.ndim - 2)).expand(*chosen.shape, *kept.shape[2:])
