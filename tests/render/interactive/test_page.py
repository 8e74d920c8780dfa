import base64
import hashlib
import json
import re
from html import unescape
from importlib.resources import files

import numpy as np
import pytest
import torch
from torch import nn

from camlens.core.errors import EvidenceWarning, InputError
from camlens.explainer import explain
from camlens.render.interactive import page as module
from camlens.render.interactive.gather import live_images
from camlens.render.interactive.page import LiveImage, LiveMap, live_frame, live_page
from camlens.render.placing import WHOLE
from tests.refusals import refused

SCRIPT = "const built = 1;"


@pytest.fixture(autouse=True)
def script(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "overlay_script", lambda: SCRIPT)


def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (6, 8, 3), dtype=np.uint8)


def an_image(title: str = "a cat") -> LiveImage:
    values = np.array([[-1.5, 2.0]], dtype=np.float32)
    return LiveImage(title, picture(), [LiveMap("Overlay", values)], [("Layer", "last")], [("cat", 0.75)])


def data_of(text: str) -> dict[str, object]:
    (found,) = re.findall(r'<script type="application/json" id="maps">(.*?)</script>', text)
    data: dict[str, object] = json.loads(found)
    return data


def test_maps_and_pictures_are_stored_without_loss() -> None:
    data = data_of(live_page([an_image()], title="Maps", opacity=0.3, colormap="viridis"))
    assert (data["opacity"], data["colours"]) == (0.3, "viridis")
    (image,) = data["images"]
    np.testing.assert_array_equal(np.frombuffer(base64.b64decode(image["maps"][0]["values"]), "<f4"), [-1.5, 2.0])
    assert image["maps"][0]["shape"] == [1, 2]
    assert base64.b64decode(image["picture"]).startswith(b"\x89PNG")
    assert image["predictions"] == [["cat", 0.75]]


def test_a_photograph_is_stored_downscaled_with_the_region_that_the_model_saw() -> None:
    values = np.ones((2, 2), np.float32)
    image = LiveImage("a", np.zeros((500, 1500, 3), np.uint8), [LiveMap("m", values)], region=(0.25, -0.5, 0.75, 1.5))
    (data,) = data_of(live_page([image], title="Maps"))["images"]
    assert data["region"] == [0.25, -0.5, 0.75, 1.5]
    assert data["size"] == [213, 640]
    assert data_of(live_page([an_image()], title="Maps"))["images"][0]["region"] is None


def test_titles_are_escaped() -> None:
    evil = "</script><script>alert(1)</script><!--"
    text = live_page([an_image(evil)], title=evil, subtitle=evil)
    assert text.count("<script") == 2
    assert data_of(text)["images"][0]["title"] == evil


def test_only_its_own_script_may_run_and_nothing_may_be_loaded() -> None:
    text = live_page([an_image()], title="Maps")
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in text
    assert "default-src 'none'" in text
    assert text.count(f"<script>{SCRIPT}</script>") == 1


def test_the_frame_has_the_whole_page_and_is_sandboxed() -> None:
    text = live_page([an_image()], title="Maps & more")
    frame = live_frame(text, height=300)
    assert 'sandbox="allow-scripts"' in frame
    assert unescape(re.findall(r'srcdoc="(.*)"', frame, re.DOTALL)[0]) == text


def test_a_page_needs_images_and_a_color_map_that_exists() -> None:
    with refused("argument.empty", InputError, name="images"):
        live_page([], title="Nothing")
    with refused("argument.invalid", InputError, name="colormap", value="rainbow"):
        live_page([an_image()], title="Maps", colormap="rainbow")


def test_an_explanation_becomes_one_live_image_for_each_explained_one() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    explanation = explain(model, torch.rand(2, 3, 8, 8), layers="0", target=[1, 2])
    images = live_images(explanation, [(picture(), WHOLE)] * 2, class_names=["ant", "bee", "cat"])
    assert [image.maps[0].title for image in images] == ["bee at 0", "cat at 0"]
    np.testing.assert_array_equal(images[1].maps[0].values, explanation.maps["0"][1, 0].numpy())
    assert sum(confidence for _, confidence in images[0].predictions) == pytest.approx(1)
    with refused("images.count", InputError, given=1, expected=2):
        live_images(explanation, [(picture(), WHOLE)])


def test_empty_maps_have_a_warning() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 1, 1, bias=False), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, 2))
    with torch.no_grad():
        model[0].weight.fill_(1)
        model[3].weight.copy_(torch.tensor([[1.0], [-1.0]]))
    with pytest.warns(EvidenceWarning):
        explanation = explain(model, torch.rand(1, 3, 4, 4), layers="0", target=1)
    assert live_images(explanation)[0].maps[0].warning is not None


def test_the_built_script_is_small() -> None:
    file = files("camlens.render.interactive") / "static" / "overlay.js"
    if not file.is_file():
        pytest.skip("the script is not built: make studio-ui")
    assert len(file.read_bytes()) < 100_000
