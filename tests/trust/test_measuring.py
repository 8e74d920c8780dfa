"""`measure` passes to each metric what it needs."""

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from camlens import METRICS, Explanation, InputError, explain, load_model, measure
from camlens.data import DemoPhotos
from tests.nets import images, plain_cnn, seeded
from tests.refusals import refused

SMALL = {
    "max_sensitivity": {"samples": 3},
    "average_sensitivity": {"samples": 3},
    "infidelity": {"samples": 5},
    "top_k_intersection": {"k": 10},
}
ALONE = sorted(set(METRICS) - {"pearson", "spearman", "ssim"})


@pytest.fixture(scope="module")
def case() -> tuple[nn.Module, Tensor, Explanation, Tensor]:
    model, inputs = seeded(plain_cnn), images()
    masks = torch.zeros(2, 16, 16, dtype=torch.bool)
    masks[:, 4:12, 3:9] = True
    return model, inputs, explain(model, inputs, layers="2", target=1), masks


@pytest.mark.parametrize("name", ALONE)
def test_every_metric_of_one_map_gives_one_value_per_image(
    name: str, case: tuple[nn.Module, Tensor, Explanation, Tensor]
) -> None:
    model, inputs, explanation, masks = case
    options = {name: SMALL[name]} if name in SMALL else {}
    if "steps" in METRICS[name].options:
        options = {name: {"steps": 4}}
    values = measure(explanation, inputs, name, model=model, masks=masks, cells=torch.tensor([0, 3]), options=options)
    assert list(values) == [name]
    assert values[name].shape == (2,)
    assert values[name].dtype == torch.float32
    assert values[name].isfinite().all()


def test_values_are_those_of_the_functions_called_by_hand(case: tuple[nn.Module, Tensor, Explanation, Tensor]) -> None:
    model, inputs, explanation, masks = case

    def probability(variants: Tensor, row: int) -> Tensor:
        return model(variants).softmax(dim=1)[:, 1]

    def logit(variants: Tensor, row: int) -> Tensor:
        return model(variants)[:, 1]

    heat = explanation.heatmaps()[:, 0]
    maps = nn.functional.interpolate(explanation.maps["2"], size=(16, 16), mode="bilinear", align_corners=False)[:, 0]
    options = {"steps": 5}
    values = measure(
        explanation,
        inputs,
        ["deletion_auc", "single_deletion", "sparseness", "energy_inside", "road_morf", "pointing_game"],
        model=model,
        masks=masks,
        options={"deletion_auc": options},
    )
    generator = torch.Generator().manual_seed(0)
    wanted = {
        "deletion_auc": METRICS["deletion_auc"].function(probability, inputs, heat, steps=5, generator=generator),
        "single_deletion": METRICS["single_deletion"].function(logit, inputs, maps),
        "sparseness": METRICS["sparseness"].function(explanation.maps["2"][:, 0]),
        "energy_inside": METRICS["energy_inside"].function(maps, masks),
        "road_morf": METRICS["road_morf"].function(probability, inputs, maps, generator=generator),
        "pointing_game": METRICS["pointing_game"].function(heat, masks),
    }
    for name, value in wanted.items():
        assert_close(values[name], value, rtol=1e-4, atol=1e-5)


def test_curves_come_beside_their_values(case: tuple[nn.Module, Tensor, Explanation, Tensor]) -> None:
    model, inputs, explanation, _ = case
    names = ["insertion_auc", "deletion_auc", "pixel_flipping_morf", "pixel_flipping_lerf"]
    values = measure(
        explanation,
        inputs,
        [*names, "road_lerf", "entropy"],
        model=model,
        options={name: {"steps": 5} for name in names},
    )
    assert {name: tuple(curve.shape) for name, curve in values.curves.items()} == {
        **dict.fromkeys(names, (2, 6)),
        "road_lerf": (2, 4),
    }
    whole = model(inputs).softmax(dim=1)[:, 1].detach()
    assert_close(values.curves["deletion_auc"][:, 0], whole)
    assert_close(values.curves["insertion_auc"][:, -1], whole)
    again = measure(explanation, inputs, "deletion_auc", model=model, options={"deletion_auc": {"steps": 5}})
    assert_close(again["deletion_auc"], values["deletion_auc"], rtol=0, atol=0)


def test_pictures_that_were_explained_need_not_be_passed_again() -> None:
    loaded, photo = load_model("demo:photos"), DemoPhotos(split="test", seed=0)[0]
    explanation = explain(loaded, [photo.image])
    wanted = measure(explanation, loaded.preprocess(photo.image)[None], "average_drop", model=loaded)
    assert_close(measure(explanation, None, "average_drop", model=loaded)["average_drop"], wanted["average_drop"])


def test_arguments_that_are_missing_or_unknown_are_refused(
    case: tuple[nn.Module, Tensor, Explanation, Tensor],
) -> None:
    model, inputs, explanation, _ = case
    with refused("argument.missing", InputError, name="masks", metric="energy_inside"):
        measure(explanation, inputs, "energy_inside", model=model)
    with refused("metric.unknown", InputError, suggestion="deletion_auc"):
        measure(explanation, inputs, "deletion-auc", model=model)
    with refused("metric.two-maps", InputError, name="ssim"):
        measure(explanation, inputs, "ssim", model=model)
    with refused("argument.empty", InputError, name="metrics"):
        measure(explanation, inputs, [], model=model)
    with refused("option.by-metric", InputError, name="deletion_auc"):
        measure(explanation, inputs, "entropy", model=model, options={"deletion_auc": {}})
    with refused("option.unknown", InputError, name="step"):
        measure(explanation, inputs, "deletion_auc", model=model, options={"deletion_auc": {"step": 3}})
    with refused("target.needed", InputError):
        custom = explain(model, inputs, layers="2", target=lambda logits: logits[:, 0])
        measure(custom, inputs, "average_drop", model=model)
