"""The model as a function of replaced inputs, or of replaced features at a layer.

Perturbation methods get a Probe instead of gradients, and methods about the input alone an InputProbe, which has no
layer. All scores are those of the same settled targets: a map of the predicted class stays a map of that class even if
the perturbed image is classified otherwise.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor, nn

from camlens.core.capture import Capture, LayerRecord, Request, capture_session, gradients_at_inputs, scores_with_graph
from camlens.core.errors import LayerError
from camlens.core.execution.harmless import Guard
from camlens.core.execution.outputs import tensors_in
from camlens.core.execution.replay import Recording, keep_proof, proven_way, record, replay, same_scores, substitute
from camlens.core.execution.session import Session
from camlens.core.gradients.bias import BiasTerms, bias_terms
from camlens.core.gradients.curvature import hessian_product
from camlens.core.targets import Output
from camlens.core.types import Features, Images, Scores, TargetMaps, precise

Progress = Callable[[int, int], None]
Watcher = Callable[[TargetMaps], None]


def silent(_done: int, _total: int) -> None:
    """Ignore progress."""


@dataclass(frozen=True, eq=False)
class InputProbe:
    """A model's scores and gradients for perturbed inputs of one batch.

    `batch_size` is the number of perturbed images to evaluate at once, and `generator` the only source of randomness.
    Methods call `progress(done, total)` in long loops; it may raise, which cancels. Before each such call they pass
    the maps so far (n, t, *spatial) to `estimate`, unless it is None.
    """

    session: Session
    captured: Capture
    generator: torch.Generator
    batch_size: int = 32
    progress: Progress = silent
    estimate: Watcher | None = None

    @property
    def inputs(self) -> Images:
        """The images (n, c, *spatial)."""
        return self.session.inputs

    @property
    def scores(self) -> Scores:
        """Scores (n, t) of the clean images."""
        return self.captured.scores

    def input_scores(self, inputs: Float[Tensor, "m c *spatial"], row: int) -> Float[Tensor, "m t"]:
        """Scores of the targets of image `row` for `inputs` in its place."""
        if self._faster_channels_last:
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        with self.still() as guard:
            return self._scores(self.session.replaced(inputs, row).run(guard), row)

    def gradients_at(
        self, inputs: Float[Tensor, "m c *spatial"], row: int
    ) -> tuple[Float[Tensor, "m t"], Float[Tensor, "m t c *spatial"]]:
        """Scores of the targets of image `row`, and their gradients at `inputs` in its place."""
        session = self.session.replaced(inputs, row)
        return gradients_at_inputs(session, self.captured.scorer, self._rows(len(inputs), row))

    @cached_property
    def input_gradients(self) -> Float[Tensor, "n t c *spatial"]:
        """Gradients of the scores with respect to the images."""
        return gradients_at_inputs(self.session, self.captured.scorer)[1]

    def live_scores(
        self, guard: Guard, inputs: Float[Tensor, "m c *spatial"], row: int, model: nn.Module | None = None
    ) -> Float[Tensor, "m t"]:
        """`input_scores` with the graph back to `inputs`, for libraries that differentiate by themselves.

        `guard` is the block `still()` in which the graph is used. `model` may be a copy to run instead of the model.
        """
        session = self.session.replaced(inputs, row)
        if model is not None:
            session = replace(session, model=model)
        rows = self._rows(len(inputs), row)
        return scores_with_graph(guard, session, self.captured.scorer, rows, through_no_grad=model is not None)

    def still(self) -> Guard:
        """A block in which the model runs in evaluation mode without grad, and after which it is as it was."""
        return self.session.undisturbed()

    @cached_property
    def _faster_channels_last(self) -> bool:
        """Whether images may be passed channels-last, which a CPU convolves faster: the scores must agree."""
        clean = self.session.inputs[:1]
        if clean.ndim != 4 or clean.device.type != "cpu" or clean.dtype != torch.float32:
            return False
        try:
            turned = clean.contiguous(memory_format=torch.channels_last)
            scores = self._scores(self.session.replaced(turned, 0).predict(), 0)
        except RuntimeError:  # the model takes a view that needs contiguous inputs
            return False
        return same_scores(scores, self.scores[:1])

    def _rows(self, count: int, row: int) -> Tensor:
        return torch.full((count,), row, dtype=torch.long, device=self.session.inputs.device)

    def _scores(self, output: Output, row: int) -> Tensor:
        return precise(self.captured.scorer(output, self._rows(output.images, row)).detach())


@dataclass(frozen=True, eq=False)
class Probe:
    """A model's scores and gradients for perturbed features of one layer, or perturbed inputs, of one batch.

    `batch_size` is the number of perturbed items to evaluate at once, and `generator` the only source of randomness.
    Methods call `progress(done, total)` in long loops.
    """

    session: Session
    captured: Capture
    record: LayerRecord
    generator: torch.Generator
    batch_size: int = 32
    progress: Progress = silent
    _recordings: dict[int, tuple[Recording, str]] = field(default_factory=dict, repr=False)

    @property
    def inputs(self) -> Images:
        """The images (n, c, *spatial)."""
        return self.session.inputs

    @property
    def activations(self) -> Features:
        """Features (n, k, *grid) at the layer."""
        return self.record.activations

    @property
    def gradients(self) -> Float[Tensor, "n t k *grid"]:
        """Gradients of each target's score with respect to the features."""
        return self.record.gradients

    @property
    def scores(self) -> Scores:
        """Scores (n, t) of the clean images."""
        return self.captured.scores

    @property
    def layer_captures(self) -> Mapping[str, tuple[Tensor, Tensor]]:
        """Activations and gradients of all wanted layers, shallow to deep."""
        return {name: (record.activations, record.gradients) for name, record in self.captured.records.items()}

    @cached_property
    def at_input(self) -> InputProbe:
        """The probe of the inputs alone."""
        return InputProbe(self.session, self.captured, self.generator, self.batch_size, self.progress)

    def input_scores(self, inputs: Float[Tensor, "m c *spatial"], row: int) -> Float[Tensor, "m t"]:
        """Scores of the targets of image `row` for `inputs` in its place."""
        return self.at_input.input_scores(inputs, row)

    def feature_scores(self, features: Float[Tensor, "m k *grid"], row: int) -> Float[Tensor, "m t"]:
        """Scores of the targets of image `row` for `features` as the layer's output; only what follows it runs."""
        with self.at_input.still() as guard:
            recording, way = self._recording(guard, row)
            return self._ask(guard, features, row, recording, way)

    def capture_inputs(
        self, inputs: Float[Tensor, "m c *spatial"], row: int
    ) -> tuple[Float[Tensor, "m k *grid"], Float[Tensor, "m t k *grid"]]:
        """Activations and gradients of the targets of image `row` for `inputs` in its place."""
        again = capture_session(
            self.session.replaced(inputs, row),
            Request(
                [self.record.layer],
                scorer=self.captured.scorer,
                rows=self.at_input._rows(len(inputs), row),
                kind=self.record.layout.kind,
            ),
        )
        record = again.records[self.record.layer.label]
        return record.activations, record.gradients

    def curvature(self, directions: Features) -> Float[Tensor, "n t k *grid"]:
        """The Hessian of each score with respect to the features, times `directions` (n, k, *grid)."""
        return hessian_product(self.session, self.record, self.captured.scorer, directions)

    def bias_terms(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Each layer's bias (channels,) with the gradient (n, t, channels, *grid) of the scores at its output."""
        yield from self._biases.terms

    @property
    def input_gradients(self) -> Float[Tensor, "n t c *spatial"]:
        """Gradients of the scores with respect to the images."""
        return self._biases.input_gradients

    @cached_property
    def _biases(self) -> BiasTerms:
        return bias_terms(self.session, self.captured.scorer)

    def _recording(self, guard: Guard, row: int) -> tuple[Recording, str]:
        """The recording of image `row`, and the fastest verified way to replay it."""
        if row not in self._recordings:
            session = self.session.part(row, row + 1)
            recording, clean = self.captured.recording, self.scores
            if recording is None or self.session.images > 1:
                recording, output = record(guard, session, self.record.layer)
                clean = self.at_input._scores(output, row)
            way = self._way(guard, session, row, recording, clean)
            self._recordings.clear()  # one recording at a time: memory stays that of one forward pass
            self._recordings[row] = recording, way
        return self._recordings[row]

    def _way(self, guard: Guard, session: Session, row: int, recording: Recording, clean: Tensor) -> str:
        """The fastest way that reproduces this image's scores and, once, those of a full run for other features."""
        features = self.record.activations[row : row + 1].to(self.record.native.dtype)
        tried = torch.cat([features, features / 2])
        known = proven_way(session, self.record.layer)
        if known == "whole" or (known and self._proven(guard, tried, row, recording, known, clean)):
            return known
        expected = self._ask(guard, tried, row, recording, "whole")
        ways = ("expanded", "copied")
        way = next((way for way in ways if self._proven(guard, tried, row, recording, way, expected)), "whole")
        keep_proof(session, self.record.layer, way)
        return way

    def _proven(self, guard: Guard, tried: Tensor, row: int, recording: Recording, way: str, expected: Tensor) -> bool:
        """Whether replaying `tried` this way gives the expected scores of the first features, or of all."""
        try:
            return same_scores(self._ask(guard, tried, row, recording, way)[: len(expected)], expected)
        except (RuntimeError, LayerError, IndexError, TypeError, ValueError, AttributeError):
            return False

    def _ask(self, guard: Guard, features: Tensor, row: int, recording: Recording, way: str) -> Tensor:
        session = self.session.part(row, row + 1)
        image = session.inputs.expand(len(features), *session.inputs.shape[1:])
        recording.place = self.record.layout.place
        like = list(tensors_in(recording.output))[recording.place]
        native = self.record.layout.native(features.to(like.dtype), like).clone()
        many = session.replaced(image, 0)
        if way == "whole":
            output = substitute(guard, many, self.record.layer, native, recording.place)
        else:
            output = replay(guard, many, recording, native, copies=way == "copied")
        return self.at_input._scores(output, row)
