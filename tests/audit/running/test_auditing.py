"""Whole runs: the content of rows, resuming, and refused arguments."""

import json
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.testing import assert_close

import camlens.audit
from camlens import METHODS, DataError, InputError, StoreError, explain
from camlens.audit.running.engine import Step, Work
from camlens.core.errors import MissingExtraError
from camlens.data.sources import open_source
from camlens.models import LoadedModel
from camlens.models.preprocess import adopt
from tests.audit.running.shapes import CLASSES, classifier, folder

Run = Callable[..., camlens.audit.Audit]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return folder(tmp_path / "shapes")


@pytest.fixture
def run(tmp_path: Path, data: Path) -> Run:
    def start(model: LoadedModel | None = None, **settings: Any) -> camlens.audit.Audit:
        chosen = {"shard_size": 10, "batch_size": 4, "report": False, **settings}
        return camlens.audit.run(chosen.pop("data", data), model or classifier(), tmp_path / "run", **chosen)

    return start


def prepared(loaded: LoadedModel, data: Path) -> torch.Tensor:
    return torch.stack([loaded.preprocess(sample.load()) for sample in open_source(data)])


def test_rows_contain_the_outputs_of_the_model(run: Run, data: Path) -> None:
    audit, loaded = run(), classifier()
    with torch.no_grad():
        logits = loaded.model(prepared(loaded, data))
    chances, labels = logits.softmax(dim=1), torch.arange(3).repeat_interleave(8)
    predicted = logits.argmax(dim=1)
    assert (len(audit), audit.class_names) == (24, tuple(CLASSES))
    assert audit.column("id")[:2].tolist() == ["blue/000.png", "blue/001.png"]
    assert audit.column("path")[0] == str(data / "blue/000.png")
    assert audit.column("label").tolist() == labels.tolist()
    assert audit.column("predicted").tolist() == predicted.tolist()
    assert audit.column("correct").tolist() == (predicted == labels).tolist()
    assert 3 < audit.column("correct").sum() < 21  # both occur, as the checks below require
    for name, wanted in {
        "confidence": chances.amax(dim=1),
        "label_confidence": chances[torch.arange(24), labels],
        "margin": chances.sort(dim=1).values.diff(dim=1)[:, -1],
        "loss": torch.nn.functional.cross_entropy(logits, labels, reduction="none"),
    }.items():
        assert_close(torch.from_numpy(audit.column(name)), wanted, rtol=1e-4, atol=1e-6)
    best = chances.topk(3, dim=1)
    assert audit.column("top_classes").tolist() == best.indices.tolist()
    assert_close(torch.from_numpy(audit.column("top_confidences")), best.values, rtol=1e-4, atol=1e-6)
    assert audit.column("height").tolist() == [20 + number for number in range(8)] * 3
    assert set(audit.column("width").tolist()) == {24}
    assert audit.column("error").tolist() == [None] * 24


def test_maps_equal_explain_for_the_predicted_and_the_true_class(run: Run, data: Path) -> None:
    audit, loaded = run(), classifier()
    images, labels = prepared(loaded, data), audit.column("label").tolist()
    layer = audit.manifest.layer
    predicted = explain(loaded.model, images, layers=layer).maps[layer][:, 0]
    true = explain(loaded.model, images, layers=layer, target=labels).maps[layer][:, 0]
    assert audit.grid == tuple(predicted.shape[1:]) == (4, 4)
    largest = predicted.abs().amax(dim=(1, 2), keepdim=True)
    assert_close(torch.from_numpy(audit.maps(None)) / largest, predicted / largest, rtol=0, atol=1e-3)
    wrong = ~audit.column("correct").filled()
    maps, wanted = audit.maps(wrong, "label"), true[torch.from_numpy(wrong)]
    largest = wanted.abs().amax(dim=(1, 2), keepdim=True)
    assert_close(torch.from_numpy(maps) / largest, wanted / largest, rtol=0, atol=1e-3)
    assert np.isnan(audit.maps(~wrong, "label")).all()


def test_the_embedding_is_the_input_of_the_classifier(run: Run, data: Path) -> None:
    audit, loaded = run(), classifier()
    with torch.no_grad():
        wanted = loaded.model[:-1](prepared(loaded, data))
    assert (audit.manifest.embedding, audit.manifest.embedding_width) == ("input of 6", 8)
    assert_close(torch.from_numpy(audit.embeddings()), wanted, rtol=2e-3, atol=1e-4)


def test_layer_and_embedding_can_be_chosen(run: Run, data: Path) -> None:
    audit, loaded = run(layer="0", embedding="1", method="layercam"), classifier()
    with torch.no_grad():
        wanted = loaded.model[:2](prepared(loaded, data)).mean(dim=(2, 3))
    assert audit.grid == (8, 8)
    assert audit.manifest.embedding == "output of 1"
    assert_close(torch.from_numpy(audit.embeddings()), wanted, rtol=2e-3, atol=1e-4)


def test_measures_equal_the_metrics_of_the_predicted_map(run: Run) -> None:
    metrics = __import__("camlens").METRICS
    audit = run()
    maps = torch.from_numpy(audit.maps(None))
    has_evidence = maps.amax(dim=(1, 2)) > 0
    assert has_evidence.any()
    for name in ("entropy", "border_energy", "corner_energy", "spread"):
        wanted = metrics[name].function(maps).where(has_evidence, torch.nan)
        assert_close(torch.from_numpy(audit.column(name)), wanted, rtol=5e-3, atol=1e-3, equal_nan=True)


def test_a_run_does_not_change_the_model_or_the_random_state(run: Run) -> None:
    loaded, state = classifier().model, torch.get_rng_state()
    model = classifier()
    model.model.train()
    run(model)
    assert torch.equal(torch.get_rng_state(), state)
    assert model.model.training
    for (name, ours), (_, theirs) in zip(model.model.named_parameters(), loaded.named_parameters(), strict=True):
        assert torch.equal(ours, theirs), name
        assert ours.grad is None
    assert all(not module._forward_hooks and "forward" not in vars(module) for module in model.model.modules())


def test_an_unreadable_image_is_a_row_with_an_error(run: Run, data: Path) -> None:
    (data / "blue" / "003.png").write_text("this is text")
    (data / "red" / "007.png").write_bytes((data / "red" / "007.png").read_bytes()[:60])
    audit = run()
    errors = audit.column("error")
    broken = [row for row, error in enumerate(errors) if error is not None]
    assert broken == [3, 23]
    assert "003.png is a text file" in errors[3]
    assert len(audit) == 24
    assert audit.column("label")[broken].tolist() == [0, 2]
    assert audit.column("predicted").mask.tolist() == [row in broken for row in range(24)]
    assert audit.column("correct").mask.sum() == 2
    for name in ("confidence", "loss", "entropy", "map_predicted_scale"):
        assert np.isnan(audit.column(name)[broken]).all()
    assert np.isnan(audit.embeddings(broken)).all()
    assert np.isnan(audit.maps(broken)).all()
    assert audit.column("width").mask[broken].all()


def test_a_shard_may_consist_of_unreadable_images(run: Run, data: Path) -> None:
    for path in (data / "blue").iterdir():
        path.write_text("no")
    audit = run(shard_size=8)
    assert audit.complete
    assert sum(error is not None for error in audit.column("error")) == 8


def test_a_run_without_readable_images_is_refused(run: Run, data: Path, tmp_path: Path) -> None:
    for path in data.rglob("*.png"):
        path.write_text("no")
    with pytest.raises(DataError) as caught:
        run()
    assert (caught.value.code, caught.value.facts) == ("data.all-unreadable", {"images": 24})
    assert not (tmp_path / "run").exists()


def test_inside_energy_uses_the_box_or_the_mask(run: Run, data: Path) -> None:
    mask = np.zeros((20, 24), np.uint8)
    mask[:10] = 255
    Image.fromarray(mask).save(data / "mask.png")
    rows = ["path,label,box,mask", "blue/000.png,blue,0 0 24 10,", "blue/000.png,blue,,mask.png", "blue/000.png,blue,,"]
    (data / "list.csv").write_text("\n".join([*rows, "red/000.png,red,,", "green/000.png,green,,"]))
    loaded = classifier()
    loaded.model[2].bias.data += 2  # so that there is positive evidence
    audit = run(loaded, data=data / "list.csv")
    inside = audit.column("inside_energy")
    maps = audit.maps([0])[0].clip(0)
    assert maps.sum() > 0
    np.testing.assert_allclose(inside[:2], maps[:2].sum() / maps.sum(), atol=2e-3)  # the upper half of 4 x 4 cells
    assert np.isnan(inside[2:]).all()


def test_boxes_are_cropped_like_the_image(run: Run, data: Path) -> None:
    (data / "list.csv").write_text("path,label,box\nblue/000.png,blue,0 0 24 20\nred/000.png,red,0 0 1 1\n")
    audit = run(data=data / "list.csv")
    has_evidence = ~np.isnan(audit.column("entropy"))
    np.testing.assert_allclose(audit.column("inside_energy")[has_evidence & [True, False]], 1, atol=1e-6)


def test_limit_draws_a_random_sample_in_the_original_order(run: Run) -> None:
    audit = run(limit=6, seed=1)
    ids = audit.column("id").tolist()
    assert len(ids) == 6
    assert ids == sorted(ids)
    assert len({name.partition("/")[0] for name in ids}) > 1  # not just the first six, which are all blue


def test_unlabelled_images_have_no_label_and_no_loss(run: Run, data: Path, tmp_path: Path) -> None:
    audit = run(data=data / "red")
    assert audit.manifest.labels == "none"
    assert audit.column("label").mask.all()
    assert audit.column("correct").mask.all()
    assert np.isnan(audit.column("loss")).all()
    assert not np.isnan(audit.column("confidence")).any()


def test_the_same_call_computes_only_missing_shards(run: Run, tmp_path: Path) -> None:
    first = run()
    kept = (first.path / "shards" / "shard-00000.parquet").stat().st_mtime_ns
    before = first.table()
    (first.path / "shards" / "shard-00001.parquet").unlink()
    (first.path / "shards" / ".shard-00002.parquet.host-1.unfinished").write_text("of another machine")
    done: list[tuple[int, int]] = []
    again = run(progress=lambda rows, total: done.append((rows, total)))
    assert done == [(14, 24), (18, 24), (22, 24), (24, 24)]
    assert again.table().equals(before)
    assert (first.path / "shards" / "shard-00000.parquet").stat().st_mtime_ns == kept


def test_an_interrupted_run_is_resumed(run: Run) -> None:
    wanted = run().table()

    def stop(rows: int, _total: int) -> None:
        if rows >= 14:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(force=True, progress=stop)
    resumed = camlens.audit.open(Path(str(run(limit=None).path)))
    assert resumed.complete
    assert resumed.table().equals(wanted)


def test_another_model_is_refused_with_what_changed(run: Run) -> None:
    run()
    with pytest.raises(StoreError) as caught:
        run(classifier(seed=4))
    assert caught.value.code == "store.other-run"
    assert list(caught.value.facts["changes"]) == ["weights"]
    assert run(classifier(seed=4), force=True).complete


@pytest.mark.parametrize(
    ("settings", "change"),
    [
        ({"layer": "0"}, ("2", "0")),
        ({"embedding": "3"}, ("input of 6", "output of 3")),
        ({"method": "gradcam++"}, ("gradcam", "gradcam++")),
        ({"shard_size": 5}, (10, 5)),
        ({"limit": 7}, (None, 7)),
    ],
)
def test_other_settings_are_refused_with_what_changed(
    run: Run, settings: dict[str, Any], change: tuple[object, object]
) -> None:
    run(layer="2")
    with pytest.raises(StoreError) as caught:
        run(**{"layer": "2", **settings})
    assert caught.value.code == "store.other-run"
    (name,) = settings
    assert caught.value.facts["changes"][name] == change


def test_changed_data_is_refused_with_what_changed(run: Run, data: Path) -> None:
    run()
    (data / "red" / "007.png").unlink()
    with pytest.raises(StoreError) as caught:
        run()
    assert caught.value.facts["changes"] == {"rows": (24, 23)}
    assert caught.value.facts["images"] == {"removed": ["red/007.png"]}
    folder(data, each=8)
    (data / "blue" / "zzz.png").write_bytes((data / "blue" / "000.png").read_bytes())
    with pytest.raises(StoreError) as caught:
        run()
    assert caught.value.facts["images"]["added"] == ["blue/zzz.png"]
    assert len(caught.value.facts["images"]["changed"]) == 24


def test_an_edited_image_is_noticed(run: Run, data: Path) -> None:
    run()
    with (data / "green" / "002.png").open("ab") as stream:
        stream.write(b"more")
    with pytest.raises(StoreError) as caught:
        run()
    assert (caught.value.code, caught.value.facts["changes"]) == ("store.other-run", {})
    assert caught.value.facts["images"] == {"changed": ["green/002.png"]}


def test_a_directory_with_other_files_is_refused(run: Run, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").write_text("years of work")
    for force in (False, True):
        with pytest.raises(StoreError) as caught:
            run(force=force)
        assert (caught.value.code, caught.value.facts["foreign"]) == ("output.foreign-file", ["thesis.tex"])
    assert (tmp_path / "run" / "thesis.tex").exists()


def test_workers_and_batch_size_do_not_change_the_rows(run: Run, data: Path) -> None:
    wanted = run(batch_size=24, shard_size=24).table()
    other = run(batch_size=3, shard_size=24, workers=2, force=True).table()
    for name in ("id", "label", "predicted", "top_classes", "error"):
        assert other.column(name).equals(wanted.column(name))
    for name in ("confidence", "loss", "entropy", "map_predicted_scale"):
        np.testing.assert_allclose(other.column(name).to_numpy(), wanted.column(name).to_numpy(), rtol=1e-3, atol=1e-4)


class Backwards:
    """An engine that processes shards in reverse order, one of them twice."""

    def process(self, shards: Any, work: Work) -> Any:
        for shard in [*reversed(shards), shards[0]]:
            yield from (Step(0, step.committed) for step in work([shard]))


def test_an_engine_may_process_shards_in_any_order_and_more_than_once(run: Run) -> None:
    wanted = run().table()
    assert run(force=True, engine=Backwards()).table().equals(wanted)


def test_images_can_be_read_from_an_opened_run(run: Run, data: Path, tmp_path: Path) -> None:
    audit = camlens.audit.open(run().path)
    np.testing.assert_array_equal(audit.image(9), open_source(data)[9].load())
    moved = data.rename(tmp_path / "moved")
    with pytest.raises(DataError):
        camlens.audit.open(audit.path).image(9)
    assert camlens.audit.open(audit.path, source=moved).image(9).shape == (21, 24, 3)
    (moved / "green" / "001.png").unlink()
    with pytest.raises(DataError) as caught:
        camlens.audit.open(audit.path, source=moved).image(9)
    assert (caught.value.code, caught.value.facts) == ("data.gone", {"image": "green/001.png"})


def test_invalid_settings_are_refused(run: Run) -> None:
    with pytest.raises(InputError) as caught:
        run(layers="0")
    assert caught.value.code == "argument.unknown"
    assert caught.value.facts == {"name": "layers", "suggestion": "layer"}
    for name in ("shard_size", "batch_size"):
        with pytest.raises(InputError) as caught:
            run(**{name: 0})
        assert (caught.value.code, caught.value.facts) == ("argument.invalid", {"name": name, "value": 0})
    probing = next(name for name, entry in METHODS.items() if entry.needs == "probe" and name != "balanced")
    with pytest.raises(InputError) as caught:
        run(method=probing)
    assert (caught.value.code, caught.value.facts) == ("method.not-one-layer", {"method": probing})


def test_a_batch_that_does_not_fit_into_memory_is_split(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = run(batch_size=8, shard_size=24).table()
    loaded, sizes = classifier(), []
    inner = loaded.model[0].forward

    def forward(inputs: torch.Tensor) -> torch.Tensor:
        sizes.append(len(inputs))
        if len(inputs) > 2:
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate")
        return inner(inputs)

    monkeypatch.setattr(loaded.model[0], "forward", forward)
    split = run(loaded, batch_size=8, shard_size=24, force=True)
    assert split.column("predicted").tolist() == wanted.column("predicted").to_pylist()
    assert sizes.count(8) == 1  # a size that did not fit is not tried again


class Deadly:
    """A preprocessing that kills its loader process, as the kernel does if memory runs out."""

    def __init__(self, parent: int) -> None:
        self.parent = parent
        self.inner = classifier().preprocess

    def __call__(self, image: object) -> torch.Tensor:
        if os.getpid() != self.parent:
            os.kill(os.getpid(), signal.SIGKILL)
        return self.inner(image)

    def display(self, image: object) -> Any:
        return self.inner.display(image)

    def display_mask(self, mask: Any) -> Any:
        return self.inner.display_mask(mask)

    def geometry(self, height: int, width: int) -> Any:
        return self.inner.geometry(height, width)


def test_the_death_of_a_loader_process_is_reported(run: Run) -> None:
    with pytest.raises(DataError) as caught:
        run(replace(classifier(), preprocess=Deadly(os.getpid())), workers=1)
    assert caught.value.code == "workers.died"


def test_workers_require_a_preprocessing_that_can_be_pickled(run: Run) -> None:
    inner = classifier().preprocess
    local = adopt(lambda image: inner(image))
    with pytest.raises(InputError) as caught:
        run(replace(classifier(), preprocess=local), workers=1)
    assert (caught.value.code, caught.value.facts) == ("workers.not-sendable", {"workers": 1})
    assert run(replace(classifier(), preprocess=local), workers=None).complete


def test_an_invalid_preprocessed_image_is_a_row_with_an_error(run: Run) -> None:
    inner = classifier().preprocess

    def spoiled(image: Any) -> torch.Tensor:
        prepared = inner(image)
        return prepared * torch.nan if image.height == 22 else prepared[:, :-1] if image.height == 23 else prepared

    errors = run(replace(classifier(), preprocess=adopt(spoiled))).column("error").tolist()
    assert [error is not None for error in errors[:5]] == [False, False, True, True, False]
    assert "NaN" in errors[2]
    assert "(3, 15, 16)" in errors[3]
    assert "(3, 16, 16)" in errors[3]


def test_the_summary_and_the_report_are_written_into_the_run(run: Run) -> None:
    audit = run()
    assert json.loads((audit.path / "summary.json").read_text())["images"] == 24
    assert not (audit.path / "report.html").exists()
    run(report=True)
    assert audit.column("id")[0] in (audit.path / "report.html").read_text()


def test_a_report_that_cannot_be_written_is_a_warning(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def unbuilt(_name: str) -> str:
        raise MissingExtraError("the script is not built")

    monkeypatch.setattr("camlens.audit.report.page.built_script", unbuilt)
    with pytest.warns(UserWarning, match="not built"):
        audit = run(report=True)
    assert (audit.path / "summary.json").exists()
    assert not (audit.path / "report.html").exists()


def test_a_run_is_not_compared_with_itself(run: Run) -> None:
    audit = run()
    with pytest.raises(InputError) as caught:
        run(compare=audit.path, force=True)
    assert caught.value.code == "compare.same-run"
    assert camlens.audit.open(audit.path).complete


def test_an_output_below_a_file_is_refused(tmp_path: Path, data: Path) -> None:
    (tmp_path / "file").write_text("kept")
    with pytest.raises(StoreError) as caught:
        camlens.audit.run(data, classifier(), tmp_path / "file" / "run")
    assert caught.value.code == "output.not-writable"
