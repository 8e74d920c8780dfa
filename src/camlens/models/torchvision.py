"""Classifiers and segmentation models of torchvision, with the preprocessing and class names of their weights."""

import re
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlparse

import torch
from torch import Tensor, nn

from camlens.core.arguments import closest
from camlens.core.errors import MissingExtraError, ModelError
from camlens.models.loading import (
    LoadedModel,
    ModelRequest,
    class_list,
    downloading,
    other_class_count,
)
from camlens.models.preprocess import Preprocess
from camlens.models.weight_files import load_weights, read_weights, seeded

try:
    import torchvision
    from torchvision.models import WeightsEnum
except ImportError as error:
    raise MissingExtraError.of("torchvision", "vision") from error

# Heads used only in training are not built, and their weights are ignored.
_TRAINING_HEADS = re.compile(r"^(aux1|aux2|AuxLogits|aux_classifier)\.")
_INCEPTIONS = ("googlenet", "inception_v3")


def names() -> Sequence[str]:
    """Return the names of the classifiers and segmentation models."""
    models = torchvision.models
    return sorted([*models.list_models(module=models), *models.list_models(module=models.segmentation)])


def load(request: ModelRequest) -> LoadedModel:
    """Load a torchvision model.

    `weights` may also be the name of one of the model's weight sets, such as "IMAGENET1K_V1". Preprocessing and class
    names are those of the weight set; for another file, those of the default weight set.
    """
    chosen = _weight_set(request)
    path = None if request.random else _weights_path(request, chosen)
    with seeded(request.seed):
        model = _build(request, chosen)
    if path is not None:
        load_weights(model, _renamed(read_weights(path, trust_pickle=request.trust_pickle)), source=path)
    categories = [str(name) for name in chosen.meta["categories"]]
    count = request.num_classes or len(categories)
    return LoadedModel(model, _preprocess(chosen), class_list(count, categories), None, request.spec)


def _weight_set(request: ModelRequest) -> WeightsEnum:
    """Return the weight set with this name or file name, else the default one."""
    known = torchvision.models.get_model_weights(request.name)
    for member in known:
        if request.weights is not None and Path(request.weights).name in (member.name, _file_name(member)):
            return member
    best: WeightsEnum = known.DEFAULT
    return best


def _file_name(member: WeightsEnum) -> str:
    return Path(urlparse(member.url).path).name


def _weights_path(request: ModelRequest, chosen: WeightsEnum) -> Path:
    """Return the file to read: the user's, or that of the weight set in torch's cache."""
    if request.weights is not None and request.weights != chosen.name:
        path = Path(request.weights)
        known = [member.name for member in torchvision.models.get_model_weights(request.name)]
        if closest(path.name, known) and not path.suffix and not path.expanduser().exists():
            raise ModelError(
                f"{request.name} has no weight set {path.name!r}: choose one of {', '.join(known)}, or pass a file",
                code="model.unknown-weights",
                weights=path.name,
                known=known,
            )
        return path
    own = len(chosen.meta["categories"])
    if request.num_classes not in (None, own):
        raise other_class_count(request, own)
    path = Path(torch.hub.get_dir()) / "checkpoints" / _file_name(chosen)
    if not path.is_file():
        _download(request, chosen, path)
    return path


def _download(request: ModelRequest, chosen: WeightsEnum, path: Path) -> None:
    """Download the file into torch's cache and check its hash."""
    code = f"from torchvision.models import get_model; get_model('{request.name}', weights='{chosen.name}')"
    with downloading(request, chosen.url, file=str(path), command=f'python -c "{code}"'):
        try:
            chosen.get_state_dict(progress=True, check_hash=True, weights_only=True)
        except Exception:
            if not path.is_file():  # otherwise the file is read again, with better errors
                raise


def _build(request: ModelRequest, chosen: WeightsEnum) -> nn.Module:
    options: dict[str, object] = {
        "weights": None,
        "num_classes": request.num_classes or len(chosen.meta["categories"]),
    }
    if request.name in _INCEPTIONS:  # as their pretrained weights expect
        options |= {"transform_input": True, "aux_logits": False, "init_weights": request.random}
    if request.name in torchvision.models.list_models(module=torchvision.models.segmentation):
        options |= {"weights_backbone": None}
    model: nn.Module = torchvision.models.get_model(request.name, **options)
    return model


def _renamed(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename parameters as the modules do on loading: files of DenseNet have `norm.1` for `norm1`."""
    return {
        re.sub(r"(denselayer\d+\.(?:norm|conv))\.(?=[12]\.)", r"\1", name): value
        for name, value in state.items()
        if not _TRAINING_HEADS.match(name)
    }


def _preprocess(chosen: WeightsEnum) -> Preprocess:
    preset = chosen.transforms()
    crop = getattr(preset, "crop_size", None)
    resize = preset.resize_size
    return Preprocess(
        resize=resize if isinstance(resize, int) or resize is None else int(resize[0]),
        crop=None if crop is None else (crop[0], crop[-1]),
        mean=tuple(preset.mean),
        std=tuple(preset.std),
        interpolation=preset.interpolation.value,
    )
