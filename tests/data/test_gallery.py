"""Tests of the gallery of photographs."""

import socket

import pytest
from torchvision.models import MobileNet_V3_Large_Weights

from camlens.data.gallery import PICTURES
from camlens.data.photographs import open_photograph
from camlens.data.sources import open_source


def test_every_picture_is_read_offline_at_its_own_proportions(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    open_photograph.cache_clear()
    source = open_source("demo:gallery")
    assert len(source) >= 24
    shapes = [sample.load().shape for sample in source]
    assert all(shape[2] == 3 and min(shape[:2]) >= 100 for shape in shapes)
    proportions = [width / height for height, width, _ in shapes]
    assert min(proportions) < 1 / 3
    assert max(proportions) > 3


def test_ids_are_unique_and_labels_match_their_classes() -> None:
    source = open_source("demo:gallery")
    samples = list(source)
    assert len({sample.id for sample in samples}) == len(samples)
    for sample in samples:
        if sample.label is None:
            assert sample.true_classes == ()
        else:
            assert source.class_names[sample.label] == sample.class_name == sample.true_classes[0]


def test_accepted_classes_are_imagenets() -> None:
    known = set(MobileNet_V3_Large_Weights.DEFAULT.meta["categories"])
    assert {name for picture in PICTURES for name in picture.classes} <= known


def test_crops_lie_inside_their_photographs() -> None:
    for picture in PICTURES:
        if picture.box is not None:
            left, top, right, bottom = picture.box
            width, height = open_photograph(picture.photograph).size
            assert 0 <= left < right <= width
            assert 0 <= top < bottom <= height
