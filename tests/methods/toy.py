"""A network of closed forms that answers a Probe's questions without hooks.

    features F_k = relu(sum_c mix_kc * mean over 2-cell blocks of x_c)
    scores   Y_t = sum linear_t F + 1/2 sum quadratic_t F^2 + offset_t

so that dY/dF = linear + quadratic F and the Hessian is diagonal. Works for 1, 2 and 3 axes.
"""

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool1d, avg_pool2d, avg_pool3d

from camlens.core.probe import Probe

_POOLS = {1: avg_pool1d, 2: avg_pool2d, 3: avg_pool3d}


class ToyProbe(Probe):
    """A Probe of the closed-form network; counts the perturbed items that it was asked about."""

    def __init__(self, axes: int = 2, *, images: int = 2, batch_size: int = 3, seed: int = 0) -> None:
        draw = torch.Generator().manual_seed(seed)
        grid = (3, 4, 2)[:axes]
        channels, colours, targets = 4, 3, 2
        self.__dict__.update(
            generator=torch.Generator().manual_seed(seed),
            batch_size=batch_size,
            progress=lambda done, total: self.reports.append((done, total)),
            images=torch.randn(images, colours, *(2 * length for length in grid), generator=draw),
            mix=torch.randn(channels, colours, generator=draw),
            linear=torch.randn(targets, channels, *grid, generator=draw),
            quadratic=torch.randn(targets, channels, *grid, generator=draw),
            offset=torch.tensor([3.0, 2.0]),
            asked=[],
            reports=[],
        )

    def features(self, inputs: Tensor) -> Tensor:
        pooled = _POOLS[inputs.ndim - 2](inputs, 2)
        return torch.einsum("kc,mc...->mk...", self.mix.to(inputs), pooled).relu()

    def score(self, features: Tensor) -> Tensor:
        linear, quadratic = self.linear.to(features), self.quadratic.to(features)
        terms = linear * features[:, None] + quadratic * features[:, None].square() / 2
        return terms.flatten(2).sum(dim=2) + self.offset.to(features)

    def slope(self, features: Tensor) -> Tensor:
        return self.linear + self.quadratic * features[:, None]

    def score_of(self, target: int, *, of_features: bool = False):
        """The target's score in float64, of one image or of one image's features, as numpy sees it."""

        def score(values: np.ndarray) -> float:
            tensor = torch.from_numpy(values)[None]
            return float(self.score(tensor if of_features else self.features(tensor))[0, target])

        return score

    @property
    def inputs(self) -> Tensor:
        return self.images

    @property
    def activations(self) -> Tensor:
        return self.features(self.images)

    @property
    def gradients(self) -> Tensor:
        return self.slope(self.activations)

    @property
    def scores(self) -> Tensor:
        return self.score(self.activations)

    @property
    def layer_captures(self) -> Mapping[str, tuple[Tensor, Tensor]]:
        axes = self.images.ndim - 2
        pool = _POOLS[axes]
        coarse = pool(self.activations, (2, 2, 1)[:axes], ceil_mode=True)
        slopes = torch.stack([pool(one, (2, 2, 1)[:axes], ceil_mode=True) for one in self.gradients.unbind(1)], 1)
        return {"fine": (self.activations, self.gradients), "coarse": (coarse, -slopes)}

    @property
    def input_gradients(self) -> Tensor:
        grid = (slice(None),) * 3 + tuple(slice(0, length) for length in self.images.shape[2:])
        return torch.cat([self.images[:, None].sin(), self.images[:, None].cos()], dim=1)[grid]

    def bias_terms(self) -> Iterator[tuple[Tensor, Tensor]]:
        yield torch.tensor([1.0, -2.0, 0.0, 0.5]), self.gradients
        yield torch.tensor([4.0, 1.0]), torch.randn(len(self.images), 2, 2)

    def input_scores(self, inputs: Tensor, row: int) -> Tensor:
        assert 0 < len(inputs) <= self.batch_size
        self.asked.append((row, len(inputs)))
        return self.score(self.features(inputs))

    def feature_scores(self, features: Tensor, row: int) -> Tensor:
        assert 0 < len(features) <= self.batch_size
        self.asked.append((row, len(features)))
        return self.score(features)

    def capture_inputs(self, inputs: Tensor, row: int) -> tuple[Tensor, Tensor]:
        assert 0 < len(inputs) <= self.batch_size
        self.asked.append((row, len(inputs)))
        return self.features(inputs), self.slope(self.features(inputs))

    def curvature(self, directions: Tensor) -> Tensor:
        return self.quadratic * directions[:, None]
