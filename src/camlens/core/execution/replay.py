"""Run only the network after a layer: the modules before it return recorded outputs.

Ablating a channel changes nothing before the layer. So the model runs once on the image, and the output of each module
that finishes before the layer starts is recorded. Then it runs again: those modules return the record, expanded to the
batch without a copy, and the layer returns the features to try. The model's own code in between runs as always, so
the layer may be inside residual, dense or branching blocks.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import RLock
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from camlens.core.errors import LayerError
from camlens.core.execution.harmless import Guard
from camlens.core.execution.hooks import Observe, announced, answered, observed
from camlens.core.execution.outputs import map_tensors, with_tensor
from camlens.core.execution.session import Session
from camlens.core.layers import LayerCall, holders_of
from camlens.core.targets import Output

_Case = tuple[object, ...]
_lock = RLock()  # reentrant: an interrupted thread may take it again
_proven: "WeakKeyDictionary[nn.Module, dict[_Case, str]]" = WeakKeyDictionary()


@dataclass(eq=False)
class Recording:
    """The outputs of the modules before the layer for one image, call by call, and that of the layer.

    A module that returns its record does not run its children, so only the outermost modules are recorded: those that
    neither contain the layer nor are inside another recorded module.
    """

    layer: LayerCall
    holders: frozenset[int]
    everything: list[nn.Module] = field(default_factory=list)
    answers: dict[int, list[Any]] = field(default_factory=dict)
    modules: list[nn.Module] = field(default_factory=list)
    output: Any = None
    place: int = 0
    _outermost: nn.Module | None = None
    _starts: int = 0
    _begun: bool = False

    @classmethod
    def before(cls, layer: LayerCall, session: Session) -> "Recording":
        """An empty recording for this layer of the session's model."""
        return cls(layer, holders_of(layer.module, session.modules), session.modules)

    @contextmanager
    def along(self, observe: Observe | None = None) -> Iterator[None]:
        """A block in which the model's run is recorded; `observe` is called with each module's output as well."""
        modules = self.everything[1:]  # without the model itself

        def both(module: nn.Module, output: Any) -> Any:
            self.observe(module, output)
            return None if observe is None else observe(module, output)

        with announced(modules, self.announce), observed(modules, both):
            yield

    def announce(self, module: nn.Module) -> None:
        """Note when the wanted call of the layer begins: modules that finish later are not recorded."""
        if module is self.layer.module:
            self._starts += 1
            self._begun = self._begun or self._starts == (self.layer.call or 1)
        if self._outermost is None and id(module) not in self.holders:
            self._outermost = module

    def observe(self, module: nn.Module, output: Any) -> None:
        """Keep a copy of the output of a module before the layer."""
        ends = self._outermost is module
        if not self._begun and (ends or self._outermost is None):
            if id(module) not in self.answers:
                self.modules.append(module)
            self.answers.setdefault(id(module), []).append(_copied(output))
        elif self._begun and module is self.layer.module and self.output is None:
            self.output = _copied(output)
        if ends:
            self._outermost = None


def _copied(structure: Any) -> Any:
    return map_tensors(structure, lambda tensor: tensor.detach().clone())


def record(guard: Guard, session: Session, layer: LayerCall) -> tuple[Recording, Output]:
    """Run a session of one image, and return the recording and the output."""
    recording = Recording.before(layer, session)
    with recording.along():
        output = session.run(guard)
    if recording.output is None:
        raise LayerError(
            f"layer {layer.label!r} did not run in the forward pass", code="layer.not-run", layer=layer.label
        )
    return recording, output


def replay(guard: Guard, session: Session, recording: Recording, native: Tensor, *, copies: bool = False) -> Output:
    """Run a session of m inputs with the layer's output replaced by `native`, its own layout, m images.

    `copies` gives every module's answer memory of its own, for models that write in place to what came
    before the layer.
    """
    count = session.images
    given = {key: list(answers) for key, answers in recording.answers.items()}
    layer_module, wanted, runs = recording.layer.module, recording.layer.call or 1, 0

    def answer(module: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        nonlocal runs
        waiting = given.get(id(module))
        if module is layer_module:
            runs += 1
            if runs == wanted:
                return with_tensor(_repeated(recording.output, count, copies), recording.place, native)
        return _repeated(waiting.pop(0), count, copies) if waiting else forward(*args, **kwargs)

    with answered([*recording.modules, layer_module], answer):
        output = session.run(guard)
    if runs < wanted:
        raise LayerError(
            f"layer {recording.layer.label!r} did not run in the replay",
            code="layer.not-run",
            layer=recording.layer.label,
        )
    return output


def substitute(guard: Guard, session: Session, layer: LayerCall, native: Tensor, place: int = 0) -> Output:
    """Run the whole model with the layer's output replaced: slower than `replay`, but without assumptions."""
    runs = 0

    def exchange(module: nn.Module, output: Any) -> Any:
        nonlocal runs
        runs += 1
        return with_tensor(output, place, native) if runs == (layer.call or 1) else output

    with observed([layer.module], exchange):
        output = session.run(guard)
    if runs < (layer.call or 1):
        raise LayerError(
            f"layer {layer.label!r} did not run when its features were replaced",
            code="layer.not-run",
            layer=layer.label,
        )
    return output


def _repeated(structure: Any, count: int, copies: bool) -> Any:
    def repeat(tensor: Tensor) -> Tensor:
        axis = next((axis for axis, size in enumerate(tensor.shape[:2]) if size == 1), None)
        if axis is None or count == 1:
            return tensor.clone() if copies else tensor
        sizes = [count if place == axis else -1 for place in range(tensor.ndim)]
        repeated = tensor.expand(sizes)
        return repeated.clone() if copies else repeated

    return map_tensors(structure, repeat)


def same_scores(ours: Tensor, theirs: Tensor) -> bool:
    """Whether two computations of the same scores agree, up to the rounding of another batch size."""
    return bool(torch.isfinite(ours).all()) and torch.allclose(
        ours, theirs, rtol=1e-3, atol=1e-4 * float(theirs.abs().max())
    )


def proven_way(session: Session, layer: LayerCall) -> str | None:
    """Return the way that was verified for this model, layer and kind of input, or None."""
    with _lock:
        return _proven.get(session.model, {}).get(_case(session, layer))


def keep_proof(session: Session, layer: LayerCall, way: str) -> None:
    """Remember a verified way as long as the model exists."""
    with _lock:
        _proven.setdefault(session.model, {})[_case(session, layer)] = way


def _case(session: Session, layer: LayerCall) -> _Case:
    """What a verified way is valid for. A model whose modules were replaced counts as another one."""
    inputs = session.inputs
    return layer.label, inputs.shape[1:], inputs.dtype, inputs.device, tuple(map(id, session.modules))
