"""Second derivatives at a layer: the Hessian of a score times a direction."""

from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from camlens.core.capture import LayerRecord, Request, forward_pass
from camlens.core.execution.saved_tensors import despite_writing
from camlens.core.execution.session import Session
from camlens.core.targets import Scorer
from camlens.core.types import precise


class _PlainAttention(TorchFunctionMode):
    """Compute attention without fused kernels, which have no second derivative. Active in this thread only."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.nn.functional.multi_head_attention_forward:
            # its inner calls do not reach this mode; with need_weights it does not use the fused kernel
            output, weights = func(*args, **{**kwargs, "need_weights": True})
            return output, weights if kwargs.get("need_weights", True) else None
        if func is torch.nn.functional.scaled_dot_product_attention:
            return torch.ops.aten._scaled_dot_product_attention_math(*args, **kwargs)[0]
        return func(*args, **kwargs)


def hessian_product(session: Session, record: LayerRecord, scorer: Scorer, directions: Tensor) -> Tensor:
    """Return the Hessian of each score times `directions` (n, k, *grid), as (n, t, k, *grid).

    It is zero if the score is linear in the features.
    """

    def run() -> list[Tensor]:
        passed = forward_pass(guard, session, Request([record.layer], scorer=scorer))
        kept = passed.kept[record.layer.label]
        with torch.enable_grad():
            columns = passed.scores.sum(dim=0).unbind()
            return [_product(column, kept, record, directions) for column in columns]

    with session.undisturbed() as guard, _PlainAttention():
        products = despite_writing(run)
    return torch.stack(products, dim=1)


def _product(score: Tensor, kept: Tensor, record: LayerRecord, directions: Tensor) -> Tensor:
    (gradient,) = torch.autograd.grad(score, kept, create_graph=True, retain_graph=True)
    along = (precise(record.layout.features(gradient)) * directions).sum()
    if not along.requires_grad:
        return torch.zeros_like(directions)
    (product,) = torch.autograd.grad(along, kept, retain_graph=True, allow_unused=True)
    return torch.zeros_like(directions) if product is None else precise(record.layout.features(product))
