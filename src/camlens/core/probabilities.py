"""From logits to probabilities: softmax over classes, or a sigmoid for each logit."""

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

Activation = Literal["softmax", "sigmoid"]
Task = Literal["classification", "regression"]


def probabilities(
    logits: Float[Tensor, "*n classes"], activation: Activation | None = None, task: Task = "classification"
) -> Float[Tensor, "*n classes"]:
    """Return the probability of every class, at least float32.

    `activation` None means a sigmoid for a model with one logit, which is a binary classifier, and softmax for
    all others. For a regression the outputs themselves are returned.
    """
    values = logits if logits.dtype == torch.float64 else logits.float()
    if task == "regression":
        return values
    sigmoid = logits.shape[-1] == 1 if activation is None else activation == "sigmoid"
    return values.sigmoid() if sigmoid else values.softmax(dim=-1)


def best_outputs(
    logits: Float[Tensor, " classes"], top_k: int, activation: Activation | None = None, task: Task = "classification"
) -> list[tuple[int, float]]:
    """Return the `top_k` most likely classes of an image with their probabilities, best first.

    For a regression these are its first `top_k` outputs in their own order. If there are fewer, all are returned.
    """
    values = probabilities(logits, activation, task)[: top_k if task == "regression" else None]
    if task == "regression":
        return list(enumerate(values.tolist()))
    best = values.topk(min(top_k, len(values)))
    return list(zip(best.indices.tolist(), best.values.tolist(), strict=True))


def binary_logits(logits: Float[Tensor, "*n 1"], activation: Activation | None = None) -> Float[Tensor, "*n 2"]:
    """Return the logits of both classes of a binary classifier with one logit.

    Their `probabilities` under the same `activation` are 1 - p and p, where p is the sigmoid of the logit.
    """
    positive = logits if activation == "sigmoid" else logits / 2
    return torch.cat([-positive, positive], dim=-1)


def binary_names(class_names: list[str]) -> list[str]:
    """Return names for both classes of a binary classifier, of which one or both are named."""
    if len(class_names) == 2:
        return class_names
    (name,) = class_names or ["class 0"]
    return ["class 0", "class 1"] if name == "class 0" else [f"not {name}", name]


def class_name(index: int, class_names: Sequence[str]) -> str:
    """Return the name of a class, or "class 7" if it has none."""
    return class_names[index] if 0 <= index < len(class_names) else f"class {index}"
