"""Random models: some blocks, a head, an output form, and a life of their own before they are explained."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from tests.fuzz.blocks import BLOCKS, CONVOLUTIONS, NORMS, Block
from tests.fuzz.fuse import FUSE

CLASSES = 4


@dataclass
class ModelOutput:
    logits: Tensor
    features: Tensor


def as_tensor(logits: Tensor, features: Tensor) -> Any:
    return logits


def as_tuple(logits: Tensor, features: Tensor) -> Any:
    return logits, features


def as_dict(logits: Tensor, features: Tensor) -> Any:
    return {"logits": logits, "features": features}


def as_foreign_dict(logits: Tensor, features: Tensor) -> Any:
    return {"first": logits, "second": logits.square(), "n": len(logits)}


def as_object(logits: Tensor, features: Tensor) -> Any:
    return ModelOutput(logits, features)


FORMS = [as_tensor, as_tensor, as_tensor, as_tuple, as_dict, as_foreign_dict, as_object]
HEADS = ["mean", "mean", "max", "flatten", "convolution", "two layers", "cosine", "probabilities", "dense"]
WRITES = ["never"] * 8 + ["always", "if bright", "resized"]


class Net(nn.Module):
    """A stem, random blocks and a head; `traits` are those of its blocks and its own."""

    traits: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, rng: random.Random, axes: int, channels: int, dtype: torch.dtype) -> None:
        super().__init__()
        width = rng.choice([4, 6])
        self.writes = rng.choice(WRITES)
        self.head_kind = rng.choice(HEADS)
        self.form: Callable[[Tensor, Tensor], Any] = rng.choice(FORMS)
        kinds = [kind for kind in BLOCKS if axes in kind.axes and not (kind.double and dtype is torch.bfloat16)]
        weights = [BLOCKS[kind] for kind in kinds]
        self.stem = CONVOLUTIONS[axes](channels, width, 3, stride=rng.choice([1, 2]), padding=1)
        blocks: list[nn.Module] = [
            kind(rng, width, axes) for kind in rng.choices(kinds, weights, k=rng.choice([1, 2, 2, 3, 3, 4]))
        ]
        if rng.random() < 0.15:
            blocks.append(rng.choice(blocks))  # one block in two places
        self.blocks = nn.Sequential(*blocks) if rng.random() < 0.6 else nn.ModuleList(blocks)
        wide = width * 2**axes if self.head_kind == "flatten" else width
        self.head: nn.Module = nn.Linear(wide, CLASSES, bias=rng.random() < 0.8)
        if self.head_kind in ("convolution", "dense"):
            self.head = CONVOLUTIONS[axes](width, CLASSES, 1)
        elif self.head_kind == "two layers":
            self.head = nn.Sequential(
                nn.Linear(width, 5), nn.ReLU(inplace=True), nn.Dropout(0.3), nn.Linear(5, CLASSES)
            )
        self.axes = axes

    @property
    def all_traits(self) -> frozenset[str]:
        own = {"mixes images"} if self.writes == "if bright" else set()
        return frozenset(own).union(*(block.traits for block in self.modules() if isinstance(block, Block)))

    def forward(self, inputs: Tensor, extra: Tensor | None = None) -> Any:
        FUSE.tick()
        if self.writes == "always" or (self.writes == "if bright" and inputs.mean() > 0):
            inputs.mul_(1.5)
        elif self.writes == "resized":
            inputs[..., :1] = 0
        x = self.stem(inputs)
        if extra is not None:
            x = x * extra.reshape(-1, *[1] * (x.ndim - 1)).to(x.dtype)
        if isinstance(self.blocks, nn.Sequential):
            x = self.blocks(x)
        else:
            for block in self.blocks:
                x = block(x)
        logits = self.logits(x)
        FUSE.tick()
        return self.form(logits, x)

    def logits(self, x: Tensor) -> Tensor:
        grid = tuple(range(2, x.ndim))
        if self.head_kind == "dense":
            return self.head(x)
        if self.head_kind == "convolution":
            return self.head(x).mean(dim=grid)
        if self.head_kind == "flatten":
            pool = (
                nn.functional.adaptive_avg_pool1d,
                nn.functional.adaptive_avg_pool2d,
                nn.functional.adaptive_avg_pool3d,
            )
            return self.head(pool[self.axes - 1](x, 2).flatten(1))
        pooled = x.amax(dim=grid) if self.head_kind == "max" else x.mean(dim=grid)
        if self.head_kind == "cosine":
            return nn.functional.linear(
                nn.functional.normalize(pooled),
                nn.functional.normalize(self.head.weight),  # type: ignore[arg-type]
            )
        logits = self.head(pooled)
        return logits.softmax(dim=1) if self.head_kind == "probabilities" else logits


def keep_quiet(module: nn.Module, inputs: Any, output: Any) -> None:
    FUSE.tick()


def change_output(module: nn.Module, inputs: Any, output: Any) -> Any:
    FUSE.tick()
    return output * 1.5 if isinstance(output, Tensor) else None


def change_input(module: nn.Module, inputs: Any) -> Any:
    FUSE.tick()
    return (inputs[0] * 1.5, *inputs[1:]) if inputs else None


def watch_gradient(module: nn.Module, before: Any, after: Any) -> None:
    FUSE.tick()


def random_model(rng: random.Random, axes: int, channels: int, dtype: torch.dtype) -> Net:
    """A model with weights of its own seed, in the middle of its life: half frozen, half training, hooked."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(rng.randrange(2**31))
        model = Net(rng, axes, channels, dtype)
        for module in model.modules():
            if isinstance(module, tuple(NORMS.values())) and module.running_mean is not None:
                module.running_mean.normal_(std=0.3)
                module.running_var.uniform_(0.5, 1.5)
    model.to(dtype)
    model.train(rng.random() < 0.3)
    modules = list(model.modules())
    for module in rng.sample(modules, rng.choice([0, 0, 1, 2])):
        module.training = not module.training
    frozen = rng.choice([0.0, 0.0, 0.5, 1.0])
    for parameter in model.parameters():
        parameter.requires_grad_(rng.random() >= frozen)
        if rng.random() < 0.2 and parameter.requires_grad:
            parameter.grad = torch.ones_like(parameter)
    callable_modules = [module for module in modules if not isinstance(module, nn.ModuleList | nn.ParameterList)]
    for _ in range(rng.choice([0, 0, 0, 1, 2])):
        module = rng.choice(callable_modules)
        way = rng.choice(["quiet", "output", "input", "gradient"])
        if way == "quiet":
            module.register_forward_hook(keep_quiet)
        elif way == "output":
            module.register_forward_hook(change_output)
        elif way == "input":
            module.register_forward_pre_hook(change_input)
        elif module.training and isinstance(module, nn.Linear):  # torch forbids in-place operations after it
            module.register_full_backward_hook(watch_gradient)
    return model
