"""The registry entries of the metrics."""

import inspect
import re

import pytest

from camlens.metrics import METRICS

EXPECTED = {
    "pointing_game": "higher", "energy_inside": "higher", "relevance_rank_accuracy": "higher",
    "top_k_intersection": "higher", "intersection_over_union": "higher", "max_box_accuracy": "higher",
    "pixel_average_precision": "higher",
    "average_drop": "lower", "increase_in_confidence": "higher", "average_gain": "higher",
    "insertion_auc": "higher", "deletion_auc": "lower", "pixel_flipping_morf": "higher",
    "pixel_flipping_lerf": "lower", "road_morf": "lower", "road_lerf": "higher", "road_combined": "higher",
    "sensitivity_n": "higher", "faithfulness_correlation": "higher", "mu_fidelity": "higher",
    "infidelity": "lower",
    "max_sensitivity": "lower", "average_sensitivity": "lower", "coherency": "higher",
    "sparseness": "neither", "entropy": "lower", "complexity": "lower", "effective_complexity": "lower",
    "border_energy": "lower", "corner_energy": "lower", "spread": "neither",
    "adcc": "higher", "arcc": "higher",
    "pearson": "neither", "spearman": "neither", "ssim": "neither",
    "random_logit_similarity": "lower", "parameter_randomisation": "lower",
}  # fmt: skip


def test_every_metric_is_registered_with_its_better_direction() -> None:
    assert {name: entry.better for name, entry in METRICS.items()} == EXPECTED


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_a_metric_needs_what_its_entry_says_and_takes_only_keyword_options(name: str) -> None:
    entry = METRICS[name]
    parameters = inspect.signature(entry.function).parameters.values()
    assert ", ".join(one.name for one in parameters if one.kind is not one.KEYWORD_ONLY) == entry.needs
    required = {one.name for one in parameters if one.kind is one.KEYWORD_ONLY and one.default is one.empty}
    assert required <= {"number_of_classes"}
    assert entry.function.__name__ == name


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_a_metric_has_a_paper_and_a_docstring(name: str) -> None:
    entry = METRICS[name]
    assert re.search(r"\b(18|19|20)\d\d\b", entry.paper), "no year"
    assert entry.good_for
    assert (inspect.getdoc(entry.function) or "").splitlines()[0].endswith((".", ",", ":", "else 0.")), name


def test_every_metric_that_draws_takes_a_generator() -> None:
    drawing = {name for name in EXPECTED if "generator" in inspect.signature(METRICS[name].function).parameters}
    assert drawing >= {
        "insertion_auc", "deletion_auc", "pixel_flipping_morf", "pixel_flipping_lerf", "road_morf",
        "road_lerf", "road_combined", "sensitivity_n", "faithfulness_correlation", "mu_fidelity",
        "infidelity", "max_sensitivity", "average_sensitivity", "random_logit_similarity",
        "parameter_randomisation",
    }  # fmt: skip
