"""What precision a map is computed in: float64 for a float64 model, and the same whatever torch's default is."""

from typing import Any

import pytest
import torch
from torch.testing import assert_close

from camlens import explain
from camlens.targets import Contrast, Probability
from tests.nets import METHODS_OF_ANY_NETWORK, images, plain_cnn, seeded

pytestmark = pytest.mark.filterwarnings("ignore::camlens.core.errors.EvidenceWarning")

OPTIONS: dict[str, dict[str, Any]] = {
    "smoothgradcam++": {"samples": 2},
    "sscam": {"samples": 2},
    "iscam": {"samples": 2},
    "rise": {"masks": 6},
    "dff": {"concepts": 2},
    "lime": {"samples": 12, "segments": 4},
    "kernelshap": {"samples": 12, "segments": 4},
    "integratedgradients": {"steps": 4},
    "smoothgrad": {"samples": 2},
}

DRAWING = {"random", "sscam", "smoothgrad", "lime"}  # their draws depend on torch's default dtype


@pytest.mark.parametrize("method", METHODS_OF_ANY_NETWORK)
def test_a_float64_model_is_explained_in_float64(method: str) -> None:
    model, inputs = seeded(plain_cnn).double(), images(2).double()
    result = explain(model, inputs, method=method, target=1, options=OPTIONS.get(method))
    for maps in result.maps.values():
        assert maps.dtype == torch.float64
        # digits that float32 does not have; captum sums up what occlusion covers in float32
        assert method == "occlusion" or not torch.equal(maps, maps.float().double())
    assert result.scores.dtype == result.logits.dtype == torch.float64
    assert result.heatmaps().dtype == result.signedmaps().dtype == torch.float32
    assert {one["dtype"] for one in result.to_dict()["maps"].values()} == {"float64"}


def test_scores_of_a_float64_model_keep_their_digits() -> None:
    model, inputs = seeded(plain_cnn).double(), images(2).double()
    logits = model(inputs).detach()
    result = explain(model, inputs, target=[Contrast(1, 2), Probability(3)])
    wanted = torch.stack([logits[:, 1] - logits[:, 2], logits.softmax(dim=1)[:, 3]], dim=1)
    assert_close(result.scores, wanted, rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("method", METHODS_OF_ANY_NETWORK)
def test_torchs_default_dtype_makes_no_difference(method: str) -> None:
    model, inputs = seeded(plain_cnn), images(2)
    expected = explain(model, inputs, method=method, target=1, options=OPTIONS.get(method))
    try:
        torch.set_default_dtype(torch.float64)
        result = explain(model, inputs, method=method, target=1, options=OPTIONS.get(method))
    finally:
        torch.set_default_dtype(torch.float32)
    for name, maps in result.maps.items():
        assert maps.dtype == torch.float32
        if method in DRAWING:  # other draws: a right map, and not the same one
            assert maps.isfinite().all()
            continue
        assert_close(maps, expected.maps[name], rtol=1e-4, atol=1e-5 * float(expected.maps[name].abs().max()))
