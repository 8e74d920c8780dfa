"""Errors of single images, folders and names, which must neither stop a run nor go unnoticed."""

import json
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

import camlens.audit
from camlens import CamlensError, DataError, ModelError, StoreError
from camlens.audit.report.page import write_report
from camlens.data.sources import open_source
from camlens.models import LoadedModel
from camlens.models.preprocess import adopt
from tests.audit.running.shapes import CLASSES, classifier, folder

SETTINGS: dict[str, Any] = {"shard_size": 10, "batch_size": 4, "report": False}


def code_of(call: Callable[[], object], kind: type[CamlensError]) -> str:
    with pytest.raises(kind) as caught:
        call()
    return caught.value.code


class Picky(nn.Module):
    """A classifier that raises on images brighter than `limit`."""

    def __init__(self, limit: float) -> None:
        super().__init__()
        self.inner = classifier().model
        self.limit = limit

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        if float(inputs.mean(dim=(1, 2, 3)).max()) > self.limit:
            raise KeyError("an image is too bright")
        return self.inner(inputs)


def test_an_image_on_which_the_model_raises_is_a_row_with_its_error(tmp_path: Path) -> None:
    data = folder(tmp_path / "shapes")
    brightness = [float(classifier().preprocess(sample.load()).mean()) for sample in open_source(data)]
    worst = int(np.argmax(brightness))
    limit = (sorted(brightness)[-1] + sorted(brightness)[-2]) / 2
    wanted = camlens.audit.run(data, classifier(), tmp_path / "all", layer="2", **SETTINGS)
    audit = camlens.audit.run(
        data, replace(classifier(), model=Picky(limit)), tmp_path / "run", layer="inner.2", **SETTINGS
    )
    errors = audit.column("error").tolist()
    assert [place for place, error in enumerate(errors) if error] == [worst]
    assert "too bright" in errors[worst]
    others = np.arange(len(audit)) != worst
    assert audit.column("predicted")[others].tolist() == wanted.column("predicted")[others].tolist()
    np.testing.assert_allclose(audit.maps(others), wanted.maps(others), rtol=1e-2, atol=1e-4)


def test_a_model_that_fails_on_every_image_ends_the_run(tmp_path: Path) -> None:
    data, loaded = folder(tmp_path / "shapes"), replace(classifier(), model=Picky(np.inf))

    def broken(done: int, total: int) -> None:
        loaded.model.limit = -np.inf

    with pytest.raises(KeyError, match="too bright"):
        camlens.audit.run(data, loaded, tmp_path / "run", progress=broken, **SETTINGS)


def test_any_exception_of_the_preprocessing_is_the_error_of_its_row(tmp_path: Path) -> None:
    inner = classifier().preprocess

    def fussy(image: Any) -> torch.Tensor:
        if image.height == 23:
            raise IndexError("no such line")
        return inner(image)

    data = folder(tmp_path / "shapes")
    audit = camlens.audit.run(data, replace(classifier(), preprocess=adopt(fussy)), tmp_path / "run", **SETTINGS)
    errors = audit.column("error").tolist()
    assert ["no such line" in error for error in errors if error] == [True] * 3


def test_file_names_that_are_not_utf_8_are_audited(tmp_path: Path) -> None:
    data = folder(tmp_path / "shapes", each=2)
    strange = os.fsdecode(b"caf\xe9.png")
    try:
        (data / "red" / "000.png").rename(data / "red" / strange)
    except OSError as error:
        pytest.skip(f"this file system takes UTF-8 only: {error}")
    audit = camlens.audit.run(data, classifier(), tmp_path / "run", **SETTINGS)
    assert audit.column("error").tolist() == [None] * 6
    row = audit.column("id").tolist().index("red/caf\\udce9.png")
    assert audit.image(row).shape == (20, 24, 3)
    assert camlens.audit.open(audit.path).image(row).shape == (20, 24, 3)


def test_a_folder_that_cannot_be_listed_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, scandir = folder(tmp_path / "shapes", each=2), os.scandir

    def closed(path: Any) -> Any:
        if str(path).endswith("green"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", closed)
    assert code_of(lambda: open_source(data), DataError) == "data.unreadable-folder"


def test_a_renamed_class_is_refused_unless_labels_are_taken_by_place(tmp_path: Path) -> None:
    data = folder(tmp_path / "shapes", each=2)
    (data / "green").rename(data / "lime green")

    def run(**settings: Any) -> camlens.audit.Audit:
        return camlens.audit.run(data, classifier(), tmp_path / "run", **SETTINGS, **settings)

    with pytest.raises(DataError) as caught:
        run()
    assert (caught.value.code, caught.value.facts["unmatched"]) == ("labels.unmatched", ["lime green"])
    audit = run(labels_by="place")
    assert (audit.manifest.labels, audit.column("label").tolist()) == ("by place", [0, 0, 1, 1, 2, 2])


def test_a_wrong_number_of_class_names_is_refused(tmp_path: Path) -> None:
    data, loaded = folder(tmp_path / "shapes", each=2), classifier()
    loaded.model[-1] = nn.Linear(8, 512)
    with pytest.raises(ModelError) as caught:
        camlens.audit.run(data, loaded, tmp_path / "run", **SETTINGS)
    assert (caught.value.code, caught.value.facts) == ("model.class-names", {"outputs": 512, "class_names": 3})


def two_classes(tmp_path: Path) -> Path:
    data = folder(tmp_path / "shapes")
    (data / "green").rename(tmp_path / "green")
    return data


def one_logit(**facts: Any) -> LoadedModel:
    loaded = classifier()
    loaded.model[-1] = nn.Linear(8, 1)
    with torch.no_grad():
        loaded.model[-1].weight.copy_(torch.linspace(-3, 3, 8))
        loaded.model[-1].bias.fill_(0.25)
    return replace(loaded, class_names=["red"], **facts)


def test_a_binary_classifier_with_one_logit_is_audited_by_its_sigmoid(tmp_path: Path) -> None:
    data, loaded = two_classes(tmp_path), one_logit()
    for name in ("blue", "red"):
        (data / name).rename(data / {"blue": "not red", "red": "red"}[name])
    audit = camlens.audit.run(data, loaded, tmp_path / "run", **SETTINGS)
    with torch.no_grad():
        positive = loaded.model(
            torch.stack([loaded.preprocess(sample.load()) for sample in open_source(data)])
        ).sigmoid()
    assert (audit.class_names, audit.manifest.labels) == (("not red", "red"), "by name")
    predicted = (positive[:, 0] > 0.5).long()
    assert audit.column("predicted").tolist() == predicted.tolist()
    confidence = torch.maximum(positive, 1 - positive)[:, 0]
    assert_close(torch.from_numpy(audit.column("confidence")), confidence, rtol=1e-4, atol=1e-6)
    truth = torch.tensor(audit.column("label").tolist())
    loss = torch.nn.functional.binary_cross_entropy(positive[:, 0], truth.float(), reduction="none")
    assert_close(torch.from_numpy(audit.column("loss")), loss, rtol=1e-4, atol=1e-5)
    declared = camlens.audit.run(data, one_logit(activation="sigmoid"), tmp_path / "declared", **SETTINGS)
    np.testing.assert_allclose(declared.column("confidence"), audit.column("confidence"), rtol=1e-4)
    assert audit.manifest.embedding == "input of 6"


def test_a_multi_label_model_is_audited_by_its_sigmoids(tmp_path: Path) -> None:
    data, loaded = folder(tmp_path / "shapes"), replace(classifier(), activation="sigmoid")
    audit = camlens.audit.run(data, loaded, tmp_path / "run", **SETTINGS)
    with torch.no_grad():
        sure = loaded.model(torch.stack([loaded.preprocess(sample.load()) for sample in open_source(data)])).sigmoid()
    assert_close(torch.from_numpy(audit.column("confidence")), sure.amax(dim=1), rtol=1e-4, atol=1e-6)
    labels = torch.tensor(audit.column("label").tolist())[:, None]
    assert_close(torch.from_numpy(audit.column("label_confidence")), sure.gather(1, labels)[:, 0], rtol=1e-4, atol=1e-6)
    assert audit.manifest.activation == "sigmoid"
    other = code_of(lambda: camlens.audit.run(data, classifier(), tmp_path / "run", **SETTINGS), camlens.StoreError)
    assert other.startswith("store")


def test_a_regression_is_refused(tmp_path: Path) -> None:
    data, loaded = two_classes(tmp_path), one_logit(task="regression")
    assert code_of(lambda: camlens.audit.run(data, loaded, tmp_path / "run"), ModelError) == "model.regression"


class TwoHeads(nn.Module):
    """A model that returns a dictionary with two rows per image."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = classifier().model

    def forward(self, inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        scores = self.inner(inputs)
        return {"other": -scores, "scores": scores}


def test_the_logits_in_a_dictionary_are_selected_by_key(tmp_path: Path) -> None:
    data, loaded = folder(tmp_path / "shapes"), replace(classifier(), model=TwoHeads())
    wanted = camlens.audit.run(data, classifier(), tmp_path / "plain", layer="2", **SETTINGS)
    keyed = replace(loaded, output_key="scores")
    audit = camlens.audit.run(data, keyed, tmp_path / "keyed", layer="inner.2", embedding="inner.4", **SETTINGS)
    assert audit.column("predicted").tolist() == wanted.column("predicted").tolist()
    assert len(CLASSES) == len(audit.class_names)
    absent = replace(loaded, output_key="score")
    assert code_of(lambda: camlens.audit.run(data, absent, tmp_path / "absent"), ModelError) == "model.output-key"


@pytest.mark.skipif(os.name == "nt" or sys.platform == "darwin", reason="file names are Unicode there")
def test_a_data_directory_whose_name_is_not_utf8_is_audited_and_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = folder(Path(os.fsdecode(os.fsencode(tmp_path) + b"/ph\xe9otos")))
    unnameable = Path(os.fsdecode(os.fsencode(tmp_path) + b"/r\xe9n"))
    assert code_of(lambda: camlens.audit.run(data, classifier(), unnameable, **SETTINGS), StoreError) == "store.name"
    run = tmp_path / "run"
    camlens.audit.run(data, classifier(), run, **SETTINGS)
    audit = camlens.audit.open(run)
    assert audit.complete
    assert audit.manifest.data == str(data)
    assert audit.image(0).shape == audit.sample(0).load().shape
    monkeypatch.setattr("camlens.audit.report.page.built_script", lambda name: "draw()")
    write_report(audit)
    assert json.loads((run / "summary.json").read_text(encoding="utf-8"))["images"] == len(audit)
    assert b"ph\\udce9otos" in (run / "report.html").read_bytes()
