"""Forgetting reaches every parameter, in the order of use, and draws from nothing global."""

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from camlens.core.errors import InputError, ModelError
from camlens.metrics.randomisation import (
    copy_of,
    normal_of_same_size,
    randomize,
    recorded_uses,
    restored,
    stages_of,
)
from tests.refusals import refused


class Backwards(nn.Module):
    """Defined from the score upwards, run from the image downwards, with bare parameters and a scale."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 3)
        self.block = Scaled()
        self.token = nn.Parameter(torch.zeros(1, 4))
        self.stem = nn.Linear(5, 4)
        self.unused = nn.Linear(2, 2)
        self.steps = nn.Parameter(torch.tensor([3]), requires_grad=False)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.block(self.stem(inputs) + self.token))


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((4,), 1e-6))
        self.norm = nn.BatchNorm1d(4)

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs + self.gamma * self.norm(inputs)


def built() -> Backwards:
    with torch.random.fork_rng(devices=[]):
        torch.random.set_rng_state(torch.Generator().manual_seed(0).get_state())
        model = Backwards().eval()
    model.block.norm.running_mean = torch.tensor([1.0, 2.0, 3.0, 4.0])
    return model


def order_of(model: nn.Module) -> list[str]:
    with recorded_uses(model) as uses:
        _ = [parameter.shape for parameter in model.parameters()]
        _ = [parameter.sum() for parameter in model.parameters()]
        model(torch.ones(2, 5))
    return uses


def test_parameters_are_noted_in_the_order_in_which_the_forward_pass_uses_them() -> None:
    assert order_of(built()) == [
        "stem.weight", "stem.bias", "token", "block.norm.weight", "block.norm.bias", "block.gamma",
        "head.weight", "head.bias",
    ]  # fmt: skip


def test_stages_go_from_output_to_input_with_unused_parameters_last() -> None:
    model = built()
    names = [stage.name for stage in stages_of(model, order_of(model), None)]
    assert names == ["head", "block", "block.norm", "(the model itself)", "stem", "unused"]
    grouped = stages_of(model, order_of(model), 2)
    assert [stage.name for stage in grouped] == ["head to block.norm", "(the model itself) to unused"]
    assert [one for stage in grouped for one in stage.modules] == [
        "head", "block", "block.norm", "", "stem", "unused",
    ]  # fmt: skip
    assert len(stages_of(model, [], 100)) == 6
    with refused("argument.invalid", InputError, name="stages", value=0):
        stages_of(model, [], 0)


def test_noting_leaves_no_hook_and_changes_no_answer() -> None:
    model = built()
    before = model(torch.ones(2, 5))
    with recorded_uses(model), pytest.raises(RuntimeError):
        model(torch.ones(2, 6))
    assert not model._forward_hooks
    assert not model._forward_pre_hooks
    with recorded_uses(model):
        assert torch.equal(model(torch.ones(2, 5)), before)


def test_forgetting_reaches_every_floating_parameter_also_zeros_and_layer_scales() -> None:
    model, twin = built(), copy_of(built())
    draw = torch.Generator().manual_seed(0)
    for stage in stages_of(twin, [], None):
        randomize(twin, stage, draw)
    pairs = dict(model.named_parameters()), dict(twin.named_parameters())
    for name, parameter in pairs[0].items():
        same = parameter == pairs[1][name]
        assert same.all() if name == "steps" else not same.any(), name
    assert twin.block.norm.running_mean.tolist() == [0] * 4
    assert model.block.norm.running_mean.tolist() == [1, 2, 3, 4]


def test_new_values_are_normal_of_the_size_of_the_old_ones() -> None:
    draw = torch.Generator().manual_seed(0)
    for scale, values in [
        (5.0, torch.full((20000,), 5.0)),
        (0.5, 0.5 * torch.randn(20000, generator=draw)),
        (1e-6, torch.full((20000,), 1e-6)),
        (0.02, torch.zeros(20000)),
    ]:
        drawn = normal_of_same_size(values, draw)
        assert_close(float(drawn.std()) / scale, 1.0, rtol=0.03, atol=0)
        assert abs(float(drawn.mean())) < 0.03 * scale
    half = normal_of_same_size(torch.ones(4, dtype=torch.bfloat16), draw)
    assert half.dtype == torch.bfloat16


def test_a_remembered_stage_comes_back_bit_for_bit_also_after_an_error() -> None:
    model = built()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    stage = stages_of(model, [], 1)[0]

    def interrupted() -> None:
        with restored(model, stage):
            randomize(model, stage, torch.Generator())
            assert not torch.equal(model.token, before["token"])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_tied_weights_stay_tied() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    twin = copy_of(model)
    for stage in stages_of(twin, [], None):
        randomize(twin, stage, torch.Generator())
    assert twin[1].weight is twin[0].weight
    assert not torch.equal(twin[0].weight, model[0].weight)


def test_a_model_that_cannot_be_copied_or_has_nothing_to_forget_is_refused() -> None:
    model = nn.Linear(2, 2)
    model.kept = model.weight * 2
    with refused("model.no-copy", ModelError, type="Linear"):
        copy_of(model)
    with refused("model.no-parameters", ModelError, type="ReLU"):
        stages_of(nn.ReLU(), [], None)
