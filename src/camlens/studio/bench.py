"""The state of a running studio: model, images, predictions, cache and job queues."""

import logging
import math
import secrets
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Literal, TypeVar

import numpy as np
import torch
from torch import Tensor

from camlens.core.errors import CamlensError, DataError, InputError, ModelError
from camlens.models import LoadedModel, load_model
from camlens.models.geometry import WHOLE, Region, View
from camlens.studio.cache import ByteCache
from camlens.studio.images import STRIP, Gallery, Pixels, Uploads, drawn, open_gallery
from camlens.studio.jobs import JobQueue, Report
from camlens.studio.layers import Anatomy, examine
from camlens.studio.predictions import UNREADABLE, Predictions
from camlens.studio.runs.errors import OVERVIEW, overview
from camlens.studio.runs.opened import OpenRun
from camlens.studio.settings import StudioSettings
from camlens.studio.threads import use_suitable_threads

log = logging.getLogger("camlens.studio")
_KEPT_PIXELS = 4 * 2**20
_REST = 1.0  # seconds after loading without background work, so that the first page appears sooner
State = Literal["loading", "ready", "failed"]
Part = TypeVar("Part")


class NotReadyError(CamlensError):
    """The model is still being loaded."""

    default_code = "studio.not-ready"


class NoRunError(DataError):
    """No audit run is open."""

    default_code = "studio.no-run"


class Workbench:
    """Everything the routes share. Only the worker of `jobs` runs the model."""

    def __init__(self, settings: StudioSettings) -> None:
        self.settings = settings
        self.session = secrets.token_hex(4)
        self.state: State = "loading"
        self.step = "loading the model"
        self.resting_until = math.inf
        self._spare: deque[Callable[[], None]] = deque()
        self.problem: CamlensError | None = None
        self.uploads = Uploads(settings)
        self.cache = ByteCache(settings.cache_bytes)
        self.jobs = JobQueue(capacity=settings.waiting_jobs, idle=self._idle)
        # work on the audit run, which needs no model
        self.studies = JobQueue(capacity=settings.waiting_jobs, idle=self._read_maps_ahead)
        self._run: OpenRun | None = None
        self._model: LoadedModel | None = None
        self._gallery: Gallery | None = None
        self._anatomy: Anatomy | None = None
        self._predictions: Predictions | None = None

    def start(self) -> None:
        """Start loading the model and the data in the worker."""
        self.jobs.submit("start", self._load)

    def in_spare_time(self, work: Callable[[], None]) -> None:
        """Run a small piece of work in the worker as soon as no job is waiting."""
        self._spare.append(work)

    def close(self) -> None:
        """Stop the workers."""
        for queue in self.queues:
            queue.close()

    @property
    def queues(self) -> tuple[JobQueue, JobQueue]:
        """The queue of the model and the queue of the audit run."""
        return self.jobs, self.studies

    @property
    def run(self) -> OpenRun:
        """The audit run, which is opened before the model; raises NoRunError without a run."""
        if self._run is None:
            raise NoRunError(
                "no audit run is open: create one with `camlens audit DATA --model SPEC --output RUN`, then run"
                " `camlens studio --audit RUN`"
                if self.settings.audit is None
                else f"the run {self.settings.audit} is not open: it is still loading or could not be read"
            )
        return self._run

    @property
    def has_run(self) -> bool:
        """Whether an audit run is open."""
        return self._run is not None

    @property
    def model(self) -> LoadedModel:
        """The model, once it is loaded."""
        return _ready(self._model, self)

    @property
    def gallery(self) -> Gallery:
        """The images of the dataset, once they are opened."""
        return _ready(self._gallery, self)

    @property
    def anatomy(self) -> Anatomy:
        """Layers and summary of the model, once they are known."""
        return _ready(self._anatomy, self)

    @property
    def predictions(self) -> Predictions:
        """Predictions for the dataset so far."""
        return _ready(self._predictions, self)

    def pixels(self, image: str, *, keep: bool = True) -> Pixels:
        """Return the pixels of an image by its id; with `keep`, cache them."""
        if image.startswith("u"):
            return self.uploads.find(image)
        key = ("pixels", image)
        cached = self.cache.get(key, np.ndarray)
        if cached is not None:
            return cached
        pixels = self.gallery.pixels(int(image[1:]))
        if keep and pixels.nbytes <= _KEPT_PIXELS:  # thumbnail, picture, prediction and map all need them
            self.cache.put(key, pixels, pixels.nbytes)
        return pixels

    def view(self, image: str) -> View:
        """Return the photograph with the part of it that the model sees."""
        pixels, preprocess = self.pixels(image), self.model.preprocess
        return View("", pixels, preprocess.display(pixels), preprocess.geometry(*pixels.shape[:2]))

    def picture(self, image: str) -> tuple[Pixels, Region | None]:
        """Return the photograph and the region that the model sees, None for all of it.

        The region is (left, top, right, bottom) in fractions of the photograph. If the geometry of the
        preprocessing is unknown, the preprocessed picture is returned instead of the photograph.
        """
        try:
            picture, region = self.view(image).shown()
        except InputError:
            return self.pixels(image), None
        return picture, None if np.allclose(region, WHOLE) else region

    def inputs(self, image: str) -> Tensor:
        """Return the preprocessed image as a batch (1, c, height, width)."""
        return self.model.preprocess(self.pixels(image))[None].to(self.model.device)

    def predict(self, numbers: Sequence[int]) -> list[tuple[int, float]]:
        """Return the predicted class and confidence of each sample."""
        batch = torch.stack([self.model.preprocess(self.pixels(f"s{number}", keep=False)) for number in numbers])
        with torch.inference_mode():
            confidences = self.model.probabilities(self.anatomy.logits(batch.to(self.model.device)))
        best = confidences.max(dim=1)
        return list(zip(best.indices.tolist(), best.values.tolist(), strict=True))

    def _load(self, report: Report) -> None:
        try:
            settings = self.settings
            report(0, 3)
            self._open_run(settings.audit)
            self.step = "loading the model"
            self._model = load_model(
                settings.model,
                weights=settings.weights,
                trust_pickle=settings.trust_pickle,
                device=settings.device,
                offline=settings.offline,
                activation=settings.activation,
                task=settings.task,
                output_key=settings.output_key,
            )
            self.step = "opening the data"
            report(1, 3)
            self._gallery = open_gallery(settings.data, self._model)
            self.step = "examining the layers"
            report(2, 3)
            self._predictions = Predictions(self._gallery.labels.indices, self.predict, self._gallery.accepted)
            example = self._example(self._model, self._gallery, self._predictions).to(self._model.device)
            use_suitable_threads(self._model, example)
            self._anatomy = examine(self._model, example)
            self._model = self._anatomy.loaded
            if self._run is not None:
                self._run.meet(self._model, self._gallery, self._predictions)
            self.state, self.step, self.resting_until = "ready", "ready", time.monotonic() + _REST
        except CamlensError as error:
            log.error("%s failed: %s", self.step, error)
            self._fail(error)
        except Exception as error:  # a user's own model factory may raise anything
            log.exception("the studio could not start")
            self._fail(
                ModelError(
                    f"{self.step} failed with {type(error).__name__}: {error}",
                    code="model.start-failed",
                    step=self.step,
                )
            )

    def _open_run(self, path: str | None) -> None:
        if path is None:
            return
        self.step = "opening the audit run"
        run = OpenRun(path)
        self.cache.put(OVERVIEW, overview(run), 2**20)  # the first request of every audit page
        self._run = run
        if not self.settings.model:
            raise ModelError(
                f"the run in {path} was made from Python with a {run.audit.manifest.model_type} that has no spec:"
                " pass --model SPEC to explain its images",
                code="model.no-name",
            )

    def _fail(self, error: CamlensError) -> None:
        self.state, self.problem = "failed", error

    def _idle(self) -> bool:
        if self.state != "ready" or time.monotonic() < self.resting_until or self._predictions is None:
            return False
        if self._spare:
            self._spare.popleft()()
            return True
        return self.model.task == "classification" and self._predictions.step()

    def _example(self, model: LoadedModel, gallery: Gallery, predictions: Predictions) -> Tensor:
        """Return an input to examine the model with: the first readable image of the start page, or plain gray.

        Unreadable images before it are recorded, so that no page opens with one of them.
        """
        for number in drawn(np.arange(len(gallery)), STRIP, seed=0):
            try:
                pixels = gallery.pixels(number)
                inputs = model.preprocess(pixels)[None]
            except (DataError, InputError):
                predictions.put(number, UNREADABLE, 0.0)
                continue
            self.cache.put(("pixels", f"s{number}"), pixels, pixels.nbytes)
            return inputs
        return model.preprocess(np.full((256, 256, 3), 128, dtype=np.uint8))[None]

    def _read_maps_ahead(self) -> bool:
        return self.state != "loading" and self._run is not None and self._run.maps.read_ahead()


def _ready(part: Part | None, bench: Workbench) -> Part:
    if part is None or bench.state != "ready":
        if bench.problem is not None:
            raise bench.problem
        raise NotReadyError(f"the studio is still {bench.step}: try again in a moment", step=bench.step)
    return part
