"""Every method passes the checks for authors, and the checks find what they are for."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from camlens.testing import check_method
from tests.nets import METHODS_OF_ANY_NETWORK

QUICK: dict[str, dict[str, int]] = {
    "smoothgradcam++": {"samples": 2},
    "sscam": {"samples": 2},
    "iscam": {"samples": 2},
    "rise": {"masks": 40, "cells": 3},
    "lime": {"samples": 12, "segments": 4},
    "kernelshap": {"samples": 12, "segments": 4},
    "integratedgradients": {"steps": 4},
    "smoothgrad": {"samples": 2},
}


@pytest.mark.parametrize("method", METHODS_OF_ANY_NETWORK)
def test_every_method_passes(method: str) -> None:
    check_method(method, options=QUICK.get(method))


def test_a_custom_function_passes() -> None:
    check_method(lambda activations, gradients: (activations * gradients).sum(dim=1))


BAD: dict[str, tuple[Callable[..., Tensor], str]] = {
    "unseeded": (lambda activations: torch.rand(len(activations), *activations.shape[2:]), "second call"),
    "mixed": (lambda activations: activations.sum(1) - activations.sum(1).mean(0), "batch"),
    "nan": (lambda activations: (activations / activations.amax()).sum(1), "NaN|batch"),
}


@pytest.mark.parametrize("fault", list(BAD))
def test_a_faulty_method_is_found(fault: str) -> None:
    function, message = BAD[fault]
    with pytest.raises(AssertionError, match=message):
        check_method(function)
