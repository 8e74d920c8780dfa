"""Image classifiers in Hugging Face's format, from a directory or from the hub's cache on this computer."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from camlens.core.errors import MissingExtraError, ModelError
from camlens.models.loading import LoadedModel, ModelRequest, Preprocessing, class_list
from camlens.models.preprocess import AdoptedPreprocess, Preprocess
from camlens.models.weight_files import load_weights, read_weights, seeded

try:
    import transformers as library
except ImportError as error:
    raise MissingExtraError.of("transformers", "hf") from error

transformers: Any = library  # its annotations are incomplete

# Never code from the model's directory, never the network.
_SAFE = {"local_files_only": True, "trust_remote_code": False}


def names() -> Sequence[str]:
    """Nothing: a model here is a directory or a repository, not one of a list."""
    return ()


def load(request: ModelRequest) -> LoadedModel:
    """An image classifier from a directory that `save_pretrained` wrote, or from the hub's cache."""
    source = str(Path(request.name).expanduser()) if Path(request.name).expanduser().is_dir() else request.name
    config = _config(request, source)
    if request.weights is None:
        model = _trained(request, source, config)
    else:
        with seeded(request.seed), _understood(request):
            model = transformers.AutoModelForImageClassification.from_config(config, trust_remote_code=False)
        if not request.random:
            state = read_weights(request.weights, trust_pickle=request.trust_pickle)
            load_weights(model, state, source=request.weights)
    labels = [str(config.id2label.get(index, f"class {index}")) for index in range(config.num_labels)]
    names_of_classes = class_list(config.num_labels, labels if request.num_classes is None else None)
    return LoadedModel(model.float(), _preprocess(request, source, config), names_of_classes, None, request.spec)


def _config(request: ModelRequest, source: str) -> Any:
    try:
        config = transformers.AutoConfig.from_pretrained(source, **_SAFE)
    except (
        Exception
    ) as error:  # no such place, no JSON, an unknown type, code that would have to run: errors of many kinds
        raise _absent(request, source, "config.json", error) from error
    if request.num_classes not in (None, config.num_labels):
        if request.weights is None:
            raise ModelError(
                f"the trained weights of {request.name} have {config.num_labels} classes, not"
                f" {request.num_classes}:"
                ' give a file of weights for these classes (weights=FILE), or weights="random"'
            )
        config.num_labels = request.num_classes
    return config


def _trained(request: ModelRequest, source: str, config: Any) -> nn.Module:
    safetensors = None if request.trust_pickle else True
    try:
        with seeded(request.seed), _quiet():
            model, report = transformers.AutoModelForImageClassification.from_pretrained(
                source, config=config, use_safetensors=safetensors, output_loading_info=True, **_SAFE
            )
    except Exception as error:  # what is absent, damaged or of another shape comes in errors of many kinds
        raise _absent(request, source, "model.safetensors", error) from error
    missing = sorted(report["missing_keys"])
    if missing:
        raise ModelError(
            f"{source} has no weights for {', '.join(missing[:4])} of {type(model).__name__}: it is probably"
            " a backbone"
            " without a trained classifier, and would answer at random"
        )
    loaded: nn.Module = model
    return loaded


def _preprocess(request: ModelRequest, source: str, config: Any) -> Preprocessing:
    """The image processor that was saved with the model; only random weights can do without it."""
    try:
        processor = transformers.AutoImageProcessor.from_pretrained(source, **_SAFE)
    except Exception as error:  # errors of many kinds, as above
        if request.random:
            size = getattr(config, "image_size", 224)
            height, width = (size, size) if isinstance(size, int) else size
            return Preprocess(resize=(height, width), crop=None)
        raise _absent(request, source, "preprocessor_config.json", error) from error
    return AdoptedPreprocess(partial(_tensor, processor), partial(_picture, processor))


def _tensor(processor: Any, image: Image.Image) -> Tensor:
    values: Tensor = processor(images=image, return_tensors="pt")["pixel_values"][0]
    return values


def _picture(processor: Any, image: Image.Image) -> NDArray[np.uint8]:
    """The processor's geometry alone: every step that changes colours is switched off."""
    colour_steps = ("do_rescale", "do_normalize", "do_flip_channel_order", "include_top")
    off = {step: False for step in colour_steps if hasattr(processor, step)}
    pixels: Tensor = processor(images=image, return_tensors="pt", **off)["pixel_values"][0]
    return pixels.round().clamp(0, 255).byte().permute(1, 2, 0).contiguous().numpy()


@contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' progress bar, which has no switch of its own for one call."""
    shown = transformers.utils.logging.is_progress_bar_enabled()
    transformers.utils.logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers.utils.logging.enable_progress_bar()


@contextmanager
def _understood(request: ModelRequest) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise ModelError(f"{request.spec} is not an image classifier: {_first_line(error)}") from error


def _absent(request: ModelRequest, source: str, file: str, error: Exception) -> ModelError:
    if Path(source).is_dir() and (Path(source) / file).is_file():
        return ModelError(f"{Path(source) / file} cannot be used: {_first_line(error)}")
    if Path(source).is_dir():
        pickled = sorted(path.name for path in Path(source).glob("*.bin"))
        if file == "model.safetensors" and pickled:
            return ModelError(
                f"{source} has no {file}, only the pickle {pickled[0]}, which could run code of its maker:"
                " convert it,"
                " or say trust_pickle=True where you trust its maker as your own code"
            )
        return ModelError(
            f"{source} has no usable {file} ({_first_line(error)}): save the model and its image processor"
            " there with"
            " save_pretrained"
        )
    return ModelError(
        f"{request.name!r} is neither a directory nor complete in the Hugging Face cache of this computer"
        f" ({file} is"
        " missing), and camlens downloads nothing: on a computer with network run"
        f" `hf download {request.name}`, copy the directory here and load hf:DIRECTORY"
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
