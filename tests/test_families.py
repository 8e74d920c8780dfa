"""The default layer of small transformers of many families, against an independent Grad-CAM."""

import pytest

from benchmarks.families import TINY, measured

pytest.importorskip("timm")


@pytest.mark.filterwarnings("ignore::camlens.EvidenceWarning")
@pytest.mark.parametrize("kind", TINY)
def test_the_grid_is_right_the_map_is_grad_cam_and_balanced_gradients_add_up(kind: str) -> None:
    family = measured(f"tiny:{kind}")
    assert family.error == ""
    assert family.quadrants == 4
    assert family.difference <= 1e-4
    assert family.identical
    assert family.completeness <= 1e-6
