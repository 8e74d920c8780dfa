"""Detection of the embedding in different kinds of models."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from camlens import LayerError
from camlens.audit.running.features import find_tap
from camlens.core.execution.harmless import undisturbed
from camlens.core.execution.session import Session
from tests.nets import ChannelsLast, ResidualNet, TinyVit, Wrapped, images, plain_cnn, seeded


def features(model: nn.Module, inputs: Tensor, layer: str | None = None) -> tuple[str, Tensor]:
    session = Session(model, inputs)
    tap = find_tap(session, layer)
    with undisturbed(model, inputs.device), tap.open() as tapped:
        model(inputs)
    return tap.label, tapped.features(session)


@pytest.mark.parametrize(
    ("build", "label"),
    [
        (plain_cnn, "input of 8"),
        (ResidualNet, "input of head"),
        (TinyVit, "input of head"),
        (ChannelsLast, "input of head"),
        (lambda: Wrapped(plain_cnn(), lambda logits: {"logits": logits.log_softmax(dim=1)}), "input of inner.8"),
    ],
)
def test_the_embedding_is_the_input_of_the_last_weight_matrix(build: Callable[[], nn.Module], label: str) -> None:
    model, inputs = seeded(build), images(3)
    place, embeddings = features(model, inputs)
    head = model.get_submodule(label.removeprefix("input of "))
    seen: list[Tensor] = []
    head.register_forward_pre_hook(lambda _module, args: seen.append(args[0].detach().clone()))
    model(inputs)
    assert place == label
    torch.testing.assert_close(embeddings, seen[0], rtol=0, atol=1e-6)


class ConvolutionHead(nn.Module):
    """Classifies every cell and then averages, in place, like SqueezeNet."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 7, 3, stride=2)
        self.classifier = nn.Sequential(nn.Conv2d(7, 5, 1), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1))

    def forward(self, inputs: Tensor) -> Tensor:
        return self.classifier(self.stem(inputs)).flatten(1)


def test_the_features_of_a_convolutional_head_are_averaged_over_the_grid() -> None:
    model, inputs = seeded(ConvolutionHead), images(2)
    place, embeddings = features(model, inputs)
    assert place == "input of classifier.0"
    torch.testing.assert_close(embeddings, model.stem(inputs).detach().mean(dim=(2, 3)))


def test_a_named_layer_provides_its_output() -> None:
    model, inputs = seeded(plain_cnn), images(2)
    place, embeddings = features(model, inputs, "3")
    assert place == "output of 3"
    torch.testing.assert_close(embeddings, model[:4](inputs).detach().mean(dim=(2, 3)))
    vit = seeded(TinyVit)
    _, tokens = features(vit, inputs, "block2")
    assert tokens.shape == (2, 12)


def test_features_are_a_copy_that_later_layers_cannot_modify() -> None:
    model, inputs = seeded(plain_cnn), images(2)
    _, embeddings = features(model, inputs, "0")  # an in-place ReLU follows
    torch.testing.assert_close(embeddings, model[0](inputs).detach().mean(dim=(2, 3)))


class NoModule(nn.Module):
    """Multiplies with a weight matrix of its own instead of a leaf module."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3)
        self.matrix = nn.ParameterList([nn.Parameter(torch.randn(6, 5))])

    def forward(self, inputs: Tensor) -> Tensor:
        return self.conv(inputs).mean(dim=(2, 3)) @ self.matrix[0]


def test_without_a_classifier_module_a_layer_must_be_named() -> None:
    model = seeded(NoModule)
    with pytest.raises(LayerError) as caught:
        features(model, images(2))
    assert (caught.value.code, caught.value.facts) == ("layer.no-classifier", {"classes": 5})
    assert features(model, images(2), "conv")[1].shape == (2, 6)


def test_a_layer_that_does_not_run_cannot_be_the_embedding() -> None:
    model = seeded(ResidualNet)
    model.spare = nn.Linear(2, 2)
    with pytest.raises(LayerError) as caught:
        features(model, images(2), "spare")
    assert (caught.value.code, caught.value.facts) == ("layer.no-embedding", {"layer": "spare"})


def test_the_classifier_of_torchvision_models_is_detected() -> None:
    models = pytest.importorskip("torchvision.models")
    wanted = {"resnet18": ("input of fc", 512), "squeezenet1_1": ("input of classifier.1", 512)}
    wanted |= {"mobilenet_v3_small": ("input of classifier.3", 1024), "densenet121": ("input of classifier", 1024)}
    for name, (label, width) in wanted.items():
        model = models.get_model(name, weights=None).eval()
        place, embeddings = features(model, images(1, (64, 64)))
        assert (place, embeddings.shape) == (label, (1, width)), name
