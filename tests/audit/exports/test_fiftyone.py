"""The export to FiftyOne, tested with a stand-in because FiftyOne is not a test dependency."""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from camlens import DataError, InputError, MissingExtraError
from camlens.audit.exports.fiftyone import heatmap, to_fiftyone
from tests.audit.synthetic import synthetic_run


@dataclass
class Label:
    label: str | None = None
    confidence: float | None = None
    map: Any = None
    range: Any = None


@dataclass
class Dataset:
    name: str
    overwrite: bool = False
    info: dict[str, Any] = field(default_factory=dict)
    samples: list[dict[str, Any]] = field(default_factory=list)

    def add_samples(self, samples: list[dict[str, Any]]) -> None:
        self.samples += samples


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Replace FiftyOne with the documented names that the export uses."""
    module = ModuleType("fiftyone")
    module.Dataset = Dataset  # type: ignore[attr-defined]
    module.Sample = lambda **fields: dict(fields)  # type: ignore[attr-defined]
    module.Classification = module.Heatmap = Label  # type: ignore[attr-defined]
    module.dataset_exists = lambda name: name == "taken"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "fiftyone", module)
    return module


def test_every_row_with_a_file_becomes_a_sample(stand_in: ModuleType, tmp_path: Path) -> None:
    audit = synthetic_run(tmp_path / "run", rows=120, width=8)
    dataset = to_fiftyone(audit)
    assert (dataset.name, len(dataset.samples)) == ("run", 120)
    assert dataset.info["layer"] == "layer4"
    first = dataset.samples[0]
    assert first["filepath"] == "images/image-000000.jpg"
    assert first["ground_truth"].label == "ant"
    assert first["prediction"].label == audit.class_names[int(audit.column("predicted")[0])]
    assert first["prediction"].confidence == pytest.approx(float(audit.column("confidence")[0]))
    assert first["corner_energy"] == pytest.approx(float(audit.column("corner_energy")[0]))
    np.testing.assert_array_equal(first["embedding"], audit.embeddings([0])[0])
    drawn = first["map_predicted"]
    assert drawn.range == [0, 1]
    assert (float(drawn.map.min()), float(drawn.map.max())) == pytest.approx((0, 1), abs=1e-3)
    np.testing.assert_allclose(drawn.map, audit.maps([0])[0].clip(0), atol=1e-6)


def test_null_columns_are_absent_from_the_sample(stand_in: ModuleType, tmp_path: Path) -> None:
    audit = synthetic_run(tmp_path / "run", rows=120, width=8)
    samples = to_fiftyone(audit, "other", embeddings=False).samples
    broken, unlabelled = samples[96], samples[49]
    assert broken["audit_error"] == "the file is damaged"
    assert not {"prediction", "map_predicted", "embedding", "entropy"} & set(broken)
    assert "ground_truth" not in unlabelled
    assert "embedding" not in samples[0]
    wrong = ~audit.column("correct").filled(True)
    assert [("map_label" in sample) for sample in samples] == wrong.tolist()


def test_an_existing_dataset_is_replaced_only_with_overwrite(stand_in: ModuleType, tmp_path: Path) -> None:
    audit = synthetic_run(tmp_path / "run", rows=10, width=8)
    with pytest.raises(InputError) as caught:
        to_fiftyone(audit, "taken")
    assert (caught.value.code, caught.value.facts) == ("export.exists", {"name": "taken"})
    assert to_fiftyone(audit, "taken", overwrite=True).overwrite


def test_images_that_are_not_files_are_refused(
    stand_in: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    audit = synthetic_run(tmp_path / "run", rows=10, width=8)
    audit._kept["path"] = np.array([None, "memory://a.png"] * 5, object)
    with pytest.raises(DataError) as caught:
        to_fiftyone(audit)
    assert caught.value.code == "export.no-files"


def test_fiftyone_must_be_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fiftyone", None)
    with pytest.raises(MissingExtraError, match="pip install fiftyone"):
        to_fiftyone(synthetic_run(tmp_path / "run", rows=10, width=8))


def test_a_map_without_positive_evidence_has_no_heatmap() -> None:
    assert heatmap(np.array([[-1.0, 0.0]], np.float32)) is None
    assert heatmap(np.array([[np.nan, 1.0]], np.float32)) is None
    np.testing.assert_array_equal(heatmap(np.array([[-1.0, 2.0, 1.0]], np.float32)), [[0, 1, 0.5]])
