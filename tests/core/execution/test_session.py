"""The inputs do not change, whatever the model does to them."""

import pytest
from torch import Tensor, nn
from torch.testing import assert_close

from camlens import compute_gradcam, explain, get_top_predictions
from tests.core.test_harmless import OPTIONS
from tests.nets import METHODS_OF_ANY_NETWORK, images, seeded


class Scaling(nn.Module):
    """A network that scales its inputs itself: where they lie, or in a copy."""

    def __init__(self, in_place: bool = True) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 3)
        self.conv2 = nn.Conv2d(6, 6, 3)
        self.head = nn.Linear(6, 4)
        self.in_place = in_place

    def forward(self, inputs: Tensor) -> Tensor:
        inputs = inputs.mul_(2).clamp_(min=-1) if self.in_place else (inputs * 2).clamp(min=-1)
        return self.head(self.conv2(self.conv1(inputs).relu()).relu().mean(dim=(2, 3)))


@pytest.mark.filterwarnings("ignore::camlens.core.errors.EvidenceWarning")
@pytest.mark.parametrize(
    "method", [name for name in METHODS_OF_ANY_NETWORK if name != "deeplift"]
)  # which wants modules only
def test_a_model_that_writes_to_its_inputs_gets_copies(method: str) -> None:
    model, plain = seeded(Scaling), Scaling(in_place=False).eval()
    plain.load_state_dict(model.state_dict())
    inputs = images(1)
    options = OPTIONS.get(method, {})
    ours = explain(model, inputs, method=method, target=1, options=options)
    assert_close(inputs, images(1), rtol=0, atol=0)
    theirs = explain(plain, images(1), method=method, target=1, options=options)
    for name, one in ours.maps.items():
        assert_close(one, theirs.maps[name], rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore::camlens.core.errors.EvidenceWarning")
def test_the_three_functions_do_not_change_the_image() -> None:
    model, image = seeded(Scaling), images(1)[0]
    first = compute_gradcam(model, "cpu", image, model.conv2)
    best = get_top_predictions(model, "cpu", image, list("abcd"))
    assert_close(image, images(1)[0], rtol=0, atol=0)
    assert best[0]["class_idx"] == first[1]
    assert best[0]["confidence"] == pytest.approx(first[2], abs=1e-6)
