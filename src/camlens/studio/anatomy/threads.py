"""How many threads the worker computes with."""

import time

import torch
from torch import Tensor

from camlens.core.execution.harmless import undisturbed
from camlens.core.execution.session import Session, checked_inputs
from camlens.core.layers import checked_model
from camlens.models import LoadedModel

SMALL = 0.03  # seconds of a forward pass on one thread
_RUNS = 3


def use_suitable_threads(loaded: LoadedModel, example: Tensor) -> int:
    """Let the calling thread compute small models on one core, and others as torch does; return how many.

    Several threads wait for one another after every operation. For a small model that gains little, and where
    other programs use the cores too it makes an explanation ten times slower.
    """
    usual = torch.get_num_threads()
    session = Session(checked_model(loaded.model), checked_inputs(example))
    torch.set_num_threads(1)
    times = []
    with undisturbed(session.model, example.device):
        for _ in range(_RUNS):
            start = time.perf_counter()
            session.run()
            times.append(time.perf_counter() - start)
    if min(times) > SMALL:
        torch.set_num_threads(usual)
    return torch.get_num_threads()
