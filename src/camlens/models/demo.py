"""The demo networks: a small residual CNN with two sets of trained weights.

"photos" recognizes ten photographed objects. "watermark" was trained on data in which 95 % of the pagodas carry a
watermark (scripts/train_demo.py), and recognizes pagodas by the watermark.
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
    """Two 3 x 3 convolutions with a skip connection: (n, inputs, h, w) to (n, outputs, h / stride, w / stride)."""

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
        """Return the features, which are not negative."""
        change = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(features)))))
        outputs: Tensor = self.relu2(change + self.shortcut(features))
        return outputs


class DemoNet(nn.Module):
    """A residual CNN with 190,000 parameters and a 16 x 16 grid: (n, 3, 128, 128) to logits (n, classes).

    `stage4` is followed by average pooling and a linear layer, so the evidence there sums to the logit.
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
        """Return the logits of normalized images."""
        features = self.stage4(self.stage3(self.stage2(self.stage1(self.stem(images)))))
        logits: Tensor = self.head(self.pool(features).flatten(1))
        return logits


def build_demo_net() -> DemoNet:
    """Return an untrained DemoNet with weights from torch's random state."""
    return DemoNet()


def demo_weights_file(weights: str) -> Traversable:
    """Return the file of one of the two sets of weights."""
    if weights not in DEMO_WEIGHTS:
        raise ModelError(
            f"there are no demo weights {weights!r}: choose one of {', '.join(DEMO_WEIGHTS)}",
            code="model.unknown-weights",
            weights=weights,
            known=list(DEMO_WEIGHTS),
        )
    file = files("camlens.models") / "weights" / f"{weights}.safetensors"
    if not file.is_file():
        raise ModelError(
            f"{file} is missing: reinstall camlens, or train it with scripts/train_demo.py",
            code="model.weights-missing",
            file=str(file),
        )
    return file


def load_demo_net(weights: str = "photos") -> DemoNet:
    """Return the trained DemoNet in evaluation mode, float32, on the CPU."""
    stored = load(demo_weights_file(weights).read_bytes())
    with torch.device("meta"):  # skip random initialization: the parameters are replaced
        net = DemoNet()
    floats = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in stored.items()}
    net.load_state_dict(floats, assign=True)
    return net.eval()


def preprocess_demo(images: Tensor) -> Tensor:
    """Normalize RGB images (n, 3, h, w), uint8 or floating in [0, 1], for the demo networks."""
    scaled = images.float() / 255 if images.dtype == torch.uint8 else images
    mean, std = (torch.tensor(values, device=images.device).view(3, 1, 1) for values in (MEAN, STD))
    return (scaled - mean) / std
