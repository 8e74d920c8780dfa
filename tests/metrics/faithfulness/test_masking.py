"""The image under its map: against the formulas, by hand, and where a constant map would win."""

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from camlens.core.errors import InputError
from camlens.metrics.faithfulness import average_drop, average_gain, increase_in_confidence
from tests.metrics import reference
from tests.metrics.toy import ToyScore
from tests.refusals import refused
from tests.twins import twin_of

ALL = [average_drop, increase_in_confidence, average_gain]


def mean_score(inputs: Tensor, row: int) -> Tensor:
    return inputs.flatten(1).mean(dim=1)


@pytest.mark.parametrize("size", [(6,), (4, 5), (2, 3, 4)])
@twin_of("average_drop", "increase_in_confidence", "average_gain")
def test_figures_are_the_formulas(size: tuple[int, ...]) -> None:
    toy = ToyScore(*size, images=6)
    for metric in ALL:
        wanted = toy.expected(getattr(reference, metric.__name__))
        assert_close(metric(toy, toy.inputs, toy.maps), wanted)
    assert 0 < increase_in_confidence(toy, toy.inputs, toy.maps).mean() < 1


def test_drop_and_gain_by_hand() -> None:
    inputs = torch.tensor([[[0.8, 0.8]], [[-0.4, 0.8]]])
    heatmaps = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    assert_close(average_drop(mean_score, inputs, heatmaps), torch.tensor([0.5, 0.0]))
    assert_close(increase_in_confidence(mean_score, inputs, heatmaps), torch.tensor([0.0, 1.0]))
    assert_close(average_gain(mean_score, inputs, heatmaps), torch.tensor([0.0, 0.25]))


def test_the_drop_is_a_share_of_the_images_own_score_and_not_a_difference() -> None:
    inputs, heatmaps = torch.full((1, 1, 4), 0.1), torch.tensor([[1.0, 1.0, 0.0, 0.0]])
    assert_close(average_drop(mean_score, inputs, heatmaps), torch.tensor([0.5]))


@pytest.mark.parametrize("metric", ALL)
@pytest.mark.parametrize("value", [0.0, 1.0, float("nan")])
def test_a_constant_map_does_not_win(metric, value: float) -> None:
    toy = ToyScore(4, 4)
    heatmaps = torch.stack([torch.full((4, 4), value), toy.maps[1]])
    assert metric(toy, toy.inputs, heatmaps).isnan().tolist() == [True, False]
    assert toy.asked == [0, 2]


def test_a_score_of_zero_has_no_drop_and_a_score_of_one_no_gain() -> None:
    heatmaps = torch.tensor([[1.0, 0.0]])
    assert average_drop(mean_score, torch.zeros(1, 1, 2), heatmaps).isnan().all()
    assert average_gain(mean_score, torch.ones(1, 1, 2), heatmaps).isnan().all()


@pytest.mark.parametrize("metric", ALL)
def test_logits_are_refused(metric) -> None:
    toy = ToyScore(4, 4, softmax=False)
    with refused("score.not-a-probability", InputError):
        metric(toy, toy.inputs * 100, toy.maps)


@pytest.mark.parametrize("metric", ALL)
def test_maps_that_do_not_fit_are_refused(metric) -> None:
    toy = ToyScore(4, 4)
    with refused("maps.shape", InputError, shape=(2, 2, 4)):
        metric(toy, toy.inputs, toy.maps[:, :2])
    with refused("heatmaps.range", InputError):
        metric(toy, toy.inputs, toy.maps - 0.5)


def test_a_score_that_gives_all_classes_is_refused() -> None:
    toy = ToyScore(4, 4)
    with refused("score.shape", InputError):
        average_drop(lambda inputs, row: torch.zeros(len(inputs), 10), toy.inputs, toy.maps)


def test_no_graph_is_kept_and_nothing_given_is_changed() -> None:
    toy = ToyScore(4, 4)
    weights = torch.ones(3, 4, 4, requires_grad=True)
    kept = toy.inputs.clone(), toy.maps.clone()

    def score(inputs: Tensor, row: int) -> Tensor:
        answer = (inputs * weights).flatten(1).sum(dim=1).sigmoid()
        assert not answer.requires_grad
        return answer

    assert not average_drop(score, toy.inputs, toy.maps).requires_grad
    assert torch.equal(toy.inputs, kept[0])
    assert torch.equal(toy.maps, kept[1])
