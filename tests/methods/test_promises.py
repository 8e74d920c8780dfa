"""What holds for every method about the input: threads do not mix, nothing global is touched, extras are named."""

import random
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from camlens import METHODS, MissingExtraError, explain
from camlens.methods.libraries import library
from tests.nets import ResidualNet, images, seeded
from tests.refusals import refused

pytestmark = pytest.mark.filterwarnings("ignore::camlens.core.errors.EvidenceWarning")

ABOUT_INPUT = [name for name, entry in METHODS.items() if entry.scope == "input"]
OPTIONS = {
    "lime": {"samples": 12, "segments": 4},
    "kernelshap": {"samples": 12, "segments": 4},
    "integratedgradients": {"steps": 4},
    "smoothgrad": {"samples": 2},
    "rise": {"masks": 20, "cells": 3},
}
WANT_CAPTUM = ["integratedgradients", "smoothgrad", "guidedbackprop", "deeplift", "lime", "kernelshap"]


def answer(model: torch.nn.Module, image: Tensor, method: str, target: int) -> Tensor:
    found = explain(model, image, method=method, target=target, options=OPTIONS.get(method))
    return found.maps["input"]


@pytest.mark.filterwarnings("ignore::camlens.core.errors.EvidenceWarning")
@pytest.mark.parametrize("training", [False, True])
def test_eight_threads_on_one_model_equal_each_alone(training: bool) -> None:
    model, pool = seeded(ResidualNet).train(training), images(2)
    jobs = [(row, method, 2 * row) for row in range(2) for method in ABOUT_INPUT]
    alone = {job: answer(model, pool[job[0]][None], *job[1:]) for job in jobs}
    torch.manual_seed(3)
    state, numbers = torch.get_rng_state(), np.random.get_state()[1].copy()
    work = [random.Random(seed).sample(jobs, len(jobs) // 2) for seed in range(8)]
    with ThreadPoolExecutor(8) as threads:
        together = list(threads.map(lambda some: [answer(model, pool[job[0]][None], *job[1:]) for job in some], work))
    for some, answers in zip(work, together, strict=True):
        for job, maps in zip(some, answers, strict=True):
            assert_close(maps, alone[job], rtol=1e-3, atol=1e-5)
    assert torch.equal(torch.get_rng_state(), state)
    assert np.array_equal(np.random.get_state()[1], numbers)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert all(module.training is training for module in model.modules())


@pytest.mark.parametrize("method", ABOUT_INPUT)
def test_frozen_parameters_inference_mode_and_bfloat16_make_no_difference(method: str) -> None:
    model, inputs = seeded(ResidualNet), images(1)
    expected = answer(model, inputs, method, 1)
    model.requires_grad_(False)
    with torch.inference_mode():
        assert_close(answer(model, inputs, method, 1), expected, rtol=1e-3, atol=1e-5)
    narrow = answer(model.bfloat16(), inputs.bfloat16(), method, 1)
    assert narrow.dtype == torch.float32
    cosine = torch.nn.functional.cosine_similarity(narrow.flatten(), expected.flatten(), dim=0)
    assert float(cosine) > 0.8


@pytest.mark.parametrize("method", ABOUT_INPUT)
def test_the_process_keeps_its_warning_filters(method: str) -> None:
    model, before = seeded(ResidualNet), list(warnings.filters)
    answer(model, images(1), method, 1)
    assert list(warnings.filters) == before


@pytest.mark.parametrize("method", WANT_CAPTUM)
def test_a_missing_library_names_the_extra(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("captum", "captum.attr", "captum.attr._core.deep_lift", "skimage.segmentation"):
        monkeypatch.setitem(sys.modules, name, None)
    with refused("extra.missing", MissingExtraError, extra="attributions"):
        answer(seeded(ResidualNet), images(1), method, 1)


def test_a_library_that_draws_while_it_is_imported_draws_from_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "drawing.py").write_text("import random\nvalue = random.random()\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "drawing", raising=False)
    before = random.getstate()
    assert 0 <= library("drawing").value < 1
    assert random.getstate() == before
    monkeypatch.delitem(sys.modules, "drawing")
