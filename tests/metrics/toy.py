"""A closed-form score, as metrics and as slow references call it."""

import numpy as np
import torch
from torch import Tensor


class ToyScore:
    """Y = sum w x (+ sum (v x)^2 / 2), as a probability if asked for; every image has its own weights.

    Counts how many variants it was asked about, image by image.
    """

    def __init__(self, *size: int, images: int = 2, linear: bool = False, softmax: bool = True, seed: int = 0) -> None:
        draw = torch.Generator().manual_seed(seed)
        self.linear, self.softmax = linear, softmax
        self.inputs = torch.randn(images, 3, *size, generator=draw)
        self.weights = torch.randn(images, 3, *size, generator=draw) / self.inputs[0].numel() ** 0.5
        self.bends = torch.randn(images, 3, *size, generator=draw) / self.inputs[0].numel() ** 0.5
        self.maps = torch.rand(images, *size, generator=draw)
        self.asked = [0] * images

    def __call__(self, inputs: Tensor, row: int) -> Tensor:
        self.asked[row] += len(inputs)
        value = (inputs * self.weights[row].to(inputs)).flatten(1).sum(dim=1)
        if not self.linear:
            value = value + (inputs * self.bends[row].to(inputs)).square().flatten(1).sum(dim=1) / 2
        return value.sigmoid() if self.softmax else value

    def of(self, row: int):
        """The score of one image in float64, as numpy sees it."""

        def score(image: np.ndarray) -> float:
            return float(self(torch.from_numpy(image)[None], row)[0])

        return score

    def expected(self, compute, *options: object, maps: Tensor | None = None) -> Tensor:
        """What a reference `compute(score, image, map, *options)` gives for every image."""
        chosen = self.maps if maps is None else maps
        values = [
            compute(self.of(row), self.inputs[row].double().numpy(), chosen[row].double().numpy(), *options)
            for row in range(len(self.inputs))
        ]
        return torch.tensor(values, dtype=torch.float32)
