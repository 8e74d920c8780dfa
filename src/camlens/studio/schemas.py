"""Request and response types of the API. The TypeScript types are generated from these."""

from typing import Annotated, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from camlens.core.probabilities import Task
from camlens.models.geometry import Region
from camlens.studio.jobs import JobState

Result = TypeVar("Result")
Stage = Literal["early", "middle", "late"]
MapState = Literal["good", "negative", "flat", "broken"]
ImageId = Annotated[str, Field(pattern=r"^(s\d{1,9}|u[0-9a-f]{16})$", description="`s12` is sample 12, `u…` an upload")]
LayerName = Annotated[str, Field(min_length=1, max_length=300)]
MethodName = Annotated[str, Field(min_length=1, max_length=80)]


class Frozen(BaseModel):
    """Base of the types: frozen, and without unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", from_attributes=True, ser_json_inf_nan="null")


class Problem(Frozen):
    """Why a request was refused: `kind` and the finer, stable `code` are for programs, `message` is for people."""

    kind: str
    code: str
    message: str


class GridValues(Frozen):
    """Values (height, width) as base64 of little-endian float32, row by row."""

    shape: tuple[int, int]
    values: str


class Prediction(Frozen):
    """A class with its probability, or an output of a regression with its value."""

    index: int
    name: str
    confidence: float


class ImageInfo(Frozen):
    """An image. `label` is its true class, if known; `readable` is false after a failed attempt to read it."""

    id: str
    name: str
    label: int | None
    label_name: str | None
    prediction: Prediction | None
    correct: bool | None
    readable: bool


class TargetChoice(Frozen):
    """What to explain: the predicted class, class `index`, `index` rather than `against`, or the top `k` classes.

    In a contrast, `index` or `against` defaults to the predicted class.
    """

    kind: Literal["predicted", "class", "contrast", "top"] = "predicted"
    index: int | None = Field(default=None, ge=0)
    against: int | None = Field(default=None, ge=0)
    k: int = Field(default=3, ge=1, le=10)


class ExplanationRequest(Frozen):
    """One image, explained by every combination of methods and layers."""

    image: ImageId
    methods: tuple[MethodName, ...] = Field(default=("gradcam",), min_length=1, max_length=40)
    layers: tuple[LayerName, ...] = Field(default=(), max_length=400, description="default: the model's default layer")
    target: TargetChoice = TargetChoice()


class MapResult(Frozen):
    """One signed map at its layer's resolution.

    `target` is the title, such as "boot minus shirt" for a contrast. `state` is "good", or why the picture would be
    empty: "negative" (no evidence for the class), "flat" (constant), or "broken" (NaN or infinite). `energy` is the
    share of the map's magnitude that is positive. `diverging` maps hold evidence for and against the target and are
    drawn with zero in the middle.
    """

    method: str
    layer: str
    target: str
    class_index: int | None
    class_name: str | None
    score: float | None
    grid: GridValues
    state: MapState
    warning: str | None
    energy: float
    diverging: bool


class ExplanationResult(Frozen):
    """Maps ordered by method, layer and target, with predictions and the code that reproduces them.

    The maps cover `region` of the photograph: (left, top, right, bottom) in fractions of it, outside [0, 1] if the
    preprocessing pads; null for all of it.
    """

    image: ImageInfo
    size: tuple[int, int]
    region: Region | None
    predictions: tuple[Prediction, ...]
    label_confidence: float | None
    maps: tuple[MapResult, ...]
    layer_choice: str
    seconds: float
    cached: bool
    python: str
    shell: str


class MapFact(Frozen):
    """A fact about a map, such as that it is the same for another class, with the number behind it."""

    code: str
    value: float | None
    text: str


class MapCheck(Frozen):
    """Facts about a map, and its rank correlation with the measured effects of deleting patches."""

    effect: float | None
    p_value: float | None
    symmetry_p_value: float | None
    facts: tuple[MapFact, ...]
    sentence: str


class JobView(Frozen, Generic[Result]):
    """The queue position and progress of a job, and its result once `state` is "done".

    `estimate` is a coarse version of the first map, if the method refines its maps step by step.
    """

    id: str
    state: JobState
    position: int
    done: int
    total: int
    estimate: GridValues | None = None
    problem: Problem | None
    result: Result | None


class LayerInfo(Frozen):
    """A layer: its output, and whether it can carry a map; `reason` says why not."""

    name: str
    type: str
    shape: tuple[int, ...] | None
    grid: tuple[int, ...] | None
    stage: Stage
    usable: bool
    reason: str
    parameters: int
    trainable: int
    principal: bool
    convolution: bool


class ModelSummary(Frozen):
    """Key figures of the model."""

    spec: str
    name: str
    classes: int
    task: Task
    default_layer: str | None
    layer_choice: str
    parameters: int
    trainable: int
    bytes: int
    device: str
    forward_ms: float | None
    input_size: tuple[int, int]


class DataSummary(Frozen):
    """Key figures of the dataset. `problem` describes what is unusual about it."""

    spec: str
    count: int
    classes: int
    labelled: bool
    problem: str | None


class PredictionProgress(Frozen):
    """Progress of the predictions over the dataset."""

    done: int
    total: int
    correct: int
    incorrect: int
    unreadable: int


class Limits(Frozen):
    """Limits on uploads."""

    bytes: int
    pixels: int
    formats: tuple[str, ...]
    uploads: bool


class Status(Frozen):
    """The state of the studio: loading, ready, or failed with a problem."""

    state: Literal["loading", "ready", "failed"]
    step: str
    problem: Problem | None
    version: str
    session: str
    model: ModelSummary | None
    data: DataSummary | None
    predictions: PredictionProgress
    jobs: int
    limits: Limits
    run: str | None = Field(description="directory name of the open audit run")
    demo: str = Field(description="the open demo model; empty if it cannot be switched")
    demos: tuple[str, ...] = Field(description="demo models that `POST /api/demo` can open")


class DemoChoice(Frozen):
    """A request to open another demo model."""

    model: str


class MethodInfo(Frozen):
    """A method of the registry. `scope` tells whether its maps belong to a layer, several layers or the input.

    `chooses_layers` methods need no layer; `diverging` maps hold evidence for and against the target.
    """

    name: str
    title: str
    paper: str
    needs: str
    good_for: str
    cost: Literal["cheap", "seconds", "minutes"]
    signed: bool
    diverging: bool
    scope: Literal["layer", "layers", "model", "input", "tokens"]
    chooses_layers: bool


class SampleList(Frozen):
    """Random images that match the filter. `matching` counts all matches so far; `settled` means that it is final."""

    samples: tuple[ImageInfo, ...]
    matching: int
    settled: bool


class ClassInfo(Frozen):
    """A class with the number of its images, of predictions of it, and of correct ones so far."""

    index: int
    name: str
    images: int
    predicted: int
    correct: int


class ConfusionPair(Frozen):
    """The number of images of class `label` that were predicted as `prediction`."""

    label: int
    prediction: int
    count: int


class Facing(Frozen):
    """Correct and incorrect predictions, and the pairs of classes that are confused most."""

    correct: tuple[ImageInfo, ...]
    incorrect: tuple[ImageInfo, ...]
    correct_count: int
    incorrect_count: int
    pairs: tuple[ConfusionPair, ...]


class Comparison(Frozen):
    """The Pearson correlation of two maps, and its interpretation."""

    correlation: float | None
    sentence: str


class ChannelMap(Frozen):
    """The activation of one channel, as 8-bit values between `low` and `high`."""

    index: int
    low: float
    high: float
    mean: float
    dead: bool
    pixels: str


class ActivationMaps(Frozen):
    """A page of the channels of one layer for one image; `pixels` are base64 bytes (height, width)."""

    layer: str
    shape: tuple[int, int]
    channels: int
    dead: int
    sort: Literal["mean", "max", "index"]
    offset: int
    maps: tuple[ChannelMap, ...]


class LearnedFilter(Frozen):
    """A filter of a convolution. `pixels` are base64 bytes: RGB, or signed around 128."""

    index: int
    shown: str
    mean: float
    deviation: float
    low: float
    high: float
    norm: float
    pixels: str


class LearnedFilters(Frozen):
    """A page of the filters of one convolution, in the order of their channels."""

    layer: str
    shape: tuple[int, int]
    colours: Literal["rgb", "signed"]
    weights: tuple[int, ...]
    offset: int
    count: int
    filters: tuple[LearnedFilter, ...]


class Example(Frozen):
    """A good or worrying pattern: a picture with its map by a demo model."""

    title: str
    kind: Literal["good", "worrying"]
    text: str
    picture: str
    size: tuple[int, int]
    grid: GridValues


class Examples(Frozen):
    """Examples of heat maps; `problem` says why some are missing."""

    examples: tuple[Example, ...]
    problem: str | None


class Start(Frozen):
    """Everything that a page needs first; until the model is ready, only `status` is filled.

    `explanation` is the answer to `question`, if it is cached.
    """

    status: Status
    layers: tuple[LayerInfo, ...]
    methods: tuple[MethodInfo, ...]
    classes: tuple[ClassInfo, ...]
    samples: SampleList | None
    question: ExplanationRequest | None
    explanation: ExplanationResult | None


Effect = Literal["supports", "opposes", "none"]


class SegmentsRequest(Frozen):
    """One image, split into about `segments` parts and explained by `samples` pictures with some parts removed."""

    image: ImageId
    method: Literal["lime", "kernelshap"] = "lime"
    target: TargetChoice = TargetChoice()
    segments: int = Field(default=50, ge=2, le=300)
    samples: int = Field(default=500, ge=2, le=5000)
    seed: int = Field(default=0, ge=0, le=2**31)


class Labels(Frozen):
    """The segment index of each pixel, as base64 of little-endian uint16, row by row."""

    shape: tuple[int, int]
    values: str


class Segment(Frozen):
    """A segment: its weight, its effect on the score, and the share of the picture that it covers."""

    index: int
    weight: float
    effect: Effect
    share: float


class SegmentsResult(Frozen):
    """Segments with the strongest first, and how reliable their weights are.

    `r_squared` is the share of the score's variation over the samples that the weights explain (at most 1), and
    `sentence` its interpretation. `score` is the score of the whole image. `region` and `target` are as in
    `ExplanationResult`.
    """

    image: ImageInfo
    size: tuple[int, int]
    region: Region | None
    method: str
    target: str
    class_index: int | None
    class_name: str | None
    score: float | None
    predictions: tuple[Prediction, ...]
    label_confidence: float | None
    labels: Labels
    segments: tuple[Segment, ...]
    r_squared: float | None
    sentence: str
    seconds: float
    cached: bool
    python: str
    shell: str
