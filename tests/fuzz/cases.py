"""What one case is: a model, inputs, arguments of `explain`, surroundings and an exception, all from its number."""

import random
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from camlens.targets import (
    AllClasses,
    Box,
    ClassScore,
    Contrast,
    InMask,
    PerImage,
    Predicted,
    Probability,
    Similarity,
    TopK,
)
from tests.fuzz.fuse import FUSE
from tests.fuzz.models import CLASSES, Net, as_foreign_dict, random_model
from tests.nets import METHODS_OF_ANY_NETWORK

CHEAP: dict[str, dict[str, object]] = {
    "smoothgradcam++": {"samples": 2},
    "sscam": {"samples": 2},
    "iscam": {"samples": 2},
    "rise": {"masks": 4, "cells": 3},
    "dff": {"concepts": 2},
    "lime": {"samples": 12, "segments": 4},
    "kernelshap": {"samples": 12, "segments": 4},
    "integratedgradients": {"steps": 3},
    "smoothgrad": {"samples": 2},
    "occlusion": {"window": 6, "stride": 5},
}
SURROUNDINGS = ["plain"] * 6 + [
    "no_grad", "no_grad", "inference_mode", "inference_mode", "autocast", "enable_grad", "default float64",
    "deterministic", "saved tensor hooks",
]  # fmt: skip
EXCEPTIONS = ["none"] * 4 + ["RuntimeError", "KeyboardInterrupt", "signal", "line", "line"]


def own_of_activations(activations: Tensor) -> Tensor:
    FUSE.tick()
    return activations.mean(dim=1)


def own_of_gradients(activations: Tensor, gradients: Tensor) -> Tensor:
    FUSE.tick()
    return (activations * gradients).sum(dim=1)


def own_of_probe(probe: Any) -> Tensor:
    FUSE.tick()
    return probe.activations.mean(dim=1)


def first_tensor(output: Any) -> Tensor:
    while not isinstance(output, Tensor):
        if isinstance(output, dict):
            output = next(iter(output.values()))
        else:
            output = output[0] if isinstance(output, tuple) else output.logits
    return output


def squares(output: Any) -> Tensor:
    FUSE.tick()
    return first_tensor(output).flatten(1).square().sum(dim=1)


def best_margin(output: Any) -> Tensor:
    FUSE.tick()
    logits = first_tensor(output).flatten(1)
    return logits[:, 0] - logits[:, 1:].logsumexp(dim=1)


def select(output: Any) -> Tensor:
    FUSE.tick()
    return first_tensor(output)


def progress(*_: object) -> None:
    FUSE.tick()


@contextmanager
def default_dtype(dtype: torch.dtype) -> Any:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def deterministic() -> Any:
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


def surroundings(name: str) -> AbstractContextManager[Any]:
    return {
        "plain": nullcontext,
        "no_grad": torch.no_grad,
        "inference_mode": torch.inference_mode,
        "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
        "enable_grad": torch.enable_grad,
        "default float64": lambda: default_dtype(torch.float64),
        "deterministic": deterministic,
        "saved tensor hooks": lambda: torch.autograd.graph.saved_tensors_hooks(lambda one: one, lambda one: one),
    }[name]()


@dataclass
class Case:
    """One call of `explain` and what surrounds it."""

    seed: int
    number: int
    model: Net
    inputs: Tensor
    arguments: dict[str, Any]
    surroundings: str
    exception: str
    rng: random.Random = field(repr=False)

    @property
    def methods(self) -> list[str]:
        method = self.arguments["method"]
        return [getattr(one, "__name__", one) for one in (method if isinstance(method, list) else [method])]

    def enter(self) -> AbstractContextManager[Any]:
        return surroundings(self.surroundings)

    def describe(self) -> str:
        arguments = ", ".join(f"{key}={value!r}" for key, value in self.arguments.items())
        inputs = f"{tuple(self.inputs.shape)} {self.inputs.dtype}"
        choices = {name: vars_of(module) for name, module in self.model.named_modules() if vars_of(module)}
        return (
            f"explain(model, inputs, {arguments})\ninputs {inputs}, surroundings {self.surroundings}, "
            f"exception {self.exception}\n{self.model}\n{choices}"
        )


def vars_of(module: nn.Module) -> dict[str, Any]:
    """The choices of a random block, which its repr does not show."""
    names = ("way", "adds", "detached", "in_place", "through_data", "reentrant", "source", "writes", "head_kind")
    shown = {name: module.__dict__[name] for name in names if name in module.__dict__}
    hooks = [*module._forward_hooks.values(), *module._forward_pre_hooks.values(), *module._backward_hooks.values()]
    return {**shown, **({"hooks": [hook.__name__ for hook in hooks]} if hooks else {})}


def make_case(seed: int, number: int) -> Case:
    rng = random.Random(f"{seed}/{number}")
    axes = rng.choice([2, 2, 2, 2, 2, 2, 1, 3])
    channels = rng.choice([1, 3, 3])
    dtype = rng.choice([torch.float32, torch.float32, torch.float64, torch.float64, torch.bfloat16])
    model = random_model(rng, axes, channels, dtype)
    images = rng.choice([1, 2, 2, 3])
    inputs = random_inputs(rng, images, channels, axes, dtype)
    arguments: dict[str, Any] = {"method": random_method(rng)}
    arguments["target"] = random_target(rng, model, images, inputs)
    if rng.random() < 0.35:
        names = [name for name, _ in model.named_modules() if name]
        arguments["layers"] = rng.choice(names) if rng.random() < 0.8 else rng.sample(names, 2)
    if rng.random() < 0.15 or model.form is as_foreign_dict:
        arguments["output"] = select
    if isinstance(arguments["method"], str):
        arguments["options"] = CHEAP.get(arguments["method"])
    elif isinstance(arguments["method"], list):
        arguments["options"] = {name: CHEAP[name] for name in arguments["method"] if name in CHEAP}
    if rng.random() < 0.2:
        arguments["progress"] = progress
    if rng.random() < 0.2:
        arguments["batch_size"] = rng.choice([1, 2, 5])
    if rng.random() < 0.05:
        arguments["memory_budget"] = rng.choice([10**5, 10**7, 10**9])
    if rng.random() < 0.1:
        arguments["seed"] = 7
    if rng.random() < 0.1:
        arguments["args" if rng.random() < 0.5 else "kwargs"] = None
        extra = torch.rand(images, dtype=dtype, generator=torch.Generator().manual_seed(rng.randrange(99)))
        if "args" in arguments:
            arguments["args"] = (extra,)
        else:
            arguments["kwargs"] = {"extra": extra}
    return Case(seed, number, model, inputs, arguments, rng.choice(SURROUNDINGS), rng.choice(EXCEPTIONS), rng)


def random_inputs(rng: random.Random, images: int, channels: int, axes: int, dtype: torch.dtype) -> Tensor:
    sizes = {1: [12, 16, 24], 2: [8, 10, 12, 16], 3: [6, 8]}[axes]
    shape = (images, channels, *(rng.choice(sizes) for _ in range(axes)))
    values = torch.randn(shape, generator=torch.Generator().manual_seed(rng.randrange(2**31))).to(dtype)
    form = rng.choice(["plain"] * 6 + ["zero", "transposed", "expanded", "leaf", "inference", "sliced"])
    if form == "zero":
        return torch.zeros_like(values)
    if form == "transposed":
        return values.movedim(1, -1).contiguous().movedim(-1, 1)
    if form == "expanded":
        return values[:1].expand(shape)
    if form == "leaf":
        return values.requires_grad_()
    if form == "inference":
        with torch.inference_mode():
            return values.clone()
    if form == "sliced":
        return torch.cat([values, values], dim=-1)[..., ::2]
    return values


def random_method(rng: random.Random) -> Any:
    chance = rng.random()
    if chance < 0.85:
        return rng.choice(METHODS_OF_ANY_NETWORK)
    if chance < 0.93:
        return rng.choice([own_of_activations, own_of_gradients, own_of_probe])
    return rng.sample(METHODS_OF_ANY_NETWORK, rng.choice([2, 3]))


def random_target(rng: random.Random, model: Net, images: int, inputs: Tensor) -> Any:
    if model.head_kind == "dense":
        mask = torch.zeros(inputs.shape[2:], dtype=torch.bool)
        mask[tuple(slice(0, 4) for _ in mask.shape)] = True
        return rng.choice([squares, InMask(mask, 1), InMask(mask, 1)])
    makers: list[Callable[[], Any]] = [
        lambda: None,
        lambda: None,
        lambda: rng.randrange(CLASSES),
        lambda: [rng.randrange(CLASSES) for _ in range(images)],
        lambda: torch.tensor([rng.randrange(CLASSES) for _ in range(images)]),
        lambda: Predicted(),
        lambda: ClassScore(rng.randrange(CLASSES)),
        lambda: Contrast(None, rng.randrange(CLASSES)),
        lambda: Contrast(0, 1),
        lambda: TopK(2),
        lambda: AllClasses(),
        lambda: Probability(1),
        lambda: Similarity(torch.arange(1.0, CLASSES + 1)),
        lambda: squares,
        lambda: best_margin,
        lambda: PerImage([rng.choice([1, None, Contrast(2, 3), squares]) for _ in range(images)]),
        lambda: [ClassScore(1), Contrast(2, 0), best_margin],
        lambda: rng.choice([CLASSES + 3, -1, [0] * (images + 1), Box((0.0, 0.0, 4.0, 4.0), 1)]),
    ]
    return rng.choice(makers)()


def one_image(case: Case, row: int) -> dict[str, Any] | None:
    """Arguments that explain image `row` alone, or None if the target belongs to the batch."""
    arguments = dict(case.arguments)
    target = arguments["target"]
    images = len(case.inputs)
    if isinstance(target, PerImage):
        arguments["target"] = PerImage(target.targets[row : row + 1])
    elif isinstance(target, Tensor) or (isinstance(target, Sequence) and all(isinstance(one, int) for one in target)):
        if len(target) != images:
            return None
        arguments["target"] = target[row : row + 1]
    for name in ("args", "kwargs"):
        if name in arguments:
            extra = arguments[name]
            arguments[name] = (
                tuple(one[row : row + 1] for one in extra)
                if name == "args"
                else {key: one[row : row + 1] for key, one in extra.items()}
            )
    return arguments
