"""Audits of the honest demo model, whose maps lie on the objects with known masks."""

import numpy as np
import pytest

import camlens.audit


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> camlens.audit.Audit:
    return camlens.audit.run("demo:photos", "demo:photos", tmp_path_factory.mktemp("honest"), limit=60, report=False)


def test_the_honest_model_looks_at_the_objects(honest: camlens.audit.Audit) -> None:
    assert honest.column("correct").mean() > 0.95
    assert np.nanmean(honest.column("inside_energy")) > 0.7
    assert np.nanmean(honest.column("corner_energy")) < 0.05


def test_image_and_mask_of_a_demo_row_can_be_read_again(honest: camlens.audit.Audit) -> None:
    opened = camlens.audit.open(honest.path)
    assert opened.image(0).shape == (128, 128, 3)
    mask = opened.sample(0).load_mask()
    assert mask is not None
    assert 0.05 < mask.mean() < 0.9
