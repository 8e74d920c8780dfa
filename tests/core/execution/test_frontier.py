"""Layers whose own tensors are kept instead of copies, even if the model writes to them later."""

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from camlens.core.capture import capture
from camlens.core.execution.frontier import Frontier
from tests.nets import images, seeded


class Writes(nn.Module):
    """Writes to what its second convolution returned: itself, through a view, or not at all."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way = way
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.second = nn.Conv2d(4, 4, 3, padding=1)
        self.head = nn.Linear(4, 5)

    def forward(self, inputs: Tensor) -> Tensor:
        seen = self.second(self.first(inputs))
        if self.way == "itself":
            seen.relu_()
        elif self.way == "view":
            seen.flatten(2)[:, :2].mul_(3)
        return self.head(seen.sigmoid().mean(dim=(2, 3)))


def wanted(model: Writes, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Second layer's output and the gradient of class 1 there, by hand."""
    with torch.no_grad():
        seen = model.second(model.first(inputs))
    leaf = seen.clone().requires_grad_()
    after = leaf.clone()
    if model.way == "itself":
        after = after.relu()
    elif model.way == "view":
        after = torch.cat([after[:, :2] * 3, after[:, 2:]], dim=1)
    score = model.head(after.sigmoid().mean(dim=(2, 3)))[:, 1].sum()
    return seen, torch.autograd.grad(score, leaf)[0]


@pytest.mark.parametrize("way", ["itself", "view", "not at all"])
@pytest.mark.parametrize("time", ["first", "second"])
def test_captured_outputs_are_what_the_layer_returned(way: str, time: str) -> None:
    model, inputs = seeded(lambda: Writes(way)), images()
    expected, gradient = wanted(model, inputs)
    for _ in range(1 if time == "first" else 2):
        seen = capture(model, inputs, ["first", "second"], 1)
    assert_close(seen.activations["second"], expected)
    assert_close(seen.gradients["second"][:, 0], gradient)


def test_a_layer_that_is_written_to_costs_a_second_run_only_once() -> None:
    model, inputs = seeded(lambda: Writes("itself")), images()
    runs = []
    handle = model.first.register_forward_pre_hook(lambda module, args: runs.append(1))
    try:
        capture(model, inputs, ["first", "second"], 1)
        assert len(runs) == 2
        capture(model, inputs, ["first", "second"], 1)
        assert len(runs) == 3
    finally:
        handle.remove()


def test_layers_that_are_not_written_to_are_not_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    model, inputs = seeded(lambda: Writes("not at all")), images()
    kept: list[Tensor] = []
    check = Frontier.check

    def noted(self: Frontier) -> None:
        kept.extend(self.kept.values())
        check(self)

    monkeypatch.setattr(Frontier, "check", noted)
    capture(model, inputs, ["first", "second"], 1)
    assert [type(tensor.grad_fn).__name__ for tensor in kept] == ["NoneType", "ConvolutionBackward0"]


class Gives(nn.Module):
    """Adds a map of its own, which a module returns without computing anything."""

    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.values = nn.Parameter(torch.randn(1, 3, 6, 6))

        def forward(self) -> Tensor:
            return self.values

    def __init__(self) -> None:
        super().__init__()
        self.own = self.Own()
        self.head = nn.Linear(3, 5)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head((inputs + self.own()).tanh().mean(dim=(2, 3)))


def test_a_layer_that_returns_its_parameter_is_where_the_graph_begins() -> None:
    model, inputs = seeded(Gives), torch.randn(1, 3, 6, 6, generator=torch.Generator().manual_seed(1))
    seen = capture(model, inputs, "own", 2)
    score = model(inputs)[0, 2]
    assert_close(seen.gradients["own"][:, 0], torch.autograd.grad(score, model.own.values)[0])
