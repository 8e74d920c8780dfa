"""The model "demo:imagenet": EfficientNet-Lite0 with ImageNet weights from an installed package."""

import re
from importlib.resources import files
from typing import Any

import torch

from camlens.core.errors import MissingExtraError
from camlens.models.loading import IMAGENET_PACKAGE, LoadedModel
from camlens.models.preprocess import Preprocess

try:
    import timm
    from torchvision.models import MobileNet_V3_Large_Weights
except ImportError as error:
    raise MissingExtraError.of("timm and torchvision", "vision") from error

_FILE = "efficientnet-lite0-57934424.pth"
_ENDS = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
_FIRST_BLOCK = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_BLOCK = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}


def load_imagenet(spec: str) -> LoadedModel:
    """Load the network with its 1,000 class names and its preprocessing (resize to 256, crop 224, bilinear)."""
    try:
        with files(IMAGENET_PACKAGE).joinpath("models", _FILE).open("rb") as stream:
            state = torch.load(stream, map_location="cpu", weights_only=True)
    except ModuleNotFoundError as error:
        raise MissingExtraError.of(IMAGENET_PACKAGE.replace("_", "-"), "demo") from error
    with torch.device("meta"):  # skip random initialization: the parameters are replaced
        model: Any = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    blocks = [f"blocks.{stage}.{block}" for stage, members in enumerate(model.blocks) for block in range(len(members))]
    model.load_state_dict({_timm_name(name, blocks): tensor for name, tensor in state.items()}, assign=True)
    preprocess = Preprocess(mean=(127 / 255,) * 3, std=(128 / 255,) * 3)
    class_names = list(MobileNet_V3_Large_Weights.DEFAULT.meta["categories"])
    return LoadedModel(model, preprocess, class_names, "bn2", spec)


def _timm_name(name: str, blocks: list[str]) -> str:
    """Return the parameter name in timm's network. Its first block has no expansion, which shifts the names."""
    block = re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", name)
    if block is None:
        module, _, tensor = name.partition(".")
        return f"{_ENDS[module]}.{tensor}"
    number, module, tensor = int(block[1]), block[2], block[3]
    return f"{blocks[number]}.{(_BLOCK if number else _FIRST_BLOCK)[module]}.{tensor}"
