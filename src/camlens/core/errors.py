"""The errors a user can meet, as one tree.

    CamlensError
    ├── ModelError          the model, its weights or its output cannot be used
    ├── LayerError          the layer cannot carry a map; lists layers that can
    │   └── NoGradientError the layer does not feed the score (also a RuntimeError)
    ├── TargetError         the class or score asked for does not exist
    ├── InputError          the input tensor or a setting is not what the call takes
    │   ├── MisfitError     the model cannot run on such inputs (also a RuntimeError)
    │   └── UnknownArgumentError  a keyword that the function does not take (also a TypeError)
    ├── DataError           an image, a folder or a manifest cannot be read
    ├── StoreError          a result cannot be written or read back
    └── MissingExtraError   an optional dependency is not installed; names the extra

Every message names the value, what is allowed and the likely fix. Programs should test `error.code` and read
`error.facts`: both are stable, the sentences are not.
"""

from typing import ClassVar


class CamlensError(Exception):
    """Root of everything camlens raises on purpose.

    Attributes:
        code: what went wrong, as a stable name such as "layer.unknown" or "target.out-of-range".
        facts: the values that the message is about, by name.
    """

    default_code: ClassVar[str] = "camlens"

    def __init__(self, message: object = "", *, code: str | None = None, **facts: object) -> None:
        super().__init__(message)
        self.code = self.default_code if code is None else code
        self.facts: dict[str, object] = facts


class ModelError(CamlensError):
    """The model, its weights or the form of its output cannot be used as asked."""

    default_code = "model.unusable"


class LayerError(CamlensError):
    """The layer cannot carry a map. The message lists layers that can."""

    default_code = "layer.unusable"


class NoGradientError(LayerError, RuntimeError):
    """The layer does not feed the score, so there is no gradient to weigh it by."""

    default_code = "layer.no-gradient"


class TargetError(CamlensError):
    """The class, score or number of targets asked for does not exist."""

    default_code = "target.invalid"


class InputError(CamlensError):
    """An input tensor or a setting is not what the call takes."""

    default_code = "input.invalid"


class MisfitError(InputError, RuntimeError):
    """The model cannot run on such inputs: their axes, channels, size, type or device. It quotes torch's own error."""

    default_code = "input.misfit"


class UnknownArgumentError(InputError, TypeError):
    """A keyword that the function does not take. `facts` hold its `name` and the likely `suggestion`, or None."""

    default_code = "argument.unknown"


class DataError(CamlensError):
    """An image, a folder or a manifest cannot be read."""

    default_code = "data.unreadable"


class StoreError(CamlensError):
    """A result cannot be written, or cannot be read back."""

    default_code = "store.failed"


class MissingExtraError(CamlensError, ImportError):
    """An optional dependency is missing. The message names the extra that brings it."""

    default_code = "extra.missing"

    @classmethod
    def of(cls, package: str, extra: str) -> "MissingExtraError":
        """The error for an absent `package` that `pip install "camlens[extra]"` brings."""
        message = f'this needs {package}, which is not installed: pip install "camlens[{extra}]"'
        return cls(message, package=package, extra=extra)


class EvidenceWarning(UserWarning):
    """Maps that can be drawn but show little: all negative, constant, or not finite. One per call.

    Attributes:
        facts: "maps", for each such map a mapping with its method, layer, image, target and a code:
            "map.negative", "map.constant" or "map.not-finite".
    """

    def __init__(self, message: object = "", **facts: object) -> None:
        super().__init__(message)
        self.facts: dict[str, object] = facts
