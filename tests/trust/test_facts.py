"""Facts follow from the map, whatever the size of its grid."""

from types import MappingProxyType
from typing import Any

import pytest
import torch
from torch import Tensor

from camlens import EvidenceWarning, Explanation, explain
from camlens.trust.facts import facts_of, same_map
from tests.nets import images, plain_cnn, seeded


def explained(maps: Tensor, **changes: Any) -> Explanation:
    """An explanation of one image with this map (*grid)."""
    facts: dict[str, Any] = {"input_size": (64,) * maps.ndim, "scores": torch.ones(1, 1), **changes}
    return Explanation(
        maps=MappingProxyType({"layer": maps[None, None]}),
        logits=None,
        classes=None,
        layers=("layer",),
        method="gradcam",
        targets=("target",),
        provenance=MappingProxyType({"dtype": "float32"}),
        **facts,
    )


def codes(maps: Tensor, patches: int = 2, **changes: Any) -> list[str]:
    return [fact.code for fact in facts_of(explained(maps, **changes), "layer", 0, 0, patches)]


def test_empty_maps_are_named_by_their_reason() -> None:
    grid = torch.arange(16.0).view(4, 4)
    assert codes(-1 - grid) == ["map.negative"]
    assert codes(-1 - grid, diverging=(True,)) == []
    assert codes(torch.full((4, 4), 0.5)) == ["map.constant"]
    assert codes(grid * torch.nan) == ["map.not-finite"]


@pytest.mark.parametrize("side", range(3, 22))
def test_even_maps_have_no_energy_anywhere_for_every_grid(side: int) -> None:
    even = 1 + 0.1 * torch.rand(side, side + 1, generator=torch.Generator().manual_seed(side))
    assert codes(even) == []


@pytest.mark.parametrize("side", [5, 7, 8, 14, 16])
def test_a_hot_corner_and_a_hot_border_are_named(side: int) -> None:
    corner = torch.full((side, side), 0.05)
    corner[-1, -1] = corner[-1, -2] = 1
    (fact,) = [fact for fact in facts_of(explained(corner), "layer", 0, 0, 2) if fact.code == "energy.corner"]
    assert fact.value == pytest.approx(
        float(corner[-max(1, round(0.2 * side)) :, -max(1, round(0.2 * side)) :].sum() / corner.sum())
    )
    assert "bottom right" in fact.text
    border = torch.full((side, side), 0.05)
    border[0] = border[-1] = border[:, 0] = border[:, -1] = 1
    assert "energy.border" in codes(border)
    center = torch.zeros(side, side)
    center[side // 2 - 1 : side // 2 + 1, side // 2 - 1 : side // 2 + 1] = 1
    assert codes(center) == []


def test_a_coarse_layer_and_a_single_hot_cell_are_named() -> None:
    single = torch.full((6, 6), 0.1)
    single[2, 3] = 1
    assert codes(single) == ["layer.single-cell"]
    assert codes(torch.rand(3, 5) + 1, patches=4) == ["layer.coarse"]


def test_a_map_of_the_size_of_rounding_errors_is_named() -> None:
    noise = 1e-9 * torch.rand(6, 6, generator=torch.Generator().manual_seed(0))
    assert codes(noise) == ["map.rounding"]
    assert codes(noise, scores=torch.full((1, 1), 1e-8)) == []

    def constant(logits: Tensor) -> Tensor:
        return logits.softmax(dim=1).sum(dim=1)

    model, inputs = seeded(plain_cnn), images(n=8)
    with pytest.warns(EvidenceWarning):
        explanation = explain(model, inputs, layers="5", target=constant)
    found = [{fact.code for fact in facts_of(explanation, "5", row, 0, 2)} for row in range(8)]
    assert all(names & {"map.rounding", "map.negative", "map.constant"} for names in found)
    assert any("map.rounding" in names for names in found)
    explanation = explain(model, inputs, layers="5")
    assert all("map.rounding" not in [fact.code for fact in facts_of(explanation, "5", row, 0, 2)] for row in range(8))


def test_the_same_map_for_the_next_class_is_named_with_its_correlation() -> None:
    (fact,) = same_map(0.995, "hen")
    assert (fact.code, fact.value) == ("class.same-map", 0.995)
    assert same_map(0.98, "hen") == same_map(float("nan"), "") == []
