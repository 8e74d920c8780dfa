"""Tiny seeded networks, one for each thing that real models do."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from camlens import METHODS

METHODS_OF_ANY_NETWORK = [name for name, entry in METHODS.items() if entry.scope != "tokens"]  # others need attention


def seeded(build: Callable[[], nn.Module], seed: int = 0) -> nn.Module:
    """A network with weights from its own seed, in evaluation mode, with batch norm statistics that matter."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = build()
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias, std=0.3)
                module.running_mean.normal_(std=0.3)
                module.running_var.uniform_(0.5, 1.5)
    return model.eval()


def images(n: int = 2, size: tuple[int, ...] = (16, 16), channels: int = 3, seed: int = 1) -> Tensor:
    return torch.randn(n, channels, *size, generator=torch.Generator().manual_seed(seed))


def plain_cnn(classes: int = 5) -> nn.Sequential:
    """conv, in-place ReLU, pool, conv, batch norm, in-place ReLU, pooling and linear."""
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, classes),
    )


class Residual(nn.Module):
    """A block whose target sits beside a shortcut, with in-place additions."""

    def __init__(self, width: int = 6) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, features: Tensor) -> Tensor:
        out = self.conv2(self.relu(self.conv1(features)))
        out += features
        return self.relu(out)


class ResidualNet(nn.Module):
    """Two residual blocks that share one in-place ReLU each."""

    def __init__(self, classes: int = 5) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, stride=2, padding=1)
        self.block1 = Residual()
        self.block2 = Residual()
        self.head = nn.Linear(6, classes)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.block2(self.block1(self.stem(inputs))).mean(dim=(2, 3)))


class TinyVit(nn.Module):
    """A transformer that classifies from its class token, with any number of prefix tokens."""

    def __init__(
        self, prefix: int = 1, width: int = 12, classes: int = 5, patch: int = 4, sequence: bool = False
    ) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, patch, stride=patch)
        self.prefix = nn.Parameter(torch.randn(1, prefix, width)) if prefix else None
        self.block1 = nn.TransformerEncoderLayer(width, 2, 16, 0.0, batch_first=not sequence, norm_first=True)
        self.block2 = nn.TransformerEncoderLayer(width, 2, 16, 0.0, batch_first=not sequence, norm_first=True)
        self.head = nn.Linear(width, classes)
        self.sequence = sequence

    def forward(self, inputs: Tensor) -> Tensor:
        tokens = self.patches(inputs).flatten(2).transpose(1, 2)
        if self.prefix is not None:
            tokens = torch.cat([self.prefix.expand(len(tokens), -1, -1), tokens], dim=1)
        if self.sequence:
            tokens = tokens.transpose(0, 1)
        tokens = self.block2(self.block1(tokens))
        if self.sequence:
            tokens = tokens.transpose(0, 1)
        return self.head(tokens[:, 0] if self.prefix is not None else tokens.mean(dim=1))


class ChannelsLast(nn.Module):
    """A network whose blocks speak (n, h, w, k), as Swin's do."""

    def __init__(self, width: int = 24, classes: int = 5) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 4, stride=4)
        self.norm = nn.LayerNorm(width)
        self.mix = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU())
        self.head = nn.Linear(width, classes)

    def forward(self, inputs: Tensor) -> Tensor:
        features = self.norm(self.patches(inputs).permute(0, 2, 3, 1))
        return self.head((features + self.mix(features)).mean(dim=(1, 2)))


class Wrapped(nn.Module):
    """Another network's logits in some other form."""

    def __init__(self, inner: nn.Module, form: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.inner = inner
        self.form = form

    def forward(self, inputs: Tensor) -> Any:
        return self.form(self.inner(inputs))


class Branching(nn.Module):
    """Two branches side by side, a layer that reads parameters alone, and one that nothing reads."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Conv2d(3, 4, 3, padding=1)
        self.right = nn.Conv2d(3, 4, 3, padding=1)
        self.learned = nn.Parameter(torch.randn(1, 3, 16, 16))
        self.of_parameters = nn.Conv2d(3, 4, 3, padding=1)
        self.unread = nn.Conv2d(4, 4, 3)
        self.head = nn.Linear(4, 5)

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        left, right = self.left(inputs), self.right(inputs)
        learned = self.of_parameters(self.learned)
        self.unread(left)
        both = left.relu() + right.relu() * learned
        return {"logits": self.head(both.mean(dim=(2, 3))), "left": left.square().mean(dim=(1, 2, 3))}


def of_the_left(output: dict[str, Tensor]) -> Tensor:
    """A score of `Branching` that nothing but its left branch feeds."""
    return output["left"]


class NoGradBackbone(nn.Module):
    """A frozen backbone whose own code says no_grad."""

    def __init__(self, inference: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, padding=1)
        self.relu = nn.ReLU()
        self.head = nn.Linear(6, 5)
        self.quiet = torch.inference_mode if inference else torch.no_grad

    def forward(self, inputs: Tensor) -> Tensor:
        with self.quiet():
            features = self.relu(self.conv(inputs)).mean(dim=(2, 3))
            return self.head(features)


class Untidy(nn.Module):
    """Counts its calls in a buffer, exchanges another, and draws random numbers: all in evaluation mode."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, padding=1)
        self.head = nn.Linear(6, 5)
        self.register_buffer("calls", torch.zeros(()))
        self.register_buffer("last", torch.zeros(5))

    def forward(self, inputs: Tensor) -> Tensor:
        self.calls += 1
        features = torch.nn.functional.dropout(self.conv(inputs).relu(), 0.1, training=True)
        logits = self.head(features.mean(dim=(2, 3)))
        self.last = logits.detach()[0]
        return logits
