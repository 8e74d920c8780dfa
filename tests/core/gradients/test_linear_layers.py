"""The gradient behind the linear layers that end a network, read off, is the one that autograd multiplies out."""

import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from camlens.core.gradients import linear_layers
from camlens.core.gradients.linear_layers import past_linear_layers
from tests.nets import seeded

WIDTH = 24


class Ending(nn.Module):
    """Three linear layers, with something between each two."""

    def __init__(self, between: Callable[[Tensor], Tensor], *, skip: bool = False, bias: bool = True) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(18, WIDTH, bias=bias), nn.Linear(WIDTH, WIDTH, bias=bias)
        self.last = nn.Linear(WIDTH, 5, bias=bias)
        self.between, self.skip = between, skip

    def forward(self, features: Tensor) -> Tensor:
        first = self.between(self.first(features.flatten(1)))
        second = self.between(self.second(first))
        return self.last(second + first if self.skip else second)


def features(images: int) -> Tensor:
    return torch.randn(images, 2, 3, 3, generator=torch.Generator().manual_seed(5)).requires_grad_()


def both(model: nn.Module, kept: Tensor, classes: list[int]) -> tuple[list[str], list[Tensor], list[Tensor]]:
    """Where the pass begins for each class, and the gradients read off and by autograd alone."""
    logits = model(kept)
    starts = past_linear_layers(logits, torch.tensor([classes] * len(kept)))
    assert starts is not None
    read = [torch.autograd.grad(edge, kept, along, retain_graph=True)[0] for edge, along in starts]
    plain = [torch.autograd.grad(logits[:, c].sum(), kept, retain_graph=True)[0] for c in classes]
    return [edge.node.name() for edge, _ in starts], read, plain


@pytest.fixture
def small_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear_layers, "_LARGE", 1)


CASES = [
    (nn.ReLU(), {}, 1, "ViewBackward0"),
    (nn.ReLU(inplace=True), {}, 1, "ViewBackward0"),
    (nn.ReLU(), {"bias": False}, 1, "ViewBackward0"),
    (nn.ReLU(), {}, 3, "ReluBackward0"),  # several images: reading the weights once for all is faster
    (nn.ReLU(), {"skip": True}, 1, "AddBackward0"),  # no chain
    (nn.Hardswish(), {}, 1, "HardswishBackward0"),
    (nn.Identity(), {}, 1, "AddmmBackward0"),  # no zeros to skip
]


@pytest.mark.parametrize(("between", "options", "images", "begins"), CASES)
@pytest.mark.usefixtures("small_counts")
def test_the_pass_begins_as_far_on_as_is_sure(between: nn.Module, options: dict, images: int, begins: str) -> None:
    model = seeded(lambda: Ending(between, **options)).eval()
    names, read, plain = both(model, features(images), [1, 4])
    assert names == [begins, begins]
    for ours, theirs in zip(read, plain, strict=True):
        assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
        assert theirs.any()


@pytest.mark.parametrize("width", [18, 17])
@pytest.mark.usefixtures("small_counts")
def test_a_gradient_of_zeros_alone_stays_zero(width: int) -> None:
    zeros = linear_layers._product_of_non_zeros(torch.zeros(6), torch.ones(6, width))
    assert zeros.shape == (width,)
    assert not zeros.any()


def test_small_matrices_are_left_to_autograd() -> None:
    model = seeded(lambda: Ending(nn.ReLU())).eval()
    names, _, _ = both(model, features(1), [1])
    assert names == ["AddmmBackward0"]


def test_scores_that_no_linear_layer_gives_begin_at_themselves() -> None:
    kept = features(1)
    assert past_linear_layers(kept.flatten(1) * 2, torch.tensor([[0]])) is None
    assert past_linear_layers(seeded(lambda: Ending(nn.ReLU()))(kept), None) is None


def test_the_first_map_of_a_small_network_does_not_wait_for_sympy() -> None:
    code = (
        "import sys, torch\n"
        "from camlens import explain\n"
        "from tests.core.gradients.test_linear_layers import Ending, linear_layers\n"
        "net = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3, padding=1), Ending(torch.nn.ReLU())).eval()\n"
        "maps = [explain(net, torch.ones(1, 1, 3, 3), layers='0', target=1).maps['0'], 'sympy' in sys.modules]\n"
        "linear_layers._LARGE = 1\n"
        "maps += [explain(net, torch.ones(1, 1, 3, 3), layers='0', target=1).maps['0'], 'sympy' in sys.modules]\n"
        "print(maps[1], maps[3], torch.allclose(maps[0], maps[2]), bool(maps[0].any()))"
    )
    answer = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True)
    assert answer.stdout == "False True True True\n", answer.stderr
