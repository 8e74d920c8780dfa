"""Compilation of the part of a model before the layers; the rest stays a graph for autograd.

The model is traced once with the outputs of the layers marked. Everything that does not depend on them becomes one
compiled function for the batch size of the example. The rest stays a graph of plain operations for any batch size.
Between the two parts there are modules with the names of the layers, so that hooks work as before.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from operator import attrgetter, getitem
from typing import Any

import torch
from torch import Tensor, fx, nn

from camlens.core.errors import ModelError
from camlens.core.execution.session import Session
from camlens.core.layers import LayerCall
from camlens.core.layouts import Layout, StandIn

_Compiled = Callable[[Tensor], Sequence[Tensor]]
_Key = tuple[torch.Size, torch.dtype, torch.device]


class _Before(nn.Module):
    """The part before the layers: compiled for one shape of inputs, and the uncompiled graph for all others."""

    def __init__(self, graph: fx.GraphModule, example: Tensor) -> None:
        super().__init__()
        self.graph = graph
        self.key = _key(example)
        self.compiled = _compiled(graph, example)

    def forward(self, inputs: Tensor) -> Sequence[Tensor]:
        """Return the outputs of the layers and other tensors that the second part uses."""
        wants_gradients = torch.is_grad_enabled() and inputs.requires_grad
        if wants_gradients or _key(inputs) != self.key:
            outputs: Sequence[Tensor] = self.graph(inputs)
            return outputs
        return self.compiled(inputs.contiguous())


def _key(inputs: Tensor) -> _Key:
    return inputs.shape, inputs.dtype, inputs.device


def _compiled(graph: fx.GraphModule, example: Tensor) -> _Compiled:
    import torch._inductor  # takes seconds to import

    with torch.no_grad():
        compiled: _Compiled = torch._inductor.compile(graph, [example], options={"freezing": True})
        compiled(example)
    return compiled


def compile_before(session: Session, layouts: Mapping[LayerCall, Layout]) -> nn.Module:
    """Return the session's model, which must be a copy, as a graph with everything before the layers compiled.

    `layouts` maps the layers to the layouts of their outputs. Raises ModelError if this is not possible, and any error
    of tracing and compiling.
    """
    if session.args or session.kwargs or session.output is not None:
        raise ModelError(
            "only models that are called with the images alone and return logits can be compiled",
            code="model.not-compilable",
        )
    if any(layer.call is not None for layer in layouts):
        raise ModelError("single calls of a layer cannot be separated in a graph", code="model.not-compilable")
    whole, cuts = _traced(session, list(layouts))
    division = _divided(whole.graph, cuts)
    before = _Before(_first_half(whole, division), session.inputs)
    stand_ins = {layer.label: StandIn(layout) for layer, layout in layouts.items()}
    return _second_half(whole, division, {"before": before, **stand_ins})


class _Marked(nn.Module):
    """A model that returns its output followed by the outputs of the layers."""

    def __init__(self, model: nn.Module, layers: Sequence[LayerCall]) -> None:
        super().__init__()
        self.model = model
        self.layers = tuple(layers)

    def forward(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """Run the model; clones in the graph mark the outputs of the layers."""
        kept: dict[str, Tensor] = {}

        def keep(label: str, _module: nn.Module, _inputs: Any, output: Any) -> Tensor:
            if not isinstance(output, Tensor) or label in kept:
                raise ModelError(
                    f"layer {label!r} must run once and return one tensor to be compiled",
                    code="model.not-compilable",
                    layer=label,
                )
            kept[label] = output.clone()
            return kept[label].clone()  # later operations may write to it

        with ExitStack() as stack:
            for layer in self.layers:
                stack.callback(layer.module.register_forward_hook(partial(keep, layer.label)).remove)
            output = self.model(inputs)
        if not isinstance(output, Tensor):
            raise ModelError(
                f"the model must return one tensor to be compiled, not {type(output).__name__}",
                code="model.not-compilable",
                type=type(output).__name__,
            )
        return output, *(kept[layer.label] for layer in self.layers)


def _traced(session: Session, layers: Sequence[LayerCall]) -> tuple[fx.GraphModule, dict[fx.Node, str]]:
    """Return the functional graph of the model for any batch size, and the nodes of the layers' outputs."""
    several = session.inputs if session.images > 1 else torch.cat([session.inputs] * 2)
    sizes = ({0: torch.export.Dim("batch", min=1)},)
    with torch.no_grad():
        exported = torch.export.export(_Marked(session.model, layers), (several,), dynamic_shapes=sizes, strict=False)
        whole: fx.GraphModule = exported.run_decompositions({}).module()
    returned = _output(whole.graph)
    return whole, {node: layer.label for node, layer in zip(returned[1:], layers, strict=True)}


def _output(graph: fx.Graph) -> Sequence[fx.Node]:
    returned: Sequence[fx.Node] = next(node for node in graph.nodes if node.op == "output").args[0]
    return returned


@dataclass(frozen=True, eq=False)
class _Division:
    """The outputs of the layers, the nodes that depend on them, and other nodes that these use."""

    cuts: Mapping[fx.Node, str]
    after: frozenset[fx.Node]
    crossing: tuple[fx.Node, ...]

    @property
    def sources(self) -> tuple[fx.Node, ...]:
        """The nodes computed by the first part: outputs of layers that do not depend on others, and crossing nodes."""
        own = (cut.all_input_nodes[0] for cut in self.cuts)
        return tuple(dict.fromkeys([*(node for node in own if node not in self.after), *self.crossing]))


def _divided(graph: fx.Graph, cuts: Mapping[fx.Node, str]) -> _Division:
    after: set[fx.Node] = set()
    computed: set[fx.Node] = set()
    crossing: dict[fx.Node, None] = {}
    for node in graph.nodes:
        sources = node.all_input_nodes
        if any(source.op == "placeholder" or source in computed for source in sources):
            computed.add(node)
        if node in cuts:
            after.add(node)
        elif any(source in after for source in sources):
            after.add(node)
            # weights and sizes are copied to the second part instead
            crossing.update((source, None) for source in sources if source in computed - after and _is_tensor(source))
    return _Division(cuts, frozenset(after), tuple(crossing))


def _is_tensor(node: fx.Node) -> bool:
    return isinstance(node.meta.get("val"), Tensor)


@dataclass(eq=False)
class _Copy:
    """A part of a graph, copied node by node, with its weights under new names."""

    whole: fx.GraphModule
    graph: fx.Graph
    copies: dict[fx.Node, fx.Node]
    attributes: dict[str, Any]

    @classmethod
    def of(cls, whole: fx.GraphModule) -> "_Copy":
        """Return a copy with the inputs only."""
        graph = fx.Graph()
        inputs = next(node for node in whole.graph.nodes if node.op == "placeholder")
        return cls(whole, graph, {inputs: graph.placeholder("inputs")}, {})

    def take(self, node: fx.Node) -> fx.Node:
        """Copy a node and all nodes that it depends on; return the copy."""
        waiting = [node]
        while waiting:
            last = waiting[-1]
            sources = () if last in self.copies else last.all_input_nodes
            missing = [source for source in sources if source not in self.copies]
            waiting.extend(missing)
            if not missing:
                self._copy(waiting.pop())
        return self.copies[node]

    def _copy(self, node: fx.Node) -> None:
        if node in self.copies:  # several nodes waited for it
            return
        copy = self.graph.node_copy(node, self.copies.__getitem__)
        if node.op == "get_attr":
            copy.target = f"weights.w{len(self.attributes)}"
            self.attributes[copy.target] = _constant(attrgetter(str(node.target))(self.whole))
        self.copies[node] = copy

    def finished(self, returned: Any) -> fx.GraphModule:
        """Return the copy as a module."""
        self.graph.output(returned)
        return fx.GraphModule(self.attributes, self.graph)


def _constant(attribute: Any) -> Any:
    """Convert tensors to parameters, which are treated as constants, while buffers are guarded against writing."""
    return nn.Parameter(attribute, requires_grad=False) if isinstance(attribute, Tensor) else attribute


def _first_half(whole: fx.GraphModule, division: _Division) -> fx.GraphModule:
    copy = _Copy.of(whole)
    return copy.finished([copy.take(node) for node in division.sources])


def _second_half(whole: fx.GraphModule, division: _Division, modules: Mapping[str, nn.Module]) -> fx.GraphModule:
    """Return the whole model, with the first part as one module and each layer as a module of its name."""
    copy = _Copy.of(whole)
    copy.attributes.update(modules)
    (inputs,) = copy.copies.values()
    outputs = copy.graph.call_module("before", (inputs,))
    for index, node in enumerate(division.sources):
        copy.copies[node] = copy.graph.call_function(getitem, (outputs, index))
    for node in whole.graph.nodes:
        if node in division.cuts:
            source = copy.take(node.all_input_nodes[0])
            copy.copies[node] = copy.graph.call_module(division.cuts[node], (source,))
    return copy.finished(copy.take(_output(whole.graph)[0]))
