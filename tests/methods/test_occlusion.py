"""Occlusion: its reference, captum called directly, shared passes and invalid windows."""

import captum.attr
import numpy as np
import pytest
import torch
from torch.testing import assert_close

from camlens import InputError, explain
from camlens.targets import ClassScore
from tests.methods import reference
from tests.nets import images, plain_cnn, seeded
from tests.refusals import refused
from tests.twins import twin_of

pytestmark = pytest.mark.filterwarnings("ignore::camlens.core.errors.EvidenceWarning")

TARGETS = [ClassScore(0), ClassScore(3)]


@pytest.mark.parametrize(("window", "stride"), [((5, 4), (2, 3)), ((16, 16), (1, 1)), ((7, 1), (7, 1))])
@twin_of("occlusion")
def test_occlusion_equals_its_reference(window: tuple[int, int], stride: tuple[int, int]) -> None:
    model, inputs = seeded(plain_cnn), images(2)
    options = {"window": window, "stride": stride, "baseline": 0.25}
    found = explain(model, inputs, method="occlusion", target=TARGETS, options=options, batch_size=5)
    for row, image in enumerate(inputs):
        for place, target in enumerate((0, 3)):

            def score(pixels: np.ndarray, target: int = target) -> float:
                with torch.no_grad():
                    return float(model(torch.from_numpy(pixels).float()[None])[0, target])

            expected = reference.occlusion(image.double().numpy(), score, window, stride, 0.25)
            assert_close(found.maps["input"][row, place].double().numpy(), expected, rtol=1e-3, atol=1e-5)


@pytest.mark.peers
def test_occlusion_equals_captum_called_directly() -> None:
    model, inputs = seeded(plain_cnn), images(1)
    found = explain(model, inputs, method="occlusion", target=3, options={"window": 4, "stride": 3})
    theirs = captum.attr.Occlusion(model).attribute(
        inputs, sliding_window_shapes=(3, 4, 4), strides=(3, 3, 3), target=3
    )
    assert_close(found.maps["input"][:, 0], theirs[:, 0].float().detach(), rtol=1e-4, atol=1e-6)


def test_all_targets_share_the_forward_passes() -> None:
    model, inputs, seen = seeded(plain_cnn), images(1), []
    model.register_forward_pre_hook(lambda _module, args: seen.append(len(args[0])))
    one = explain(model, inputs, method="occlusion", target=3)
    alone = sum(seen)
    five = explain(model, inputs, method="occlusion", target=[ClassScore(number) for number in range(5)])
    assert sum(seen) == 2 * alone
    assert_close(five.maps["input"][:, 3], one.maps["input"][:, 0], rtol=1e-4, atol=1e-6)


def test_progress_counts_every_window_of_every_image() -> None:
    told: list[tuple[int, int]] = []
    explain(
        seeded(plain_cnn), images(2), method="occlusion", options={"window": 8, "stride": 8},
        progress=lambda done, total: told.append((done, total)),
    )  # fmt: skip
    assert told[-1] == (8, 8)
    assert [done for done, _ in told] == sorted(done for done, _ in told)


@pytest.mark.parametrize(
    ("name", "value"),
    [("window", 0), ("window", 17), ("window", (4,)), ("window", True), ("stride", 5)],
)
def test_invalid_windows_are_refused(name: str, value: object) -> None:
    with refused("argument.invalid", InputError, name=name, value=value):
        explain(seeded(plain_cnn), images(1), method="occlusion", options={"window": 4, name: value})
