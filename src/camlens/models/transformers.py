"""Image classifiers of Hugging Face transformers, from a directory, the cache of the hub, or the hub."""

import os
import pickle
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
from camlens.models.loading import (
    LoadedModel,
    ModelRequest,
    Preprocessing,
    class_list,
    downloading,
    other_class_count,
)
from camlens.models.preprocess import AdoptedPreprocess, Preprocess
from camlens.models.weight_files import first_line, seeded

try:
    import transformers as library
    from huggingface_hub import try_to_load_from_cache
except ImportError as error:
    raise MissingExtraError.of("transformers", "hf") from error

transformers: Any = library  # its annotations are incomplete

_CONFIG, _PROCESSOR, _WEIGHTS = "config.json", "preprocessor_config.json", "model.safetensors"


def names() -> Sequence[str]:
    """Return nothing: there is no list of directories and repositories."""
    return ()


def load(request: ModelRequest) -> LoadedModel:
    """Load an image classifier from a directory written by `save_pretrained` or a repository of the hub."""
    source = str(Path(request.name).expanduser()) if Path(request.name).expanduser().is_dir() else request.name
    config = _config(request, source)
    if request.weights is None:
        model = _trained(request, source, config)
    else:
        try:
            with seeded(request.seed):
                model = transformers.AutoModelForImageClassification.from_config(config, trust_remote_code=False)
        except ValueError as error:
            raise ModelError(
                f"{request.spec} is not an image classifier: {first_line(error)}",
                code="model.no-classifier",
                spec=request.spec,
            ) from error
        request.load_weights_file(model)
    labels = [str(config.id2label.get(index, f"class {index}")) for index in range(config.num_labels)]
    names_of_classes = class_list(config.num_labels, labels if request.num_classes is None else None)
    return LoadedModel(model.float(), _preprocess(request, source, config), names_of_classes, None, request.spec)


def _config(request: ModelRequest, source: str) -> Any:
    config = _pretrained(request, source, transformers.AutoConfig, _CONFIG)
    if request.num_classes not in (None, config.num_labels):
        if request.weights is None:
            raise other_class_count(request, config.num_labels)
        config.num_labels = request.num_classes
    return config


def _trained(request: ModelRequest, source: str, config: Any) -> nn.Module:
    classifier = transformers.AutoModelForImageClassification
    options = {"config": config, "weights_only": not request.trust_pickle, "output_loading_info": True}
    with seeded(request.seed):
        model, report = _pretrained(request, source, classifier, _WEIGHTS, **options)
    missing = sorted(report["missing_keys"])
    if missing:
        raise ModelError(
            f"{source} has no weights for {', '.join(missing[:4])} of {type(model).__name__}: it is probably a backbone"
            " without a trained classifier, whose predictions would be random",
            code="model.no-classifier",
            missing=missing,
        )
    loaded: nn.Module = model
    return loaded


def _preprocess(request: ModelRequest, source: str, config: Any) -> Preprocessing:
    """Return the image processor saved with the model; it is optional only for random weights."""
    try:
        processor = _pretrained(request, source, transformers.AutoImageProcessor, _PROCESSOR)
    except ModelError:
        if not request.random:
            raise
        size = getattr(config, "image_size", 224)
        height, width = (size, size) if isinstance(size, int) else size
        return Preprocess(resize=(height, width), crop=None)
    return AdoptedPreprocess(partial(_tensor, processor), partial(_picture, processor))


def _pretrained(request: ModelRequest, source: str, loader: Any, file: str, **options: Any) -> Any:
    """Call `loader.from_pretrained` on the directory or cache, else on the hub, without running remote code."""
    options["trust_remote_code"] = False
    directory = source if Path(source).is_dir() else _snapshot(source)
    try:
        if directory is not None:
            with _quiet():
                return loader.from_pretrained(directory, local_files_only=True, **options)
    except OSError as error:
        if directory == source:
            raise _unusable(source, file, error) from error
    except Exception as error:  # damaged, of an unknown type, or a pickle: errors of many kinds
        raise _unusable(source, file, error) from error
    path = f"{source}/{file}"
    try:
        command = f"hf download {source}"
        with downloading(request, path, file=path, command=command, errors=OSError), _without_conversion():
            return loader.from_pretrained(source, **options)
    except ModelError:
        raise
    except Exception as error:  # as above
        raise _unusable(source, file, error) from error


def _snapshot(repository: str) -> str | None:
    """Return the directory of a repository in the cache of the hub; reading a directory needs no network."""
    try:
        config = try_to_load_from_cache(repository, _CONFIG)
    except ValueError:  # not the name of a repository
        return None
    return str(Path(config).parent) if isinstance(config, str) else None


def _tensor(processor: Any, image: Image.Image) -> Tensor:
    values: Tensor = processor(images=image, return_tensors="pt")["pixel_values"][0]
    return values


def _picture(processor: Any, image: Image.Image) -> NDArray[np.uint8]:
    """Resize and crop as the processor does, with every step that changes colors switched off."""
    color_steps = ("do_rescale", "do_normalize", "do_flip_channel_order", "include_top")
    off = {step: False for step in color_steps if hasattr(processor, step)}
    pixels: Tensor = processor(images=image, return_tensors="pt", **off)["pixel_values"][0]
    return pixels.round().clamp(0, 255).byte().permute(1, 2, 0).contiguous().numpy()


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide the progress bar of transformers, which can only be switched globally."""
    shown = transformers.utils.logging.is_progress_bar_enabled()
    transformers.utils.logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers.utils.logging.enable_progress_bar()


@contextmanager
def _without_conversion() -> Iterator[None]:
    """Keep transformers from asking the hub to convert a repository without safetensors."""
    switch = "DISABLE_SAFETENSORS_CONVERSION"
    before = os.environ.get(switch)
    os.environ[switch] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[switch]
        else:
            os.environ[switch] = before


def _unusable(source: str, file: str, error: Exception) -> ModelError:
    if isinstance(error, pickle.UnpicklingError):
        return ModelError(
            f"the weights of {source} are a pickle of more than tensors, and loading it could run arbitrary code:"
            " convert it to safetensors, or pass trust_pickle=True if you trust its source",
            code="model.weights-pickle",
            source=source,
        )
    return ModelError(
        f"{file} of {source} is missing or cannot be used ({first_line(error)}): save the model and its image"
        " processor there with save_pretrained",
        code="model.unusable-file",
        source=source,
        file=file,
    )
