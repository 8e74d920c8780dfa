"""Sanity checks: the right maps are compared, and the user's model and all random state stay as they are."""

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from camlens.core.errors import InputError
from camlens.metrics.sanity import parameter_randomisation, random_logit_similarity, randomisation_curve
from camlens.metrics.similarity import spearman, ssim
from tests.metrics import reference
from tests.refusals import refused
from tests.twins import twin_of

CLASSES = torch.tensor([2, 0])


class Net(nn.Module):
    """A head of two convolutions whose outputs are summed into classes; the token is bare and zero."""

    def __init__(self) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(0)
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.token = nn.Parameter(torch.zeros(4, 8, 8))
        self.norm = nn.BatchNorm2d(4)
        self.second = nn.Conv2d(4, 3, 1)
        with torch.no_grad():
            for parameter in self.parameters():
                if parameter is not self.token:
                    parameter.copy_(torch.randn(parameter.shape, generator=draw))

    def forward(self, inputs: Tensor) -> Tensor:
        return self.second(self.norm(self.first(inputs) + self.token).relu())


def maps_of(model: nn.Module, inputs: Tensor) -> Tensor:
    """The class's own map: what the model adds up for it, place by place."""
    model.eval()
    return model(inputs)[torch.arange(len(inputs)), CLASSES]


def images() -> Tensor:
    return torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def class_maps(inputs: Tensor, classes: Tensor) -> Tensor:
    return Net().eval()(inputs)[torch.arange(len(inputs)), classes].detach()


@twin_of("random_logit_similarity")
def test_random_logit_similarity_compares_the_class_with_another_one() -> None:
    inputs, asked = images(), []

    def explain(inputs: Tensor, classes: Tensor) -> Tensor:
        asked.append(classes.tolist())
        return class_maps(inputs, classes)

    result = random_logit_similarity(explain, inputs, CLASSES, number_of_classes=3)
    assert asked[0] == [2, 0]
    assert all(a != b and 0 <= b < 3 for a, b in zip(*asked, strict=True))
    every = Net().eval()(inputs).detach().double().numpy()
    wanted = [
        reference.random_logit_similarity(maps, mine, other) for maps, mine, other in zip(every, *asked, strict=True)
    ]
    assert_close(result, torch.tensor(wanted, dtype=torch.float32))


def test_every_other_class_can_be_drawn_and_the_draw_is_seeded() -> None:
    def other(seed: int) -> int:
        asked = []

        def explain(inputs: Tensor, classes: Tensor) -> Tensor:
            asked.append(int(classes[0]))
            return torch.rand(len(inputs), 4)

        generator = torch.Generator().manual_seed(seed)
        random_logit_similarity(
            explain, torch.ones(1, 3, 4), torch.tensor([1]), number_of_classes=4, generator=generator
        )
        return asked[1]

    assert {other(seed) for seed in range(30)} == {0, 2, 3}
    assert other(5) == other(5)


def test_a_method_that_does_not_ask_for_a_class_has_similarity_one() -> None:
    result = random_logit_similarity(lambda inputs, classes: inputs.mean(dim=1), images(), CLASSES, number_of_classes=3)
    assert_close(result, torch.ones(2))


def test_classes_beyond_the_number_of_classes_are_refused() -> None:
    for number in (1, 2):
        with refused("argument.invalid", InputError, name="number_of_classes", value=number):
            random_logit_similarity(class_maps, images(), CLASSES, number_of_classes=number)


@pytest.mark.parametrize("order", ["cascading", "independent"])
@twin_of("parameter_randomisation")
def test_the_curve_compares_the_map_with_that_of_each_stage(order: str) -> None:
    seen: list[Tensor] = []

    def explain(model: nn.Module, inputs: Tensor) -> Tensor:
        seen.append(maps_of(model, inputs).detach().clone())
        return seen[-1]

    curve = randomisation_curve(Net(), explain, images(), order=order)
    assert list(curve) == ["second", "norm", "(the model itself)", "first"]
    assert_close(torch.stack(list(curve.values())), torch.stack([spearman(seen[0], one) for one in seen[1:]]))
    result = parameter_randomisation(Net(), maps_of, images(), order=order)
    wanted = [reference.parameter_randomisation([one[row].double().numpy() for one in seen]) for row in range(2)]
    assert_close(result, torch.tensor(wanted, dtype=torch.float32))
    assert (result < 0.9).all()


def forgotten(order: str) -> list[dict[str, bool]]:
    """Stage by stage, which parameters differ from the model's own."""
    model, changed = Net(), []

    def explain(twin: nn.Module, inputs: Tensor) -> Tensor:
        pairs = zip(model.named_parameters(), twin.parameters(), strict=True)
        changed.append({name: not torch.equal(own, other) for (name, own), other in pairs})
        return maps_of(twin, inputs)

    randomisation_curve(model, explain, images(), order=order)
    return changed


def test_cascading_ends_with_all_parameters_randomized_including_bare_ones() -> None:
    changed = forgotten("cascading")
    assert not any(changed[0].values())
    assert [sum(stage.values()) for stage in changed] == [0, 2, 4, 5, 7]
    assert changed[3]["token"]


def test_independent_forgets_one_stage_at_a_time() -> None:
    changed = forgotten("independent")
    forgot = [{name for name, differs in stage.items() if differs} for stage in changed]
    assert forgot == [
        set(), {"second.weight", "second.bias"}, {"norm.weight", "norm.bias"}, {"token"},
        {"first.weight", "first.bias"},
    ]  # fmt: skip


def test_the_users_model_and_all_random_state_stay_bit_for_bit() -> None:
    model = Net().train()
    model.first.weight.grad = torch.ones_like(model.first.weight)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    parameter_randomisation(model, maps_of, images())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model.training
    assert torch.equal(model.first.weight.grad, torch.ones_like(model.first.weight))
    assert not model._forward_hooks
    assert torch.equal(torch.get_rng_state(), state)


def test_randomisation_is_seeded() -> None:
    first = parameter_randomisation(Net(), maps_of, images())
    assert torch.equal(first, parameter_randomisation(Net(), maps_of, images()))
    other = parameter_randomisation(Net(), maps_of, images(), generator=torch.Generator().manual_seed(1))
    assert not torch.equal(first, other)


def test_a_map_that_ignores_the_model_fails_the_check() -> None:
    result = parameter_randomisation(Net(), lambda model, inputs: inputs.mean(dim=1), images(), similarity=ssim)
    assert_close(result, torch.ones(2))


def test_stages_whose_map_says_nothing_are_left_out_of_the_mean() -> None:
    calls = []

    def explain(model: nn.Module, inputs: Tensor) -> Tensor:
        calls.append(1)
        return maps_of(model, inputs) * (len(calls) != 2)

    curve = randomisation_curve(Net(), explain, images())
    assert curve["second"].isnan().all()
    calls.clear()
    result = parameter_randomisation(Net(), explain, images())
    assert_close(result, torch.stack([*curve.values()][1:]).mean(dim=0))
    assert parameter_randomisation(Net(), lambda m, i: torch.zeros(2, 4, 4), images()).isnan().all()


def test_stages_can_be_limited_and_an_unknown_order_is_refused() -> None:
    curve = randomisation_curve(Net(), maps_of, images(), stages=2)
    assert list(curve) == ["second to norm", "(the model itself) to first"]
    with pytest.raises((InputError, TypeError)):
        randomisation_curve(Net(), maps_of, images(), order="upwards")
