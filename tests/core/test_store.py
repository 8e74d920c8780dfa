"""Results are written whole or not at all, and what cannot be written is said in words."""

import stat
from pathlib import Path

import numpy as np
import pytest

from camlens import StoreError
from camlens.core.store import atomic_directory, atomic_file, write_bundle


def test_a_place_below_a_file_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    with pytest.raises(StoreError, match=r"cannot write .*page"), atomic_file(tmp_path / "file" / "page") as unfinished:
        unfinished.write_text("lost")
    with pytest.raises(StoreError, match=r"cannot write .*run"), atomic_directory(tmp_path / "file" / "run"):
        pass
    with pytest.raises(StoreError, match=r"cannot write .*deeper"):
        write_bundle(tmp_path / "file" / "run" / "deeper", {"map": np.zeros(1)}, {})
    assert (tmp_path / "file").read_text() == "kept"
    assert [one.name for one in tmp_path.iterdir()] == ["file"]


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
