"""The words of the pages over an audit run. Columns travel as lists, clouds of points as base64 of numbers."""

from typing import Literal

from camlens.studio.schemas import GridValues, ImageId, Prediction, Words

Measure = Literal["entropy", "border_energy", "corner_energy", "spread"]


class RunWeights(Words):
    """Hashes of the weights that made the run and of those loaded here; `file` is where the run's were read from.

    `notice` says in a plain sentence that they differ, and what to do; null where they are the same.
    """

    run: str
    loaded: str
    file: str | None
    same: bool
    notice: str | None


class RunSummary(Words):
    """The open run in a few numbers. `problems` say in words what of it is gone or unlike today's studio.

    `weights` is null while the model is being loaded, and where it cannot be.
    """

    path: str
    model: str | None
    data: str | None
    method: str
    layer: str
    grid: tuple[int, int]
    created: str
    images: int
    judged: int
    failed: int
    missing: int
    class_names: tuple[str, ...]
    weights: RunWeights | None
    problems: tuple[str, ...]


class ShareOf(Words):
    """`hits` of `total` with Wilson's 95 % interval; `value` is null of nothing."""

    value: float | None
    low: float
    high: float
    hits: int
    total: int


class ClassShares(Words):
    """One class: of what is called so how much is right (precision), of what is so how much is found (recall)."""

    index: int
    name: str
    precision: ShareOf
    recall: ShareOf
    f1: float | None


class ConfusionCells(Words):
    """The confusion matrix without its zeros: `counts[i]` images of class `labels[i]` were called `predictions[i]`."""

    labels: tuple[int, ...]
    predictions: tuple[int, ...]
    counts: tuple[int, ...]


class ConfusedPair(Words):
    """`count` images of class `label` are taken for `prediction`: `share` of all judged images of `label`."""

    label: int
    prediction: int
    count: int
    share: float


class CalibrationBins(Words):
    """Confidence beside accuracy in bins of confidence; null where a bin is empty, ece and mce of nothing."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]
    accuracy: tuple[float | None, ...]
    confidence: tuple[float | None, ...]
    ece: float | None
    mce: float | None
    overconfidence: float | None


class ErrorsOverview(Words):
    """How often the model is right, class by class and pair by pair; the most frequent confusions first."""

    accuracy: ShareOf
    wrong: int
    classes: tuple[ClassShares, ...]
    cells: ConfusionCells
    pairs: tuple[ConfusedPair, ...]
    confused: int
    calibration: CalibrationBins


class AuditRow(Words):
    """One image of the run. `sample` is its id in the studio's own data, null where that is another one."""

    row: int
    name: str
    sample: ImageId | None
    label: int | None
    predicted: int | None
    confidence: float | None
    label_confidence: float | None
    error: str | None


class MappedRow(AuditRow):
    """The same with the maps that the run keeps: why the predicted class, and why (not) the true one.

    `map_label` is null where the prediction is right, or no true class is known.
    """

    map_predicted: GridValues | None
    map_label: GridValues | None


class RowList(Words):
    """Images that fit the question, most confident first; `matching` counts all of them."""

    matching: int
    offset: int
    rows: tuple[MappedRow, ...]


class PairGroup(Words):
    """One confused pair with some of its images, most confident first."""

    label: int
    prediction: int
    count: int
    rows: tuple[MappedRow, ...]


class ErrorGallery(Words):
    """Errors pair by pair, so that no pair hides the others. `matching` counts all errors that fit."""

    matching: int
    pairs: int
    groups: tuple[PairGroup, ...]


class ErrorReason(Words):
    """A likely reason in a plain sentence with its numbers; `strength` from 0 to 1 orders them."""

    kind: str
    sentence: str
    strength: float


class NearRow(MappedRow):
    """A neighbour in feature space, `distance` (0 to 2) away between directions of length 1."""

    distance: float


class RowDetail(Words):
    """All that the run knows about one image. `nearest` are the nearest images that were recognised."""

    row: MappedRow
    top: tuple[Prediction, ...]
    measures: dict[str, float | None]
    reasons: tuple[ErrorReason, ...]
    nearest: tuple[NearRow, ...]


class Neighbours(Words):
    """One image, and the images nearest to it in feature space, right or wrong."""

    row: MappedRow
    nearest: tuple[NearRow, ...]


class CloudView(Words):
    """A layout of the run's embeddings, point by point.

    `rows`, `labels` and `predictions` are base64 of little-endian int32 (-1: none), `confidences` of float32,
    `points` of float32 (n, 2). Silhouette and Davies-Bouldin are measured on the features, and apart from that on
    the points as drawn, where they say more about the layout than about the model.
    """

    kind: Literal["pca", "tsne", "umap"]
    count: int
    of: int
    perplexity: float | None
    neighbours: int | None
    seed: int
    rows: str
    points: str
    labels: str
    predictions: str
    confidences: str
    silhouette: float | None
    davies_bouldin: float | None
    silhouette_2d: float | None
    davies_bouldin_2d: float | None
    seconds: float


class Spread(Words):
    """How one measure of the maps (0 to 1) is spread among correct, incorrect and unlabelled answers.

    `superiority` is the chance that an incorrect answer has the higher value of an incorrect and a correct one:
    0.5 says no difference.
    """

    measure: Measure
    edges: tuple[float, ...]
    correct: tuple[int, ...]
    incorrect: tuple[int, ...]
    unlabelled: tuple[int, ...]
    mean_correct: float | None
    mean_incorrect: float | None
    mean_unlabelled: float | None
    superiority: float | None


class Leaning(Words):
    """A class whose evidence lies in corners or at the border: `mean` share there, `others` that of all others."""

    index: int
    measure: str
    mean: float
    others: float
    images: int


class AttentionView(Words):
    """Where the model looks, over all images or those predicted as one class.

    Peaks count the maps whose highest place is in a cell of their grid, row by row. `empty` maps have no evidence.
    """

    images: int
    empty: int
    predicted: int | None
    spreads: tuple[Spread, ...]
    peaks_correct: GridValues
    peaks_incorrect: GridValues
    leaning: tuple[Leaning, ...]


class ClassAttention(Words):
    """Where the maps of one predicted class look on average. In `mean_map` each map's evidence adds up to 1."""

    index: int
    name: str
    images: int
    precision: float | None
    entropy: float | None
    border_energy: float | None
    corner_energy: float | None
    spread: float | None
    mean_map: GridValues | None


class ClassAttentions(Words):
    """Every class that was predicted, in the order of their numbers."""

    classes: tuple[ClassAttention, ...]
