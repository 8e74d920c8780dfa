"""The words of the API: what pages send and receive. TypeScript types are generated from these."""

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


class Words(BaseModel):
    """Frozen, and strict about names nobody knows."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="null")


class Problem(Words):
    """Why a request was refused: `kind` and the finer, stable `code` are for programs, `message` is for people."""

    kind: str
    code: str
    message: str


class GridValues(Words):
    """Values (height, width), row by row, as base64 of little-endian float32."""

    shape: tuple[int, int]
    values: str


class Prediction(Words):
    """One class with its probability, or one output of a regression with its value."""

    index: int
    name: str
    confidence: float


class ImageInfo(Words):
    """One image of the studio. `label` is its true class where known; `readable` turns false once reading failed."""

    id: str
    name: str
    label: int | None
    label_name: str | None
    prediction: Prediction | None
    correct: bool | None
    readable: bool


class TargetChoice(Words):
    """What to explain: the predicted class, one class, class `a` rather than `b`, or the `k` best classes.

    For a contrast, `index` or `against` may be left out: that stands for the predicted class.
    """

    kind: Literal["predicted", "class", "contrast", "top"] = "predicted"
    index: int | None = Field(default=None, ge=0)
    against: int | None = Field(default=None, ge=0)
    k: int = Field(default=3, ge=1, le=10)


class ExplanationRequest(Words):
    """One image, and every combination of the methods and layers asked for, from one capture."""

    image: ImageId
    methods: tuple[MethodName, ...] = Field(default=("gradcam",), min_length=1, max_length=40)
    layers: tuple[LayerName, ...] = Field(default=(), max_length=400, description="none: the model's default layer")
    target: TargetChoice = TargetChoice()


class MapResult(Words):
    """One signed map at its layer's resolution, and what its numbers say.

    `target` is its title if it is not about one class, such as "boot minus shirt". `state` is "good", or why the
    picture would be empty: "negative" (no evidence for the class), "flat" (constant), "broken" (NaN or infinite).
    `energy` is the share of the map's magnitude that is positive;
    `diverging` says that the map is evidence for and against, to be drawn with zero in the middle.
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


class ExplanationResult(Words):
    """Maps in the order methods, layers, targets; what the model predicts; and how to repeat it.

    The maps cover `region` of the photograph: (left, top, right, bottom) in fractions of it, beyond [0, 1] if the
    preprocessing pads; null is all of it.
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


class JobView(Words, Generic[Result]):
    """A job's place and progress, and its result once `state` is "done".

    `estimate` is its first map so far, coarse, where the method gets better as it goes.
    """

    id: str
    state: JobState
    position: int
    done: int
    total: int
    estimate: GridValues | None = None
    problem: Problem | None
    result: Result | None


class LayerInfo(Words):
    """One layer: what it gives, whether it can carry a map, and if not, why."""

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


class ModelSummary(Words):
    """The model in a few numbers."""

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


class DataSummary(Words):
    """The data in a few numbers. `problem` says in words what is unusual about it."""

    spec: str
    count: int
    classes: int
    labelled: bool
    problem: str | None


class PredictionProgress(Words):
    """How far the predictions over the data have come."""

    done: int
    total: int
    correct: int
    incorrect: int
    unreadable: int


class Limits(Words):
    """What an upload may be."""

    bytes: int
    pixels: int
    formats: tuple[str, ...]
    uploads: bool


class Status(Words):
    """What the studio is doing: loading the model, ready, or unable to start and why."""

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
    run: str | None = Field(description="the audit run that is open, by its directory's name")
    demo: str = Field(description="the demo model that is open; empty if there is no choice of demos")
    demos: tuple[str, ...] = Field(description="the demo models that `POST /api/demo` opens")


class DemoChoice(Words):
    """The demo model to open."""

    model: str


class MethodInfo(Words):
    """One method of the registry: `scope` says whether its map is about a layer, all layers or the input.

    `chooses_layers` says that no layer need be named, `diverging` that maps are evidence for and against.
    """

    name: str
    title: str
    paper: str
    needs: str
    good_for: str
    cost: Literal["cheap", "seconds", "minutes"]
    signed: bool
    diverging: bool
    scope: Literal["layer", "layers", "model", "input"]
    chooses_layers: bool


class SampleList(Words):
    """Random images that fit the filter. `matching` counts all that are known to fit so far."""

    samples: tuple[ImageInfo, ...]
    matching: int
    settled: bool


class ClassInfo(Words):
    """One class with how many images carry it, and how they were predicted so far."""

    index: int
    name: str
    images: int
    predicted: int
    correct: int


class ConfusionPair(Words):
    """How often images of class `label` were predicted as `prediction`."""

    label: int
    prediction: int
    count: int


class Facing(Words):
    """Correct and incorrect predictions that face each other, and the pairs that are confused most."""

    correct: tuple[ImageInfo, ...]
    incorrect: tuple[ImageInfo, ...]
    correct_count: int
    incorrect_count: int
    pairs: tuple[ConfusionPair, ...]


class Comparison(Words):
    """How alike two maps are: Pearson's correlation, and what that means in a sentence."""

    correlation: float | None
    sentence: str


class ChannelMap(Words):
    """One channel's activation, 8 bits a cell between `low` and `high`."""

    index: int
    low: float
    high: float
    mean: float
    dead: bool
    pixels: str


class ActivationMaps(Words):
    """Channels of one layer for one image, sorted; `pixels` are base64 bytes (height, width)."""

    layer: str
    shape: tuple[int, int]
    channels: int
    dead: int
    sort: Literal["mean", "max", "index"]
    offset: int
    maps: tuple[ChannelMap, ...]


class LearnedFilter(Words):
    """One filter of a convolution. `pixels` are base64 bytes, RGB or signed around 128."""

    index: int
    shown: str
    mean: float
    deviation: float
    low: float
    high: float
    norm: float
    pixels: str


class LearnedFilters(Words):
    """Filters of one convolution, in the order of their channels."""

    layer: str
    shape: tuple[int, int]
    colours: Literal["rgb", "signed"]
    weights: tuple[int, ...]
    offset: int
    count: int
    filters: tuple[LearnedFilter, ...]


class Example(Words):
    """One picture of a good or a worrying pattern, with its map from a demo model."""

    title: str
    kind: Literal["good", "worrying"]
    text: str
    picture: str
    size: tuple[int, int]
    grid: GridValues


class Examples(Words):
    """How to read a heat map, in pictures of the demo models; `problem` says why there are none."""

    examples: tuple[Example, ...]
    problem: str | None


class Start(Words):
    """What a page asks first, in one answer; without a ready model only `status` says something.

    `explanation` is the answer to `question`, where that is known already.
    """

    status: Status
    layers: tuple[LayerInfo, ...]
    methods: tuple[MethodInfo, ...]
    classes: tuple[ClassInfo, ...]
    samples: SampleList | None
    question: ExplanationRequest | None
    explanation: ExplanationResult | None


Effect = Literal["supports", "opposes", "none"]


class SegmentsRequest(Words):
    """One image, cut into about `segments` parts; `samples` pictures with some parts taken away are tried."""

    image: ImageId
    method: Literal["lime", "kernelshap"] = "lime"
    target: TargetChoice = TargetChoice()
    segments: int = Field(default=50, ge=2, le=300)
    samples: int = Field(default=500, ge=2, le=5000)
    seed: int = Field(default=0, ge=0, le=2**31)


class Labels(Words):
    """The number of the segment that each pixel belongs to, row by row, as base64 of little-endian uint16."""

    shape: tuple[int, int]
    values: str


class Segment(Words):
    """One segment: its weight, what it does to the score, and the share of the picture it covers."""

    index: int
    weight: float
    effect: Effect
    share: float


class SegmentsResult(Words):
    """Segments with the strongest first, and how far the sum of their weights can be believed.

    `r_squared` is the share of the score's variation over all samples that the weights account for, 1 at best;
    `sentence` says what that means. `score` is the explained score of the whole image; `region` and `target` are as
    in an explanation.
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
