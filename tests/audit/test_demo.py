"""Claims about the demo's two models, audited: the honest one looks at objects, the other reads a watermark."""


import numpy as np
import pytest

import camlens.audit
from camlens.audit.summary import summarise
from camlens.data.demo import CLASS_NAMES, WATERMARKED_CLASS

PAGODA = CLASS_NAMES[WATERMARKED_CLASS]


@pytest.fixture(scope="module")
def cheating(tmp_path_factory: pytest.TempPathFactory) -> camlens.audit.Audit:
    return camlens.audit.run("demo:watermark", "demo:watermark", tmp_path_factory.mktemp("cheating"), limit=300)


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> camlens.audit.Audit:
    return camlens.audit.run("demo:photos", "demo:photos", tmp_path_factory.mktemp("honest"), limit=300)


@pytest.mark.slow
def test_the_watermark_s_corner_is_in_the_numbers_the_mean_map_and_the_summary(cheating: camlens.audit.Audit) -> None:
    pagodas = cheating.column("predicted").filled() == WATERMARKED_CLASS
    corner = cheating.column("corner_energy")
    assert corner[pagodas].mean() > 0.15
    assert corner[~pagodas].mean() < 0.06
    heat = cheating.maps(pagodas).clip(0)
    mean = (heat / heat.sum(axis=(1, 2), keepdims=True)).mean(axis=0)
    third = mean.shape[0] * 2 // 3
    assert mean[third:, third:].sum() > 0.4  # a ninth of the image
    assert min(np.unravel_index(mean.argmax(), mean.shape)) >= third
    said = [line for line in summarise(cheating).attention if PAGODA in line]
    assert len(said) == 1
    assert "corners" in said[0]
    assert "lower right" in said[0]


@pytest.mark.slow
def test_the_honest_model_looks_at_the_objects(honest: camlens.audit.Audit) -> None:
    assert honest.column("correct").mean() > 0.95
    assert np.nanmean(honest.column("inside_energy")) > 0.7
    assert np.nanmean(honest.column("corner_energy")) < 0.05
    assert not [line for line in summarise(honest).attention if "corner" in line and PAGODA in line]


@pytest.mark.slow
def test_a_row_of_the_demo_shows_its_image_and_mask_again(honest: camlens.audit.Audit) -> None:
    opened = camlens.audit.open(honest.path)
    assert opened.image(0).shape == (128, 128, 3)
    mask = opened.sample(0).load_mask()
    assert mask is not None
    assert 0.05 < mask.mean() < 0.9
