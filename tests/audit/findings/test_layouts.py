import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from camlens.audit.findings.embeddings import LayoutChoice
from camlens.audit.findings.layouts import cached_layout, find_layout
from camlens.core.errors import InputError, StoreError
from tests.audit.fake import FakeRun, fake_run

PCA = LayoutChoice("pca")


@pytest.fixture
def run(tmp_path: Path) -> FakeRun:
    label = [0, 1, 2] * 10
    predicted = [*label[:-3], 1, -1, 2]
    return fake_run(tmp_path, label, predicted)


def test_a_layout_is_computed_once_and_then_read(run: FakeRun) -> None:
    assert find_layout(run, PCA) is None
    computed, read = cached_layout(run, PCA), cached_layout(run, PCA)
    assert (computed.cached, read.cached) == (False, True)
    np.testing.assert_array_equal(read.points, computed.points)
    np.testing.assert_array_equal(read.rows, computed.rows)
    assert read.separation == computed.separation
    assert read.choice == computed.choice
    assert 28 not in computed.rows
    assert len(computed.rows) == 29


def test_each_parameter_has_its_own_layout(run: FakeRun) -> None:
    first = cached_layout(run, LayoutChoice("tsne", samples=20, perplexity=3, seed=1))
    second = cached_layout(run, LayoutChoice("tsne", samples=20, perplexity=4, seed=1))
    assert not np.array_equal(first.points, second.points)
    assert find_layout(run, LayoutChoice("tsne", samples=20, perplexity=3, seed=2)) is None
    assert len(list((run.path / "layouts").iterdir())) == 4


def test_the_default_perplexity_is_returned(run: FakeRun) -> None:
    computed = cached_layout(run, LayoutChoice("tsne"))
    assert computed.choice.perplexity == pytest.approx(28 / 3)
    assert cached_layout(run, LayoutChoice("tsne")).choice == computed.choice


def test_other_data_or_weights_need_another_layout(run: FakeRun) -> None:
    cached_layout(run, PCA)
    run.manifest.fingerprint = "another"
    assert find_layout(run, PCA) is None


def test_samples_are_drawn_by_class(run: FakeRun) -> None:
    computed = cached_layout(run, replace(PCA, samples=15))
    counts = np.bincount(run.columns["label"].filled()[computed.rows])
    assert counts.tolist() == [5, 5, 5]


def test_a_damaged_layout_is_computed_again(run: FakeRun) -> None:
    computed = cached_layout(run, PCA)
    for path in (run.path / "layouts").iterdir():
        path.write_bytes(b"{")
    assert find_layout(run, PCA) is None
    np.testing.assert_array_equal(cached_layout(run, PCA).points, computed.points)


def test_interrupted_work_leaves_no_file(run: FakeRun) -> None:
    def cancel(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cached_layout(run, PCA, progress=cancel)
    assert not (run.path / "layouts").exists() or not list((run.path / "layouts").iterdir())


def test_a_perplexity_too_large_for_the_run_is_refused(run: FakeRun) -> None:
    with pytest.raises(InputError) as caught:
        cached_layout(run, LayoutChoice("tsne", perplexity=30))
    assert caught.value.facts == {"name": "perplexity", "value": 30}


def test_without_labels_the_sample_is_stratified_by_prediction(tmp_path: Path) -> None:
    run = fake_run(tmp_path, [-1] * 30, [0] * 20 + [1] * 10)
    computed = cached_layout(run, replace(PCA, samples=15))
    assert np.bincount(run.columns["predicted"].filled()[computed.rows]).tolist() == [10, 5]
    assert math.isnan(computed.separation.silhouette)
    facts = json.loads(next((run.path / "layouts").glob("*.json")).read_text())
    assert facts["separation"]["silhouette"] is None
    assert math.isnan(cached_layout(run, replace(PCA, samples=15)).separation.silhouette)


def test_a_run_without_predictions_has_an_empty_layout(tmp_path: Path) -> None:
    assert cached_layout(fake_run(tmp_path, [0, 1], [-1, -1]), PCA).points.shape == (0, 2)


def test_a_layout_that_cannot_be_written_is_returned(run: FakeRun, monkeypatch: pytest.MonkeyPatch) -> None:

    def full(*_arguments: object) -> None:
        raise StoreError("no space left")

    monkeypatch.setattr("camlens.audit.findings.layouts._write", full)
    assert len(cached_layout(run, PCA).points) > 0
    assert find_layout(run, PCA) is None


def test_the_number_of_cached_layouts_is_bounded(run: FakeRun) -> None:
    cached_layout(run, PCA, keep=False)
    assert not (run.path / "layouts").exists()
    for seed in range(40):
        cached_layout(run, replace(PCA, seed=seed))
    assert len(list((run.path / "layouts").glob("*.json"))) == len(list((run.path / "layouts").glob("*.parquet"))) == 32
