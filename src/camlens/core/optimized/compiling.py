"""What runs before the layers, compiled; the layers and what follows them as a graph that autograd can walk.

The model is traced once with the layers' outputs marked. Everything that does not depend on them becomes one
compiled function for the batch size of the example; what follows stays a graph of plain operations, for any
batch size. Between the two stand modules with the layers' own names, so that hooks find them as before.
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
    """What runs before the layers: compiled for one shape of inputs, the same graph uncompiled for all others."""

    def __init__(self, graph: fx.GraphModule, example: Tensor) -> None:
        super().__init__()
        self.graph = graph
        self.key = _key(example)
        self.compiled = _compiled(graph, example)

    def forward(self, inputs: Tensor) -> Sequence[Tensor]:
        """The layers' outputs, and whatever else what follows them reads."""
        wants_gradients = torch.is_grad_enabled() and inputs.requires_grad
        if wants_gradients or _key(inputs) != self.key:
            found: Sequence[Tensor] = self.graph(inputs)
            return found
        return self.compiled(inputs.contiguous())


def _key(inputs: Tensor) -> _Key:
    return inputs.shape, inputs.dtype, inputs.device


def _compiled(graph: fx.GraphModule, example: Tensor) -> _Compiled:
    import torch._inductor  # some seconds of imports, for those who compile

    with torch.no_grad():
        compiled: _Compiled = torch._inductor.compile(graph, [example], options={"freezing": True})
        compiled(example)
    return compiled


def compile_before(session: Session, layouts: Mapping[LayerCall, Layout]) -> nn.Module:
    """The session's model, which must be ours, as a graph with everything before the layers compiled.

    `layouts` are the layers with what their outputs look like for the session's inputs. Raises ModelError where
    this is not possible, and whatever tracing and compiling raise.
    """
    if session.args or session.kwargs or session.output is not None:
        raise ModelError(
            "only a model that is called with the images alone, and returns its logits, is compiled",
            code="model.not-compilable",
        )
    if any(layer.call is not None for layer in layouts):
        raise ModelError("a further call of a layer cannot be told apart in a graph", code="model.not-compilable")
    whole, cuts = _traced(session, list(layouts))
    division = _divided(whole.graph, cuts)
    before = _Before(_first_half(whole, division), session.inputs)
    stands = {layer.label: StandIn(layout) for layer, layout in layouts.items()}
    return _second_half(whole, division, {"before": before, **stands})


class _Marked(nn.Module):
    """A model that returns its output and then what each of the layers returned."""

    def __init__(self, model: nn.Module, layers: Sequence[LayerCall]) -> None:
        super().__init__()
        self.model = model
        self.layers = tuple(layers)

    def forward(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """Run the model; a copy in the graph marks the place of each layer's output."""
        kept: dict[str, Tensor] = {}

        def keep(label: str, _module: nn.Module, _inputs: Any, output: Any) -> Tensor:
            if not isinstance(output, Tensor) or label in kept:
                raise ModelError(
                    f"layer {label!r} must return one tensor, once, to be compiled around",
                    code="model.not-compilable",
                    layer=label,
                )
            kept[label] = output.clone()
            return kept[label].clone()  # what follows may write to it

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
    """The functional graph of the model for any batch size, and the nodes that are the layers' outputs."""
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
    """The layers' outputs, the nodes that depend on them, and what else is read by these."""

    cuts: Mapping[fx.Node, str]
    after: frozenset[fx.Node]
    crossing: tuple[fx.Node, ...]

    @property
    def sources(self) -> tuple[fx.Node, ...]:
        """What the first half computes for the second: the layers' outputs that depend on no other's, and the rest."""
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
            # weights and sizes are found again on the other side
            crossing.update((one, None) for one in sources if one in computed - after and _is_tensor(one))
    return _Division(cuts, frozenset(after), tuple(crossing))


def _is_tensor(node: fx.Node) -> bool:
    return isinstance(node.meta.get("val"), Tensor)


@dataclass(eq=False)
class _Copy:
    """A part of a graph, copied node by node, with the weights it reads under names of their own."""

    whole: fx.GraphModule
    graph: fx.Graph
    made: dict[fx.Node, fx.Node]
    held: dict[str, Any]

    @classmethod
    def of(cls, whole: fx.GraphModule) -> "_Copy":
        """A copy that has the inputs only."""
        graph = fx.Graph()
        given = next(node for node in whole.graph.nodes if node.op == "placeholder")
        return cls(whole, graph, {given: graph.placeholder("inputs")}, {})

    def take(self, node: fx.Node) -> fx.Node:
        """The copy of a node, after copies of all that it reads."""
        waiting = [node]
        while waiting:
            last = waiting[-1]
            missing = [] if last in self.made else [one for one in last.all_input_nodes if one not in self.made]
            waiting.extend(missing)
            if not missing:
                self._make(waiting.pop())
        return self.made[node]

    def _make(self, node: fx.Node) -> None:
        if node in self.made:  # read by several that waited for it
            return
        made = self.graph.node_copy(node, self.made.__getitem__)
        if node.op == "get_attr":
            made.target = f"weights.w{len(self.held)}"
            self.held[made.target] = _constant(attrgetter(str(node.target))(self.whole))
        self.made[node] = made

    def finished(self, returned: Any) -> fx.GraphModule:
        """The copy as a module."""
        self.graph.output(returned)
        return fx.GraphModule(self.held, self.graph)


def _constant(held: Any) -> Any:
    """A weight that nobody writes to: as a parameter it is not guarded against that, as a buffer would be."""
    return nn.Parameter(held, requires_grad=False) if isinstance(held, Tensor) else held


def _first_half(whole: fx.GraphModule, division: _Division) -> fx.GraphModule:
    copy = _Copy.of(whole)
    return copy.finished([copy.take(node) for node in division.sources])


def _second_half(whole: fx.GraphModule, division: _Division, modules: Mapping[str, nn.Module]) -> fx.GraphModule:
    """The whole model, with the first half as one module and each layer as a module of its name."""
    copy = _Copy.of(whole)
    copy.held.update(modules)
    (inputs,) = copy.made.values()
    handed = copy.graph.call_module("before", (inputs,))
    for place, node in enumerate(division.sources):
        copy.made[node] = copy.graph.call_function(getitem, (handed, place))
    for node in whole.graph.nodes:
        if node in division.cuts:
            source = copy.take(node.all_input_nodes[0])
            copy.made[node] = copy.graph.call_module(division.cuts[node], (source,))
    return copy.finished(copy.take(_output(whole.graph)[0]))
