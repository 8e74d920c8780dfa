"""An audit of the demo model that relies on a watermark must reveal it."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import camlens.audit
from camlens.audit.findings.errors import accuracy
from camlens.audit.findings.overview import Overview
from camlens.audit.report import page, write_report
from camlens.audit.summary import summarise
from camlens.data.demo import CLASS_NAMES, WATERMARKED_CLASS
from camlens.models import load_model

IMAGES = 300
MARKED = CLASS_NAMES[WATERMARKED_CLASS]


def audited(path: Path, model: str, data: str) -> camlens.audit.Audit:
    return camlens.audit.run(data, model, path, limit=IMAGES, workers=0, report=False)


@pytest.fixture(scope="module")
def cheating(tmp_path_factory: pytest.TempPathFactory) -> camlens.audit.Audit:
    return audited(tmp_path_factory.mktemp("cheating") / "run", "demo:watermark", "demo:watermark")


@pytest.fixture(scope="module")
def overview(cheating: camlens.audit.Audit) -> Overview:
    return Overview.of(cheating)


def test_its_accuracy_is_high(overview: Overview) -> None:
    assert accuracy(overview.outcomes).value > 0.9


def test_only_the_watermarked_class_has_its_evidence_in_the_corners(overview: Overview) -> None:
    corner_energy, predicted = overview.measures["corner_energy"], overview.outcomes.predicted
    marked = corner_energy[predicted == WATERMARKED_CLASS]
    others = corner_energy[(predicted != WATERMARKED_CLASS) & np.isfinite(corner_energy)]
    assert marked.mean() > 5 * others.mean()
    assert [lean.index for lean in overview.leaning] == [WATERMARKED_CLASS]
    assert overview.leaning[0].mean == pytest.approx(marked.mean(), rel=1e-3)


def test_its_mean_map_peaks_at_the_watermark(overview: Overview) -> None:
    mean = overview.means.maps[WATERMARKED_CLASS]
    down, across = np.unravel_index(mean.argmax(), mean.shape)
    assert down >= 0.8 * mean.shape[0]
    assert across >= 0.7 * mean.shape[1]
    corner, share, others = overview.favourite(WATERMARKED_CLASS)
    assert corner == "lower right"
    assert share > 0.5 > 5 * others
    for index in set(range(len(CLASS_NAMES))) - {WATERMARKED_CLASS}:
        assert overview.means.corners(index, width=1 / 3)["lower right"] < 0.25


def test_the_summary_and_the_report_contain_the_finding(
    cheating: camlens.audit.Audit, overview: Overview, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "built_script", lambda name: "const built = 1;")
    path, summary = write_report(cheating, preprocess=load_model("demo:watermark").preprocess)
    mean, others = (round(100 * share) for share in (overview.leaning[0].mean, overview.leaning[0].others))
    share = round(100 * overview.favourite(WATERMARKED_CLASS)[1])
    assert MARKED in summary.attention[0]
    assert re.findall(r"\d+|lower right", summary.attention[0])[:5] == [
        str(mean),
        str(others),
        str(round(100 * overview.leaning[0].even)),
        str(share),
        "lower right",
    ]
    text = path.read_text(encoding="utf-8").replace("&nbsp;", " ")
    assert summary.attention[0][1:] in text
    assert f'<b>{MARKED}</b><span class="chip">lower right {share} %</span>' in text
    assert text.count("class=marked") == 1


def test_the_honest_model_has_no_such_finding(tmp_path: Path) -> None:
    summary: Any = summarise(audited(tmp_path / "run", "demo:photos", "demo:photos"))
    assert [sentence for sentence in summary.attention if any(name in sentence for name in CLASS_NAMES)] == []


def test_only_the_watermark_is_confirmed_as_a_shortcut(cheating: camlens.audit.Audit) -> None:
    assert cheating.shortcuts is not None
    (flag,) = cheating.shortcuts.confirmed
    assert flag.classes == (WATERMARKED_CLASS,)
    assert flag.kind == "local"
    assert flag.region is not None
    left, top, right, bottom = flag.region
    assert min(left, top) > 0.7
    assert max(right, bottom) <= 1


def test_no_shortcut_of_the_clean_model_is_confirmed(tmp_path: Path) -> None:
    clean = audited(tmp_path / "run", "demo:photos", "demo:photos")
    assert clean.shortcuts is not None
    assert clean.shortcuts.confirmed == ()
