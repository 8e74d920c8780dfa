"""Models of timm, with the preprocessing of their data configuration."""

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

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
from camlens.models.weight_files import read_weights, seeded

try:
    import timm as library
    from huggingface_hub import try_to_load_from_cache
except ImportError as error:
    raise MissingExtraError.of("timm", "vision") from error

timm: Any = library  # its annotations are incomplete

_FILES = ("model.safetensors", "pytorch_model.bin")


def names() -> Sequence[str]:
    """Return the architectures of timm."""
    return list(timm.list_models())


def load(request: ModelRequest) -> LoadedModel:
    """Load a timm model, such as "resnet18" or "resnet18.a1_in1k"."""
    try:
        config = timm.get_pretrained_cfg(request.name)
    except RuntimeError as error:
        tagged = timm.list_models(f"{request.name.partition('.')[0]}.*", pretrained=True)
        raise ModelError(
            f"timm has no weights {request.spec!r}: choose one of {', '.join(tagged) or 'none'}",
            code="model.unknown-weights",
            spec=request.spec,
            known=tagged,
        ) from error
    if request.weights is None:
        model = _trained(request, config)
    else:
        with seeded(request.seed):
            model = timm.create_model(request.name, pretrained=False, **_class_count(request))
        request.load_weights_file(model)
    return LoadedModel(model, _preprocess(model), _class_names(model), None, request.spec)


def _class_count(request: ModelRequest) -> dict[str, int]:
    return {} if request.num_classes is None else {"num_classes": request.num_classes}


def _trained(request: ModelRequest, config: Any) -> nn.Module:
    """Return the pretrained model. timm adapts the weights, which are read without running pickled code."""
    if config is None or not config.has_weights:
        raise ModelError(
            f'timm has no pretrained weights for {request.name}: pass weights=FILE, or weights="random"',
            code="model.no-trained-weights",
            spec=request.spec,
        )
    if request.num_classes not in (None, config.num_classes):
        raise other_class_count(request, config.num_classes)
    path = _cached(config)
    if path is None:
        return _downloaded(request, config)
    state = read_weights(path, trust_pickle=request.trust_pickle)
    with seeded(request.seed):
        try:
            model = timm.create_model(
                request.name, pretrained=True, pretrained_cfg_overlay={"state_dict": state, "source": None}
            )
        except RuntimeError as error:
            raise ModelError(
                f"the cached weights {path} of {request.name} do not fit: {' '.join(str(error).split())}",
                code="model.weights-misfit",
                file=str(path),
                reason=str(error),
            ) from error
    model.pretrained_cfg.pop("state_dict", None)  # otherwise the model keeps a second copy of its weights
    trained: nn.Module = model
    return trained


def _downloaded(request: ModelRequest, config: Any) -> nn.Module:
    """Return the pretrained model; timm downloads the weights into the cache of the hub or of torch."""
    source = config.hf_hub_id or config.url
    file = f"{source}/{_hub_files(config)[0]}" if config.hf_hub_id else str(_torch_cache(config))
    command = f"python -c \"import timm; timm.create_model('{request.name}', pretrained=True)\""
    with downloading(request, source, file=file, command=command), seeded(request.seed):
        trained: nn.Module = timm.create_model(request.name, pretrained=True)
    return trained


def _cached(config: Any) -> Path | None:
    """Return the weights file in the cache of the hub or of torch, if there is one."""
    for name in _hub_files(config) if config.hf_hub_id else ():
        cached = try_to_load_from_cache(config.hf_hub_id, name)
        if isinstance(cached, str):
            return Path(cached)
    return _torch_cache(config) if config.url and _torch_cache(config).is_file() else None


def _hub_files(config: Any) -> Sequence[str]:
    return (config.hf_hub_filename,) if config.hf_hub_filename else _FILES


def _torch_cache(config: Any) -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints" / Path(config.url).name


def _class_names(model: nn.Module) -> list[str]:
    """Return the names of ImageNet (the first word of each synset) if the model has its number of classes."""
    count = int(model.num_classes)  # type: ignore[arg-type]
    subset = timm.data.infer_imagenet_subset({"num_classes": count})
    known = None
    if subset is not None and count == timm.data.ImageNetInfo(subset).num_classes():
        known = [description.split(",")[0] for description in timm.data.ImageNetInfo(subset).label_descriptions()]
    return class_list(count, known)


def _preprocess(model: nn.Module) -> Preprocessing:
    """Return our preprocessing if it can reproduce timm's (a square center crop, or squashing), else timm's own."""
    config = timm.data.resolve_model_data_config(model)
    height, width = config["input_size"][1:]
    resize = tuple(math.floor(length / config["crop_pct"]) for length in (height, width))
    centered = config["crop_mode"] == "center" and height == width
    if centered or config["crop_mode"] == "squash":
        return Preprocess(
            resize=resize[0] if centered else (resize[0], resize[1]),
            crop=(height, width),
            mean=tuple(config["mean"]),
            std=tuple(config["std"]),
            interpolation=config["interpolation"],
        )
    picture = timm.data.create_transform(**config, is_training=False, normalize=False)
    return AdoptedPreprocess(timm.data.create_transform(**config, is_training=False), partial(_picture, picture))


def _picture(transform: Any, image: Image.Image) -> NDArray[np.uint8]:
    pixels: torch.Tensor = transform(image)
    return pixels.permute(1, 2, 0).contiguous().numpy()
