"""A copy of the model in which every call of an activation is a separate module, for backward rules in hooks.

captum changes gradients by hooks on modules. If the model is used by several threads, calls a module several times, or
uses functions such as torch.nn.functional.relu, that fails or silently gives another map. In the copy no module is
shared or in-place.
"""

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from camlens.core.errors import ModelError
from camlens.core.layers import unwrapped
from camlens.core.probe import InputProbe

_RELU = torch.nn.functional.relu
_RELUS = {_RELU, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_}
_WRITING = {torch.relu_, Tensor.relu_}


class _PlainReLU(nn.Module):
    """Replaces nn.ReLU; `_Routed` sends its calls to a separate module each."""

    def forward(self, features: Tensor) -> Tensor:
        return _RELU(features)


class _Calls(nn.Module):
    """Replaces a module that is called several times by one copy for each call."""

    def __init__(self, module: nn.Module, calls: int) -> None:
        super().__init__()
        self.each = nn.ModuleList(copy.deepcopy(module) for _ in range(calls))
        self.number = 0

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        module = self.each[self.number % len(self.each)]
        self.number += 1
        return module(*args, **kwargs)


class _Routed(TorchFunctionMode):
    """Send every ReLU call in the block to the next of the modules, or only count the calls if there are none."""

    def __init__(self, modules: nn.ModuleList | None) -> None:
        super().__init__()
        self.modules = modules
        self.calls = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func not in _RELUS:
            return func(*args, **kwargs)
        self.calls += 1
        if self.modules is None:
            return func(*args, **kwargs)
        features = args[0] if args else kwargs["input"]
        rectified = self.modules[self.calls - 1](features)
        writes = func in _WRITING or kwargs.get("inplace", False) or (func is _RELU and len(args) > 1 and args[1])
        return features.copy_(rectified) if writes else rectified


class PrivateCopy(nn.Module):
    """Scores (m, t) of one image of the probe, computed by a copy of its model that may be hooked.

    `rectifiers` has one nn.ReLU for each ReLU call of a forward pass, whether the model calls a module or a function.
    Modules whose type is in `kinds` get one copy for each call. `guard` is the block `probe.still()` in which it runs.
    """

    def __init__(self, probe: InputProbe, kinds: tuple[type[nn.Module], ...] = ()) -> None:
        super().__init__()
        self._probe = probe
        self.row = 0
        self.guard: Any = None
        with probe.still():  # outside inference mode, whose tensors no graph may hold
            self.twin = _bare_copy(probe.session.model)
            self._buffers_before = [
                (module._buffers, name, buffer.clone())
                for module in self.twin.modules()
                if not type(module).__module__.startswith("torch.nn.modules.")
                for name, buffer in module._buffers.items()
                if buffer is not None
            ]
        counts: dict[nn.Module, int] = {}

        def count(module: nn.Module, _args: object) -> None:
            counts[module] = counts.get(module, 0) + 1

        handles = [module.register_forward_pre_hook(count) for module in self.twin.modules() if type(module) in kinds]
        routed = _Routed(None)
        try:
            with probe.still() as guard, routed:
                probe.live_scores(guard, probe.inputs[:1].clone().requires_grad_(), 0, self.twin)
        finally:
            for handle in handles:
                handle.remove()
        _exchange(self.twin, {module: _Calls(module, calls) for module, calls in counts.items() if calls > 1})
        self.rectifiers = nn.ModuleList(nn.ReLU() for _ in range(routed.calls))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the scores (m, t) of `inputs` (m, c, *spatial) as variants of image `row`."""
        for buffers, name, buffer in self._buffers_before:  # other images may have changed them
            buffers[name] = buffer.clone()
        with _Routed(self.rectifiers):
            return self._probe.live_scores(self.guard, inputs, self.row, self.twin)


def _bare_copy(model: nn.Module) -> nn.Module:
    try:
        twin = copy.deepcopy(model)
    except (TypeError, RuntimeError, AttributeError, NotImplementedError) as error:
        raise ModelError(
            f"this method needs a copy of the model, and {type(model).__name__} cannot be copied: {error}",
            code="model.no-copy",
            type=type(model).__name__,
        ) from error
    for module in twin.modules():
        module.training = False
        if getattr(module, "inplace", False) is True:
            module.__dict__["inplace"] = False
    twin.requires_grad_(False)
    _exchange(twin, {module: unwrapped(module) for module in twin.modules() if "_orig_mod" in module._modules})
    _exchange(twin, {module: _PlainReLU() for module in twin.modules() if type(module) is nn.ReLU})
    return _PlainReLU() if type(twin) is nn.ReLU else twin


def _exchange(root: nn.Module, others: dict[nn.Module, nn.Module]) -> None:
    """Replace modules of the model by others, wherever they occur."""
    for parent in list(root.modules()):
        for name, child in parent._modules.items():
            if child in others:
                parent._modules[name] = others[child]
