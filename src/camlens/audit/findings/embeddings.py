"""Many features as points of a plane: PCA, t-SNE (openTSNE) and UMAP, and how well classes lie apart.

Every layout is seeded. Features come as directions, of length 1 (`neighbours.unit`), and are for t-SNE and UMAP
first reduced to their 50 largest principal components, as is usual.
"""

import warnings
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Float, Int

from camlens.audit.findings.neighbours import Directions, Rows, usable
from camlens.audit.findings.reading import NONE
from camlens.core.errors import InputError, MissingExtraError
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
    """Which layout of how many images: `perplexity` is for t-SNE, `neighbours` for UMAP; None takes what fits.

    Raises InputError for a layout that does not exist and for numbers that cannot be.
    """

    kind: str = "pca"
    samples: int = 5000
    perplexity: float | int | None = None
    neighbours: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InputError(
                f"there is no layout {self.kind!r}; choose one of {', '.join(KINDS)}",
                code="argument.invalid",
                name="kind",
                value=self.kind,
            )
        if self.samples < 1:
            raise InputError(
                f"samples={self.samples} leaves no point: give 1 or more",
                code="argument.invalid",
                name="samples",
                value=self.samples,
            )
        if self.seed < 0:
            raise InputError(
                f"seed {self.seed} is negative: give 0 or more", code="argument.invalid", name="seed", value=self.seed
            )
        if self.perplexity is not None and self.kind != "tsne":
            raise InputError(
                f"perplexity is for t-SNE, not for {self.kind}: leave it out",
                code="option.unknown",
                name="perplexity",
                kind=self.kind,
            )
        if self.neighbours is not None and self.kind != "umap":
            raise InputError(
                f"neighbours is for UMAP, not for {self.kind}: leave it out",
                code="option.unknown",
                name="neighbours",
                kind=self.kind,
            )

    def settled(self, count: int) -> "LayoutChoice":
        """The choice with its numbers filled in for `count` images.

        Raises InputError where a number asked for does not fit them: t-SNE looks at 3 x perplexity
        neighbours of each, UMAP at `neighbours`, and neither can be more than there are.
        """
        if self.kind == "pca":
            return self
        if count < _FEWEST:
            raise InputError(
                f"{self.kind} needs {_FEWEST} images with features or more, not {count}: take pca",
                code="embeddings.too-few",
                images=count,
                needed=_FEWEST,
            )
        if self.kind == "tsne":
            most = (count - 1) / 3
            perplexity = min(_USUAL["tsne"], most) if self.perplexity is None else self.perplexity
            if not 1 <= perplexity <= most:
                raise InputError(
                    f"perplexity {perplexity:g} does not fit {count} images: give 1 to {most:.1f}, a third of them,"
                    " or take more samples",
                    code="argument.invalid",
                    name="perplexity",
                    value=perplexity,
                )
            return LayoutChoice("tsne", self.samples, perplexity, None, self.seed)
        neighbours = min(_USUAL["umap"], count - 1) if self.neighbours is None else self.neighbours
        if not 2 <= neighbours <= count - 1:
            raise InputError(
                f"neighbours={neighbours} does not fit {count} images: give 2 to {count - 1}, or take more samples",
                code="argument.invalid",
                name="neighbours",
                value=neighbours,
            )
        return LayoutChoice("umap", self.samples, None, neighbours, self.seed)


@dataclass(frozen=True)
class Separation:
    """How well classes lie apart, in the features (unit length) and, said apart, in the drawn 2-D points.

    Silhouette (Rousseeuw 1987) is from -1 to 1, higher is better; Davies-Bouldin (1979) from 0 on, lower is
    better. Only the features' figures say something about the model: a layout makes clusters of its own. All
    are NaN with fewer than two classes, or where every image is a class of its own. `images` is how many labelled
    images were measured.
    """

    images: int
    silhouette: float
    davies_bouldin: float
    silhouette_2d: float
    davies_bouldin_2d: float

    def to_dict(self) -> dict[str, float | int | None]:
        """As plain values, None for what is not a number."""
        return {name: None if value != value else value for name, value in vars(self).items()}


def sampled(strata: Int[np.ndarray, " n"], samples: int, *, seed: int = 0) -> Rows:
    """At most `samples` of n rows in rising order, every stratum (-1 is one too) as often as its share asks for.

    A stratum that would round to nothing keeps one row, as long as there are rows enough for all.
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
    # largest remainders get what is left; the largest quotas give back what the small ones were given
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
    """The directions' places in the plane, float32 (n, 2), centred; the same for the same seed.

    No row may be NaN (`neighbours.usable`). `progress` is called with steps done and all steps; what it
    raises ends the work. Raises InputError where the choice does not fit the images, MissingExtraError where
    a package is absent.
    """
    settled = choice.settled(len(directions))
    if not usable(directions).all():
        raise InputError(
            "some features are zero or not finite: leave out images that failed", code="embeddings.not-finite"
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
    """How far the labelled classes lie apart, measured on at most 5,000 images, drawn by class."""
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
    """The `components` largest principal components, or as many as there are, and never fewer than two."""
    try:
        from sklearn.decomposition import PCA
    except ImportError as error:
        raise MissingExtraError.of("scikit-learn", "audit") from error
    if len(directions) < 2:
        return np.zeros((len(directions), 2), dtype=np.float32)
    most = min(components, *directions.shape)
    found: np.ndarray = PCA(most, random_state=seed).fit_transform(directions)
    return np.pad(found, ((0, 0), (0, max(2 - most, 0))))


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
        warnings.simplefilter("ignore")  # openTSNE's own, about its dependencies
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


def _umap(features: Float[np.ndarray, "n components"], choice: LayoutChoice, progress: Progress) -> Points:
    progress(0, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # umap's own: optional packages, and that a seed means one thread
        try:
            from umap import UMAP
        except ImportError as error:
            raise MissingExtraError.of("umap-learn", "audit") from error
        progress(1, 2)  # umap tells nothing while it works
        # a spectral start needs more images than it has dimensions, and some to spare
        start = "spectral" if len(features) > _USUAL["umap"] else "random"
        drawn: Any = UMAP(n_neighbors=choice.neighbours, random_state=choice.seed, init=start, n_jobs=1)
        points: Points = np.asarray(drawn.fit_transform(features))
    progress(2, 2)
    return points
