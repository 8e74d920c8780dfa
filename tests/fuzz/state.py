"""Everything about a model, its inputs and the process that explaining must leave alone, as a flat mapping."""

import random
import signal
import sys
import threading
import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules import module as torch_module

State = dict[str, object]
_TABLES = ("_parameters", "_buffers", "_modules")


class Same:
    """An object that equals nothing but itself; keeping it alive keeps its id from being used again."""

    def __init__(self, value: object) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and self.value is other.value

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"{type(self.value).__name__} at {id(self.value):#x}"


def content(tensor: Tensor) -> bytes:
    plain = tensor.detach()
    plain = plain.to_dense() if plain.layout != torch.strided else plain
    return plain.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def _of_tensor(path: str, tensor: Tensor, state: State) -> None:
    state[f"{path} identity"] = Same(tensor)
    state[f"{path} content"] = content(tensor)
    state[f"{path} form"] = (tensor.shape, tensor.dtype, tensor.layout, tensor.is_inference())
    if tensor.layout == torch.strided:
        state[f"{path} memory"] = (tensor.stride(), tensor.data_ptr())
    state[f"{path} graph"] = (tensor.requires_grad, tensor.is_leaf, Same(tensor.grad_fn))
    state[f"{path} hooks"] = tuple(tensor._backward_hooks or ())
    gradient = tensor.grad if tensor.is_leaf else None
    state[f"{path} grad"] = (Same(gradient), None if gradient is None else content(gradient))


def _of_value(path: str, value: Any, state: State) -> None:
    if isinstance(value, Tensor):
        _of_tensor(path, value, state)
    elif isinstance(value, dict | list | tuple):
        state[f"{path} identity"] = Same(value)
        items = list(value.items()) if isinstance(value, dict) else list(enumerate(value))
        state[f"{path} keys"] = [key for key, _ in items]
        for key, item in items:
            _of_value(f"{path}[{key}]", item, state)
    elif isinstance(value, int | float | str | bytes | torch.dtype | None):
        state[path] = value
    else:
        state[path] = Same(value)


def of_model(model: nn.Module) -> State:
    """The model, all that its modules hold included.

    Attributes that a class lists in `writes_attributes` are plain Python ones that its forward writes. Those are not
    rolled back (docs/do-no-harm.md), but no tensor in them may belong to a graph.
    """
    state: State = {}
    for name, module in model.named_modules():
        state[f"{name}: class"] = type(module)
        written = getattr(type(module), "writes_attributes", ())
        state[f"{name}: attributes"] = sorted(key for key in module.__dict__ if key not in written)
        for key, value in module.__dict__.items():
            path = f"{name}.{key}"
            if key in written:
                _graphs_in(path, value, state)
            elif key in _TABLES:
                state[f"{path} keys"] = list(value)
                for entry, held in value.items():
                    if isinstance(held, Tensor):
                        _of_tensor(f"{path}[{entry}]", held, state)
                    else:
                        state[f"{path}[{entry}]"] = Same(held)
            else:
                _of_value(path, value, state)
    return state


def _graphs_in(path: str, value: Any, state: State) -> None:
    if isinstance(value, Tensor):
        if value.requires_grad or value.grad_fn is not None:
            state[f"{path} graph"] = Same(value.grad_fn)
    elif isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            _graphs_in(f"{path}[{key}]", item, state)


def of_process() -> State:
    """What torch, NumPy and Python hold for the whole process or the running thread."""
    numpy_state = np.random.get_state()
    return {
        "grad mode": torch.is_grad_enabled(),
        "inference mode": torch.is_inference_mode_enabled(),
        "autocast": (
            torch.is_autocast_enabled("cpu"),
            torch.get_autocast_dtype("cpu"),
            torch.is_autocast_cache_enabled(),
        ),
        "default dtype": torch.get_default_dtype(),
        "deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
        "threads": (torch.get_num_threads(), threading.active_count()),
        "torch random state": torch.get_rng_state().numpy().tobytes(),
        "numpy random state": (numpy_state[1].tobytes(), *numpy_state[2:]),
        "python random state": random.getstate(),
        "global hooks": [
            tuple(hooks)
            for name, hooks in sorted(vars(torch_module).items())
            if name.startswith("_global_") and isinstance(hooks, dict)
        ],
        "function modes": torch._C._len_torch_function_stack(),
        "dispatch modes": torch._C._len_torch_dispatch_stack(),
        "saved tensor hooks": torch._C._autograd._top_saved_tensors_default_hooks(True),
        "interrupt handler": Same(signal.getsignal(signal.SIGINT)),
        "trace": Same(sys.gettrace()),
        "warning filters": list(warnings.filters),
        "anomaly mode": torch.is_anomaly_enabled(),
    }


def of_tensor(name: str, tensor: Tensor) -> State:
    state: State = {}
    _of_tensor(name, tensor, state)
    if not tensor.is_inference():
        state[f"{name} version"] = tensor._version
    return state


def changes(before: State, after: State) -> list[str]:
    """The names of what is no longer as it was."""
    return [key for key in {**before, **after} if key not in before or key not in after or before[key] != after[key]]
