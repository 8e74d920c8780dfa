"""Resolution of layers: from a name, a module or a call such as "relu#2" to a module and a call."""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from camlens.core.errors import LayerError, ModelError
from camlens.core.types import Layer


@dataclass(frozen=True)
class LayerCall:
    """One layer of a model, with the number of the call (from 1) if it runs several times."""

    name: str
    module: nn.Module
    call: int | None = None

    @property
    def label(self) -> str:
        """The name with the number of the call, as passed by the user."""
        return self.name if self.call is None else f"{self.name}#{self.call}"


def unwrapped(model: nn.Module) -> nn.Module:
    """Return the model inside a wrapper of torch.compile, DataParallel or DistributedDataParallel.

    A compiled graph does not run hooks that are added later, and replicas run in other threads.
    """
    while True:
        inner = model._modules.get("_orig_mod")
        if not isinstance(inner, nn.Module) and isinstance(
            model, nn.DataParallel | nn.parallel.DistributedDataParallel
        ):
            inner = model.module
        if not isinstance(inner, nn.Module):
            return model
        model = inner


def every_module(model: nn.Module) -> list[nn.Module]:
    """Return all modules of a model in any order; several times faster than `model.modules()`."""
    found, seen = [model], {id(model)}
    for module in found:  # grows during the iteration
        for child in module._modules.values():
            if child is not None and id(child) not in seen:
                seen.add(id(child))
                found.append(child)
    return found


def holders_of(module: nn.Module, modules: Sequence[nn.Module]) -> frozenset[int]:
    """Return the ids of all modules that contain `module`, at any depth."""
    parents: dict[int, list[nn.Module]] = {}
    for parent in modules:
        for child in parent._modules.values():
            parents.setdefault(id(child), []).append(parent)
    found, waiting = set[int](), [module]
    while waiting:
        for parent in parents.get(id(waiting.pop()), ()):
            if id(parent) not in found:
                found.add(id(parent))
                waiting.append(parent)
    return frozenset(found)


def named_layers(model: nn.Module, *, every_name: bool = False) -> list[tuple[str, nn.Module]]:
    """Return every module with its name, without wrappers of torch.compile; with `every_name`, all names of each."""
    named = model.named_modules(remove_duplicate=not every_name)
    return [(_uncompiled(name), module) for name, module in named if "_orig_mod" not in module._modules]


def conv_layers(model: nn.Module) -> list[tuple[str, nn.Conv2d]]:
    """Return every 2-D convolution with its name, in the order of `named_modules`."""
    return [(name, module) for name, module in named_layers(model) if isinstance(module, nn.Conv2d)]


def suggested_names(model: nn.Module, limit: int = 8) -> list[str]:
    """Return names of layers to try: the last convolutions, or the last modules if there are none."""
    convolutions = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
    names = [name for name, module in named_layers(model) if isinstance(module, convolutions)]
    return (names or [name for name, _ in named_layers(model) if name])[-limit:]


def resolve_layer(model: nn.Module, layer: str | nn.Module) -> LayerCall:
    """Return the layer for a name ("layer4", or "relu#2" for its second call) or a module of the model."""
    if isinstance(layer, nn.Module):
        return _resolve_module(model, unwrapped(layer))
    if not isinstance(layer, str):
        raise LayerError(
            f"a layer must be a name or a module, not {layer!r}; try {', '.join(suggested_names(model))}",
            code="argument.invalid",
            name="layers",
            value=layer,
        )
    modules = dict(named_layers(model, every_name=True))
    name = layer if layer in modules else _without_wrappers(layer)
    if name in modules and name:
        return LayerCall(name, modules[name])
    name, _, number = name.rpartition("#")
    if name in modules and name and number.isdecimal() and int(number) >= 1:
        return LayerCall(name, modules[name], int(number))
    close = difflib.get_close_matches(layer, [known for known in modules if known], n=4, cutoff=0.5)
    hint = close or suggested_names(model)
    raise LayerError(
        f"the model has no layer named {layer!r}; did you mean {', '.join(hint)}?",
        code="layer.unknown",
        layer=layer,
        candidates=hint,
    )


def resolve_layers(model: nn.Module, layers: Layer | Sequence[Layer], copy: nn.Module | None = None) -> list[LayerCall]:
    """Return each layer of the model once, or those of the same name of its `copy`."""
    wanted = [layers] if isinstance(layers, str | nn.Module) or not isinstance(layers, Iterable) else list(layers)
    if not wanted:
        raise LayerError(
            "layers must not be empty: name a layer, or pass None for the best one",
            code="argument.empty",
            name="layers",
        )
    resolved = {layer.label: layer for layer in (resolve_layer(model, layer) for layer in wanted)}
    if copy is None or copy is model:
        return list(resolved.values())
    return [resolve_layer(copy, label) for label in resolved]


def _resolve_module(model: nn.Module, wanted: nn.Module) -> LayerCall:
    for name, module in named_layers(model):
        if module is wanted:
            return LayerCall(name, module)
    candidates = suggested_names(model)
    raise LayerError(
        f"the given {type(wanted).__name__} is not part of this model, but perhaps of a copy; "
        f"try {', '.join(candidates)}",
        code="layer.foreign",
        type=type(wanted).__name__,
        candidates=candidates,
    )


def _without_wrappers(name: str) -> str:
    return _uncompiled(name).removeprefix("module.")


def _uncompiled(name: str) -> str:
    return ".".join(part for part in name.split(".") if part != "_orig_mod") if "_orig_mod" in name else name


def checked_model(model: object) -> nn.Module:
    """Return the module to run, or raise ModelError for objects whose layers cannot be hooked."""
    if not isinstance(model, nn.Module):
        kind = type(model).__name__
        hint = f"; use load_model({model!r})" if isinstance(model, str) else ""
        if isinstance(model, torch.export.ExportedProgram):
            hint = "; exported programs do not run hooks: pass the module that was exported"
        raise ModelError(f"model must be a torch.nn.Module, not {kind}{hint}", code="model.type", type=kind)
    inner = unwrapped(model)
    if isinstance(inner, torch.jit.ScriptModule):
        raise ModelError(
            "scripted models do not run hooks: pass the module that was scripted",
            code="model.scripted",
            type=type(inner).__name__,
        )
    if isinstance(inner, torch.fx.GraphModule) and not _runs_its_modules(inner):
        raise ModelError(
            "exported programs do not run their layers: pass the module that was exported",
            code="model.exported",
            type=type(inner).__name__,
        )
    return inner


def _runs_its_modules(model: torch.fx.GraphModule) -> bool:
    """Whether the graph calls a module with weights, as in traced modules, but not in exported ones."""
    called = [model.get_submodule(str(node.target)) for node in model.graph.nodes if node.op == "call_module"]
    return not any(True for _ in model.parameters()) or any(True for module in called for _ in module.parameters())


def layer_in_words(name: str) -> str:
    """Return a layer's name for captions: "input" and "tokens" are no layers, and "+" joins layers of one map."""
    return f"the {name}" if name in ("input", "tokens") else name.replace("+", " + ")
