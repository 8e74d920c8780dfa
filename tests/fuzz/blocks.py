"""Blocks (n, width, *grid) -> (n, width, *grid') that do, each for itself, something that real models do.

A class's `traits` tell what a check must know: "mixes images" if the result for one image depends on the batch,
"changes itself" if a forward pass writes to parameters or buffers. `writes_attributes` names the plain attributes that
forward writes. `double` and `flat` restrict a block to what torch computes: no bfloat16, or one or two axes only.
"""

import random
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from tests.fuzz.fuse import FUSE

CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
NORMS: dict[int, Any] = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
INSTANCE_NORMS = {1: nn.InstanceNorm1d, 2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}
MAX_POOLS = {1: nn.MaxPool1d, 2: nn.MaxPool2d, 3: nn.MaxPool3d}
AVERAGE_POOLS = {1: nn.AvgPool1d, 2: nn.AvgPool2d, 3: nn.AvgPool3d}

ACTIVATIONS: list[Callable[[], nn.Module]] = [
    nn.ReLU,
    lambda: nn.ReLU(inplace=True),
    nn.GELU,
    lambda: nn.SiLU(inplace=True),
    lambda: nn.LeakyReLU(0.1, inplace=True),
    lambda: nn.Hardswish(inplace=True),
    lambda: nn.ELU(inplace=True),
    nn.PReLU,
    nn.Sigmoid,
    nn.Tanh,
    nn.Identity,
]


class Block(nn.Module):
    traits: ClassVar[frozenset[str]] = frozenset()
    writes_attributes: ClassVar[tuple[str, ...]] = ()
    double: ClassVar[bool] = False
    axes: ClassVar[tuple[int, ...]] = (1, 2, 3)

    def __init__(self, rng: random.Random, width: int, axes: int) -> None:
        super().__init__()
        self.build(rng, width, axes)

    def build(self, rng: random.Random, width: int, axes: int) -> None:
        self.conv = convolution(rng, width, axes)


def convolution(rng: random.Random, width: int, axes: int) -> nn.Module:
    return CONVOLUTIONS[axes](
        width, width, 3, padding=1, groups=rng.choice([1, 1, 1, 2, width]), bias=rng.random() < 0.7
    )


def normalization(rng: random.Random, width: int, axes: int) -> nn.Module:
    return rng.choice(
        [
            lambda: NORMS[axes](width),
            lambda: NORMS[axes](width, affine=False),
            lambda: nn.GroupNorm(2, width),
            lambda: INSTANCE_NORMS[axes](width, affine=True),
            nn.Identity,
        ]
    )()


def per_channel(values: Tensor, like: Tensor) -> Tensor:
    return values.reshape(1, -1, *[1] * (like.ndim - 2)).to(like.dtype)


class Plain(Block):
    def build(self, rng: random.Random, width: int, axes: int) -> None:
        self.conv = convolution(rng, width, axes)
        self.norm = normalization(rng, width, axes)
        self.act = rng.choice(ACTIVATIONS)()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.norm(self.conv(x)))


class Residual(Plain):
    """Adds in one of four ways, and runs one activation twice."""

    def build(self, rng: random.Random, width: int, axes: int) -> None:
        super().build(rng, width, axes)
        self.second = convolution(rng, width, axes)
        self.adds = rng.choice(["plus", "in place", "method", "alpha"])

    def forward(self, x: Tensor) -> Tensor:
        out = self.second(self.act(self.norm(self.conv(x))))
        if self.adds == "plus":
            out = x + out
        elif self.adds == "in place":
            out += x
        elif self.adds == "method":
            out.add_(x)
        else:
            out = torch.add(out, x, alpha=0.5)
        return self.act(out)


class Branches(Block):
    """Two branches that are concatenated, and one that nothing reads."""

    def build(self, rng: random.Random, width: int, axes: int) -> None:
        self.left = CONVOLUTIONS[axes](width, width // 2, 1)
        self.right = CONVOLUTIONS[axes](width, width - width // 2, 3, padding=1)
        self.unread = CONVOLUTIONS[axes](width, 2, 1)
        self.detached = rng.random() < 0.2

    def forward(self, x: Tensor) -> Tensor:
        self.unread(x)
        left = self.left(x)
        return torch.cat([left.detach() if self.detached else left, self.right(x).relu_()], dim=1)


class Shared(Block):
    """One convolution and one in-place ReLU, each called twice."""

    def build(self, rng: random.Random, width: int, axes: int) -> None:
        super().build(rng, width, axes)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.conv(self.relu(self.conv(x))))


class Gate(Block):
    """Squeeze and excitation."""

    def build(self, rng: random.Random, width: int, axes: int) -> None:
        self.down, self.up = nn.Linear(width, 3), nn.Linear(3, width)
        self.in_place = rng.random() < 0.5

    def forward(self, x: Tensor) -> Tensor:
        weights = self.up(self.down(x.flatten(2).mean(dim=2)).relu_()).sigmoid()
        weights = weights.reshape(*weights.shape, *[1] * (x.ndim - 2))
        return x.clone().mul_(weights) if self.in_place else x * weights


class Resized(Block):
    """Pools, strides, or goes up and down again."""

    def build(self, rng: random.Random, width: int, axes: int) -> None:
        self.way = rng.choice(["up", "pool", "pool", "stride"])
        pool = rng.choice([MAX_POOLS, AVERAGE_POOLS])[axes](2)
        self.pool = CONVOLUTIONS[axes](width, width, 3, 2, 1) if self.way == "stride" else pool

    def forward(self, x: Tensor) -> Tensor:
        if min(x.shape[2:]) < 4:
            return x
        down = self.pool(x)
        return x + functional.interpolate(down, size=x.shape[2:], mode="nearest") if self.way == "up" else down


class ChannelsLast(Block):
    """Norm, linear and activation on (n, *grid, k), as Swin and ConvNeXt do."""

    def build(self, rng: random.Random, width: int, axes: int) -> None:
        self.norm, self.linear, self.act = nn.LayerNorm(width), nn.Linear(width, width), rng.choice(ACTIVATIONS)()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.linear(self.norm(x.movedim(1, -1)))).movedim(-1, 1) + x


class Tokens(Block):
    """A transformer layer over the grid, with or without a class token; modules see (n, l, k) or (l, n, k)."""

    double = True

    def build(self, rng: random.Random, width: int, axes: int) -> None:
        self.first = rng.random() < 0.7
        self.layer = nn.TransformerEncoderLayer(width, 2, 8, 0.1, batch_first=self.first, norm_first=rng.random() < 0.5)
        self.prefix = nn.Parameter(torch.randn(1, 1, width)) if rng.random() < 0.5 else None

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2).transpose(1, 2)
        if self.prefix is not None:
            tokens = torch.cat([self.prefix.expand(len(x), -1, -1), tokens], dim=1)
        tokens = self.layer(tokens) if self.first else self.layer(tokens.transpose(0, 1)).transpose(0, 1)
        if self.prefix is not None:
            tokens = tokens[:, 1:] + tokens[:, :1]
        return tokens.transpose(1, 2).reshape(x.shape)


class Recurrent(Block):
    """A GRU over the grid: a module that returns a tuple."""

    double = True

    def build(self, rng: random.Random, width: int, axes: int) -> None:
        self.gru = nn.GRU(width, width, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        tokens, _ = self.gru(x.flatten(2).transpose(1, 2))
        return tokens.transpose(1, 2).reshape(x.shape)


class Frequencies(Block):
    """Filters in the frequency domain with complex weights."""

    double = True

    def build(self, rng: random.Random, width: int, axes: int) -> None:
        self.filter = nn.Parameter(torch.rand(width, 2))

    def forward(self, x: Tensor) -> Tensor:
        weights = per_channel(torch.view_as_complex(self.filter), x.to(torch.complex64))
        return torch.fft.ifft(torch.fft.fft(x) * weights).real.contiguous()


class Counts(Block):
    """Counts its calls in a buffer, which may scale the output."""

    traits = frozenset({"changes itself"})

    def build(self, rng: random.Random, width: int, axes: int) -> None:
        self.register_buffer("calls", torch.ones(()), persistent=rng.random() < 0.5)
        self.register_buffer("unused", None)
        self.way = rng.choice(["in place", "replaced", "data"])

    def forward(self, x: Tensor) -> Tensor:
        if self.way == "in place":
            self.calls += 1
        elif self.way == "replaced":
            self.calls = self.calls + 1
        else:
            self.calls.data.add_(1)
        return x / self.calls.to(x.dtype)


class MovingAverage(Block):
    """Keeps a moving average of its features and subtracts it."""

    traits = frozenset({"changes itself", "mixes images"})

    def build(self, rng: random.Random, width: int, axes: int) -> None:
        self.register_buffer("average", torch.randn(width))
        self.way = rng.choice(["detached", "attached", "no_grad", "out"])

    def forward(self, x: Tensor) -> Tensor:
        mean = x.flatten(2).mean(dim=(0, 2)).to(self.average.dtype)
        if self.way == "no_grad":
            with torch.no_grad():
                self.average.mul_(0.9).add_(mean, alpha=0.1)
        elif self.way == "out":
            self.average = self.average * 0.9 + mean.detach() * 0.1
        else:
            self.average.mul_(0.9).add_(mean if self.way == "attached" else mean.detach(), alpha=0.1)
        return x - per_channel(self.average, x)


class Remembers(Block):
    """Keeps tensors in plain attributes, lists and dicts."""

    writes_attributes = ("last", "cache", "history")

    def build(self, rng: random.Random, width: int, axes: int) -> None:
        self.scale = nn.Parameter(torch.rand(width))
        self.last: Tensor | None = None
        self.cache: dict[str, Tensor] = {}
        self.history: list[dict[str, Tensor]] = []

    def forward(self, x: Tensor) -> Tensor:
        self.last = x
        if "scale" not in self.cache:
            self.cache["scale"] = self.scale * 2
        self.history.append({"mean": x.mean()})
        return x * per_channel(self.cache["scale"], x)


class ClipsWeights(Block):
    """Bounds its own weights in forward."""

    traits = frozenset({"changes itself", "writes to weights"})

    def build(self, rng: random.Random, width: int, axes: int) -> None:
        super().build(rng, width, axes)
        self.through_data = rng.random() < 0.5

    def forward(self, x: Tensor) -> Tensor:
        if self.through_data:
            self.conv.weight.data.clamp_(-0.1, 0.1)
        else:
            with torch.no_grad():
                self.conv.weight.renorm_(2, 0, 0.5)
        return self.conv(x)


class TrainsStatistics(Block):
    """Normalizes with the batch's statistics in evaluation mode too, and records them."""

    traits = frozenset({"changes itself", "mixes images"})

    def build(self, rng: random.Random, width: int, axes: int) -> None:
        self.norm = NORMS[axes](width)
        self.way = rng.choice(["function", "train", "no statistics"])
        if self.way == "no statistics":
            self.norm.track_running_stats = False

    def forward(self, x: Tensor) -> Tensor:
        if self.way == "function":
            return functional.batch_norm(x, self.norm.running_mean, self.norm.running_var, training=True)
        if self.way == "train":
            self.norm.train()
        return self.norm(x)


class Draws(Block):
    """Draws random numbers of torch in evaluation mode."""

    traits = frozenset({"mixes images", "draws"})

    def build(self, rng: random.Random, width: int, axes: int) -> None:
        self.way = rng.choice(["dropout", "noise"])

    def forward(self, x: Tensor) -> Tensor:
        return functional.dropout(x, 0.2, True) if self.way == "dropout" else x + torch.randn_like(x) * 0.1


class DrawsElsewhere(Block):
    """Draws random numbers of NumPy or Python, which are documented not to be restored."""

    traits = frozenset({"mixes images", "draws elsewhere"})

    def build(self, rng: random.Random, width: int, axes: int) -> None:
        self.way = rng.choice(["numpy", "python"])

    def forward(self, x: Tensor) -> Tensor:
        return x * (1 + (np.random.rand() if self.way == "numpy" else random.random()))


class Dropping(Block):
    """Dropout and stochastic depth, which evaluation mode turns off."""

    def build(self, rng: random.Random, width: int, axes: int) -> None:
        super().build(rng, width, axes)
        self.drop = nn.Dropout(0.5, inplace=rng.random() < 0.5)

    def forward(self, x: Tensor) -> Tensor:
        if self.training and torch.rand(()) < 0.5:
            return x
        return x + self.drop(self.conv(x))


class Quiet(Block):
    """A convolution that the model's own code runs without grad."""

    def build(self, rng: random.Random, width: int, axes: int) -> None:
        super().build(rng, width, axes)
        self.way = rng.choice(["no_grad", "no_grad", "inference_mode", "set_grad_enabled"])

    def forward(self, x: Tensor) -> Tensor:
        if self.way == "set_grad_enabled":
            with torch.set_grad_enabled(self.training):
                return self.conv(x)
        with torch.no_grad() if self.way == "no_grad" else torch.inference_mode():
            out = self.conv(x).relu()
        return out.clone() if self.way == "inference_mode" else out


class Checkpointed(Block):
    def build(self, rng: random.Random, width: int, axes: int) -> None:
        super().build(rng, width, axes)
        self.norm = NORMS[axes](width)
        self.reentrant = rng.random() < 0.3

    def run(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x)).relu_()

    def forward(self, x: Tensor) -> Tensor:
        return checkpoint(self.run, x, use_reentrant=self.reentrant)


class Autocast(Block):
    """A region in bfloat16, whose rounding depends on the size of the batch."""

    traits = frozenset({"mixes images"})

    def build(self, rng: random.Random, width: int, axes: int) -> None:
        super().build(rng, width, axes)
        self.enabled = rng.random() < 0.7

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=self.enabled):
            out = self.conv(x)
        return out.to(x.dtype)


class HigherPrecision(Block):
    def forward(self, x: Tensor) -> Tensor:
        return (self.conv(x).double().square() + 1).sqrt().to(x.dtype)


class InPlaceChain(Block):
    """Writes over what autograd has saved, and over views."""

    def build(self, rng: random.Random, width: int, axes: int) -> None:
        super().build(rng, width, axes)
        self.way = rng.choice(["relu mul", "sigmoid mul", "view", "chunk", "index", "add relu"])

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv(x)
        if self.way == "relu mul":
            return out.relu_().mul_(2)
        if self.way == "sigmoid mul":
            return out.sigmoid_().mul_(3)
        if self.way == "view":
            out[:, :2].mul_(2)
            return out
        if self.way == "chunk":
            left, right = out.split([out.shape[1] // 2, out.shape[1] - out.shape[1] // 2], dim=1)
            return torch.cat([left.relu(), right.tanh()], dim=1)
        if self.way == "index":
            out[:, 0] = 0
            return out
        return out.add_(1).relu_()


class Mapped(Block):
    """Uses torch.func inside."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.func.vmap(lambda image: image * 2 - image.mean())(self.conv(x))


class Parametrized(Block):
    """A convolution whose weight is computed at each call."""

    def build(self, rng: random.Random, width: int, axes: int) -> None:
        super().build(rng, width, axes)
        way = (
            torch.nn.utils.parametrizations.weight_norm
            if rng.random() < 0.5
            else nn.utils.parametrizations.spectral_norm
        )
        way(self.conv)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class Grows(Block):
    """Makes a module, a buffer or a parameter at its first call."""

    traits = frozenset({"changes itself"})

    def build(self, rng: random.Random, width: int, axes: int) -> None:
        super().build(rng, width, axes)
        self.way = rng.choice(["buffer", "module"])

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        if self.way == "buffer":
            if "grown" not in self._buffers:
                self.register_buffer("grown", torch.ones((), dtype=x.dtype))
            return x * self._buffers["grown"]
        self.grown = nn.ModuleList([nn.ReLU(), nn.Linear(2, 2)])
        return self.grown[0](x)


class OddBuffers(Block):
    """Idle buffers of unusual kinds."""

    def build(self, rng: random.Random, width: int, axes: int) -> None:
        super().build(rng, width, axes)
        self.register_buffer("sparse", torch.eye(3).to_sparse())
        self.register_buffer("expanded", torch.full((1, 1), torch.nan).expand(2, 3))
        self.register_buffer("count", torch.tensor(3))
        self.register_buffer("empty", torch.zeros(0, 2))
        self.register_buffer("mask", torch.tensor([True, False]))
        self.register_buffer("view", torch.arange(6.0)[1::2])

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class Compiled(Block):
    """A convolution that torch would compile."""

    def build(self, rng: random.Random, width: int, axes: int) -> None:
        super().build(rng, width, axes)
        if rng.random() < 0.5:
            self.conv = torch.compile(self.conv, backend="eager")
        else:
            self.conv.compile(backend="eager")

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class Ticking(Block):
    """Ticks in forward and, if there is a graph, in backward."""

    def forward(self, x: Tensor) -> Tensor:
        FUSE.tick()
        out = self.conv(x)
        if out.requires_grad:
            out.register_hook(FUSE.tick)
        FUSE.tick()
        return out.relu()


BLOCKS: dict[type[Block], int] = {
    Plain: 14,
    Residual: 8,
    Branches: 4,
    Shared: 3,
    Gate: 3,
    Resized: 8,
    ChannelsLast: 4,
    Tokens: 3,
    Recurrent: 1,
    Frequencies: 1,
    Counts: 2,
    MovingAverage: 2,
    Remembers: 2,
    ClipsWeights: 1,
    TrainsStatistics: 2,
    Draws: 2,
    DrawsElsewhere: 1,
    Dropping: 3,
    Quiet: 2,
    Checkpointed: 2,
    Autocast: 1,
    HigherPrecision: 1,
    InPlaceChain: 4,
    Mapped: 1,
    Parametrized: 1,
    Grows: 1,
    OddBuffers: 1,
    Ticking: 5,
}
