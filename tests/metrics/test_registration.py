"""The registry entries of the metrics."""

import inspect
import re

import pytest

from camlens.metrics import METRICS


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_needs_what_its_entry_says_and_takes_only_keyword_options(name: str) -> None:
    entry = METRICS[name]
    parameters = inspect.signature(entry.function).parameters.values()
    assert ", ".join(one.name for one in parameters if one.kind is not one.KEYWORD_ONLY) == entry.needs
    required = {one.name for one in parameters if one.kind is one.KEYWORD_ONLY and one.default is one.empty}
    assert required <= {"number_of_classes"}
    assert entry.function.__name__ == name


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_has_a_paper_and_a_docstring(name: str) -> None:
    entry = METRICS[name]
    assert re.search(r"\b(18|19|20)\d\d\b", entry.paper), "no year"
    assert entry.good_for
    assert (inspect.getdoc(entry.function) or "").splitlines()[0].endswith((".", ",", ":", "else 0.")), name


def test_every_metric_that_draws_takes_a_generator() -> None:
    drawing = {name for name in METRICS if "generator" in inspect.signature(METRICS[name].function).parameters}
    assert drawing >= {
        "insertion_auc", "deletion_auc", "pixel_flipping_morf", "pixel_flipping_lerf", "road_morf",
        "road_lerf", "road_combined", "sensitivity_n", "faithfulness_correlation", "mu_fidelity",
        "infidelity", "max_sensitivity", "average_sensitivity", "random_logit_similarity",
        "parameter_randomisation",
    }  # fmt: skip
