"""What `layers=None` takes, and what is refused because its grid does not lie over the inputs."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import detection, segmentation

from camlens import EvidenceWarning, Explainer, LayerError, NoGradientError, TargetError, compute_gradcam, explain
from camlens.core.execution.session import Session
from camlens.core.execution.survey import choose_layer, survey_session
from camlens.targets import Contrast, InMask
from tests.nets import images, plain_cnn, seeded


class TwoInputs(nn.Module):
    """A photograph and a depth map, each with a branch of its own; the depth branch finishes last."""

    def __init__(self) -> None:
        super().__init__()
        self.photo = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU())
        self.depth = nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU())
        self.head = nn.Linear(12, 4)

    def forward(self, photo: Tensor, depth: Tensor) -> Tensor:
        both = torch.cat([self.photo(photo), self.depth(depth)], dim=1)
        return self.head(both.mean(dim=(2, 3)))


def test_only_layers_that_depend_on_the_inputs_are_candidates() -> None:
    model, photos, depth = seeded(TwoInputs), images(2), images(2, channels=1)
    explanation = explain(model, photos, args=(depth,), target=1)
    assert explanation.layers == ("photo",)
    swapped = Swapped(model)
    assert explain(swapped, depth, args=(photos,), target=1).layers == ("model.depth",)
    with pytest.raises(LayerError) as refused:
        explain(model, photos, args=(depth,), layers="depth.0")
    assert refused.value.code == "layer.not-of-inputs"
    assert refused.value.facts["layer"] == "depth.0"
    assert refused.value.facts["candidates"] == ["photo.0", "photo.1", "photo"]
    assert explain(model, photos, args=(depth,), layers="photo.0").layers == ("photo.0",)


class Swapped(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, depth: Tensor, photo: Tensor) -> Tensor:
        return self.model(photo, depth)


class Attending(nn.Module):
    """Patches, then attention whose matrix (n, heads, tokens, tokens) comes out of a module and feeds the score."""

    def __init__(self, width: int = 8, patch: int = 4) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, patch, stride=patch)
        self.qkv = nn.Linear(width, 3 * width)
        self.softmax = nn.Softmax(dim=-1)
        self.head = nn.Linear(width, 5)

    def forward(self, inputs: Tensor) -> Tensor:
        tokens = self.patches(inputs).flatten(2).transpose(1, 2)
        queries, keys, values = self.qkv(tokens).unflatten(2, (3, 2, -1)).permute(2, 0, 3, 1, 4)
        weights = self.softmax(4 * queries @ keys.transpose(2, 3))
        return self.head((weights @ values).transpose(1, 2).flatten(2).mean(dim=1))


def test_an_attention_matrix_is_not_a_picture() -> None:
    model, inputs = seeded(Attending), images(1, size=(28, 28))
    assert explain(model, inputs, target=1).layers == ("patches",)
    for _ in range(2):
        with pytest.raises(LayerError) as refused:
            explain(model, inputs, target=1, layers="softmax")
        assert refused.value.code == "layer.not-local"
        assert "patches" in refused.value.facts["candidates"]
    forced = explain(model, inputs, target=1, layers="softmax", layout="channels_first")
    assert forced.maps["softmax"].shape == (1, 1, 49, 49)


class ConvolutionalAttention(nn.Module):
    """Attention whose queries, keys and values are convolutions, as in CvT."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Conv2d(width, width, 3, padding=1) for _ in range(3))

    def forward(self, features: Tensor) -> Tensor:
        query, key, value = (each(features).flatten(2) for each in (self.query, self.key, self.value))
        return ((query.transpose(1, 2) @ key).softmax(-1) @ value.transpose(1, 2)).mean(dim=1)


def test_queries_keys_and_values_are_not_chosen() -> None:
    model = seeded(lambda: nn.Sequential(nn.Conv2d(3, 8, 4, stride=4), ConvolutionalAttention(8), nn.Linear(8, 5)))
    assert explain(model, images(1), target=1).layers == ("0",)
    alone = seeded(lambda: nn.Sequential(ConvolutionalAttention(3), nn.Linear(3, 5)))
    assert explain(alone, images(1, size=(8, 8)), target=1).layers == ("0.value",)


class Squeezed(nn.Module):
    """Convolutions whose last block is scaled by what it sees of the whole image, twice as strongly as needed."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(4), nn.Conv2d(6, 8, 3, padding=1)
        )
        self.squeeze = nn.Linear(8, 8)
        self.last = nn.ReLU()
        self.head = nn.Linear(8, 5)

    def forward(self, inputs: Tensor) -> Tensor:
        features = self.body(inputs)
        whole = self.squeeze(features.mean(dim=(2, 3)))[:, :, None, None]
        return self.head(self.last(features * whole.sigmoid() + 2 * whole).mean(dim=(2, 3)))


def test_a_layer_that_mixes_the_whole_image_into_each_cell_is_still_local() -> None:
    assert choose_layer(Session(seeded(Squeezed), images(1, size=(32, 32))), 1).layer.name == "last"


def test_that_a_grid_is_local_is_seen_once_per_model() -> None:
    model, inputs = seeded(Attending), images(1, size=(28, 28))
    runs: list[int] = []
    handle = model.head.register_forward_hook(lambda *_: runs.append(1))
    explainer = Explainer(model)
    explainer(inputs)
    first = len(runs)
    explainer(inputs)
    assert len(runs) == first + 1
    explain(model, inputs)
    assert len(runs) == first + 3  # the survey and the explanation
    handle.remove()


def test_class_scores_of_anchors_are_not_a_grid() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = detection.ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=91).eval()

    def best(output: Any) -> Tensor:
        return torch.stack([one["scores"].sum() for one in output])

    inputs = images(1, size=(320, 320)).sigmoid()
    choice = choose_layer(Session(model, inputs), best)
    assert choice.layer.name.startswith("backbone")
    status = {one.name: one for one in survey_session(Session(model, inputs), best)}
    head = status["head.classification_head"]
    assert head.shape == (1, 3234, 91)
    assert not head.usable


@pytest.mark.parametrize("build", [segmentation.lraspp_mobilenet_v3_large, segmentation.deeplabv3_mobilenet_v3_large])
def test_a_segmentation_is_explained_at_features_not_at_its_own_scores(build: Any) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build(weights=None, weights_backbone=None).eval()
    inputs = images(1, size=(96, 96))
    corner = torch.zeros(96, 96, dtype=torch.bool)
    corner[:40, :40] = True
    here, there = (explain(model, inputs, target=InMask(mask, 3)) for mask in (corner, corner.flip(0, 1)))
    assert here.layers == there.layers
    assert here.layers[0].startswith("backbone")
    with torch.no_grad():
        scores = model(inputs)["out"][0, 3]
    drawn = here.heatmaps()[0, 0]
    assert correlation(drawn, there.heatmaps()[0, 0]) < 0.99
    assert correlation(drawn, scores) < 0.95


def correlation(one: Tensor, other: Tensor) -> float:
    return float(torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1])


def answering(*classes: int) -> nn.Module:
    """A network whose logits are means of fixed colours, and images for which it answers these classes."""
    return nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())


def colours(*classes: int) -> Tensor:
    inputs = images(len(classes), size=(8, 8)).abs()
    for row, index in enumerate(classes):
        inputs[row, index] += 4
    return inputs


@pytest.fixture
def identity() -> nn.Module:
    model = answering()
    with torch.no_grad():
        model[0].weight.copy_(torch.eye(3)[:, :, None, None])
        model[0].bias.zero_()
    return model.eval()


@pytest.mark.parametrize("layers", [None, "0"])
def test_a_contrast_with_itself_is_a_zero_map_with_a_warning_and_the_rest_is_answered(
    identity: nn.Module, layers: str | None
) -> None:
    inputs = colours(2, 0, 1, 2)
    with pytest.warns(EvidenceWarning) as said:
        explanation = explain(identity, inputs, target=Contrast(None, 2), layers=layers)
    (maps,) = explanation.maps.values()
    assert [bool(one.any()) for one in maps] == [False, True, True, False]
    assert explanation.scores[[0, 3]].tolist() == [[0.0], [0.0]]
    assert explanation.classes is not None
    assert explanation.against is not None
    assert explanation.classes[:, 0].tolist() == [2, 0, 1, 2]
    assert explanation.against[:, 0].tolist() == [2, 2, 2, 2]
    assert len(explanation.provenance["warnings"]) == 2
    assert "image 0" in "".join(str(one.message) for one in said)
    assert explanation.label(1, 0, ["sock", "boot", "shirt"]) == "sock minus shirt"
    assert explanation.label(2) == "class 1 minus class 2"
    with pytest.warns(EvidenceWarning):
        alone = explain(identity, inputs[:1], target=Contrast(None, [2]), layers=layers)
    assert not alone.maps[alone.layers[0]].any()


@pytest.mark.parametrize("method", ["layercam", "xgradcam", "ablationcam", "scorecam", "saliency"])
def test_no_method_makes_numbers_of_a_contrast_that_cancels(identity: nn.Module, method: str) -> None:
    with pytest.warns(EvidenceWarning):
        explanation = explain(identity, colours(2, 0), target=Contrast(None, 2), layers="0", method=method)
    (maps,) = explanation.maps.values()
    assert not maps[0].any()
    assert maps[1].any()


def test_one_class_against_itself_for_every_image_is_refused(identity: nn.Module) -> None:
    with pytest.raises(TargetError) as refused:
        explain(identity, colours(1), target=Contrast(1, 1))
    assert (refused.value.code, refused.value.facts) == ("target.same-class", {"a": 1, "b": 1})


def test_a_dead_image_is_a_zero_map_alone_and_in_a_batch(identity: nn.Module) -> None:
    inputs = colours(0, 1)
    inputs[0] = -inputs[0]
    with pytest.warns(EvidenceWarning):
        both = explain(identity, inputs, target=1)
    with pytest.warns(EvidenceWarning):
        alone = explain(identity, inputs[:1], target=1, layers=both.layers[0])
    with pytest.warns(EvidenceWarning):
        chosen = explain(identity, inputs[:1], target=1)
    assert chosen.layers == both.layers
    for explanation in (alone, chosen):
        assert torch.equal(explanation.maps[both.layers[0]][0], both.maps[both.layers[0]][0])
    with pytest.warns(EvidenceWarning):
        heatmap, _, _ = compute_gradcam(identity, "cpu", inputs[0], identity[0], 1)
    assert not heatmap.any()


def test_a_layer_that_no_class_of_any_image_reads_still_has_no_gradient() -> None:
    class Deaf(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.heard, self.ignored = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3)

        def forward(self, inputs: Tensor) -> Tensor:
            return (self.heard(inputs) + 0 * self.ignored(inputs)).mean(dim=(2, 3))

    with pytest.raises(NoGradientError):
        explain(seeded(Deaf), images(1), target=1, layers="ignored")


class Pair(nn.Module):
    """Returns a pooled vector and the features that it was pooled from, in either order."""

    def __init__(self, vector_first: bool) -> None:
        super().__init__()
        self.conv, self.vector_first = nn.Conv2d(3, 6, 3), vector_first

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        features = self.conv(inputs)
        pooled = features.mean(dim=(2, 3))
        return (pooled, features) if self.vector_first else (features, pooled)


class Paired(nn.Module):
    def __init__(self, vector_first: bool) -> None:
        super().__init__()
        self.pair, self.head = Pair(vector_first), nn.Linear(6, 4)

    def forward(self, inputs: Tensor) -> Tensor:
        features = self.pair(inputs)[self.pair.vector_first]
        return self.head(features.relu().mean(dim=(2, 3)))


@pytest.mark.parametrize("method", ["gradcam", "ablationcam", "shapleycam"])
def test_of_several_tensors_the_first_with_a_grid_is_read_and_reported(method: str) -> None:
    second, first = (
        explain(seeded(lambda order=order: Paired(order)), images(), layers="pair", method=method)
        for order in (True, False)
    )
    assert torch.equal(second.maps["pair"], first.maps["pair"])
    assert second.provenance["layout"] == {"pair": "channels_first 14x14, output tensor 1"}
    assert first.provenance["layout"] == {"pair": "channels_first 14x14"}


def test_a_contrast_beside_other_targets_keeps_both_of_its_classes() -> None:
    explanation = explain(seeded(plain_cnn), images(2), layers="3", target=[Contrast(1, 2), Contrast(3, 0)])
    assert explanation.against is not None
    assert explanation.against.tolist() == [[2, 0], [2, 0]]
    assert explanation.to_dict()["against"] == [[2, 0], [2, 0]]
    assert explanation.targets == ("class 1 minus class 2", "class 3 minus class 0")
    assert not math.isnan(float(explanation.scores.sum()))
