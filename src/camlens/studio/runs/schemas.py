"""Response types of the audit pages. Columns are lists; the arrays of a layout are base64."""

from typing import Literal

from camlens.audit.findings.shortcut_pictures import Which
from camlens.audit.findings.shortcuts import Kind, Level, Region, Status
from camlens.studio.schemas import Frozen, GridValues, ImageId, Prediction

Measure = Literal["entropy", "border_energy", "corner_energy", "spread"]


class RunWeights(Frozen):
    """Hashes of the weights of the run and of the loaded model; `file` is the weights file of the run.

    `notice` says what to do if they differ; null if they are the same.
    """

    run: str
    loaded: str
    file: str | None
    same: bool
    notice: str | None


class RunSummary(Frozen):
    """Key figures of the open run. `problems` describe missing parts and differences from the studio's data.

    `weights` is null until the model is loaded.
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


class ShareOf(Frozen):
    """`hits` of `total` with a 95 % Wilson interval; `value` is null if `total` is 0."""

    value: float | None
    low: float
    high: float
    hits: int
    total: int


class ClassShares(Frozen):
    """Precision, recall and F1 of one class."""

    index: int
    name: str
    precision: ShareOf
    recall: ShareOf
    f1: float | None


class ConfusionCells(Frozen):
    """The nonzero cells of the confusion matrix: `counts[i]` of class `labels[i]` predicted as `predictions[i]`."""

    labels: tuple[int, ...]
    predictions: tuple[int, ...]
    counts: tuple[int, ...]


class ConfusedPair(Frozen):
    """`count` images of class `label` were predicted as `prediction`, a `share` of all labeled images of the class."""

    label: int
    prediction: int
    count: int
    share: float


class CalibrationBins(Frozen):
    """Confidence and accuracy in bins of confidence; null for empty bins."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]
    accuracy: tuple[float | None, ...]
    confidence: tuple[float | None, ...]
    ece: float | None
    mce: float | None
    overconfidence: float | None


class ErrorsOverview(Frozen):
    """Accuracy overall and per class, and the most frequent confusions first."""

    accuracy: ShareOf
    wrong: int
    classes: tuple[ClassShares, ...]
    cells: ConfusionCells
    pairs: tuple[ConfusedPair, ...]
    confused: int
    calibration: CalibrationBins


class AuditRow(Frozen):
    """One image of the run. `sample` is its id in the studio's dataset, null if it is not there."""

    row: int
    name: str
    sample: ImageId | None
    label: int | None
    predicted: int | None
    confidence: float | None
    label_confidence: float | None
    error: str | None


class MappedRow(AuditRow):
    """An image of the run with its maps of the predicted and the true class.

    `map_label` is null if the prediction is correct or the true class is unknown.
    """

    map_predicted: GridValues | None
    map_label: GridValues | None


class RowList(Frozen):
    """Matching images, most confident first; `matching` counts all of them."""

    matching: int
    offset: int
    rows: tuple[MappedRow, ...]


class PairGroup(Frozen):
    """A confused pair with some of its images, most confident first."""

    label: int
    prediction: int
    count: int
    rows: tuple[MappedRow, ...]


class ErrorGallery(Frozen):
    """Errors grouped by confused pair. `matching` counts all matching errors."""

    matching: int
    pairs: int
    groups: tuple[PairGroup, ...]


class ErrorReason(Frozen):
    """A likely reason of an error; `strength` (0 to 1) ranks them."""

    kind: str
    sentence: str
    strength: float


class NearRow(MappedRow):
    """A neighbor in feature space; `distance` (0 to 2) is between features of unit length."""

    distance: float


class RowDetail(Frozen):
    """Everything about one image of the run. `nearest` are the nearest correctly predicted images."""

    row: MappedRow
    top: tuple[Prediction, ...]
    measures: dict[str, float | None]
    reasons: tuple[ErrorReason, ...]
    nearest: tuple[NearRow, ...]


class Neighbours(Frozen):
    """One image, and the images nearest to it in feature space, correct or not."""

    row: MappedRow
    nearest: tuple[NearRow, ...]


class CloudView(Frozen):
    """A two-dimensional layout of the run's embeddings.

    `rows`, `labels` and `predictions` are base64 of little-endian int32 (-1: none), `confidences` of float32,
    `points` of float32 (n, 2). Silhouette and Davies-Bouldin are measured on the features; their `_2d` versions are
    measured on the points and describe the layout rather than the model.
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


class Spread(Frozen):
    """The distribution of one measure of the maps (0 to 1) over correct, incorrect and unlabeled predictions.

    `superiority` is the probability that the value of an incorrect prediction exceeds that of a correct one; 0.5 means
    no difference.
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


class Leaning(Frozen):
    """A class with much evidence in the corners or at the border.

    `mean` is its share there, `others` that of all other images, and `even` that of a uniform map.
    """

    index: int
    measure: str
    mean: float
    others: float
    even: float
    images: int


class AttentionView(Frozen):
    """Where the model looks, over all images or those predicted as one class.

    Peaks count the maps whose maximum is in each cell of the grid. `empty` maps have no evidence.
    """

    images: int
    empty: int
    predicted: int | None
    spreads: tuple[Spread, ...]
    peaks_correct: GridValues
    peaks_incorrect: GridValues
    leaning: tuple[Leaning, ...]


class ClassAttention(Frozen):
    """Average measures of the maps of one predicted class. `mean_map` is the mean of maps that each sum to 1."""

    index: int
    name: str
    images: int
    precision: float | None
    entropy: float | None
    border_energy: float | None
    corner_energy: float | None
    spread: float | None
    mean_map: GridValues | None


class ClassAttentions(Frozen):
    """Every class that was predicted, in order."""

    classes: tuple[ClassAttention, ...]


class EffectView(Frozen):
    """A difference of two shares of images with its 95 % interval; null if it was not measured."""

    value: float | None
    low: float | None
    high: float | None


class ShortcutPictureView(Frozen):
    """One picture of an example with the probability of the class; `present` tells whether the file exists."""

    which: Which
    row: int
    caption: str
    probability: float | None
    region: Region | None
    present: bool


class ShortcutExample(Frozen):
    """An image with and without the property, and another one without and with it."""

    pictures: tuple[ShortcutPictureView, ...]


class ShortcutView(Frozen):
    """One candidate that was tested. `place` is its position in the list, `rows` are images that have the property."""

    place: int
    classes: tuple[int, ...]
    names: tuple[str, ...]
    kind: Kind
    status: Status
    result: str
    what: str
    finding: str
    sentence: str
    advice: str
    effect: EffectView
    drop: EffectView | None
    pull: EffectView | None
    p: float | None
    p_in_words: str
    property: str | None
    images: int
    sameness: float | None
    examples: tuple[ShortcutExample, ...]
    rows: tuple[int, ...]


class TestedView(Frozen):
    """A property that was looked for, in how many classes, and in how many of these there were too few images."""

    kind: Kind
    property: str
    classes: int
    too_few: int
    candidates: int
    note: str


class ShortcutsView(Frozen):
    """Everything that was tested, confirmed ones first. `passes` of at most `bound` forward passes were used.

    `level` is "off" if the tests were not run.
    """

    level: Level
    seed: int
    alpha: float
    passes: int
    bound: int
    shortcuts: tuple[ShortcutView, ...]
    tested: tuple[TestedView, ...]
