"""A tiny labeled dataset on disk and a tiny classifier for it."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from camlens.models import LoadedModel
from camlens.models.preprocess import Preprocess

CLASSES = ["blue", "green", "red"]
SIDE = 16


def folder(root: Path, each: int = 8) -> Path:
    """Write `each` images per class: tinted noise of different sizes."""
    for label, name in enumerate(CLASSES):
        (root / name).mkdir(parents=True, exist_ok=True)
        for number in range(each):
            draw = np.random.default_rng([label, number])
            pixels = draw.integers(0, 160, (20 + number, 24, 3), dtype=np.uint8)
            pixels[..., 2 - label] += 60
            Image.fromarray(pixels).save(root / name / f"{number:03d}.png")
    return root


def classifier(seed: int = 3) -> LoadedModel:
    """Return a small seeded classifier that is correct on about half of the images."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = nn.Sequential(
            nn.Conv2d(3, 6, 3, stride=2, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(6, 8, 3, stride=2, padding=1),
            nn.ReLU(inplace=True),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(8, len(CLASSES)),
        )
        with torch.no_grad():
            model[-1].weight.mul_(20)
    return LoadedModel(model.eval(), Preprocess(resize=(SIDE, SIDE), crop=None), list(CLASSES), None, "tests:shapes")
