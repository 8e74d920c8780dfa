"""Find the logits in a model's output, and map functions over nested outputs."""

import copy
import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

_LOGIT_KEYS = ("logits", "out")
_CLASSIFIERS = ("fc", "head", "heads", "classifier", "last_linear")
_FEATURE_KEYS = ("pooler_output", "image_embeds", "embeddings", "embedding", "features")


def tensors_in(structure: Any) -> Iterator[Tensor]:
    """Every floating tensor in a nested output, in order."""
    if isinstance(structure, Tensor):
        if structure.is_floating_point():
            yield structure
    elif isinstance(structure, Mapping):
        for value in structure.values():
            yield from tensors_in(value)
    elif isinstance(structure, list | tuple):
        for value in structure:
            yield from tensors_in(value)
    elif hasattr(structure, "__dataclass_fields__"):
        for name in structure.__dataclass_fields__:
            yield from tensors_in(getattr(structure, name))


def map_tensors(structure: Any, function: Callable[[Tensor], Any]) -> Any:
    """Apply `function` to every tensor in a nested structure, and return the new structure."""
    if isinstance(structure, Tensor):
        return function(structure)
    if isinstance(structure, Mapping):
        changed = {key: map_tensors(value, function) for key, value in structure.items()}
        if type(structure) is dict:
            return changed
        clone = copy.copy(structure)
        for key, value in changed.items():
            clone[key] = value  # type: ignore[index]
        return clone
    if isinstance(structure, tuple) and hasattr(structure, "_fields"):
        return type(structure)(*(map_tensors(value, function) for value in structure))
    if isinstance(structure, list | tuple):
        return type(structure)(map_tensors(value, function) for value in structure)
    if hasattr(structure, "__dataclass_fields__"):
        clone = copy.copy(structure)
        for name in structure.__dataclass_fields__:
            object.__setattr__(clone, name, map_tensors(getattr(structure, name), function))
        return clone
    return structure


def with_tensor(structure: Any, place: int, replacement: Tensor) -> Any:
    """Return a nested structure with its floating tensor number `place` (from 0) replaced."""
    numbers = itertools.count()

    def exchange(tensor: Tensor) -> Tensor:
        return replacement if tensor.is_floating_point() and next(numbers) == place else tensor

    return map_tensors(structure, exchange)


def find_logits(output: Any) -> Tensor | None:
    """Return the class scores (n, classes) in a model's output, or None if they are ambiguous.

    Supported are a tensor; an object or mapping with `logits` (or `out`, as in torchvision's segmentation models); and
    a tuple, list or mapping in which exactly one tensor has two axes.
    """
    if isinstance(output, Tensor):
        return output
    for name in _LOGIT_KEYS:
        value = output.get(name) if isinstance(output, Mapping) else getattr(output, name, None)
        if isinstance(value, Tensor):
            return value
    tensors = list(tensors_in(output))
    if len(tensors) == 1:
        return tensors[0]
    flat = [tensor for tensor in tensors if tensor.ndim == 2]
    return flat[0] if len(flat) == 1 else None


def features_reason(model: nn.Module, output: Any, logits: Tensor) -> str | None:
    """Return why the `logits` found in a model's output are features rather than class scores, or None.

    Only clear signs count, so that no classifier is refused: the last child of the model has the name of a classifier
    and is an Identity; the layers of a Sequential end with a batch norm of images, as those of a ResNet without its
    classifier; the model has no classes (timm); the output names the tensor an embedding or has spatial axes of
    length 1; or every row has the norm 1 and negative entries.
    """
    name, last = next(reversed(model._modules.items()), ("", model))
    if name in _CLASSIFIERS and type(last) is nn.Identity:
        return f"its {name} is an Identity"
    if isinstance(model, nn.Sequential) and isinstance(_last_with_weights(model), nn.BatchNorm2d | nn.BatchNorm3d):
        return "its last layer with weights is a batch norm"
    raw = find_logits(output)
    if raw is not None and raw.ndim > 2:
        return f"its output has the shape {tuple(raw.shape)}"
    if getattr(model, "num_classes", None) == 0 and getattr(model, "num_features", None) == logits.shape[1]:
        return "its num_classes is 0"
    if not isinstance(output, Tensor):
        for key in _FEATURE_KEYS:
            value = output.get(key) if isinstance(output, Mapping) else getattr(output, key, None)
            if value is logits:
                return f"they are the {key} of its output"
    first = torch.linalg.vector_norm(logits[0].detach().float())
    if logits.shape[1] > 2 and abs(float(first) - 1) < 0.01:  # cheap, and false for nearly every classifier
        rows = logits.detach().double()
        unit = (rows.norm(dim=1) - 1).abs().max() < 1e-3
        if bool(unit) and bool((rows < 0).any(dim=1).all()):
            return "every row has the norm 1"
    return None


def _last_with_weights(module: nn.Module) -> nn.Module | None:
    """The last module that has parameters of its own, in the order in which the modules are registered."""
    for child in reversed(module._modules.values()):
        last = None if child is None else _last_with_weights(child)
        if last is not None:
            return last
    return module if module._parameters else None


def describe(output: Any) -> str:
    """Describe a model's output in a short phrase, for error messages."""
    if isinstance(output, Tensor):
        return f"a tensor {tuple(output.shape)}"
    if isinstance(output, Mapping):
        inside = ", ".join(f"{key!r}: {describe(value)}" for key, value in list(output.items())[:6])
        return f"{type(output).__name__} {{{inside}}}"
    if isinstance(output, list | tuple):
        return f"{type(output).__name__} ({', '.join(describe(value) for value in output[:6])})"
    return type(output).__name__
