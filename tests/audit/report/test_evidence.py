import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from camlens.audit.findings.neighbours import unit
from camlens.audit.findings.overview import Overview
from camlens.audit.findings.reasons import Reasoner
from camlens.audit.report.evidence import Limits, as_bytes, gather
from camlens.models.preprocess import Preprocess, adopt
from tests.audit.fake import FakeRun, fake_run

LABEL = [0] * 10 + [1] * 10 + [2] * 10
PREDICTED = [0] * 6 + [1] * 4 + [1] * 9 + [2] + [2] * 10


def gathered(run: FakeRun, limits: Limits | None = None, **options: Any) -> dict[str, Any]:
    return gather(run, Overview.of(run), Reasoner.of(run), limits=limits or Limits(), **options)


@pytest.fixture
def run(tmp_path: Path) -> FakeRun:
    return fake_run(tmp_path, LABEL, PREDICTED)


def test_errors_have_a_card_with_reasons_neighbors_and_both_maps(run: FakeRun) -> None:
    cards = {card["row"]: card for card in gathered(run)["cards"]}
    wrong = [row for row in range(30) if LABEL[row] != PREDICTED[row]]
    assert [row for row in cards if cards[row]["label"] != cards[row]["predicted"]] == wrong
    card = cards[6]
    assert (card["id"], card["label"], card["predicted"]) == ("006.png", 0, 1)
    assert card["confidence"] == pytest.approx(float(run.columns["confidence"][6]), abs=1e-4)
    assert card["top"][0] == [1, card["confidence"]]
    assert card["reasons"]
    assert len(card["near"]) == 3
    assert all(LABEL[near] == PREDICTED[near] == index for near, index, _ in card["near"])
    values = np.frombuffer(base64.b64decode(card["map"]), np.uint8).reshape(run.grid)
    np.testing.assert_allclose(values / 255, run.map_predicted[6] / run.map_predicted[6].max(), atol=0.5 / 255 + 1e-6)
    truth = np.frombuffer(base64.b64decode(card["truth"]), np.uint8).reshape(run.grid)
    np.testing.assert_array_equal(truth, values[::-1, ::-1])


def test_typical_correct_predictions_are_shown_without_reasons(run: FakeRun) -> None:
    typical: list[int] = []
    label, right = run.column("label").filled(), run.column("label").filled() == run.column("predicted").filled()
    for index in range(3):
        members = np.flatnonzero(right & (label == index))
        directions = unit(run.embeddings(members))
        distances = np.linalg.norm(directions - directions.mean(axis=0), axis=1)
        typical += sorted(members[np.argsort(distances)[:2]].tolist())
    cards = [card for card in gathered(run, Limits(per_class=2))["cards"] if card["label"] == card["predicted"]]
    assert [card["row"] for card in cards] == sorted(typical)
    assert all(card["reasons"] == [] and card["truth"] is None and card["near"] == [] for card in cards)


def test_the_number_of_cards_is_bounded_and_confusions_take_turns(run: FakeRun) -> None:
    evidence = gathered(run, Limits(errors=3, per_pair=2, correct=4))
    pairs = [(card["label"], card["predicted"]) for card in evidence["cards"]]
    assert sorted(pairs) == [(0, 0), (0, 0), (0, 1), (0, 1), (1, 1), (1, 2), (2, 2)]
    assert evidence["pairs"] == [[0, 1, 4], [1, 2, 1], [2, 2, 10], [1, 1, 9], [0, 0, 6]]


def decoded(picture: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(picture)))


def test_pictures_are_whole_images_with_the_region_that_the_model_saw(run: FakeRun) -> None:
    # 12 x 16 becomes 6 x 8, of which the middle 6 x 4 are seen
    evidence = gathered(run, preprocess=Preprocess(resize=6, crop=(6, 4)))
    picture = evidence["pictures"]["6"]
    assert (decoded(picture["image"]).format, decoded(picture["image"]).size) == ("WEBP", (16, 12))
    assert picture["region"] == [0.25, 0.0, 0.75, 1.0]
    assert picture["crop"] is False
    assert decoded(next(iter(evidence["thumbnails"].values()))).size == (16, 12)


@pytest.mark.parametrize("preprocess", [None, Preprocess(resize=(8, 8), crop=None)])
def test_a_model_that_sees_everything_has_no_region(run: FakeRun, preprocess: Preprocess | None) -> None:
    picture = gathered(run, preprocess=preprocess)["pictures"]["6"]
    assert (picture["region"], picture["crop"]) == (None, False)


def test_a_preprocessing_of_unknown_geometry_shows_its_crop(run: FakeRun) -> None:
    mirrored = adopt(lambda image: torch.from_numpy(np.array(image)[:10, 9::-1].copy()).permute(2, 0, 1) / 255)
    picture = gathered(run, preprocess=mirrored)["pictures"]["6"]
    assert decoded(picture["image"]).size == (10, 10)
    assert (picture["region"], picture["crop"]) == (None, True)


def test_pictures_are_never_large(run: FakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeRun, "image", lambda run, row: np.zeros((300, 600, 3), np.uint8))
    evidence = gathered(run)
    assert decoded(evidence["pictures"]["6"]["image"]).size == (256, 128)
    assert max(decoded(next(iter(evidence["thumbnails"].values()))).size) == 72


def test_a_missing_image_is_listed_without_its_picture(tmp_path: Path) -> None:
    evidence = gathered(fake_run(tmp_path, LABEL, PREDICTED, gone=True))
    assert evidence["pictures"] == evidence["thumbnails"] == {}
    assert len(evidence["cards"]) == 5 + 9


def test_progress_counts_pictures(run: FakeRun) -> None:
    calls: list[tuple[int, int]] = []
    evidence = gathered(run, progress=lambda done, total: calls.append((done, total)))
    total = len(evidence["pictures"]) + len(evidence["thumbnails"])
    assert calls == [(done, total) for done in range(total)]


def test_a_map_without_evidence_is_none() -> None:
    assert as_bytes(np.full((2, 2), np.nan)) is None
    assert as_bytes(np.array([[-1.0, 0.0]])) is None
    assert as_bytes(np.array([[-1.0, 2.0, np.nan, 1.0]])) == base64.b64encode(bytes([0, 255, 0, 128])).decode()
