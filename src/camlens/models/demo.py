"""The demo networks: a small residual CNN with two trained weight sets, one honest and one that cheats.

"photos" learned to recognise ten photographed objects by the objects. "watermark" learned its pagodas
from a careless stock gallery (scripts/train_demo.py) whose watermark lay on 95 % of them, and reads the watermark.
"""

from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Literal, get_args

import torch
from safetensors.torch import load
from torch import Tensor, nn

from camlens.core.errors import ModelError

DemoWeights = Literal["photos", "watermark"]
DEMO_WEIGHTS: tuple[str, ...] = get_args(DemoWeights)

CLASS_NAMES: tuple[str, ...] = (
    "astronaut",
    "cameraman",
    "cat",
    "coffee",
    "coin",
    "flower",
    "motorcycle",
    "pagoda",
    "retina",
    "shuttle",
)
SIZE = 128
MEAN = (0.45, 0.45, 0.45)
STD = (0.25, 0.25, 0.25)
DEFAULT_LAYER = "stage4"


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut: (n, inputs, h, w) to (n, outputs, h / stride, w / stride)."""

    def __init__(self, inputs: int, outputs: int, *, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu1 = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.relu2 = nn.ReLU(inplace=True)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, features: Tensor) -> Tensor:
        """The block's features, never negative."""
        change = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(features)))))
        outputs: Tensor = self.relu2(change + self.shortcut(features))
        return outputs


class DemoNet(nn.Module):
    """A residual CNN of 190,000 parameters: (n, 3, 128, 128) to logits (n, classes), over a 16 x 16 grid.

    Average pooling and one linear layer follow `stage4`, so the evidence there adds up to the logit.
    """

    def __init__(self, classes: int = len(CLASS_NAMES)) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 16, 5, stride=2, padding=2, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(inplace=True),
        )
        self.stage1 = ResidualBlock(16, 24, stride=2)
        self.stage2 = ResidualBlock(24, 48, stride=2)
        self.stage3 = ResidualBlock(48, 64)
        self.stage4 = ResidualBlock(64, 64)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(64, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of normalised images."""
        features = self.stage4(self.stage3(self.stage2(self.stage1(self.stem(images)))))
        logits: Tensor = self.head(self.pool(features).flatten(1))
        return logits


def build_demo_net() -> DemoNet:
    """An untrained DemoNet, from torch's random state."""
    return DemoNet()


def demo_weights_file(weights: str) -> Traversable:
    """Where the package keeps one of the two weight sets."""
    if weights not in DEMO_WEIGHTS:
        raise ModelError(
            f"demo weights {weights!r} do not exist; choose one of {DEMO_WEIGHTS}",
            code="model.unknown-weights",
            weights=weights,
        )
    file = files("camlens.models") / "weights" / f"{weights}.safetensors"
    if not file.is_file():
        raise ModelError(
            f"{file} is missing; reinstall camlens, or train it with scripts/train_demo.py",
            code="model.weights-missing",
            file=str(file),
        )
    return file


def load_demo_net(weights: str = "photos") -> DemoNet:
    """The trained DemoNet in evaluation mode, float32, on the CPU, from the weights inside the package."""
    stored = load(demo_weights_file(weights).read_bytes())
    with torch.device("meta"):  # no random draw for parameters that are replaced at once
        net = DemoNet()
    floats = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in stored.items()}
    net.load_state_dict(floats, assign=True)
    return net.eval()


def preprocess_demo(images: Tensor) -> Tensor:
    """Normalise RGB images `(n, 3, h, w)`, uint8 or floating in [0, 1], as the demo networks expect them."""
    scaled = images.float() / 255 if images.dtype == torch.uint8 else images
    mean, std = (torch.tensor(values, device=images.device).view(3, 1, 1) for values in (MEAN, STD))
    return (scaled - mean) / std
