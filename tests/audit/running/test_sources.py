"""Runs over every kind of source have the same rows."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import camlens.audit
from camlens.data.sources import open_source
from tests.audit.running.shapes import CLASSES, classifier, folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return folder(tmp_path / "shapes", each=3)


@pytest.fixture
def memory(data: Path) -> Iterator[Any]:
    system = fsspec.filesystem("memory")
    for path in data.rglob("*.png"):
        system.pipe(f"/shapes/{path.relative_to(data)}", path.read_bytes())
    yield system
    system.rm("/", recursive=True)


def audited(data: Any, output: Path) -> camlens.audit.Audit:
    return camlens.audit.run(data, classifier(), output, shard_size=4, batch_size=4, report=False)


def same_answers(sample: camlens.audit.Audit, other: camlens.audit.Audit) -> None:
    for name in ("label", "predicted", "confidence", "entropy", "width", "height", "map_predicted_scale"):
        np.testing.assert_array_equal(sample.column(name), other.column(name))
    np.testing.assert_array_equal(sample.embeddings(), other.embeddings())


def test_a_url_has_the_rows_of_the_folder(data: Path, memory: Any, tmp_path: Path) -> None:
    here, there = audited(data, tmp_path / "here"), audited("memory://shapes", tmp_path / "there")
    same_answers(here, there)
    assert there.column("id").tolist() == here.column("id").tolist()
    assert there.column("path")[0] == "memory://shapes/blue/000.png"
    opened = camlens.audit.open(there.path)
    np.testing.assert_array_equal(opened.image(4), here.image(4))
    assert audited("memory://shapes", tmp_path / "there").complete
    memory.pipe("/shapes/blue/000.png", (data / "blue" / "001.png").read_bytes())
    with pytest.raises(camlens.StoreError) as caught:
        audited("memory://shapes", tmp_path / "there")
    assert caught.value.code == "store.other-run"
    assert caught.value.facts["images"] == {"changed": ["blue/000.png"]}


def test_a_parquet_manifest_has_the_rows_of_the_folder(data: Path, tmp_path: Path) -> None:
    source = open_source(data)
    table = pa.table({"path": [sample.id for sample in source], "label": [sample.class_name for sample in source]})
    pq.write_table(table, data / "list.parquet")
    same_answers(audited(data / "list.parquet", tmp_path / "listed"), audited(data, tmp_path / "run"))


def test_a_saved_dataset_has_the_rows_of_the_folder(data: Path, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=CLASSES)})
    source = open_source(data)
    columns = {"image": [str(sample.path) for sample in source], "label": [sample.label for sample in source]}
    datasets.Dataset.from_dict(columns, features=features).save_to_disk(str(tmp_path / "saved"))
    saved, wanted = audited(tmp_path / "saved", tmp_path / "run"), audited(data, tmp_path / "wanted")
    same_answers(saved, wanted)
    assert saved.column("path").tolist() == [None] * 9
    np.testing.assert_array_equal(camlens.audit.open(saved.path).image(5), wanted.image(5))


def test_relative_paths_are_stored_as_absolute_paths(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    audit = audited("shapes", Path("run"))
    listed = audited(["shapes/red/000.png", "shapes/red/001.png"], Path("listed"))
    assert audit.column("path")[0] == str(data / "blue" / "000.png")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    wanted = open_source(data)[7].load()
    np.testing.assert_array_equal(camlens.audit.open("../run").image(7), wanted)
    assert listed.manifest.data is None
    np.testing.assert_array_equal(camlens.audit.open("../listed").image(1), wanted)
