"""Shards belong to one place of one run, and changed shards are detected."""

import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest

import camlens.audit
from camlens import StoreError
from camlens.audit.store.manifest import Manifest
from camlens.audit.store.run_directory import RunDirectory
from tests.audit.running.shapes import classifier, folder
from tests.audit.synthetic import synthetic_run


def audited(tmp_path: Path, **settings: object) -> camlens.audit.Audit:
    data = tmp_path / "shapes"
    if not data.exists():
        folder(data)
    return camlens.audit.run(data, classifier(), tmp_path / "run", shard_size=8, batch_size=8, report=False, **settings)


def shard(audit: camlens.audit.Audit, number: int) -> Path:
    return RunDirectory(audit.path).shard_path(number)


def to_compute(audit: camlens.audit.Audit) -> list[int]:
    return RunDirectory(audit.path).missing(audit.manifest)


def test_swapped_foreign_and_surplus_shards_are_replaced_or_removed(tmp_path: Path) -> None:
    audit = audited(tmp_path)
    wanted = audit.table()
    other = synthetic_run(tmp_path / "other", rows=24, shard_size=8, width=8, grid=(4, 4), classes=3)
    swapped = shard(audit, 0).read_bytes()
    shutil.copy(shard(audit, 1), shard(audit, 0))
    shard(audit, 1).write_bytes(swapped)
    shutil.copy(shard(other, 2), shard(audit, 2))
    shutil.copy(shard(other, 2), shard(audit, 7))
    with pytest.warns(camlens.audit.IncompleteRunWarning, match=r"\b24\b.*\b24\b"):
        assert camlens.audit.open(audit.path).shards == ()
    assert audited(tmp_path).table().equals(wanted)
    assert not shard(audit, 7).exists()


def test_a_missing_shard_is_reported_with_its_rows(tmp_path: Path) -> None:
    audit = synthetic_run(tmp_path / "run", rows=25, shard_size=10)
    shard(audit, 1).unlink()
    with pytest.warns(camlens.audit.IncompleteRunWarning, match=r"\b10\b.*\b25\b.*\b1\b.*\b3\b"):
        opened = camlens.audit.open(audit.path)
    assert (opened.missing, opened.complete, opened.column("index")[10]) == (10, False, 20)


def test_shards_of_another_method_are_not_reused_without_a_manifest(tmp_path: Path) -> None:
    audit = audited(tmp_path, method="gradcam", layer="0")
    before = audit.maps(None)
    (audit.path / "manifest.json").unlink()
    after = audited(tmp_path, method="layercam", layer="0").maps(None)
    undisturbed = camlens.audit.run(
        tmp_path / "shapes", classifier(), tmp_path / "fresh", shard_size=8, batch_size=8, method="layercam", layer="0"
    )
    np.testing.assert_array_equal(after, undisturbed.maps(None))
    assert not np.array_equal(after, before)


def test_a_shard_with_a_flipped_bit_is_computed_again(tmp_path: Path) -> None:
    audit = synthetic_run(tmp_path / "run", rows=20, shard_size=20, width=4, grid=(2, 2))
    path = shard(audit, 0)
    content = path.read_bytes()
    draw = np.random.default_rng(0)
    for place in draw.integers(0, len(content), 150):
        damaged = bytearray(content)
        damaged[place] ^= 1 << int(draw.integers(8))
        path.write_bytes(damaged)
        assert to_compute(audit) == [0]
    path.write_bytes(content)
    assert to_compute(audit) == []


def test_a_flipped_bit_in_a_column_is_an_error_when_it_is_read(tmp_path: Path) -> None:
    audit = synthetic_run(tmp_path / "run", rows=200, shard_size=200, width=64)
    path = shard(audit, 0)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4  # within the embeddings and maps, which are stored uncompressed
    path.write_bytes(content)
    with pytest.raises(StoreError) as caught:
        camlens.audit.open(audit.path).table()
    assert (caught.value.code, caught.value.facts) == ("store.shard-damaged", {"shard": 0})


def test_a_damaged_manifest_is_refused(tmp_path: Path) -> None:
    path = synthetic_run(tmp_path / "run", rows=5).path / "manifest.json"
    facts = json.loads(path.read_text())
    for damaged in (
        "[" * 100_000,
        json.dumps({**facts, "rows": "many"}),
        json.dumps({**facts, "grid": 3}),
        json.dumps({**facts, "earlier": [[5, "sha256:0"]]}),
        json.dumps({**facts, "earlier": 3}),
    ):
        path.write_text(damaged)
        with pytest.raises(StoreError) as caught:
            Manifest.read(path)
        assert caught.value.code == "store.manifest-damaged"


def test_no_flipped_bit_changes_what_is_read(tmp_path: Path) -> None:
    audit = synthetic_run(tmp_path / "run", rows=20, shard_size=20, width=4, grid=(2, 2))
    wanted, path = audit.table(), shard(audit, 0)
    content = path.read_bytes()
    draw = np.random.default_rng(1)
    noticed = 0
    for place in draw.integers(0, len(content), 120):
        damaged = bytearray(content)
        damaged[place] ^= 1 << int(draw.integers(8))
        path.write_bytes(damaged)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", camlens.audit.IncompleteRunWarning)
            opened = camlens.audit.open(audit.path)
        try:
            assert opened.missing == 20 or opened.table().equals(wanted)
            noticed += opened.missing == 20
        except StoreError as error:
            assert error.code == "store.shard-damaged"  # noqa: PT017
            noticed += 1
    assert noticed > 60


def test_a_shard_removed_from_an_open_run_is_an_error(tmp_path: Path) -> None:
    audit = camlens.audit.open(synthetic_run(tmp_path / "run", rows=25, shard_size=10).path)
    shard(audit, 1).unlink()
    with pytest.raises(StoreError) as caught:
        audit.table()
    assert (caught.value.code, caught.value.facts) == ("store.shard-damaged", {"shard": 1})
