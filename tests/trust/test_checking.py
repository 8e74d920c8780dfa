"""`Explanation.check` on models whose answer is known."""

import json

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from camlens import Explanation, InputError, LoadedModel, explain, load_model, register_method
from camlens.core.errors import MisfitError
from camlens.core.registry import METHODS
from camlens.data import DemoPhotos
from camlens.data.demo import WATERMARKED_CLASS
from camlens.targets import ClassScore, Contrast, Probability
from camlens.trust.deletion import fills, patch_masks, patch_means
from tests.nets import images, plain_cnn, seeded
from tests.refusals import refused


class Weighted(nn.Module):
    """Each logit is a weighted sum of the pixels, after a convolution that changes nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 1, bias=False)
        self.linear = nn.Linear(64, 3, bias=False)
        nn.init.ones_(self.conv.weight)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.linear(self.conv(inputs).flatten(1))


@pytest.fixture
def weighted() -> tuple[Weighted, Tensor]:
    return seeded(Weighted), images(n=3, size=(8, 8), channels=1)  # type: ignore[return-value]


@pytest.fixture(scope="module")
def demo() -> tuple[LoadedModel, list[np.ndarray]]:
    photos = DemoPhotos(split="test", seed=0)
    return load_model("demo:photos"), [photos[index].image for index in range(3)]


def test_effects_are_the_drops_of_the_score_without_each_patch(weighted: tuple[Weighted, Tensor]) -> None:
    model, inputs = weighted
    check = explain(model, inputs, layers="conv", target=[ClassScore(1), Contrast(0, 2)]).check(model, inputs)
    weights = torch.stack([model.linear.weight[1], model.linear.weight[0] - model.linear.weight[2]]).detach()
    for row, image in enumerate(inputs):
        drops = []
        for fill in fills(image, 4):
            for mask in patch_masks((8, 8), 4):
                change = torch.where(mask, image - fill, 0).flatten()
                drops.append(weights @ change)
        expected = torch.stack(drops, dim=1).view(2, 2, 16).mean(dim=1)
        assert_close(check.effects[row].flatten(1), expected, rtol=1e-4, atol=1e-5)
    assert check.effect.shape == check.p_value.shape == check.symmetry_p_value.shape == (3, 2)
    assert set(check.by_fill) == {"mean", "blur"}


def test_a_map_of_the_effects_passes_and_its_negative_fails(
    weighted: tuple[Weighted, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, inputs = weighted
    effects = explain(model, inputs, layers="conv", target=0).check(model, inputs).effects
    monkeypatch.setattr(METHODS, "_entries", dict(METHODS._entries))
    for name, sign, effect in (("true", 1, 1.0), ("false", -1, -1.0)):

        def method(activations: Tensor, gradients: Tensor, sign: int = sign) -> Tensor:
            return sign * effects[: len(activations), 0] + 100

        register_method(name, paper="none", needs="gradients", good_for="a test")(method)
        check = explain(model, inputs, method=name, layers="conv", target=0).check(model, inputs)
        assert_close(check.effect, torch.full((3, 1), effect), rtol=0, atol=0.2)  # the map is enlarged linearly
        assert (check.p_value < 0.01 if sign > 0 else check.p_value > 0.99).all()
        assert_close(check.runner_up, torch.ones(3, 1))
        assert all("class.same-map" in [fact.code for fact in facts] for (facts,) in check.facts)


def test_the_demo_model_passes_and_methods_without_a_class_have_the_same_map(
    demo: tuple[LoadedModel, list[np.ndarray]],
) -> None:
    loaded, pictures = demo
    explanations = explain(loaded, pictures, method=["gradcam", "eigencam"])
    check = explanations["gradcam"].check(loaded)
    assert (check.p_value < 0.05).all()
    assert (check.effect > 0.4).all()
    assert [fact.code for (facts,) in check.facts for fact in facts] == []
    blind = explanations["eigencam"].check(loaded, pictures)
    assert [[fact.code for fact in facts] for (facts,) in blind.facts] == [["class.same-map"]] * 3


def test_the_heat_of_the_cheating_model_is_in_a_corner() -> None:
    loaded, photos = load_model("demo:watermark"), DemoPhotos(split="test", seed=0, watermark="trained")
    pagodas = [photo.image for photo in map(photos.__getitem__, range(20)) if photo.label == WATERMARKED_CLASS]
    check = explain(loaded, pagodas, target=WATERMARKED_CLASS).check(loaded)
    assert all("energy.corner" in [fact.code for fact in facts] for (facts,) in check.facts)


def test_seeds_repeat_and_the_model_and_the_explanation_stay_as_they_were() -> None:
    model, inputs = seeded(plain_cnn), images()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    explanation = explain(model, inputs, layers="5")
    first, second = (explanation.check(model, inputs, seed=4) for _ in range(2))
    assert_close(first.p_value, second.p_value, rtol=0, atol=0, equal_nan=True)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    alone = explain(model, inputs[:1], layers="5").check(model, inputs[:1], seed=4)
    assert_close(alone.p_value, first.p_value[:1], equal_nan=True)


def test_the_result_of_one_map_is_json_and_says_what_was_tested(demo: tuple[LoadedModel, list[np.ndarray]]) -> None:
    loaded, pictures = demo
    check = explain(loaded, pictures[:2]).check(loaded, patches=5, permutations=99, seed=3)
    written = json.loads(json.dumps(check.to_dict(1), allow_nan=False))
    assert (written["patches"], written["permutations"], written["seed"]) == (5, 99, 3)
    assert np.shape(written["effects"]) == (5, 5)
    assert written["p_value"] == pytest.approx(float(check.p_value[1, 0]))
    assert f"{check.p_value[1, 0]:.3f}" in check.sentence(1)
    assert "Not tested" in check.sentence(1)


def test_empty_maps_have_no_p_value_but_facts() -> None:
    model, inputs = seeded(plain_cnn), images()

    def negative(activations: Tensor) -> Tensor:
        return -activations.abs().sum(dim=1) - 1

    with pytest.warns(UserWarning, match="negative"):
        explanation = explain(model, inputs, method=negative, layers="5")
    check = explanation.check(model, inputs)
    assert check.effect.isnan().all()
    assert check.p_value.isnan().all()
    assert check.runner_up.isnan().all()
    assert [fact.code for (facts,) in check.facts for fact in facts] == ["map.negative"] * 2
    json.dumps(check.to_dict(), allow_nan=False)


def test_maps_and_effects_that_are_not_finite_are_json() -> None:
    model, inputs = seeded(plain_cnn), images()

    def broken(activations: Tensor) -> Tensor:
        return activations.sum(dim=1) * torch.inf

    with pytest.warns(UserWarning, match="NaN"):
        explanation = explain(model, inputs, method=broken, layers="5")
    check = explanation.check(model, inputs)
    assert [fact.code for (facts,) in check.facts for fact in facts] == ["map.not-finite"] * 2
    check.effects[0, 0, 0, 0] = torch.nan
    written = json.loads(json.dumps(check.to_dict(), allow_nan=False))
    assert written["effects"][0][0] is None
    assert written["facts"][0]["value"] is None


@pytest.mark.parametrize(("shape", "patches"), [((32,), 4), ((8, 8, 8), 2)])
def test_inputs_may_have_one_or_three_axes(shape: tuple[int, ...], patches: int) -> None:
    conv = {1: nn.Conv1d, 3: nn.Conv3d}[len(shape)]
    pool = {1: nn.AdaptiveAvgPool1d, 3: nn.AdaptiveAvgPool3d}[len(shape)]
    model = seeded(lambda: nn.Sequential(conv(2, 4, 3, padding=1), nn.ReLU(), pool(1), nn.Flatten(), nn.Linear(4, 3)))
    inputs = images(size=shape, channels=2)
    check = explain(model, inputs, layers="1").check(model, inputs, patches=patches)
    assert check.effects.shape == (2, 1, *[patches] * len(shape))


def explanation_of(model: nn.Module, inputs: Tensor) -> Explanation:
    return explain(model, inputs, layers="5")


def test_other_inputs_models_and_targets_are_refused() -> None:
    model, inputs = seeded(plain_cnn), images()
    explanation = explanation_of(model, inputs)
    with refused("check.other-scores", InputError):
        explanation.check(model, inputs.flip(0))
    with refused("check.other-scores", InputError):
        explain(model, inputs, layers="5", target=Probability()).check(model, inputs)
    explain(model, inputs, layers="5", target=Probability()).check(model, inputs, target=Probability())
    with refused("input.other-images", MisfitError):
        explanation.check(model, inputs[:1])
    with refused("input.not-a-tensor", InputError):
        explanation.check(model)
    with refused("target.needed", InputError):
        explain(model, inputs, layers="5", target=lambda logits: logits[:, 0]).check(model, inputs)


@pytest.mark.parametrize(("name", "value"), [("patches", 1), ("patches", 17), ("permutations", 0), ("seed", -1)])
def test_settings_out_of_range_are_refused(name: str, value: object) -> None:
    model, inputs = seeded(plain_cnn), images()
    with refused("argument.invalid", InputError, name=name, value=value):
        explanation_of(model, inputs).check(model, inputs, **{name: value})  # type: ignore[arg-type]


def test_patch_means_are_means_for_sides_that_do_not_divide() -> None:
    maps = torch.arange(2 * 7 * 5.0).view(2, 7, 5)
    means = patch_means(maps, 3)
    for mask, values in zip(patch_masks((7, 5), 3), means.T, strict=True):
        assert_close(values, maps[:, mask].mean(dim=1))
    assert_close(patch_means(torch.ones(1, 7, 5), 3), torch.ones(1, 9))
