"""Which way of running only the network after a layer was proven right, for each model and layer."""

from threading import RLock
from weakref import WeakKeyDictionary

from torch import nn

from camlens.core.execution.session import Session
from camlens.core.layers import LayerCall

_Case = tuple[object, ...]
_lock = RLock()  # which an interrupted thread may take again
_proven: "WeakKeyDictionary[nn.Module, dict[_Case, str]]" = WeakKeyDictionary()


def proven_way(session: Session, layer: LayerCall) -> str | None:
    """The way that was proven for this model, layer and kind of input, if one was."""
    with _lock:
        return _proven.get(session.model, {}).get(_case(session, layer))


def keep_proof(session: Session, layer: LayerCall, way: str) -> None:
    """Remember a proven way for as long as the model lives."""
    with _lock:
        _proven.setdefault(session.model, {})[_case(session, layer)] = way


def _case(session: Session, layer: LayerCall) -> _Case:
    """What a proof holds for: a model whose modules were exchanged is another one."""
    inputs = session.inputs
    return layer.label, inputs.shape[1:], inputs.dtype, inputs.device, tuple(map(id, session.modules))
