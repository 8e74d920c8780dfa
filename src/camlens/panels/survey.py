"""Every layer of a loaded model, judged on an example image of noise."""

import numpy as np
import torch
from torch import Tensor

from camlens.core.errors import CamlensError, InputError
from camlens.core.execution.session import Session, checked_inputs
from camlens.core.execution.survey import LayerStatus, choose_layer, survey_session
from camlens.core.layers import checked_model
from camlens.models import LoadedModel

_NOISE_SIDE = 256


def layer_table(loaded: LoadedModel, *, input_size: tuple[int, int] | None = None) -> list[LayerStatus]:
    """The status of every layer, in the order in which they finish; by default at the usual size."""
    return survey_session(_session(loaded, input_size))


def default_layer(loaded: LoadedModel, *, input_size: tuple[int, int] | None = None) -> tuple[str | None, str]:
    """The layer that is taken when none is named, and why."""
    if loaded.default_layer is not None:
        return loaded.default_layer, "the model family's own choice"
    try:
        choice = choose_layer(_session(loaded, input_size))
    except CamlensError as error:
        return None, str(error)
    return choice.layer.label, choice.reason


def _session(loaded: LoadedModel, input_size: tuple[int, int] | None) -> Session:
    inputs = checked_inputs(_example(loaded, input_size).to(loaded.device))
    return Session(checked_model(loaded.model), inputs, output=loaded.reader)


def _example(loaded: LoadedModel, input_size: tuple[int, int] | None) -> Tensor:
    """Noise (1, c, h, w): unlike a blank image it makes every layer answer."""
    noise = np.random.default_rng(0).integers(0, 256, (_NOISE_SIDE, _NOISE_SIDE, 3), dtype=np.uint8)
    inputs = loaded.preprocess(noise)[None]
    if input_size is None:
        return inputs
    if min(input_size) < 1:
        raise InputError(
            f"an input size is two lengths of at least 1 pixel, not {input_size}", code="size.invalid", size=input_size
        )
    shape = (1, inputs.shape[1], *input_size)
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=inputs.dtype)
