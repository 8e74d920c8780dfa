"""timm's models, prepared as their own data configuration says."""

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
    download_failed,
    not_cached,
    other_class_count,
    unknown_model,
)
from camlens.models.preprocess import AdoptedPreprocess, Preprocess
from camlens.models.weight_files import load_weights, read_weights, seeded

try:
    import timm as library
    from huggingface_hub import try_to_load_from_cache
except ImportError as error:
    raise MissingExtraError.of("timm", "vision") from error

timm: Any = library  # its annotations are incomplete

_FILES = ("model.safetensors", "pytorch_model.bin")


def names() -> Sequence[str]:
    """Every architecture of timm."""
    return list(timm.list_models())


def load(request: ModelRequest) -> LoadedModel:
    """A timm model ("resnet18", "resnet18.a1_in1k") with weights from a cache, the network, a file or at random."""
    if request.name.partition(".")[0] not in names():
        raise unknown_model(request.spec, request.name, names())
    try:
        config = timm.get_pretrained_cfg(request.name)
    except RuntimeError as error:
        tagged = timm.list_models(f"{request.name.partition('.')[0]}.*", pretrained=True)
        raise ModelError(
            f"unknown weights {request.spec!r}: timm has {', '.join(tagged) or 'none'}",
            code="model.unknown-weights",
            spec=request.spec,
        ) from error
    if request.weights is None:
        model = _trained(request, config)
    else:
        with seeded(request.seed):
            model = timm.create_model(request.name, pretrained=False, **_class_count(request))
        if not request.random:
            state = read_weights(request.weights, trust_pickle=request.trust_pickle)
            load_weights(model, state, source=request.weights)
    return LoadedModel(model, _preprocess(model), _class_names(model), None, request.spec)


def _class_count(request: ModelRequest) -> dict[str, int]:
    return {} if request.num_classes is None else {"num_classes": request.num_classes}


def _trained(request: ModelRequest, config: Any) -> nn.Module:
    """The model with its trained weights; timm itself adapts them, from a state dict that was read safely."""
    if config is None or not config.has_weights:
        raise ModelError(
            f'timm has no trained weights for {request.name}: pass weights=FILE, or weights="random"',
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
            ) from error
    model.pretrained_cfg.pop("state_dict", None)  # else the model would hold its weights twice
    trained: nn.Module = model
    return trained


def _downloaded(request: ModelRequest, config: Any) -> nn.Module:
    """The model with weights that timm downloads into the hub's cache or torch's."""
    source = config.hf_hub_id or config.url
    if request.offline:
        code = f"import timm; timm.create_model('{request.name}', pretrained=True)"
        file = f"{source}/{_hub_files(config)[0]}" if config.hf_hub_id else str(_older(config))
        raise not_cached(request, file, f'python -c "{code}"')
    try:
        with seeded(request.seed):
            trained: nn.Module = timm.create_model(request.name, pretrained=True)
    except Exception as error:  # the network, the disk or what came from there: errors of many kinds
        raise download_failed(request, source, error) from error
    return trained


def _cached(config: Any) -> Path | None:
    """The weights file in the hub's or torch's cache."""
    for name in _hub_files(config) if config.hf_hub_id else ():
        cached = try_to_load_from_cache(config.hf_hub_id, name)
        if isinstance(cached, str):
            return Path(cached)
    return _older(config) if config.url and _older(config).is_file() else None


def _hub_files(config: Any) -> Sequence[str]:
    return (config.hf_hub_filename,) if config.hf_hub_filename else _FILES


def _older(config: Any) -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints" / Path(config.url).name


def _class_names(model: nn.Module) -> list[str]:
    """ImageNet's names (the first word of each synset) where the classifier is as large as ImageNet's."""
    count = int(model.num_classes)  # type: ignore[arg-type]
    subset = timm.data.infer_imagenet_subset({"num_classes": count})
    known = None
    if subset is not None and count == timm.data.ImageNetInfo(subset).num_classes():
        known = [description.split(",")[0] for description in timm.data.ImageNetInfo(subset).label_descriptions()]
    return class_list(count, known)


def _preprocess(model: nn.Module) -> Preprocessing:
    """Ours where timm resizes to a square by the shorter side or regardless of the shape, else timm's own."""
    config = timm.data.resolve_model_data_config(model)
    height, width = config["input_size"][1:]
    resize = tuple(math.floor(length / config["crop_pct"]) for length in (height, width))
    centred = config["crop_mode"] == "center" and height == width
    if centred or config["crop_mode"] == "squash":
        return Preprocess(
            resize=resize[0] if centred else (resize[0], resize[1]),
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
