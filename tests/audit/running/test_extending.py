"""Runs that are extended by new images or by a larger sample."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import camlens.audit
from camlens import StoreError
from camlens.audit.store.manifest import Manifest
from tests.audit.running.shapes import classifier, folder

Start = Callable[..., camlens.audit.Audit]
STRINGS = ("label", "predicted", "correct", "path", "error")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return folder(tmp_path / "shapes")


@pytest.fixture
def start(tmp_path: Path, data: Path) -> Start:
    def start(output: str = "run", **settings: Any) -> camlens.audit.Audit:
        chosen = {"shard_size": 10, "batch_size": 4, "report": False, **settings}
        return camlens.audit.run(data, classifier(), tmp_path / output, **chosen)

    return start


def add(data: Path, name: str) -> None:
    (data / name).write_bytes((data / "green" / "002.png").read_bytes())


def assert_same_rows(audit: camlens.audit.Audit, other: camlens.audit.Audit) -> None:
    """Assert that the rows are the same by id, up to rounding in batches of other sizes."""
    order, others = (np.argsort(run.column("id").astype(str)) for run in (audit, other))
    assert audit.column("id")[order].tolist() == other.column("id")[others].tolist()
    for name in STRINGS:
        assert audit.column(name)[order].tolist() == other.column(name)[others].tolist(), name
    for name in ("confidence", "loss", "entropy", "map_predicted_scale"):
        np.testing.assert_allclose(audit.column(name)[order], other.column(name)[others], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(audit.embeddings()[order], other.embeddings()[others], rtol=1e-2, atol=1e-3)
    np.testing.assert_allclose(audit.maps()[order], other.maps()[others], rtol=1e-2, atol=1e-3)


def test_only_new_images_are_computed_and_the_rows_are_those_of_a_run_made_at_once(start: Start, data: Path) -> None:
    before = start(report=True)
    shards = {path.name: path.read_bytes() for path in (before.path / "shards").iterdir()}
    add(data, "blue/new.png")
    add(data, "red/zzz.png")
    done: list[tuple[int, int]] = []
    after = start(progress=lambda rows, total: done.append((rows, total)))
    assert done == [(24, 26), (26, 26)]
    assert after.column("id")[:24].tolist() == before.column("id").tolist()
    assert after.column("id")[24:].tolist() == ["blue/new.png", "red/zzz.png"]
    assert after.column("index").tolist() == list(range(26))
    assert {name: (after.path / "shards" / name).read_bytes() for name in shards} == shards
    assert [len(rows) for rows in after.parts()] == [10, 10, 4, 2]
    assert json.loads((after.path / "summary.json").read_text())["images"] == 26
    assert not (after.path / "report.html").exists()  # it described 24 images
    assert_same_rows(after, start("at once"))
    assert start().manifest == after.manifest
    assert camlens.audit.open(after.path).image(25).shape == (22, 24, 3)


def test_a_larger_limit_extends_the_sample(start: Start) -> None:
    samples = []
    for limit in (5, 12, None):
        audit = start(limit=limit)
        assert (audit.complete, audit.manifest.limit) == (True, limit)
        samples.append(set(audit.column("id")))
    assert list(map(len, samples)) == [5, 12, 24]
    assert samples[0] < samples[1] < samples[2]
    assert [len(rows) for rows in audit.parts()] == [5, 7, 10, 2]
    assert_same_rows(audit, start("at once"))


def test_a_smaller_limit_and_another_sample_are_refused(start: Start) -> None:
    start(limit=12)
    for settings, changed in (({"limit": 5}, "limit"), ({"limit": 12, "seed": 1}, "seed")):
        with pytest.raises(StoreError) as caught:
            start(**settings)
        assert caught.value.code == "store.other-run"
        assert changed in caught.value.facts["changes"]
        assert "removed" in caught.value.facts["images"]


def test_removed_and_changed_images_are_refused_although_others_are_new(start: Start, data: Path) -> None:
    start()
    add(data, "blue/new.png")
    (data / "red" / "003.png").unlink()
    add(data, "red/004.png")
    with pytest.raises(StoreError) as caught:
        start()
    assert caught.value.facts["images"] == {
        "removed": ["red/003.png"],
        "added": ["blue/new.png"],
        "changed": ["red/004.png"],
    }
    assert camlens.audit.open(caught.value.facts["path"]).complete


def test_an_interrupted_extension_can_be_resumed_and_extended_again(start: Start, data: Path) -> None:
    start()

    def stop(rows: int, _total: int) -> None:
        if rows > 30:
            raise KeyboardInterrupt

    for number in range(15):
        add(data, f"blue/new-{number:02d}.png")
    with pytest.raises(KeyboardInterrupt):
        start(progress=stop)
    add(data, "blue/late.png")
    (data / "blue" / "broken.png").write_text("no image")
    after = start()
    assert [len(rows) for rows in after.parts()] == [10, 10, 4, 10, 5, 2]
    assert [rows for rows, _ in after.manifest.earlier] == [24, 39]
    assert_same_rows(after, start("at once"))


def test_a_crash_between_the_plan_and_the_manifest_leaves_the_shorter_run(
    start: Start, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = start()
    add(data, "blue/lost.png")

    def killed(_manifest: Manifest, _path: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Manifest, "write", killed)
        with pytest.raises(KeyboardInterrupt):
            start()
    opened = camlens.audit.open(before.path)
    assert (len(opened), opened.complete) == (24, True)
    (data / "blue" / "lost.png").unlink()
    add(data, "blue/new.png")
    assert start().column("id")[24:].tolist() == ["blue/new.png"]


def test_a_plan_of_another_run_is_refused(start: Start, data: Path, tmp_path: Path) -> None:
    start()
    other = start("other", limit=5)
    (tmp_path / "run" / "plan.parquet").write_bytes((other.path / "plan.parquet").read_bytes())
    add(data, "blue/new.png")
    with pytest.raises(StoreError) as caught:
        start()
    assert caught.value.code == "store.plan-damaged"
