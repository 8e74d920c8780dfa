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
    made, read = cached_layout(run, PCA), cached_layout(run, PCA)
    assert (made.cached, read.cached) == (False, True)
    np.testing.assert_array_equal(read.points, made.points)
    np.testing.assert_array_equal(read.rows, made.rows)
    assert read.separation == made.separation
    assert read.choice == made.choice
    assert 28 not in made.rows
    assert len(made.rows) == 29


def test_every_number_has_its_own_layout(run: FakeRun) -> None:
    first = cached_layout(run, LayoutChoice("tsne", samples=20, perplexity=3, seed=1))
    second = cached_layout(run, LayoutChoice("tsne", samples=20, perplexity=4, seed=1))
    assert not np.array_equal(first.points, second.points)
    assert find_layout(run, LayoutChoice("tsne", samples=20, perplexity=3, seed=2)) is None
    assert len(list((run.path / "layouts").iterdir())) == 4


def test_the_filled_in_perplexity_is_told(run: FakeRun) -> None:
    made = cached_layout(run, LayoutChoice("tsne"))
    assert made.choice.perplexity == pytest.approx(28 / 3)
    assert cached_layout(run, LayoutChoice("tsne")).choice == made.choice


def test_other_data_or_weights_need_another_layout(run: FakeRun) -> None:
    cached_layout(run, PCA)
    run.manifest.fingerprint = "another"
    assert find_layout(run, PCA) is None


def test_samples_are_drawn_by_class(run: FakeRun) -> None:
    made = cached_layout(run, replace(PCA, samples=15))
    counts = np.bincount(run.columns["label"].filled()[made.rows])
    assert counts.tolist() == [5, 5, 5]


def test_a_damaged_layout_is_made_anew(run: FakeRun) -> None:
    made = cached_layout(run, PCA)
    for path in (run.path / "layouts").iterdir():
        path.write_bytes(b"{")
    assert find_layout(run, PCA) is None
    np.testing.assert_array_equal(cached_layout(run, PCA).points, made.points)


def test_interrupted_work_leaves_no_file(run: FakeRun) -> None:
    def cancel(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cached_layout(run, PCA, progress=cancel)
    assert not (run.path / "layouts").exists() or not list((run.path / "layouts").iterdir())


def test_a_number_that_does_not_fit_the_run_is_refused(run: FakeRun) -> None:
    with pytest.raises(InputError) as caught:
        cached_layout(run, LayoutChoice("tsne", perplexity=30))
    assert caught.value.facts == {"name": "perplexity", "value": 30}


def test_without_labels_the_predictions_are_the_strata_and_nothing_is_said_of_separation(tmp_path: Path) -> None:
    run = fake_run(tmp_path, [-1] * 30, [0] * 20 + [1] * 10)
    made = cached_layout(run, replace(PCA, samples=15))
    assert np.bincount(run.columns["predicted"].filled()[made.rows]).tolist() == [10, 5]
    assert math.isnan(made.separation.silhouette)
    facts = json.loads(next((run.path / "layouts").glob("*.json")).read_text())
    assert facts["separation"]["silhouette"] is None
    assert math.isnan(cached_layout(run, replace(PCA, samples=15)).separation.silhouette)


def test_a_run_whose_images_all_failed_has_an_empty_layout(tmp_path: Path) -> None:
    assert cached_layout(fake_run(tmp_path, [0, 1], [-1, -1]), PCA).points.shape == (0, 2)


def test_on_a_full_disk_the_layout_is_returned_and_not_kept(run: FakeRun, monkeypatch: pytest.MonkeyPatch) -> None:

    def full(*_arguments: object) -> None:
        raise StoreError("no space left")

    monkeypatch.setattr("camlens.audit.findings.layouts._write", full)
    assert len(cached_layout(run, PCA).points) > 0
    assert find_layout(run, PCA) is None


def test_layouts_are_kept_in_a_bounded_number_and_not_at_all_if_read_only(run: FakeRun) -> None:
    cached_layout(run, PCA, keep=False)
    assert not (run.path / "layouts").exists()
    for seed in range(40):
        cached_layout(run, replace(PCA, seed=seed))
    assert len(list((run.path / "layouts").glob("*.json"))) == len(list((run.path / "layouts").glob("*.parquet"))) == 32
