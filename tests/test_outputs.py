"""Claims about what a model's outputs are: class scores, one logit, several labels, a measurement or features."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from camlens import ModelError, TargetError, compute_gradcam, explain, get_top_predictions
from camlens.core.probabilities import binary_logits, probabilities
from camlens.models import LoadedModel
from camlens.models.loading import declared
from camlens.models.preprocess import Preprocess
from camlens.targets import ClassScore, Contrast, Probability, TopK


class Net(nn.Module):
    """Two convolutions, pooling, and a head of any kind."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 3, stride=2, padding=1)
        self.conv2 = nn.Conv2d(6, 8, 3, stride=2, padding=1)
        self.fc = head
        with torch.no_grad():
            for number, parameter in enumerate(self.parameters()):
                generator = torch.Generator().manual_seed(number)
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.4)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.fc(self.conv2(self.conv1(inputs).relu()).relu().mean(dim=(2, 3)))


IMAGE = torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(0))


def test_one_logit_has_the_confidence_of_its_sigmoid() -> None:
    net = Net(nn.Linear(8, 1)).eval()
    expected = float(net(IMAGE[None]).detach().sigmoid())
    assert 0.01 < expected < 0.99
    _, index, confidence = compute_gradcam(net, "cpu", IMAGE, net.conv2)
    assert (index, confidence) == (0, pytest.approx(expected))
    (prediction,) = get_top_predictions(net, "cpu", IMAGE, ["defect"])
    assert prediction["confidence"] == pytest.approx(expected)
    both = get_top_predictions(net, "cpu", IMAGE, ["fine", "defect"])
    assert {one["class_name"]: one["confidence"] for one in both} == pytest.approx(
        {"fine": 1 - expected, "defect": expected}
    )


def test_several_labels_have_a_sigmoid_each_if_that_is_declared() -> None:
    net = Net(nn.Linear(8, 4)).eval()
    expected = net(IMAGE[None])[0].detach().sigmoid()
    predictions = get_top_predictions(net, "cpu", IMAGE, list("abcd"), activation="sigmoid")
    confidence = compute_gradcam(net, "cpu", IMAGE, net.conv2, 2, activation="sigmoid")[2]
    assert [one["class_idx"] for one in predictions] == expected.argsort(descending=True).tolist()
    assert_close(torch.tensor([one["confidence"] for one in predictions]), expected.sort(descending=True).values)
    assert confidence == pytest.approx(float(expected[2]))


def test_a_regression_gives_its_output_itself() -> None:
    net = Net(nn.Linear(8, 1)).eval()
    value = float(net(IMAGE[None]).detach())
    assert compute_gradcam(net, "cpu", IMAGE, net.conv2, task="regression")[2] == pytest.approx(value)
    (prediction,) = get_top_predictions(net, "cpu", IMAGE, ["age"], task="regression")
    assert prediction["confidence"] == pytest.approx(value)


@pytest.mark.parametrize("activation", [None, "sigmoid"])
def test_both_classes_of_one_logit_have_p_and_its_complement(activation: Any) -> None:
    logits = torch.tensor([[-3.0], [0.0], [0.26]], dtype=torch.float64)
    both = probabilities(binary_logits(logits, activation), activation)
    assert_close(both, torch.cat([1 - logits.sigmoid(), logits.sigmoid()], dim=1))


def loaded(head: nn.Module, names: list[str], **facts: Any) -> LoadedModel:
    return LoadedModel(Net(head).eval(), Preprocess(resize=(16, 16), crop=None), names, None, "tests:net", **facts)


def test_a_loaded_binary_model_is_explained_for_both_of_its_classes() -> None:
    model = declared(loaded(nn.Linear(8, 1), ["defect"]))
    assert model.class_names == ["not defect", "defect"]
    explanation = explain(model, IMAGE[None], layers="conv2", target=[ClassScore(0), ClassScore(1)])
    assert explanation.logits is not None
    positive = float(model.model(IMAGE[None]).detach().sigmoid())
    assert model.probabilities(explanation.logits)[0].tolist() == pytest.approx([1 - positive, positive])
    assert_close(explanation.scores[:, 0], -explanation.scores[:, 1])


def test_outputs_are_named_by_what_they_are() -> None:
    model = loaded(nn.Linear(8, 1), ["class 0"])
    assert declared(model, task="regression").class_names == ["output 0"]
    assert declared(model).class_names == ["class 0", "class 1"]


def test_class_names_of_another_number_are_refused() -> None:
    with pytest.raises(ModelError) as caught:
        loaded(nn.Linear(8, 5), ["a", "b", "c"]).names(5)
    assert caught.value.code == "model.class-names"
    assert loaded(nn.Linear(8, 5), ["class 0", "class 1", "class 2"]).names(5)[4] == "class 4"


class Named(nn.Module):
    """A backbone that returns an object, as those of transformers do."""

    def __init__(self) -> None:
        super().__init__()
        self.net = Net(nn.Linear(8, 6))

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        return {"pooler_output": self.net(inputs)}


class Unit(nn.Module):
    """An embedding of norm 1."""

    def __init__(self) -> None:
        super().__init__()
        self.net = Net(nn.Linear(8, 6))

    def forward(self, inputs: Tensor) -> Tensor:
        return nn.functional.normalize(self.net(inputs))


def headless() -> nn.Module:
    net = Net(nn.Linear(8, 8))
    net.num_classes, net.num_features = 0, 8  # type: ignore[assignment]  # as timm writes it
    return net


@pytest.mark.parametrize("model", [Net(nn.Identity()), Named(), Unit(), headless()], ids=["fc", "key", "unit", "timm"])
def test_features_predict_no_class_and_ask_for_a_target(model: nn.Module) -> None:
    layer = next(name for name, module in model.named_modules() if name.endswith("conv2") and module)
    with pytest.raises(TargetError) as caught:
        explain(model.eval(), IMAGE[None], layers=layer)
    assert caught.value.code == "target.needed"
    assert explain(model, IMAGE[None], layers=layer, target=2).maps[layer].shape == (1, 1, 4, 4)


@pytest.mark.parametrize(
    "head",
    [
        nn.Linear(8, 8),
        nn.Sequential(nn.Linear(8, 4), nn.LayerNorm(4)),
        nn.Sequential(nn.Linear(8, 4), nn.Softmax(dim=1)),
        nn.Sequential(nn.Linear(8, 4), nn.Identity()),
        nn.Linear(8, 2),
    ],
)
def test_classifiers_are_never_taken_for_features(head: nn.Module) -> None:
    net = Net(head).eval()
    assert explain(net, IMAGE[None], layers="conv2").scores.isfinite().all()


def resnet_without_classifier(*, flat: bool) -> nn.Module:
    from torchvision.models import resnet18

    with torch.random.fork_rng():
        torch.manual_seed(0)
        children = list(resnet18(weights=None).children())[:-1]
    return nn.Sequential(*children, *([nn.Flatten()] if flat else [])).eval()


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("target", [None, TopK(2), Contrast(None, 3)])
def test_the_children_of_a_network_without_its_classifier_ask_for_a_target(flat: bool, target: Any) -> None:
    model, image = (
        resnet_without_classifier(flat=flat),
        torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)),
    )
    with pytest.raises(TargetError) as caught:
        explain(model, image, layers="7", target=target)
    assert (caught.value.code, caught.value.facts["outputs"]) == ("target.needed", 512)
    explanation = explain(model, image, layers="7", target=31)
    assert_close(explanation.scores[0, 0], model(image).flatten(1)[0, 31].detach(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("target", [None, TopK(1), Contrast(None, 1), Probability()])
def test_a_regression_with_several_outputs_asks_for_a_target(target: Any) -> None:
    model = declared(loaded(nn.Linear(8, 3), ["width", "height", "depth"]), task="regression")
    with pytest.raises(TargetError) as caught:
        explain(model, IMAGE[None], layers="conv2", target=target)
    assert (caught.value.code, caught.value.facts) == ("target.needed", {"reason": "regression", "outputs": 3})
    explanation = explain(model, IMAGE[None], layers="conv2", target=1)
    assert explanation.label(0) == "height"
    assert_close(explanation.scores, model.model(IMAGE[None])[:, 1:2].detach())
    with pytest.raises(TargetError) as caught:
        compute_gradcam(model.model, "cpu", IMAGE, model.model.conv2, task="regression")
    assert caught.value.code == "target.needed"
    assert compute_gradcam(model.model, "cpu", IMAGE, model.model.conv2, 2, task="regression")[1] == 2


def test_a_regression_with_one_output_needs_no_target() -> None:
    model = declared(loaded(nn.Linear(8, 1), ["age"]), task="regression")
    assert explain(model, IMAGE[None], layers="conv2").label(0) == "age"
