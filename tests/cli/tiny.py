"""A tiny model that the command line can load by its factory, and image files to show it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from camlens.models.preprocess import Preprocess

CLASSES = ["tabby, tabby cat", "dog", "hen", "cup, mug", "car"]
SIDE = 32


def net() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return nn.Sequential(
            nn.Conv2d(3, 6, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(6, 8, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(8, len(CLASSES)),
        )


def classifier() -> tuple[nn.Module, Preprocess, list[str]]:
    return net(), Preprocess(resize=SIDE, crop=(SIDE, SIDE)), CLASSES


def adopting() -> tuple[nn.Module, Callable[[Image.Image], Tensor], list[str]]:
    """The same network with a preprocessing that is known only by what it does."""
    prepare = Preprocess(resize=SIDE, crop=(SIDE, SIDE))
    return net(), lambda image: prepare(image), CLASSES


def broken() -> nn.Module:
    raise ValueError("the disk with the weights is gone")


def photograph(path: Path, seed: int = 0, size: tuple[int, int] = (48, 40)) -> Path:
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def measuring() -> tuple[nn.Module, Preprocess, list[str]]:
    """A regression with three outputs."""
    model = net()
    model[-1] = nn.Linear(8, 3)
    with torch.no_grad():
        model[-1].weight.fill_(0.01)
        model[-1].bias.copy_(torch.tensor([0.26, 812.5, -3.0]))
    return model, classifier()[1], ["tilt", "weight", "depth"]


def backbone(names: list[str] | None = None) -> tuple[nn.Module, Preprocess, list[str] | None]:
    """A network without its classifier, and the class names that it had, if they are given."""
    model = nn.Sequential(nn.Conv2d(3, 40, 3, stride=4), nn.BatchNorm2d(40), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
    return model, classifier()[1], names


def named_backbone() -> tuple[nn.Module, Preprocess, list[str] | None]:
    return backbone(CLASSES)
