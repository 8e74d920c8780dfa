"""Guided backpropagation and DeepLIFT: references, captum on clean models, and models that it gets wrong."""

import captum.attr
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.testing import assert_close

from camlens import ModelError, explain
from camlens.targets import ClassScore, Probability
from tests.methods import reference
from tests.nets import ResidualNet, TinyVit, images, plain_cnn, seeded
from tests.refusals import refused
from tests.twins import twin_of

pytestmark = pytest.mark.filterwarnings("ignore::camlens.core.errors.EvidenceWarning")

TARGETS = [ClassScore(0), ClassScore(1)]


class Dense(nn.Module):
    """Two hidden layers, rectified by modules, by one module called twice, or by functions."""

    def __init__(self, style: str) -> None:
        super().__init__()
        self.first = nn.Linear(2 * 3 * 4, 8, bias=False)
        self.second = nn.Linear(8, 6, bias=False)
        self.last = nn.Linear(6, 3, bias=False)
        self.style = style
        self.relu = nn.ReLU(inplace=True)
        self.other = nn.ReLU()

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.first(inputs.flatten(1))
        if self.style == "modules":
            return self.last(self.other(self.second(self.relu(hidden))))
        if self.style == "reused":
            return self.last(self.relu(self.second(self.relu(hidden))))
        if self.style == "written":
            hidden = hidden + 0
            hidden.relu_()
            return self.last(functional.relu(self.second(hidden), inplace=True))
        return self.last(torch.relu(self.second(functional.relu(hidden))))


STYLES = ("modules", "reused", "functions", "written")


def dense(style: str) -> Dense:
    return seeded(lambda: Dense(style))  # type: ignore[return-value]


def weights(model: Dense, target: int) -> list:
    layers = [model.first.weight, model.second.weight, model.last.weight[target]]
    return [weight.detach().double().numpy() for weight in layers]


@pytest.mark.parametrize("style", STYLES)
@twin_of("guidedbackprop")
def test_guided_backpropagation_equals_its_reference_for_all_forms_of_relu(style: str) -> None:
    model, inputs = dense(style), images(2, size=(3, 4), channels=2)
    found = explain(model, inputs, method="guidedbackprop", target=TARGETS)
    for row, image in enumerate(inputs):
        for target in range(2):
            back = reference.guided_backprop(image.flatten().double().numpy(), weights(model, target))
            expected = torch.from_numpy(back).view(2, 3, 4).abs().amax(dim=0)
            assert_close(found.maps["input"][row, target].double(), expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("style", STYLES)
@twin_of("deeplift")
def test_deeplift_equals_its_reference_for_all_forms_of_relu(style: str) -> None:
    model, inputs = dense(style), images(2, size=(3, 4), channels=2)
    found = explain(model, inputs, method="deeplift", target=TARGETS, options={"baseline": -0.3})
    for row, image in enumerate(inputs):
        for target in range(2):
            flat = image.flatten().double().numpy()
            parts = reference.deeplift(flat, torch.full_like(image, -0.3).flatten().double().numpy(),
                                       weights(model, target))  # fmt: skip
            expected = torch.from_numpy(parts).view(2, 3, 4).sum(dim=0)
            assert_close(found.maps["input"][row, target].double(), expected, rtol=1e-3, atol=1e-6)
    assert_close(found.details["completeness_gap"], torch.zeros(2, 2), rtol=0, atol=1e-5)


@pytest.mark.peers
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_both_equal_captum_called_directly_on_a_model_that_it_can_hook() -> None:
    model, inputs = seeded(plain_cnn), images(2)
    clean = seeded(plain_cnn)
    for module in clean.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    guided = explain(model, inputs, method="guidedbackprop", target=3).maps["input"][:, 0]
    theirs = captum.attr.GuidedBackprop(clean).attribute(inputs.clone().requires_grad_(), target=3)
    assert_close(guided, theirs.detach().abs().amax(dim=1), rtol=1e-4, atol=1e-7)
    lifted = explain(model, inputs, method="deeplift", target=3).maps["input"][:, 0]
    theirs = captum.attr.DeepLift(clean).attribute(inputs.clone().requires_grad_(), target=3)
    assert_close(lifted, theirs.detach().sum(dim=1), rtol=1e-3, atol=1e-6)


def test_a_residual_network_that_calls_its_relu_twice_is_explained_and_adds_up() -> None:
    model, inputs = seeded(ResidualNet), images(2)
    found = explain(model, inputs, method="deeplift", target=1)
    with torch.no_grad():
        change = model(inputs)[:, 1] - model(torch.zeros_like(inputs))[:, 1]
    assert_close(found.maps["input"].flatten(1).sum(dim=1), change, rtol=1e-3, atol=1e-5)


def test_modules_called_twice_have_a_rule_for_each_call() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second, self.last = nn.Linear(12, 9), nn.Linear(9, 9), nn.Linear(9, 2)
            self.squash = nn.Tanh()

        def forward(self, inputs: Tensor) -> Tensor:
            return self.last(self.squash(self.second(self.squash(self.first(inputs.flatten(1))))))

    model, inputs = seeded(Twice), 2 * images(1, size=(4,))
    found = explain(model, inputs, method="deeplift", target=0)
    assert float(found.details["completeness_gap"]) < 1e-5


def test_a_nonlinearity_without_a_rule_is_refused() -> None:
    class Curved(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            return inputs.flatten(1).pow(3).sum(dim=1, keepdim=True)

    with refused("model.not-additive", ModelError, type="Curved"):
        explain(Curved(), images(1), method="deeplift", target=0)


def test_a_model_without_relu_has_no_guided_backpropagation() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(768, 4), nn.GELU(), nn.Linear(4, 2))
    with refused("model.no-relu", ModelError, type="Sequential"):
        explain(model, images(1), method="guidedbackprop", target=0)


def test_a_model_that_cannot_be_copied_is_refused_with_the_reason() -> None:
    class Locked(nn.Sequential):
        def __deepcopy__(self, memo: object) -> nn.Module:
            raise TypeError("there is only one of me")

    model = Locked(nn.Flatten(), nn.Linear(768, 2), nn.ReLU())
    with refused("model.no-copy", ModelError, type="Locked"):
        explain(model, images(1), method="guidedbackprop", target=0)


def test_deeplift_under_autocast_is_deeplift() -> None:
    model, inputs = seeded(plain_cnn), images(1)
    wanted = explain(model, inputs, method="deeplift", target=TARGETS)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = explain(model, inputs, method="deeplift", target=TARGETS)
    assert_close(found.maps["input"], wanted.maps["input"])


@pytest.mark.parametrize("target", [0, Probability(0)])
def test_deeplift_of_a_probability_says_to_explain_the_logits(target: object) -> None:
    model = seeded(plain_cnn)
    probabilities = nn.Sequential(*model, nn.Softmax(dim=1)) if target == 0 else model
    with pytest.raises(ModelError) as refused:
        explain(probabilities, 4 * images(1), method="deeplift", target=target)
    assert refused.value.code == "model.explain-logits"


def test_deeplift_refuses_nonlinearities_whose_images_lie_along_another_axis() -> None:
    model = seeded(lambda: TinyVit(prefix=1, sequence=True))
    with pytest.raises(ModelError) as caught:
        explain(model, images(1), method="deeplift", target=1)
    assert caught.value.code == "model.no-rule"


class ScaledByCalls(nn.Module):
    """Divides by the number of its calls."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.relu, self.head = nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Linear(4, 5)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, inputs: Tensor) -> Tensor:
        self.calls += 1
        return self.head(self.relu(self.conv(inputs)).mean(dim=(2, 3)) / self.calls)


@pytest.mark.parametrize("method", ["guidedbackprop", "guidedgradcam", "deeplift"])
def test_each_image_meets_the_copied_model_as_it_began(method: str) -> None:
    model, inputs = seeded(ScaledByCalls).double(), images(3).double()
    maps = explain(model, inputs, method=method, target=1).maps
    for row in range(3):
        alone = explain(model, inputs[row : row + 1], method=method, target=1).maps
        for name, both in maps.items():
            assert_close(both[row], alone[name][0], rtol=1e-9, atol=1e-12)
