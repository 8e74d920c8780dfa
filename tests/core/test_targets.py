"""Claims about targets: functions see the real batch, each image may have its own, and refusals have codes."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from camlens import Explainer, TargetError, explain
from camlens.targets import Box, Contrast, Finer, InMask, PerImage, Similarity, TopK
from tests.nets import Wrapped, images, plain_cnn, seeded

pytestmark = pytest.mark.filterwarnings("ignore::camlens.core.errors.EvidenceWarning")


def test_a_list_of_functions_gives_one_map_each_for_every_image() -> None:
    model, inputs = seeded(plain_cnn), images(3)
    both = explain(model, inputs, target=[lambda out: out[:, 1], lambda out: out[:, 2]])
    assert both.maps["5"].shape[:2] == (3, 2)
    for place, number in enumerate((1, 2)):
        alone = explain(model, inputs, layers="5", target=number)
        assert_close(both.maps["5"][:, place], alone.maps["5"][:, 0], rtol=1e-4, atol=1e-6)


def test_a_function_is_called_with_the_whole_batch_only() -> None:
    model, inputs, weights = seeded(plain_cnn), images(3), torch.randn(3, 5, generator=torch.Generator().manual_seed(1))
    seen: list[int] = []

    def weighted(output: Tensor) -> Tensor:
        seen.append(len(output))
        return (output * weights).sum(dim=1)

    result = explain(model, inputs, target=weighted)  # which also chooses the layer
    assert set(seen) == {3}
    assert result.layers == ("5",)
    for row in range(3):
        alone = explain(
            model, inputs[row : row + 1], layers="5", target=lambda out, row=row: (out * weights[row]).sum(dim=1)
        )
        assert_close(result.maps["5"][row], alone.maps["5"][0], rtol=1e-4, atol=1e-6)
        assert_close(result.scores[row], alone.scores[0])


def test_the_layer_chosen_for_a_function_feeds_the_score_of_the_first_image() -> None:
    scale = torch.tensor([1.0, 0.0])
    assert Explainer(seeded(plain_cnn))(images(2), target=lambda out: out[:, 1] * scale).layers == ("5",)


@pytest.mark.parametrize("method", ["gradcam", "ablationcam", "scorecam", "saliency"])
@pytest.mark.parametrize("budget", [None, 200_000])
def test_each_image_may_have_its_own_target(method: str, budget: int | None) -> None:
    model, inputs = seeded(plain_cnn), images(4)
    members: list[Any] = [2, lambda out: out[:, 0] - out[:, 3], Contrast(1, 4), None]
    layers = None if method == "saliency" else "5"
    result = explain(model, inputs, method=method, layers=layers, target=PerImage(members), memory_budget=budget)
    (maps,) = result.maps.values()
    assert maps.shape[:2] == (4, 1)
    for row, member in enumerate(members):
        alone = explain(model, inputs[row : row + 1], method=method, layers=layers, target=member)
        (expected,) = alone.maps.values()
        scale = float(expected.abs().max())
        assert_close(maps[row], expected[0], rtol=1e-3, atol=1e-5 * scale)
        assert_close(result.scores[row], alone.scores[0], rtol=1e-4, atol=1e-5)


def test_classes_of_each_image_are_known() -> None:
    result = explain(seeded(plain_cnn), images(2), target=PerImage([2, 4]))
    assert result.classes is not None
    assert result.classes.tolist() == [[2], [4]]


def few(output: Tensor) -> Tensor:
    return output[:1, 0]


@pytest.mark.parametrize(
    ("target", "code", "facts"),
    [
        (7, "target.out-of-range", {"value": 7, "classes": 5}),
        (-1, "target.out-of-range", {"value": -1, "classes": 5}),
        ([1, 9], "target.out-of-range", {"value": 9, "classes": 5}),
        (TopK(6), "target.out-of-range", {"value": 6, "classes": 5}),
        (Finer(1, similar=0), "target.out-of-range", {"value": 0}),
        ([1, 2, 3], "target.count", {"targets": 3, "images": 2}),
        (PerImage([1]), "target.count", {"targets": 1, "images": 2}),
        (PerImage([1, TopK(2)]), "target.uneven", {"counts": (1, 2)}),
        (few, "target.shape", {"target": "few", "images": 2, "returned": (1,)}),
        (lambda output: None, "target.shape", {"returned": "NoneType"}),
        (lambda output: output[:, 0].detach(), "target.no-gradient", {"target": "<lambda>"}),
        ("cat", "target.type", {"value": "cat"}),
        ([], "argument.empty", {"name": "target"}),
        (Similarity(torch.ones(3)), "target.shape", {"expected": (5,), "given": (3,)}),
        (Similarity(torch.zeros(5)), "target.zero", {}),
        (InMask(torch.ones(4, 4), 1), "target.output", {}),
        (Box((0.0, 0.0, 4.0, 4.0), 1), "target.output", {}),
    ],
)
def test_refusals_have_codes_and_facts(target: Any, code: str, facts: dict[str, object]) -> None:
    error = TargetError if code != "target.no-gradient" else RuntimeError
    for layers in (None, "5"):
        with pytest.raises(error) as caught:
            explain(seeded(plain_cnn), images(2), layers=layers, target=target)
        assert caught.value.code == code
        given: dict[str, object] = caught.value.facts
        assert {name: given[name] for name in facts} == facts


def test_a_box_needs_the_output_of_a_detector() -> None:
    model = seeded(lambda: Wrapped(plain_cnn(), lambda logits: (logits, logits * 2)))
    with pytest.raises(TargetError) as caught:
        explain(model, images(1), target=Box((0.0, 0.0, 4.0, 4.0), 1))
    assert caught.value.code == "target.output"
