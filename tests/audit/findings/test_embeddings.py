import math

import numpy as np
import pytest
from sklearn.metrics import davies_bouldin_score, silhouette_score

from camlens.audit.findings.embeddings import LayoutChoice, layout, sampled, separation
from camlens.audit.findings.neighbours import unit
from camlens.core.errors import InputError


def two_clouds(each: int = 40, d: int = 6) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    centres = np.zeros((2, d))
    centres[0, 0], centres[1, 1] = 3, 3
    label = np.repeat([0, 1], each)
    return unit(centres[label] + random.normal(size=(2 * each, d)) * 0.3), label


@pytest.mark.parametrize("kind", ["pca", "tsne", "umap"])
def test_layouts_separate_classes_and_are_reproducible(kind: str) -> None:
    directions, label = two_clouds()
    first = layout(directions, LayoutChoice(kind, seed=3))
    assert first.shape == (80, 2)
    assert first.dtype == np.float32
    np.testing.assert_allclose(first.mean(axis=0), 0, atol=1e-4)
    assert silhouette_score(first, label) > 0.6
    np.testing.assert_array_equal(layout(directions, LayoutChoice(kind, seed=3)), first)


def test_pca_is_the_projection_onto_the_largest_singular_vectors() -> None:
    directions, _ = two_clouds()
    centred = directions - directions.mean(axis=0)
    left, values, _ = np.linalg.svd(centred.astype(np.float64), full_matrices=False)
    points = layout(directions, LayoutChoice("pca"))
    np.testing.assert_allclose(np.abs(points), np.abs(left[:, :2] * values[:2]), atol=1e-5)


@pytest.mark.parametrize(("rows", "columns"), [(0, 3), (1, 3), (2, 3), (5, 1)])
def test_pca_of_few_images_is_padded_with_zeros(rows: int, columns: int) -> None:
    directions = unit(np.random.default_rng(0).normal(size=(rows, columns)))
    assert layout(directions, LayoutChoice("pca")).shape == (rows, 2)


@pytest.mark.parametrize("kind", ["tsne", "umap"])
def test_defaults_are_reduced_for_few_images(kind: str) -> None:
    directions, _ = two_clouds(each=4)
    settled = LayoutChoice(kind).settled(8)
    assert (settled.perplexity, settled.neighbours) == ((7 / 3, None) if kind == "tsne" else (None, 7))
    assert np.isfinite(layout(directions, LayoutChoice(kind))).all()


def test_defaults_for_many_images() -> None:
    assert LayoutChoice("tsne").settled(1000).perplexity == 30
    assert LayoutChoice("umap").settled(1000).neighbours == 15


@pytest.mark.parametrize(
    ("choice", "name", "value"),
    [
        (LayoutChoice("tsne", perplexity=30), "perplexity", 30),
        (LayoutChoice("tsne", perplexity=0.5), "perplexity", 0.5),
        (LayoutChoice("umap", neighbours=50), "neighbours", 50),
        (LayoutChoice("umap", neighbours=1), "neighbours", 1),
    ],
)
def test_too_large_or_small_values_are_refused(choice: LayoutChoice, name: str, value: float) -> None:
    with pytest.raises(InputError) as caught:
        choice.settled(50)
    assert (caught.value.code, caught.value.facts) == ("argument.invalid", {"name": name, "value": value})


def test_three_images_are_too_few() -> None:
    with pytest.raises(InputError) as caught:
        LayoutChoice("tsne").settled(3)
    assert (caught.value.code, caught.value.facts) == ("embeddings.too-few", {"images": 3, "needed": 4})


@pytest.mark.parametrize(
    ("arguments", "code", "name"),
    [
        ({"kind": "lda"}, "argument.invalid", "kind"),
        ({"samples": 0}, "argument.invalid", "samples"),
        ({"seed": -1}, "argument.invalid", "seed"),
        ({"kind": "umap", "perplexity": 5}, "option.unknown", "perplexity"),
        ({"kind": "tsne", "neighbours": 5}, "option.unknown", "neighbours"),
    ],
)
def test_invalid_choices_are_refused(arguments: dict[str, object], code: str, name: str) -> None:
    with pytest.raises(InputError) as caught:
        LayoutChoice(**arguments)
    assert (caught.value.code, caught.value.facts["name"]) == (code, name)


def test_images_without_features_are_refused() -> None:
    directions, _ = two_clouds()
    directions[3] = np.nan
    with pytest.raises(InputError) as caught:
        layout(directions, LayoutChoice("pca"))
    assert caught.value.code == "embeddings.not-finite"


def test_an_exception_of_progress_stops_the_computation() -> None:
    def cancel(done: int, total: int) -> None:
        if done > total / 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        layout(two_clouds()[0], LayoutChoice("tsne"), progress=cancel)


def test_separation_equals_scikit_learn() -> None:
    directions, label = two_clouds()
    points = np.random.default_rng(1).normal(size=(80, 2)).astype(np.float32)
    separated = separation(directions, points, label)
    assert separated.silhouette == pytest.approx(silhouette_score(directions, label))
    assert separated.davies_bouldin == pytest.approx(davies_bouldin_score(directions, label))
    assert separated.silhouette_2d == pytest.approx(silhouette_score(points, label))
    assert separated.davies_bouldin_2d == pytest.approx(davies_bouldin_score(points, label))
    assert separated.silhouette > separated.silhouette_2d


def test_unlabelled_images_do_not_count_for_separation() -> None:
    directions, label = two_clouds()
    label[::3] = -1
    separated = separation(directions, directions[:, :2], label)
    assert separated.silhouette == pytest.approx(silhouette_score(directions[label >= 0], label[label >= 0]))
    assert separated.images == int((label >= 0).sum())


@pytest.mark.parametrize("label", [[0, 0, 0, 0], [0, 1, 2, 3], [-1, -1, -1, -1]])
def test_separation_is_nan_for_one_class_or_one_image_per_class(label: list[int]) -> None:
    directions = two_clouds(2)[0]
    separated = separation(directions, directions[:, :2], np.array(label))
    assert math.isnan(separated.silhouette)
    assert separated.to_dict()["davies_bouldin_2d"] is None


def test_samples_are_drawn_by_class_in_the_order_of_the_run() -> None:
    strata = np.array([0] * 600 + [1] * 300 + [2] * 99 + [-1])
    rows = sampled(strata, 100, seed=5)
    assert np.bincount(strata[rows] + 1).tolist() == [1, 60, 30, 9]
    assert rows.tolist() == sorted(set(rows.tolist()))
    np.testing.assert_array_equal(sampled(strata, 100, seed=5), rows)
    assert sampled(strata, 100, seed=6).tolist() != rows.tolist()


def test_all_rows_are_drawn_if_there_are_few() -> None:
    assert sampled(np.array([0, 1, 1]), 3).tolist() == [0, 1, 2]


def test_the_sample_is_bounded_with_more_classes_than_samples() -> None:
    assert len(sampled(np.arange(50), 10)) == 10
