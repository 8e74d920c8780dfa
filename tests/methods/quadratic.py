"""A model whose gradients are known: Y_t = offset_t + sum linear_t x + 1/2 sum quadratic_t x^2, on 1, 2 or 3 axes."""

import numpy as np
import torch
from torch import Tensor, nn

from camlens.core.capture import Request, capture_session
from camlens.core.execution.session import Session
from camlens.core.probe import InputProbe

SIZES = {1: (7,), 2: (6, 8), 3: (4, 5, 3)}


class Quadratic(nn.Module):
    """Three classes; counts the images that it was run on."""

    def __init__(self, axes: int = 2, *, curved: bool = True, seed: int = 0) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(seed)
        shape = (3, 2, *SIZES[axes])
        self.register_buffer("linear", torch.randn(shape, generator=draw))
        self.register_buffer("quadratic", torch.randn(shape, generator=draw) * curved)
        self.register_buffer("offset", torch.tensor([3.0, -2.0, 0.5]))
        self.batches: list[int] = []

    def forward(self, inputs: Tensor) -> Tensor:
        self.batches.append(len(inputs))
        terms = self.linear * inputs[:, None] + self.quadratic * inputs[:, None].square() / 2
        return terms.flatten(2).sum(dim=2) + self.offset

    def slopes(self, inputs: Tensor) -> Tensor:
        """Gradients (n, 3, 2, *spatial) of the logits."""
        return self.linear + self.quadratic * inputs[:, None]

    def score_of(self, target: int):
        """One logit of one image in float64, as numpy sees it."""
        linear, quadratic = (one[target].double().numpy() for one in (self.linear, self.quadratic))
        offset = float(self.offset[target])

        def score(image: np.ndarray) -> float:
            return float((linear * image + quadratic * image**2 / 2).sum()) + offset

        return score


def pictures(axes: int = 2, count: int = 2) -> Tensor:
    return torch.randn(count, 2, *SIZES[axes], generator=torch.Generator().manual_seed(5))


def probe_of(model: nn.Module, inputs: Tensor, target: object, **settings: object) -> InputProbe:
    """A probe of `inputs`, as the explainer makes it."""
    session = Session(model, inputs)
    generator = torch.Generator().manual_seed(settings.pop("seed", 0))
    return InputProbe(session, capture_session(session, Request(target=target)), generator, **settings)
