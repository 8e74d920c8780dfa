"""The errors a user can meet, as one tree.

    CamlensError
    ├── ModelError          the model, its weights or its output cannot be used
    ├── LayerError          the layer cannot carry a map; lists layers that can
    │   └── NoGradientError the layer does not feed the score (also a RuntimeError)
    ├── TargetError         the class or score asked for does not exist
    ├── InputError          the input tensor or a setting is not what the call takes
    │   └── MisfitError     the model cannot run on such inputs (also a RuntimeError)
    ├── DataError           an image, a folder or a manifest cannot be read
    ├── StoreError          a result cannot be written or read back
    └── MissingExtraError   an optional dependency is not installed; names the extra

Every message names the value, what is allowed and the likely mend.
"""


class CamlensError(Exception):
    """Root of everything camlens raises on purpose."""


class ModelError(CamlensError):
    """The model, its weights or the form of its output cannot be used as asked."""


class LayerError(CamlensError):
    """The layer cannot carry a map. The message lists layers that can."""


class NoGradientError(LayerError, RuntimeError):
    """The layer does not feed the score, so there is no gradient to weigh it by."""


class TargetError(CamlensError):
    """The class, score or number of targets asked for does not exist."""


class InputError(CamlensError):
    """An input tensor or a setting is not what the call takes."""


class MisfitError(InputError, RuntimeError):
    """The model cannot run on such inputs: their axes, channels, size, type or device. It quotes torch's own error."""


class DataError(CamlensError):
    """An image, a folder or a manifest cannot be read."""


class StoreError(CamlensError):
    """A result cannot be written, or cannot be read back."""


class MissingExtraError(CamlensError, ImportError):
    """An optional dependency is missing. The message names the extra that brings it."""

    @classmethod
    def of(cls, package: str, extra: str) -> "MissingExtraError":
        """The error for an absent `package` that `pip install "camlens[extra]"` brings."""
        return cls(f'this needs {package}, which is not installed: pip install "camlens[{extra}]"')


class EvidenceWarning(UserWarning):
    """A map that can be drawn but says little: all negative, constant, or not a number."""
