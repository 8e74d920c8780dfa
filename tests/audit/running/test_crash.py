"""Resuming runs that were killed or ran out of disk space."""

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import camlens.audit
from camlens import StoreError
from camlens.audit.store.manifest import Manifest
from camlens.audit.store.run_directory import RunDirectory
from tests.audit.running.shapes import classifier, folder

ROOT = Path(__file__).parents[3]


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_run_killed_twenty_times_has_the_rows_of_an_uninterrupted_run(tmp_path: Path) -> None:
    paths = os.pathsep.join([str(ROOT), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "tests.audit.running.crash", str(tmp_path), "5"]
    answer = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": paths})
    assert answer.returncode == 0, answer.stderr
    outcomes = json.loads(answer.stdout)
    assert len(outcomes["inside"]) == 12
    for outcome in outcomes["inside"]:
        renamed = outcome["point"] == "renamed"
        assert outcome["code"] == -signal.SIGKILL, outcome
        assert outcome["shards"] == outcome["commits"] - (not renamed), outcome
        assert outcome["unfinished"] == (not renamed), outcome
    assert set(outcomes["at_random"]) <= {-signal.SIGKILL, 0}  # the run may finish first on a fast machine
    killed, undisturbed = (camlens.audit.open(tmp_path / name) for name in ("killed", "undisturbed"))
    assert killed.column("index").tolist() == list(range(360))
    assert len(set(killed.column("id").tolist())) == 360
    assert killed.table().equals(undisturbed.table())
    names = {
        name: sorted(path.relative_to(tmp_path / name).as_posix() for path in (tmp_path / name).rglob("*"))
        for name in ("killed", "undisturbed")
    }
    assert names["killed"] == names["undisturbed"]


def start(data: Path, output: Path) -> camlens.audit.Audit:
    return camlens.audit.run(data, classifier(), output, shard_size=8, batch_size=8, report=False)


def committed(output: Path) -> list[int]:
    directory = RunDirectory(output)
    return list(directory.present(Manifest.read(directory.manifest_path)))


@contextmanager
def small_disk(place: Path) -> Iterator[Callable[[], None]]:
    """Mount a file system of 64 kB at `place`, and yield a function that enlarges it."""
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)]
    try:
        mounted = subprocess.run(mount, capture_output=True, text=True)
    except OSError as error:
        pytest.skip(f"no mount here: {error}")
    if mounted.returncode:
        pytest.skip(f"may not mount a file system here: {mounted.stderr.strip()}")
    try:
        yield lambda: subprocess.run(["mount", "-o", "remount,size=16m", str(place)], check=True) and None
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_a_run_resumes_after_the_disk_was_full(tmp_path: Path) -> None:
    data = folder(tmp_path / "shapes", each=40)
    with small_disk(tmp_path / "disk") as grow:
        output = tmp_path / "disk" / "run"
        with pytest.raises(StoreError) as caught:
            start(data, output)
        assert caught.value.code == "output.not-writable"
        assert Path(caught.value.facts["path"]).parent == output / "shards"
        kept = committed(output)
        assert 0 < len(kept) < 15
        assert not list(output.rglob("*.unfinished"))
        grow()
        resumed = start(data, output)
        wanted = start(data, tmp_path / "undisturbed")
        assert resumed.table().equals(wanted.table())


def test_a_run_resumes_after_the_file_size_limit_was_reached(tmp_path: Path) -> None:
    data, output = folder(tmp_path / "shapes", each=8), tmp_path / "run"
    start(data, output)
    for shard in (1, 2):
        (output / "shards" / f"shard-{shard:05d}.parquet").unlink()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4000, hard))
        with pytest.raises(StoreError) as caught:
            start(data, output)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.code == "output.not-writable"
    assert caught.value.facts["path"] == str(output / "shards" / "shard-00001.parquet")
    assert committed(output) == [0]
    assert not list(output.rglob("*.unfinished"))
    assert start(data, output).complete
