"""Two-dimensional layouts of embeddings (PCA, t-SNE, UMAP), and how well classes are separated.

Layouts are seeded. Embeddings are scaled to unit length (`neighbours.unit`); t-SNE and UMAP start from their 50 largest
principal components.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from jaxtyping import Float, Int

from camlens.audit.findings.neighbours import Directions, Rows, usable
from camlens.audit.findings.reading import NONE
from camlens.core.arguments import check_choice
from camlens.core.errors import InputError, MissingExtraError, invalid_argument
from camlens.core.probe import Progress, silent

Points = Float[np.ndarray, "n 2"]
Kind = Literal["pca", "tsne", "umap"]
KINDS: tuple[str, ...] = get_args(Kind)

_COMPONENTS = 50
_JUDGED = 5000
_USUAL = {"tsne": 30, "umap": 15}
_FEWEST = 4
_STEPS, _TELL_EVERY = 750, 5


@dataclass(frozen=True)
class LayoutChoice:
    """The parameters of a layout.

    Attributes:
        kind: "pca", "tsne" or "umap".
        samples: maximum number of images.
        perplexity: of t-SNE; None is 30, or less if there are few images.
        neighbours: number of neighbors for UMAP; None is 15, or less if there are few images.
        seed: random seed.

    Raises:
        InputError: a value is invalid, or is for another kind of layout.
    """

    kind: str = "pca"
    samples: int = 5000
    perplexity: float | int | None = None
    neighbours: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        check_choice("kind", self.kind, KINDS)
        for name, least in (("samples", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise invalid_argument(name, getattr(self, name), f"at least {least}")
        for name, kind in (("perplexity", "tsne"), ("neighbours", "umap")):
            if getattr(self, name) is not None and self.kind != kind:
                raise InputError(
                    f"{name} is a parameter of {kind}, not of {self.kind}: remove it",
                    code="option.unknown",
                    name=name,
                    kind=self.kind,
                )

    def settled(self, count: int) -> "LayoutChoice":
        """Return the choice with the defaults for `count` images filled in.

        Raises InputError if there are too few images for a value: t-SNE needs 3 x perplexity neighbors of each image,
        and UMAP needs `neighbours`.
        """
        if self.kind == "pca":
            return self
        if count < _FEWEST:
            raise InputError(
                f"{self.kind} needs at least {_FEWEST} images with features, not {count}: choose pca",
                code="embeddings.too-few",
                images=count,
                needed=_FEWEST,
            )
        if self.kind == "tsne":
            most = (count - 1) / 3
            perplexity = min(_USUAL["tsne"], most) if self.perplexity is None else self.perplexity
            if not 1 <= perplexity <= most:
                raise invalid_argument("perplexity", perplexity, f"1 to {most:.1f} for {count} images")
            return LayoutChoice("tsne", self.samples, perplexity, None, self.seed)
        neighbours = min(_USUAL["umap"], count - 1) if self.neighbours is None else self.neighbours
        if not 2 <= neighbours <= count - 1:
            raise invalid_argument("neighbours", neighbours, f"2 to {count - 1} for {count} images")
        return LayoutChoice("umap", self.samples, None, neighbours, self.seed)


@dataclass(frozen=True)
class Separation:
    """How well the classes are separated, in feature space and in the layout.

    Only the values in feature space describe the model, because a layout creates clusters of its own. All values are
    NaN if there are fewer than two classes, or as many classes as images.

    Attributes:
        images: number of labeled images that were measured.
        silhouette, silhouette_2d: Rousseeuw 1987, from -1 to 1, higher is better.
        davies_bouldin, davies_bouldin_2d: Davies and Bouldin 1979, at least 0, lower is better.
    """

    images: int
    silhouette: float
    davies_bouldin: float
    silhouette_2d: float
    davies_bouldin_2d: float

    def to_dict(self) -> dict[str, float | int | None]:
        """Return the values by name, with None for NaN."""
        return {name: None if value != value else value for name, value in vars(self).items()}


def sampled(strata: Int[np.ndarray, " n"], samples: int, *, seed: int = 0) -> Rows:
    """Draw a stratified sample of at most `samples` rows, ascending; -1 is a stratum too.

    Each stratum keeps at least one row, unless there are more strata than samples.
    """
    if samples >= len(strata):
        return np.arange(len(strata))
    random = np.random.default_rng(seed)
    order = random.permutation(len(strata))
    names, places, counts = np.unique(strata[order], return_inverse=True, return_counts=True)
    exact = counts * samples / len(strata)
    quota = np.floor(exact).astype(np.int64)
    if len(names) <= samples:
        quota = np.maximum(quota, 1)
    # add rows by largest remainder; take the rows given to small strata from the largest ones
    for place in np.lexsort((names, quota - exact))[: max(samples - int(quota.sum()), 0)]:
        quota[place] += 1
    while quota.sum() > samples:
        quota[int(quota.argmax())] -= 1
    within = np.empty(len(order), dtype=np.int64)
    grouped = np.argsort(places, kind="stable")
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    within[grouped] = np.arange(len(order)) - np.repeat(starts, counts)
    return np.sort(order[within < quota[places]])


def layout(directions: Directions, choice: LayoutChoice, *, progress: Progress = silent) -> Points:
    """Compute a layout of unit-length features: centered points (n, 2), float32.

    Args:
        directions: features without NaN (`neighbours.usable`).
        choice: the layout.
        progress: called as `progress(steps done, steps in total)`; exceptions that it raises stop the computation.

    Raises:
        InputError: a feature is NaN, or there are too few images for the choice.
        MissingExtraError: a package is not installed.
    """
    settled = choice.settled(len(directions))
    if not usable(directions).all():
        raise InputError(
            "some features are zero or not finite: remove rows with an error first", code="embeddings.not-finite"
        )
    if settled.kind == "pca":
        progress(0, 1)
        points = _principal(directions, 2, settled.seed)
        progress(1, 1)
    else:
        draw = _tsne if settled.kind == "tsne" else _umap
        points = draw(_principal(directions, _COMPONENTS, settled.seed), settled, progress)
    if len(points):
        points = points - points.mean(axis=0)
    return np.ascontiguousarray(points, dtype=np.float32)


def separation(directions: Directions, points: Points, label: Int[np.ndarray, " n"], *, seed: int = 0) -> Separation:
    """Measure the separation of the classes on a stratified sample of at most 5,000 labeled images."""
    try:
        from sklearn.metrics import davies_bouldin_score, silhouette_score
    except ImportError as error:
        raise MissingExtraError.of("scikit-learn", "audit") from error
    rows = np.nonzero(label != NONE)[0]
    rows = rows[sampled(label[rows], _JUDGED, seed=seed)]
    if not 2 <= len(np.unique(label[rows])) < len(rows):
        return Separation(len(rows), *[float("nan")] * 4)
    values = [
        float(score(space, label[rows]))
        for space in (directions[rows], points[rows])
        for score in (silhouette_score, davies_bouldin_score)
    ]
    return Separation(len(rows), *values)


def _principal(directions: Directions, components: int, seed: int) -> Float[np.ndarray, "n components"]:
    """Return the `components` largest principal components, or all of them, padded to at least two."""
    try:
        from sklearn.decomposition import PCA
    except ImportError as error:
        raise MissingExtraError.of("scikit-learn", "audit") from error
    if len(directions) < 2:
        return np.zeros((len(directions), 2), dtype=np.float32)
    most = min(components, *directions.shape)
    values: np.ndarray = PCA(most, random_state=seed).fit_transform(directions)
    return np.pad(values, ((0, 0), (0, max(2 - most, 0))))


def _tsne(features: Float[np.ndarray, "n components"], choice: LayoutChoice, progress: Progress) -> Points:
    try:
        from openTSNE import TSNE
    except ImportError as error:
        raise MissingExtraError.of("openTSNE", "audit") from error
    done = 0

    def tell(iteration: int, _error: float, _points: object) -> None:
        nonlocal done
        done += _TELL_EVERY
        progress(min(done, _STEPS), _STEPS)

    progress(0, _STEPS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about dependencies of openTSNE
        drawn: Any = TSNE(
            perplexity=choice.perplexity,
            initialization="pca",
            early_exaggeration_iter=_STEPS // 3,
            n_iter=_STEPS - _STEPS // 3,
            random_state=choice.seed,
            n_jobs=1,
            callbacks=tell,
            callbacks_every_iters=_TELL_EVERY,
        )
        points: Points = np.asarray(drawn.fit(features))
    return points


@contextmanager
def _same_threads() -> Iterator[None]:
    """Keep torch's number of threads, which numba changes when it starts its own: both use the same OpenMP."""
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)


def _umap(features: Float[np.ndarray, "n components"], choice: LayoutChoice, progress: Progress) -> Points:
    progress(0, 2)
    with warnings.catch_warnings(), _same_threads():
        warnings.simplefilter("ignore")  # about optional packages of umap, and single-threaded seeding
        try:
            from umap import UMAP
        except ImportError as error:
            raise MissingExtraError.of("umap-learn", "audit") from error
        progress(1, 2)  # umap reports no progress
        # spectral initialization fails with very few images
        start = "spectral" if len(features) > _USUAL["umap"] else "random"
        drawn: Any = UMAP(n_neighbors=choice.neighbours, random_state=choice.seed, init=start, n_jobs=1)
        points: Points = np.asarray(drawn.fit_transform(features))
    progress(2, 2)
    return points
