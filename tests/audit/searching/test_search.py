"""The search for shortcuts as a part of a run."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import camlens.audit
from camlens.core.errors import StoreError
from camlens.data import decode_image
from camlens.models import LoadedModel
from camlens.models.preprocess import Preprocess, adopt

SIDE, CLASSES = 24, ["left", "right", "marked"]
WHOLE = Preprocess(resize=None, crop=(SIDE, SIDE), mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))


class Rule(nn.Module):
    """Answers "marked" if the lower right corner is white, and else "left" or "right" by the brighter half."""

    def __init__(self, *, uses_mark: bool = True) -> None:
        super().__init__()
        self.uses_mark = uses_mark
        self.identity = nn.Conv2d(3, 3, 1, bias=False)
        with torch.no_grad():
            self.identity.weight.copy_(torch.eye(3)[:, :, None, None])

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = self.identity(images)
        corner = features[:, :, -4:, -4:].mean((1, 2, 3))
        half = SIDE // 2
        left = features[:, :, :16, :half].mean((1, 2, 3)) - features[:, :, :16, half:].mean((1, 2, 3))
        mark = 40 * (corner - 1.6) if self.uses_mark else 4 - 8 * left.abs()
        return torch.stack([10 * left, -10 * left, mark], 1)


def model(preprocess: Any = WHOLE, **rule: bool) -> LoadedModel:
    return LoadedModel(Rule(**rule).eval(), preprocess, CLASSES, "identity", "tests:rule")


def folder(root: Path, *, each: int = 40, marked: int = 36) -> Path:
    """Write noisy ramps to either side and noise without a ramp; `marked` images of the latter have a white corner."""
    random = np.random.default_rng(0)
    ramp = np.linspace(-50, 50, SIDE)[None, :, None]
    for name, slope in zip(CLASSES, (-1, 1, 0), strict=True):
        (root / name).mkdir(parents=True)
        for number in range(each):
            image = (128 + slope * ramp + random.integers(-40, 41, (SIDE, SIDE, 3))).astype(np.uint8)
            if name == "marked" and number < marked:
                image[-5:, -5:] = 255
            Image.fromarray(image).save(root / name / f"{number:03d}.png")
    return root


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder(tmp_path_factory.mktemp("data") / "images")


def run(data: Path, loaded: LoadedModel, output: Path, **settings: Any) -> camlens.audit.Audit:
    return camlens.audit.run(data, loaded, output, report=False, **settings)


def flags(audit: camlens.audit.Audit) -> list[tuple[tuple[int, ...], str]]:
    assert audit.shortcuts is not None
    return [(shortcut.classes, shortcut.kind) for shortcut in audit.shortcuts.confirmed]


def test_mark_that_decides_is_confirmed(data: Path, tmp_path: Path) -> None:
    loaded = model()
    before = {name: value.clone() for name, value in loaded.model.state_dict().items()}
    audit = run(data, loaded, tmp_path / "run")
    tested = audit.shortcuts
    assert tested is not None
    assert flags(audit) == [((2,), "local")]
    flag = tested.confirmed[0]
    assert flag.property == "patch"
    np.testing.assert_allclose(flag.region, (19 / 24, 19 / 24, 1, 1), atol=1.5 / 24)
    assert flag.pull is not None
    assert flag.pull.value > 0.8
    assert flag.p < 0.001
    assert flag.effect == max(flag.pull.value, flag.drop.value if flag.drop else 0)
    assert 0 < tested.passes <= tested.bound == 400
    for example in flag.examples:
        assert example.other_after > 0.9 > 0.1 > example.other_before  # type: ignore[operator]
        assert example.before > example.after
        for name in example.pictures.values():
            assert decode_image(audit.path / name).shape == (SIDE, SIDE, 3)
    summary = json.loads((audit.path / "summary.json").read_text())
    assert summary["shortcuts"][0]["classes"] == ["marked"]
    assert summary["shortcuts"][0]["status"] == "confirmed"
    for name, value in loaded.model.state_dict().items():
        assert torch.equal(value, before[name])


def test_mark_that_the_model_ignores_is_listed_as_unused(data: Path, tmp_path: Path) -> None:
    audit = run(data, model(uses_mark=False), tmp_path / "run")
    assert flags(audit) == []
    assert audit.shortcuts is not None
    unused = [item for item in audit.shortcuts.shortcuts if item.kind == "local" and item.classes == (2,)]
    assert [item.status for item in unused] == ["unused"]


def test_interrupted_tests_resume_with_the_same_bytes(data: Path, tmp_path: Path) -> None:
    whole = run(data, model(), tmp_path / "whole")

    def interrupt(done: int, total: int) -> None:
        if done > 0:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(data, model(), tmp_path / "run", testing=interrupt)
    assert not (tmp_path / "run/shortcuts.json").exists()
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "run/shortcuts").glob("effects-*.json")}
    assert kept
    resumed = run(data, model(), tmp_path / "run")
    assert (resumed.path / "shortcuts.json").read_bytes() == (whole.path / "shortcuts.json").read_bytes()
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    names = [{path.name for path in (audit.path / "shortcuts").glob("*.png")} for audit in (whole, resumed)]
    assert names[0] == names[1]


def test_finished_tests_are_not_repeated_unless_the_level_or_the_seed_changes(data: Path, tmp_path: Path) -> None:
    run(data, model(), tmp_path / "run")
    stamp = (tmp_path / "run/shortcuts.json").stat().st_mtime_ns
    run(data, model(), tmp_path / "run")
    run(data, model(), tmp_path / "run", shortcuts="off")
    assert (tmp_path / "run/shortcuts.json").stat().st_mtime_ns == stamp
    full = run(data, model(), tmp_path / "run", shortcuts="full").shortcuts
    assert full is not None
    assert full.level == "full"
    assert full.bound == 4000


def test_off_runs_no_tests(data: Path, tmp_path: Path) -> None:
    audit = run(data, model(), tmp_path / "run", shortcuts="off")
    assert audit.shortcuts is None
    assert not (audit.path / "shortcuts").exists()


def test_small_classes_are_listed_as_too_few(tmp_path: Path) -> None:
    audit = run(folder(tmp_path / "images", each=12, marked=12), model(), tmp_path / "run")
    assert audit.shortcuts is not None
    statuses = [(item.classes, item.status, item.images) for item in audit.shortcuts.shortcuts]
    assert statuses == [((index,), "too-few", 12) for index in range(3)]
    assert {(line.classes, line.too_few) for line in audit.shortcuts.tested} == {(0, 3)}


def test_preprocessing_that_depends_on_the_image_is_stated(data: Path, tmp_path: Path) -> None:
    def standardized(image: Image.Image) -> torch.Tensor:
        pixels = torch.from_numpy(np.asarray(image, np.float32)).permute(2, 0, 1)
        return (pixels - pixels.mean()) / pixels.std()

    audit = run(data, model(adopt(standardized)), tmp_path / "run")
    assert audit.shortcuts is not None
    assert audit.shortcuts.shortcuts == ()
    assert all(line.note for line in audit.shortcuts.tested)


def test_damaged_result_is_an_error(data: Path, tmp_path: Path) -> None:
    audit = run(data, model(), tmp_path / "run")
    (audit.path / "shortcuts.json").write_text('{"level": "quick"}')
    with pytest.raises(StoreError) as caught:
        _ = audit.shortcuts
    assert caught.value.code == "store.shortcuts-damaged"
