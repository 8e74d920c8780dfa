"""The tree of errors that camlens raises.

    CamlensError
    ├── ModelError          the model, its weights or its output cannot be used
    ├── LayerError          no map can be computed at the layer; lists layers where it can
    │   └── NoGradientError the score has no gradient at the layer (also a RuntimeError)
    ├── TargetError         the target does not fit the output of the model
    ├── InputError          an input tensor or an argument is invalid
    │   ├── MisfitError     the inputs do not fit the model (also a RuntimeError)
    │   └── UnknownArgumentError  unknown keyword argument (also a TypeError)
    ├── DataError           an image, a folder or a manifest cannot be read
    ├── StoreError          a result cannot be written or read
    └── MissingExtraError   an optional dependency is not installed; names the extra

Messages contain the value, what is allowed and the fix. Programs should test `error.code` and read
`error.facts`: both are stable, the messages are not.
"""

from typing import ClassVar


class CamlensError(Exception):
    """Base class of all errors raised by camlens.

    Attributes:
        code: a stable identifier such as "layer.unknown" or "target.out-of-range".
        facts: the values in the message, by name.
    """

    default_code: ClassVar[str] = "camlens"

    def __init__(self, message: object = "", *, code: str | None = None, **facts: object) -> None:
        super().__init__(message)
        self.code = self.default_code if code is None else code
        self.facts: dict[str, object] = facts


class ModelError(CamlensError):
    """The model, its weights or its output cannot be used."""

    default_code = "model.unusable"


class LayerError(CamlensError):
    """No map can be computed at the layer. The message lists layers where it can."""

    default_code = "layer.unusable"


class NoGradientError(LayerError, RuntimeError):
    """The score has no gradient at the layer."""

    default_code = "layer.no-gradient"


class TargetError(CamlensError):
    """The target does not fit the output of the model."""

    default_code = "target.invalid"


class InputError(CamlensError):
    """An input tensor or an argument is invalid."""

    default_code = "input.invalid"


def invalid_argument(name: str, value: object, allowed: str) -> InputError:
    """Return the error for an argument with an invalid value; `allowed` completes the words "must be"."""
    return InputError(f"{name} must be {allowed}, not {value!r}", code="argument.invalid", name=name, value=value)


class MisfitError(InputError, RuntimeError):
    """The inputs do not fit the model in axes, channels, size, dtype or device. The message quotes torch's error."""

    default_code = "input.misfit"


class UnknownArgumentError(InputError, TypeError):
    """Unknown keyword argument. `facts` holds its `name` and a `suggestion` or None."""

    default_code = "argument.unknown"


class DataError(CamlensError):
    """An image, a folder or a manifest cannot be read."""

    default_code = "data.unreadable"


class StoreError(CamlensError):
    """A result cannot be written or read."""

    default_code = "store.failed"


class MissingExtraError(CamlensError, ImportError):
    """An optional dependency is missing. The message names the extra to install."""

    default_code = "extra.missing"

    @classmethod
    def of(cls, package: str, extra: str) -> "MissingExtraError":
        """Return the error for a missing `package` that `pip install "camlens[extra]"` installs."""
        message = f'this needs {package}, which is not installed: pip install "camlens[{extra}]"'
        return cls(message, package=package, extra=extra)


class EvidenceWarning(UserWarning):
    """Some maps are all negative, constant or not finite, so their heat maps are empty. One warning per call.

    Attributes:
        facts: "maps" lists for each such map its method, layer, image, target and code: "map.negative",
            "map.constant" or "map.not-finite".
    """

    def __init__(self, message: object = "", **facts: object) -> None:
        super().__init__(message)
        self.facts: dict[str, object] = facts


class ClassBlindWarning(UserWarning):
    """The map of this method is the same for all classes, whatever target is given."""
