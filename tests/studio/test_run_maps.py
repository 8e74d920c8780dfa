"""The maps of a run: the same from memory and from its files, within the memory limit."""

from pathlib import Path

import numpy as np
import pytest

from camlens.audit.opening import Audit
from camlens.studio.runs.maps import RunMaps
from tests.audit.synthetic import synthetic_run


@pytest.fixture(scope="module")
def audit(tmp_path_factory: pytest.TempPathFactory) -> Audit:
    return synthetic_run(tmp_path_factory.mktemp("runs") / "made-up", rows=900, shard_size=256, grid=(3, 4))


def test_maps_are_the_same_with_none_some_or_all_parts_cached(audit: Audit) -> None:
    rows = np.random.default_rng(1).permutation(900)  # of all parts, shuffled, including failed rows
    wanted = audit.maps(rows, "predicted"), audit.maps(rows, "label")
    assert 0 < np.isnan(wanted[0]).sum() < np.isnan(wanted[1]).sum() < wanted[1].size
    maps = RunMaps(audit)
    for held in range(5):
        for maps_read, expected in zip(maps.of(rows), wanted, strict=True):
            np.testing.assert_array_equal(maps_read, expected)
        assert maps.read_ahead() == (held < 4)


def test_cached_maps_open_no_file(audit: Audit, monkeypatch: pytest.MonkeyPatch) -> None:
    maps = RunMaps(audit)
    while maps.read_ahead():
        pass

    def never(*_: object) -> None:
        raise AssertionError("a file was opened")

    monkeypatch.setattr(Audit, "_read", never)
    assert maps.of(np.array([0, 300, 899]))[0].shape == (3, 3, 4)
    assert maps.of(np.zeros(0, dtype=np.int64))[1].shape == (0, 3, 4)


def test_the_cache_is_bounded(audit: Audit) -> None:
    one_part = 256 * 3 * 4 * 4
    maps = RunMaps(audit, room=2 * one_part)
    assert [maps.read_ahead() for _ in range(4)] == [True, True, False, False]
    np.testing.assert_array_equal(maps.of(np.array([899, 1]))[0], audit.maps([899, 1]))


def test_a_run_without_any_shard_has_no_maps(tmp_path: Path) -> None:
    maps = RunMaps(synthetic_run(tmp_path / "run", rows=10, shard_size=10, leave_out=(0,)))
    assert not maps.read_ahead()
    assert maps.of(np.zeros(0, dtype=np.int64))[0].shape == (0, 7, 7)
