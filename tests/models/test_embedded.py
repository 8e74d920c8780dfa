"""Tests of the demo models of the package."""

import numpy as np
import pytest
import torch

from camlens.core.errors import ModelError
from camlens.models import demo, load_model


@pytest.mark.parametrize("name", ["photos", "watermark"])
def test_demo_networks_come_with_classes_layer_and_preprocessing(name: str) -> None:
    loaded = load_model(f"demo:{name}")
    assert loaded.class_names == list(demo.CLASS_NAMES)
    assert loaded.default_layer in dict(loaded.model.named_modules())
    image = np.random.default_rng(0).integers(0, 256, (demo.SIZE, demo.SIZE, 3), dtype=np.uint8)
    np.testing.assert_array_equal(loaded.preprocess.display(image), image)
    expected = demo.preprocess_demo(torch.from_numpy(image).permute(2, 0, 1)[None])[0]
    torch.testing.assert_close(loaded.preprocess(image), expected, atol=1e-6, rtol=0)
    with torch.inference_mode():
        assert loaded.model(expected[None]).shape == (1, len(loaded.class_names))


def test_demo_networks_have_fixed_weights_and_classes() -> None:
    for options in ({"weights": "random"}, {"num_classes": 3}):
        with pytest.raises(ModelError) as caught:
            load_model("demo:photos", **options)  # type: ignore[arg-type]
        assert caught.value.code == "model.fixed-weights"
