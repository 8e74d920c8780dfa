"""Reading a run: the types of columns, the order of rows, refused arguments."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import camlens.audit
from camlens.audit.store.schema import row_schema
from camlens.core.errors import DataError, InputError, StoreError
from tests.audit.synthetic import columns, manifest, synthetic_run


@pytest.fixture
def audit(tmp_path: Path) -> camlens.audit.Audit:
    return synthetic_run(tmp_path / "run", rows=230, shard_size=100, width=6, grid=(3, 4))


def test_columns_are_read_as_they_were_written(audit: camlens.audit.Audit) -> None:
    written = columns(range(230), manifest(230, width=6, grid=(3, 4), shard_size=100))
    assert (len(audit), audit.complete, audit.missing, audit.grid) == (230, True, 0, (3, 4))
    for name in ("label", "predicted", "width", "height"):
        column = audit.column(name)
        np.testing.assert_array_equal(column.filled(), written[name])
        np.testing.assert_array_equal(column.mask, written[name] < 0)
    for name in ("confidence", "loss", "entropy", "centre_y", "inside_energy", "map_label_scale"):
        np.testing.assert_array_equal(audit.column(name), written[name])
    for name in ("id", "path", "error"):
        assert audit.column(name).tolist() == written[name]
    known = (written["label"] >= 0) & (written["predicted"] >= 0)
    np.testing.assert_array_equal(audit.column("correct").mask, ~known)
    np.testing.assert_array_equal(audit.column("correct").filled(), (written["label"] == written["predicted"]) & known)
    assert audit.column("top_classes")[:96].tolist() == written["top_classes"][:96]
    assert audit.column("top_classes")[96].tolist() == [-1] * 5
    assert np.isnan(audit.column("top_confidences")[96]).all()
    assert audit.column("index").tolist() == list(range(230))


def test_embeddings_and_maps_can_be_read_for_some_rows(audit: camlens.audit.Audit) -> None:
    everything, maps = audit.embeddings(), audit.maps(None)
    written = columns(range(230), manifest(230, width=6, grid=(3, 4), shard_size=100))
    np.testing.assert_allclose(everything, written["embedding"], rtol=1e-3)
    np.testing.assert_allclose(maps.reshape(230, 12), written["map_predicted"], atol=1e-3)
    assert np.isnan(everything[96]).all()
    assert np.isnan(maps[96]).all()
    rows = [229, 3, 100, -1, 96]
    np.testing.assert_array_equal(audit.embeddings(rows), everything[rows])
    np.testing.assert_array_equal(audit.maps(rows), maps[rows])
    mask = audit.column("predicted") == 3
    np.testing.assert_array_equal(audit.maps(mask.filled(False)), maps[mask.filled(False)])
    np.testing.assert_array_equal(audit.maps(slice(95, 105)), maps[95:105])
    assert audit.maps([]).shape == (0, 3, 4)


def test_rows_must_be_a_list_of_existing_rows(audit: camlens.audit.Audit) -> None:
    with pytest.raises(InputError) as caught:
        audit.maps(np.array(3))
    assert (caught.value.code, caught.value.facts["name"]) == ("argument.invalid", "rows")
    np.testing.assert_array_equal(audit.maps([3]), audit.maps(None)[3:4])
    for rows, worst in (([0, -231], -231), ([5, 230], 230)):
        with pytest.raises(InputError) as caught:
            audit.maps(rows)
        assert (caught.value.code, caught.value.facts["row"]) == ("row.out-of-range", worst)


def test_maps_are_multiplied_by_their_scale(audit: camlens.audit.Audit) -> None:
    wrong = np.flatnonzero(~np.isnan(audit.column("map_label_scale")))
    maps = audit.maps(wrong, "label")
    assert len(wrong) > 5
    np.testing.assert_array_equal(maps.max(axis=(1, 2)), 0.5)  # stored with maximum 1 and scale 0.5
    right = np.flatnonzero(audit.column("correct").filled())
    assert np.isnan(audit.maps(right, "label")).all()


def test_a_run_with_a_missing_shard_has_the_other_rows(tmp_path: Path) -> None:
    audit = synthetic_run(tmp_path / "run", rows=230, shard_size=100, leave_out=(1,))
    assert (len(audit), audit.complete, audit.missing, audit.shards) == (130, False, 100, (0, 2))
    assert audit.column("index").tolist() == [*range(100), *range(200, 230)]
    np.testing.assert_array_equal(audit.embeddings([105]), audit.embeddings()[105:106])
    assert [(part.start, part.stop) for part in audit.parts()] == [(0, 100), (100, 130)]


def test_a_run_without_any_shard_is_empty(tmp_path: Path) -> None:
    audit = synthetic_run(tmp_path / "run", rows=10, shard_size=10, leave_out=(0,))
    assert len(audit) == 0
    assert audit.column("label").shape == audit.column("confidence").shape == (0,)
    assert audit.maps(None).shape == (0, 7, 7)
    assert audit.table().num_rows == 0


def test_the_table_has_the_requested_columns_and_types(audit: camlens.audit.Audit) -> None:
    assert audit.table().schema.equals(row_schema(6, (3, 4)))
    assert audit.table(["loss", "id"]).column_names == ["loss", "id"]


def test_a_damaged_shard_counts_as_missing(tmp_path: Path) -> None:
    path = synthetic_run(tmp_path / "run", rows=20, shard_size=10).path
    shard = path / "shards" / "shard-00001.parquet"
    shard.write_bytes(shard.read_bytes()[:-100])
    with pytest.warns(camlens.audit.IncompleteRunWarning):
        assert camlens.audit.open(path).shards == (0,)


def test_invalid_arguments_are_refused(audit: camlens.audit.Audit, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        audit.column("los")
    assert (caught.value.code, caught.value.facts) == ("column.unknown", {"column": "los"})
    with pytest.raises(InputError) as caught:
        audit.table(["x"])
    assert (caught.value.code, caught.value.facts) == ("column.unknown", {"column": "x"})
    with pytest.raises(InputError) as caught:
        audit.maps([230])
    assert (caught.value.code, caught.value.facts) == ("row.out-of-range", {"row": 230, "rows": 230})
    with pytest.raises(InputError) as caught:
        audit.maps(np.array([True, False, True]))
    assert (caught.value.code, caught.value.facts) == ("rows.mask", {"shape": (3,), "rows": 230})
    with pytest.raises(InputError) as caught:
        audit.embeddings(np.array([0.5]))
    assert (caught.value.code, caught.value.facts["name"]) == ("argument.invalid", "rows")
    with pytest.raises(InputError) as caught:
        audit.maps([0], "true")
    assert (caught.value.code, caught.value.facts) == ("argument.invalid", {"name": "which", "value": "true"})
    with pytest.raises(DataError) as unplaced:
        audit.image(0)
    assert unplaced.value.code == "data.unknown-place"
    with pytest.raises(StoreError) as absent:
        camlens.audit.open(tmp_path)
    assert (absent.value.code, absent.value.facts) == ("store.no-run", {"path": str(tmp_path)})


def test_a_manifest_of_another_version_or_damaged_is_refused(audit: camlens.audit.Audit) -> None:
    path = audit.path / "manifest.json"
    text = path.read_text()
    path.write_text(text.replace('"schema_version": 3', '"schema_version": 7'))
    with pytest.raises(StoreError) as caught:
        camlens.audit.open(audit.path)
    assert (caught.value.code, caught.value.facts) == ("store.version", {"found": 7, "expected": 3})
    path.write_text(text.replace('"weights"', '"heights"'))
    with pytest.raises(StoreError) as caught:
        camlens.audit.open(audit.path)
    assert (caught.value.code, caught.value.facts) == ("store.manifest-damaged", {"fields": ["weights"]})
    path.write_text(text[:50])
    with pytest.raises(StoreError) as caught:
        camlens.audit.open(audit.path)
    assert caught.value.code == "store.manifest-damaged"


def test_returned_columns_are_copies(audit: camlens.audit.Audit) -> None:
    audit.column("loss")[:] = 7
    audit.column("label")[:] = 7
    assert not (audit.column("loss") == 7).any()
    assert not (audit.column("label") == 7).all()


def test_columns_are_read_without_loading_pandas(audit: camlens.audit.Audit) -> None:
    code = (
        "import sys, camlens.audit\n"
        "audit = camlens.audit.open(sys.argv[1])\n"
        "for name in ('label', 'correct', 'confidence', 'id', 'error', 'top_classes'): audit.column(name)\n"
        "print(audit.maps(range(96, 105)).shape, 'pandas' in sys.modules)"
    )
    answer = subprocess.run([sys.executable, "-c", code, str(audit.path)], capture_output=True, text=True)
    assert answer.stdout == "(9, 3, 4) False\n", answer.stderr
