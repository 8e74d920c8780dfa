"""Concepts: what scikit-learn finds, in units of its own; and the map that weighs them."""

import sys
import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

import camlens
from camlens import InputError, LayerError, MissingExtraError, concepts, explain
from camlens.methods.factorisation import Concepts, factorised
from camlens.targets import ClassScore
from tests.core.test_harmless import assert_untouched, fingerprint, used_model
from tests.methods import reference
from tests.nets import ChannelsLast, images, plain_cnn, seeded
from tests.refusals import refused
from tests.twins import twin_of

NMF = pytest.importorskip("sklearn.decomposition").NMF


def mixed(count: int = 3, channels: int = 12, rank: int = 3, grid: tuple[int, ...] = (5, 4)) -> torch.Tensor:
    """Features that are `rank` concepts exactly: parts that overlap little, each a mixture of channels of its own."""
    draw = torch.Generator().manual_seed(2)
    maps = torch.rand(count, rank, *grid, generator=draw) * (torch.rand(count, rank, *grid, generator=draw) > 0.6)
    directions = torch.rand(rank, channels, generator=draw) * (torch.rand(rank, channels, generator=draw) > 0.5)
    return torch.einsum("nj...,jk->nk...", maps, directions)


def fitted(features: torch.Tensor, count: int) -> NMF:
    """scikit-learn called directly, with its own tolerance and more steps than it needs."""
    model = NMF(count, init="nndsvda", random_state=0, max_iter=5000, tol=1e-7)
    rows = features.clamp_min(0).movedim(1, -1).reshape(-1, features.shape[1]).double().numpy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(rows)
    return model


@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_error_is_that_of_scikit_learn_relative_to_the_features(count: int) -> None:
    features = mixed()
    maps, directions, error = factorised(features, count)
    rebuilt = torch.einsum("nj...,jk->nk...", maps, directions)
    assert error == pytest.approx(float((features - rebuilt).norm() / features.norm()), rel=1e-4, abs=1e-5)
    assert error == pytest.approx(fitted(features, count).reconstruction_err_ / float(features.norm()), abs=2e-3)


def test_the_error_falls_with_each_concept_and_vanishes_at_the_true_number() -> None:
    errors = [factorised(mixed(), count)[2] for count in (1, 2, 3)]
    assert errors[0] > errors[1] > errors[2]
    assert errors[0] > 0.2
    assert errors[2] < 0.01


def test_concepts_are_nonnegative_normalized_and_sorted_by_weight() -> None:
    maps, directions, _ = factorised(mixed(), 3)
    assert (maps >= 0).all()
    assert (directions >= 0).all()
    assert_close(directions.norm(dim=1), torch.ones(3))
    amounts = maps.sum(dim=(0, 2, 3)).tolist()
    assert amounts == sorted(amounts, reverse=True)


def test_a_concept_that_only_one_image_has_is_found_there_and_nowhere_else() -> None:
    features = torch.zeros(2, 4, 3, 3)
    features[0, :2, 0] = 1.0
    features[:, 2:, 2] = 2.0
    maps, directions, error = factorised(features, 2)
    assert error < 1e-6
    assert_close(directions, torch.tensor([[0.0, 0.0, 0.5, 0.5], [0.5, 0.5, 0.0, 0.0]]).sqrt(), rtol=1e-4, atol=1e-5)
    assert (maps[0, 1, 0] > 1.4).all()
    assert maps[1, 1].abs().max() < 1e-5


def test_concepts_of_a_batch_are_shared_and_repeatable() -> None:
    model, inputs = seeded(plain_cnn), images(4)
    found = concepts(model, inputs, "5", count=3)
    assert (found.layer, found.maps.shape, found.directions.shape) == ("5", (4, 3, 8, 8), (3, 8))
    seen = camlens.activations(model, inputs, "5")["5"].features
    assert found.error == pytest.approx(float((seen - found.features).norm() / seen.norm()), rel=1e-4)
    again = concepts(model, inputs, "5", count=3)
    assert torch.equal(found.maps, again.maps)
    assert repr(found) == f"<Concepts: 3 of 5 in 4 image(s), relative error {found.error:.0%}>"


def test_the_layer_is_chosen_by_looking_and_channels_last_is_read_as_such() -> None:
    assert concepts(seeded(plain_cnn), images(), count=2).layer == "5"
    assert concepts(seeded(ChannelsLast), images(), "mix", count=2).directions.shape == (2, 24)


def test_heatmaps_share_one_scale_per_concept_over_the_images() -> None:
    maps = torch.tensor([[[[0.0, 4.0]], [[1.0, 1.0]]], [[[2.0, 0.0]], [[0.5, 0.0]]]])
    found = Concepts("layer", maps, torch.eye(2), 0.0)
    assert_close(found.heatmaps((1, 2)), maps / torch.tensor([4.0, 1.0]).reshape(1, 2, 1, 1))
    assert found.heatmaps((3, 8)).shape == (2, 2, 3, 8)
    with refused("size.invalid", InputError, size=(3,)):
        found.heatmaps((3,))


@twin_of("dff")
def test_dff_equals_its_reference_with_what_the_score_loses_without_each_concept() -> None:
    model, inputs = seeded(plain_cnn), images()
    result = explain(model, inputs, method="dff", layers="2", target=[ClassScore(1), ClassScore(4)])
    features = camlens.activations(model, inputs, "2")["2"].features
    rest = nn.Sequential(*list(model)[3:])
    for row in range(2):
        maps, directions, error = factorised(features[row : row + 1], 4)
        lost = []
        for concept in range(4):
            taken = torch.einsum("...,k->k...", maps[0, concept], directions[concept])
            with torch.no_grad():
                lost.append(rest(features[row][None].clone())[0] - rest((features[row] - taken)[None])[0])
        for place, target in enumerate((1, 4)):
            contributions = [float(one[target]) for one in lost]
            expected = reference.dff(maps[0].double().numpy(), contributions)
            found = result.maps["2"][row, place]
            assert_close(found, torch.from_numpy(expected).float(), rtol=1e-3, atol=1e-5)
            assert_close(result.details["contributions"][row, place], torch.tensor(contributions), rtol=1e-3, atol=1e-5)
        assert_close(result.details["error"][row], torch.tensor(error), rtol=1e-4, atol=1e-6)
        assert_close(result.details["concepts"][row], maps[0], rtol=1e-4, atol=1e-6)


def test_before_pooling_and_linear_dff_is_gradcam_of_what_the_concepts_stand_for() -> None:
    model, inputs = seeded(plain_cnn), images(1)
    result = explain(model, inputs, method="dff", layers="5", target=0, options={"concepts": 3})
    maps, directions, _ = factorised(camlens.activations(model, inputs, "5")["5"].features, 3)
    rebuilt = torch.einsum("nj...,jk->nk...", maps, directions)
    expected = torch.einsum("k,nkij->nij", model[8].weight[0].detach(), rebuilt) / 64
    assert_close(result.maps["5"][:, 0], expected, rtol=1e-3, atol=1e-5)


def test_the_map_adds_up_to_the_contributions() -> None:
    result = explain(seeded(plain_cnn), images(), method="dff", layers="5", target=0)
    assert_close(result.maps["5"].sum(dim=(2, 3)), result.details["contributions"].sum(dim=2), rtol=1e-4, atol=1e-6)


def test_features_of_zero_have_no_concepts_and_leave_nothing_out() -> None:
    maps, directions, error = factorised(torch.zeros(2, 4, 3, 3), 2)
    assert (float(maps.abs().sum()), float(directions.abs().sum()), error) == (0, 0, 0.0)


def test_the_model_and_every_random_state_are_left_alone() -> None:
    model, state = used_model(), np.random.get_state()[1].copy()
    before = fingerprint(model)
    concepts(model, images(), "5", count=2)
    assert_untouched(before, fingerprint(model))
    assert (np.random.get_state()[1] == state).all()


def test_invalid_arguments_of_concepts_are_refused() -> None:
    model = seeded(plain_cnn)
    with refused("argument.invalid", InputError, name="concepts", value=9, channels=8, cells=128):
        concepts(model, images(), "5", count=9)
    with refused("argument.invalid", InputError, name="count", value=0):
        concepts(model, images(), "5", count=0)
    with refused("layer.no-grid", LayerError, layer="8"):
        concepts(model, images(), "8", count=1)
    with refused("argument.invalid", InputError, name="concepts", value=0):
        explain(model, images(), method="dff", layers="5", options={"concepts": 0})


def test_without_scikit_learn_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.decomposition", None)
    with refused("extra.missing", MissingExtraError, package="scikit-learn", extra="attributions"):
        factorised(mixed(), 2)
