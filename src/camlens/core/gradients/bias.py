"""The biases of a network's layers, and the gradients of the scores at the layers' outputs."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from camlens.core.capture import scores_with_graph
from camlens.core.execution.hooks import observed
from camlens.core.execution.saved_tensors import despite_writing
from camlens.core.execution.session import Session
from camlens.core.gradients.backward import one_by_one
from camlens.core.targets import Scorer
from camlens.core.types import precise

_BIASED = (nn.modules.conv._ConvNd, nn.modules.batchnorm._BatchNorm)


@dataclass(frozen=True, eq=False)
class BiasTerms:
    """Gradients at the input (n, t, c, *spatial), and for each layer its bias and the gradient at its output."""

    input_gradients: Tensor
    terms: tuple[tuple[Tensor, Tensor], ...]


def implicit_bias(module: nn.Module) -> Tensor | None:
    """Return what a layer adds to each channel whatever its input is (channels,), or None if it adds nothing.

    A batch norm in evaluation mode is `weight * (x - mean) / std + bias`, so it adds `bias - weight * mean / std`.
    """
    own = getattr(module, "bias", None)
    bias = own.detach() if isinstance(own, Tensor) else None
    if not isinstance(module, nn.modules.batchnorm._BatchNorm):
        return bias
    if module.running_mean is None or module.running_var is None:
        return bias
    shift = module.running_mean * torch.rsqrt(module.running_var + module.eps)
    if module.weight is not None:
        shift = shift * module.weight.detach()
    return -shift if bias is None else bias - shift


def bias_terms(session: Session, scorer: Scorer) -> BiasTerms:
    """Return input gradients and the bias terms of all convolutions and batch norms.

    Each call of a layer that runs several times is a term.
    """
    calls: list[tuple[nn.Module, Tensor]] = []

    def keep(module: nn.Module, output: object) -> object:
        if not isinstance(output, Tensor):
            return None
        calls.append((module, output))
        return output.clone()

    def run() -> list[Tensor | None]:
        calls.clear()
        scores = scores_with_graph(guard, replace(session, inputs=inputs), scorer, through_no_grad=True)
        ran = list(calls)  # a checkpoint runs its part again during the backward pass
        gradients = one_by_one(scores, [inputs, *(output for _, output in ran)])
        calls[:] = ran
        return gradients

    modules = [module for module in session.modules if isinstance(module, _BIASED)]
    with session.undisturbed() as guard:
        inputs = session.inputs.detach().clone().requires_grad_()
        with torch.enable_grad(), observed(modules, keep):
            first, *others = despite_writing(run)
        terms = []
        for (module, _), gradients in zip(calls, others, strict=True):
            bias = implicit_bias(module)
            if bias is not None and gradients is not None:
                terms.append((precise(bias), precise(gradients.transpose(0, 1))))
        if first is None:
            first = inputs.new_zeros(len(scorer.labels), *inputs.shape)
        return BiasTerms(precise(first.transpose(0, 1)), tuple(terms))
