"""Cost of hooks that act in one thread only, compared with a plain hook."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.harness import Plan, Row, race, ratios
from benchmarks.networks import CLASS, network, pictures
from camlens.core.execution.harmless import undisturbed
from camlens.core.execution.hooks import observed

PLAIN = "plain hook"


def run(plan: Plan) -> Iterator[Row]:
    names = ("resnet18",) if plan.quick else ("resnet18", "mobilenet_v3_large", "resnet50")
    for name in names:
        model, inputs = network(name), pictures(1, plan.size)
        layer = model.get_submodule("features" if name.startswith("mobilenet") else "layer4")
        candidates = {PLAIN: lambda m=model, x=inputs, at=layer: with_plain_hook(m, x, at)}
        candidates["thread-safe relay"] = lambda m=model, x=inputs, at=layer: with_relay(m, x, at)
        timings = race(candidates, 4 * plan.rounds)  # the differences are small
        yield from ratios(timings, PLAIN, {"thread-safe relay": 1.05}, f"capture {name}, batch 1")


def with_plain_hook(model: nn.Module, inputs: Tensor, layer: nn.Module) -> Tensor:
    """Run forward, and backward to the layer, with a hook that acts in every thread."""
    kept: list[Tensor] = []
    with undisturbed(model, inputs.device):
        handle = layer.register_forward_hook(lambda _module, _inputs, output: _leaf(kept, output))
        try:
            return _gradient(model, inputs, kept)
        finally:
            handle.remove()


def with_relay(model: nn.Module, inputs: Tensor, layer: nn.Module) -> Tensor:
    """Do the same with a hook that acts in its own thread only."""
    kept: list[Tensor] = []
    with undisturbed(model, inputs.device), observed([layer], lambda _module, output: _leaf(kept, output)):
        return _gradient(model, inputs, kept)


def _leaf(kept: list[Tensor], output: Any) -> Tensor:
    kept.append(output.detach().requires_grad_())
    torch.set_grad_enabled(True)
    return kept[0].clone()


def _gradient(model: nn.Module, inputs: Tensor, kept: list[Tensor]) -> Tensor:
    with torch.no_grad():
        score = model(inputs)[:, CLASS].sum()
        return torch.autograd.grad(score, kept)[0]
