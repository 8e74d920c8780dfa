"""Networks with known maps: they respond to red and to nothing else."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from camlens.models.preprocess import Preprocess

PROPORTIONS = {"1to3": (900, 300), "2to3": (600, 400), "1to1": (400, 400), "3to2": (400, 600), "3to1": (300, 900)}


def _net() -> nn.Sequential:
    look = nn.Conv2d(3, 1, 8, stride=8)
    mean = nn.Linear(1, 2)
    with torch.no_grad():
        look.weight.copy_(torch.tensor([1.0, -1.0, 0.0])[None, :, None, None].expand(1, 3, 8, 8) / 64)
        look.bias.zero_()
        mean.weight.copy_(torch.tensor([[1.0], [-1.0]]))
        mean.bias.zero_()
    return nn.Sequential(look, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), mean).eval()


def classifier() -> tuple[nn.Module, Preprocess, list[str]]:
    """Resize to 256 and crop the central square of 224."""
    return _net(), Preprocess(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)), ["boot", "shirt"]


def unplaced() -> tuple[nn.Module, Callable[[Any], Tensor], list[str]]:
    """Like `classifier`, with a preprocessing of unknown geometry: it mirrors the image."""
    placed = Preprocess(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    return _net(), lambda image: placed(image).flip(-1), ["boot", "shirt"]


def fussy() -> tuple[nn.Module, Callable[[Any], Tensor], list[str]]:
    """Like `classifier`, with a preprocessing that raises MemoryError for pictures that are wider than high."""
    placed = Preprocess(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))

    def prepare(image: Any) -> Tensor:
        if image.width > image.height:
            raise MemoryError
        return placed(image)

    return _net(), prepare, ["boot", "shirt"]


def photograph(height: int, width: int, row: int, column: int, side: int = 36) -> Image.Image:
    """Return a blue picture with a red square around a point, the only evidence."""
    pixels = np.full((height, width, 3), (60, 90, 160), dtype=np.uint8)
    half = side // 2
    pixels[row - half : row + half, column - half : column + half] = (220, 30, 30)
    return Image.fromarray(pixels)


def heads() -> tuple[nn.Module, Preprocess, None]:
    """Like `classifier`, with a dict of three outputs (red - green, its opposite, twice the first) and a tensor."""

    class Heads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = _net()
            self.head = nn.Linear(2, 3, bias=False)
            with torch.no_grad():
                self.head.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, 0.0]]))

        def forward(self, inputs: Tensor) -> dict[str, Tensor]:
            sides = self.net(inputs)
            return {"depth": 100 + sides, "measured": self.head(sides)}

    return Heads().eval(), Preprocess(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)), None


def single() -> tuple[nn.Module, Preprocess, list[str]]:
    """One output: the redness of the picture."""
    return _net()[:4].append(nn.Identity()), Preprocess(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)), ["redness"]


def backbone() -> tuple[nn.Module, Preprocess, None]:
    """A network without a classifier, which returns features."""
    net = nn.Sequential(nn.Conv2d(3, 40, 8, stride=8), nn.BatchNorm2d(40), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
    return net.eval(), Preprocess(), None
