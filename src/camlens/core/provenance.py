"""Where a result comes from: versions, the weights' hash, and what was chosen along the way."""

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
    """How an explanation was made: what is needed to repeat and to judge it. A read-only mapping.

    `layer_choice` has the reason for each layer, `warnings` a sentence for each map that shows little, and
    `optimized` what an optimized Explainer did to the model.
    """

    camlens: str
    torch: str
    python: str
    model: str
    weights: str
    dtype: str
    device: str
    seed: int
    options: Mapping[str, object]
    layout: Mapping[str, str]
    layer_choice: Mapping[str, str]
    warnings: Sequence[str]
    optimized: NotRequired[Mapping[str, object]]


_lock = RLock()  # which an interrupted thread may take again
_hashes: "WeakKeyDictionary[nn.Module, tuple[tuple[Any, ...], str]]" = WeakKeyDictionary()


def weights_hash(model: nn.Module, modules: Sequence[nn.Module] | None = None) -> str:
    """SHA-256 over names, shapes, types and bytes of all parameters and buffers.

    `modules` are all of the model's, where the caller has walked them already.

    Hashing a large model takes longer than explaining an image, so it is done again only when a tensor's
    version counter or address has changed. (Writing through `.data` does not count up.)
    """
    state = _state(every_module(model) if modules is None else modules)
    with _lock:
        known = _hashes.get(model)
    if known is not None and known[0] == state:
        return known[1]
    digest = hashlib.sha256()
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype};".encode())
        plain = tensor.detach().to_dense().cpu().contiguous().reshape(-1)
        digest.update(plain.view(torch.uint8).numpy().data)
    with _lock:
        _hashes[model] = state, f"sha256:{digest.hexdigest()}"
    return f"sha256:{digest.hexdigest()}"


def _state(modules: Sequence[nn.Module]) -> tuple[object, ...]:
    """Which tensors the modules hold, and how often each was written to: it costs next to nothing."""
    tensors = [
        tensor
        for module in modules
        for held in (module._parameters, module._buffers)
        if held
        for tensor in held.values()
        if tensor is not None
    ]
    try:
        versions = [tensor._version for tensor in tensors]
    except RuntimeError:  # inference tensors do not count
        versions = [0 if tensor.is_inference() else tensor._version for tensor in tensors]
    return list(map(id, tensors)), [one.data_ptr() if one.layout == torch.strided else 0 for one in tensors], versions


def origin(model: nn.Module, inputs: Tensor, modules: Sequence[nn.Module] | None = None) -> dict[str, str]:
    """What an explanation is about to be made with: versions, the model and its weights, the inputs' type and place."""
    return {
        "camlens": _installed_version(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "model": type(model).__name__,
        "weights": weights_hash(model, modules),
        "dtype": str(inputs.dtype).removeprefix("torch."),
        "device": str(inputs.device),
    }


@cache
def _installed_version() -> str:
    return version("camlens")
