"""Provenance of a result: versions, hash of the weights, settings and choices."""

import hashlib
import platform
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import version
from threading import RLock
from typing import Any, NotRequired, TypedDict
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from camlens.core.layers import every_module


class Provenance(TypedDict):
    """What is needed to repeat and to judge an explanation. A read-only mapping.

    `gradients` are the backward rules, `layer_choice` has the reason for each layer, `warnings` a sentence for each
    empty map, and `optimized` the changes of an optimized Explainer to the model.
    """

    camlens: str
    torch: str
    python: str
    model: str
    weights: str
    dtype: str
    gradients: str
    device: str
    seed: int
    options: Mapping[str, object]
    layout: Mapping[str, str]
    layer_choice: Mapping[str, str]
    warnings: Sequence[str]
    optimized: NotRequired[Mapping[str, object]]


_lock = RLock()  # reentrant, for a thread that is interrupted while it holds the lock
_hashes: "WeakKeyDictionary[nn.Module, tuple[tuple[Any, ...], str]]" = WeakKeyDictionary()


def weights_hash(model: nn.Module, modules: Sequence[nn.Module] | None = None) -> str:
    """Return the SHA-256 of names, shapes, dtypes and bytes of all parameters and buffers.

    `modules` are all modules of the model, if the caller has them.

    Hashing a large model takes longer than explaining an image, so the hash is cached until the version counter or
    address of a tensor changes. Writing to `.data` does not change the version counter.
    """
    state = _state(every_module(model) if modules is None else modules)
    with _lock:
        cached = _hashes.get(model)
    if cached is not None and cached[0] == state:
        return cached[1]
    digest = hashlib.sha256()
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype};".encode())
        plain = tensor.detach().to_dense().cpu().contiguous().reshape(-1)
        digest.update(plain.view(torch.uint8).numpy().data)
    with _lock:
        _hashes[model] = state, f"sha256:{digest.hexdigest()}"
    return f"sha256:{digest.hexdigest()}"


def _state(modules: Sequence[nn.Module]) -> tuple[object, ...]:
    """Return the identities, addresses and version counters of all parameters and buffers."""
    tensors = [
        tensor
        for module in modules
        for tensors_of in (module._parameters, module._buffers)
        if tensors_of
        for tensor in tensors_of.values()
        if tensor is not None
    ]
    try:
        versions = [tensor._version for tensor in tensors]
    except RuntimeError:  # inference tensors have no version counter
        versions = [0 if tensor.is_inference() else tensor._version for tensor in tensors]
    addresses = [tensor.data_ptr() if tensor.layout == torch.strided else 0 for tensor in tensors]
    return list(map(id, tensors)), addresses, versions


def origin(model: nn.Module, inputs: Tensor, modules: Sequence[nn.Module] | None = None) -> dict[str, str]:
    """Return versions, the model with its weights, and the dtype and device of the inputs."""
    return {
        **_versions(),
        "model": type(model).__name__,
        "weights": weights_hash(model, modules),
        "dtype": str(inputs.dtype).removeprefix("torch."),
        "device": str(inputs.device),
    }


@cache
def _versions() -> dict[str, str]:
    return {"camlens": version("camlens"), "torch": torch.__version__, "python": platform.python_version()}
