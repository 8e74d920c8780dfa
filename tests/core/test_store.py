"""Results are written whole or not at all, and what cannot be written is said in words."""

import json
import stat
from pathlib import Path

import numpy as np
import pytest

from camlens import StoreError, explain
from camlens.core.store import atomic_file, write_bundle
from tests.nets import images, plain_cnn, seeded


def test_a_path_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    with pytest.raises(StoreError) as refused, atomic_file(tmp_path / "file" / "page") as unfinished:
        unfinished.write_text("lost")
    assert refused.value.code == "output.not-writable"
    for below in ("run", "run/deeper"):
        with pytest.raises(StoreError) as refused:
            write_bundle(tmp_path / "file" / below, {"map": np.zeros(1)}, {})
        assert refused.value.code == "output.not-writable"
    assert (tmp_path / "file").read_text() == "kept"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_file_has_the_rights_of_any_other_new_file(tmp_path: Path) -> None:
    (tmp_path / "other").touch()
    with atomic_file(tmp_path / "page.html") as unfinished:
        unfinished.write_text("page")
    rights = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("other", "page.html")]
    assert rights[0] == rights[1]


def test_nothing_is_left_of_a_file_whose_block_fails(tmp_path: Path) -> None:
    def write() -> None:
        with atomic_file(tmp_path / "page.html") as unfinished:
            unfinished.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write()
    assert not list(tmp_path.iterdir())


def test_force_replaces_what_an_earlier_save_has_written(tmp_path: Path) -> None:
    many = explain(seeded(plain_cnn), images(), layers=["0", "3"], target=0)
    one = explain(seeded(plain_cnn), images(), layers="3", target=0)
    many.save(tmp_path / "maps")
    with pytest.raises(StoreError) as refused:
        one.save(tmp_path / "maps")
    assert refused.value.code == "output.exists"
    one.save(tmp_path / "maps", force=True)
    files = json.loads((tmp_path / "maps" / "manifest.json").read_text())["files"]
    assert np.array_equal(np.load(tmp_path / "maps" / files["map-0"]), one.maps["3"].numpy())
    assert {path.name for path in (tmp_path / "maps").iterdir()} == {"manifest.json", *files.values()}
    assert [path.name for path in tmp_path.iterdir()] == ["maps"]


@pytest.mark.parametrize("foreign", ["thesis.txt", "photos/cat.png", "scores.npy", "map-0.npy/deep.txt"])
@pytest.mark.parametrize("saved_before", [True, False])
def test_a_save_never_touches_foreign_files(tmp_path: Path, foreign: str, saved_before: bool) -> None:
    explanation = explain(seeded(plain_cnn), images(), layers="3", target=0)
    directory = explanation.save(tmp_path / "maps") if saved_before else tmp_path / "maps"
    in_the_way = foreign.startswith("map-0.npy") or (foreign == "scores.npy" and not saved_before)
    if saved_before and foreign.startswith("map-0.npy"):
        (directory / "map-0.npy").unlink()
    if not (saved_before and foreign == "scores.npy"):
        (directory / foreign).parent.mkdir(parents=True, exist_ok=True)
        (directory / foreign).write_text("years of work")
    before = {path: path.is_dir() or path.read_bytes() for path in directory.rglob("*")}
    if in_the_way:
        with pytest.raises(StoreError) as refused:
            explanation.save(directory, force=True)
        assert refused.value.code == "output.foreign-file"
        assert refused.value.facts["files"] == [Path(foreign).parts[0]]
        assert {path: path.is_dir() or path.read_bytes() for path in directory.rglob("*")} == before
    else:
        explanation.save(directory, force=True)
        assert (directory / "manifest.json").is_file()
        assert {path: path.is_dir() or path.read_bytes() for path in before} == before


def test_a_manifest_cannot_name_files_outside_of_its_directory(tmp_path: Path) -> None:
    (tmp_path / "maps").mkdir()
    (tmp_path / "thesis.txt").write_text("years of work")
    (tmp_path / "maps" / "manifest.json").write_text('{"files": ["../thesis.txt"]}')
    explain(seeded(plain_cnn), images(), layers="3", target=0).save(tmp_path / "maps", force=True)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"
