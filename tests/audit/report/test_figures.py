import re
from xml.etree import ElementTree

import numpy as np

from camlens.audit.findings.attention import distribution
from camlens.audit.findings.calibration import calibration
from camlens.audit.findings.outcomes import Outcomes
from camlens.audit.report.figures import calibration_figure, distribution_figure, peaks_figure, strips_figure


def titles(svg: str) -> list[str]:
    return [found.text or "" for found in ElementTree.fromstring(svg).iter("title")]


def outcomes() -> Outcomes:
    return Outcomes(np.array([0, 0, 0, 0]), np.array([0, 0, 0, 1]), np.array([0.95, 0.95, 0.95, 0.95]))


def test_calibration_has_a_bar_for_each_nonempty_bin() -> None:
    svg = calibration_figure(calibration(outcomes()))
    assert re.findall(r"[\d.]+", titles(svg)[0]) == ["0.9", "1.0", "4", "95", "75"]
    (bar,) = re.findall(r'class="bar-accent"[^>]* height="([\d.]+)"', svg)
    assert float(bar) == 260 * 0.75
    (gap,) = re.findall(r'class="gap over"[^>]* height="([\d.]+)"', svg)
    assert float(gap) == 260 * 0.2


def test_distributions_show_shares_of_each_group() -> None:
    by_group = distribution(np.array([0.1, 0.1, 0.5, 0.5]), outcomes(), bins=2)
    svg = distribution_figure(by_group, "Entropy")
    assert [re.findall(r"[\d.]+", title) for title in titles(svg)] == [["3", "0.23"], ["1", "0.50"]]


def test_peaks_show_the_number_of_maps_in_each_cell() -> None:
    svg = peaks_figure(np.array([[3, 0], [0, 1]]), "Highest place")
    assert [re.findall(r"\d+", title) for title in titles(svg)] == [["3", "75"], ["1", "25"]]
    assert re.findall(r'opacity="([\d.]+)"', svg) == ["1.000", "0.373"]


def test_strips_escape_names_and_skip_classes_without_maps() -> None:
    svg = strips_figure(
        ["<cat> & co", "dog"], np.array([[0.1, 0.2, 0.3, 0.4, 0.5], [np.nan] * 5]), "Entropy", [True, False]
    )
    name, box, empty = titles(svg)
    assert (name, empty) == ("<cat> & co", "dog")
    assert re.findall(r"[\d.]+", box) == ["0.30", "0.20", "0.40"]
    assert svg.count("strip marked") == 1


def test_figures_without_data_are_empty() -> None:
    none = Outcomes(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))
    for svg in (
        calibration_figure(calibration(none)),
        distribution_figure(distribution(np.zeros(0), none), "Entropy"),
        peaks_figure(np.zeros((2, 2), np.int64), "Highest place"),
    ):
        assert titles(svg) == []
