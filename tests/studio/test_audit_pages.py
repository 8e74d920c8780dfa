"""The routes over an audit run, compared with values counted in the run."""

import base64
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

import camlens.audit
from camlens.audit.opening import Audit
from camlens.core.provenance import weights_hash
from camlens.data.samples import Sample, Samples
from camlens.models import load_model
from camlens.studio.app import create_app
from camlens.studio.images import Gallery, Labels
from camlens.studio.predictions import PENDING, UNREADABLE, Predictions
from camlens.studio.runs.opened import OpenRun, compared_weights
from camlens.studio.runs.rows import mapped_rows
from camlens.studio.settings import RunDefaults, StudioSettings
from tests.audit.synthetic import synthetic_run
from tests.studio.conftest import BASE, PATIENCE, Held, ask_until, is_settled, until

ROWS = 900


@pytest.fixture(scope="module")
def audit(tmp_path_factory: pytest.TempPathFactory) -> Audit:
    return synthetic_run(tmp_path_factory.mktemp("runs") / "made-up", rows=ROWS, shard_size=256)


@pytest.fixture(scope="module")
def client(audit: Audit, photos: Path) -> Iterator[TestClient]:
    """A studio over the run, with a dataset that contains none of its images."""
    with TestClient(create_app(StudioSettings(audit=str(audit.path), data=str(photos))), base_url=BASE) as client:
        ask_until(client, lambda status: status["state"] == "ready")
        yield client


def filled(audit: Audit, name: str) -> np.ndarray:
    column: Any = audit.column(name)
    return column.filled() if isinstance(column, np.ma.MaskedArray) else column


def got(client: TestClient, path: str, **query: Any) -> Any:
    answer = client.get(path, params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def asked(client: TestClient, path: str, **query: Any) -> Any:
    answer = got(client, path, wait=60, **query)
    assert answer["state"] == "done"
    return answer["result"]


def grid(values: Any) -> np.ndarray:
    return np.frombuffer(base64.b64decode(values["values"]), dtype="<f4").reshape(values["shape"])


# the run


def test_summary_of_the_run(client: TestClient, audit: Audit) -> None:
    summary = got(client, "/api/audit/run")
    label, predicted = filled(audit, "label"), filled(audit, "predicted")
    assert (summary["images"], summary["missing"], summary["layer"]) == (ROWS, 0, "layer4")
    assert summary["judged"] == int(((label >= 0) & (predicted >= 0)).sum())
    assert summary["failed"] == int((predicted < 0).sum()) > 0
    assert summary["class_names"] == list(audit.class_names)
    assert len(summary["problems"]) == 1  # none of its images is in the dataset
    assert got(client, "/api/status")["run"] == "made-up"


def test_audit_routes_answer_no_run_without_a_run(studio: TestClient) -> None:
    assert got(studio, "/api/status")["run"] is None
    for path in ("run", "errors", "rows", "attention", "layouts/pca", "attention/classes", "rows/1"):
        answer = studio.get(f"/api/audit/{path}")
        assert answer.status_code == 404
        assert answer.json()["code"] == "studio.no-run"


def test_a_run_is_readable_without_its_model(audit: Audit) -> None:
    settings = StudioSettings(model="demo:nothing", audit=str(audit.path))
    with TestClient(create_app(settings), base_url=BASE) as client:
        status = ask_until(client, lambda status: status["state"] == "failed")
        assert status["problem"]["code"] == "model.unknown"
        assert got(client, "/api/audit/errors")["accuracy"]["total"] > 0
    with TestClient(create_app(StudioSettings(model="", audit=str(audit.path))), base_url=BASE) as client:
        status = ask_until(client, lambda status: status["state"] == "failed")
        assert status["problem"]["code"] == "model.no-name"


def test_a_directory_without_a_run_fails_the_studio_with_a_problem(tmp_path: Path) -> None:
    with TestClient(create_app(StudioSettings(audit=str(tmp_path))), base_url=BASE) as client:
        status = ask_until(client, lambda status: status["state"] == "failed")
        assert status["problem"]["code"] == "store.no-run"
        assert status["run"] is None


def test_defaults_are_read_from_the_run(tmp_path: Path) -> None:
    run = synthetic_run(tmp_path / "run", rows=20, data="demo:photos")
    assert RunDefaults.of(run.path).model == "tests:synthetic"
    assert RunDefaults.of(run.path).data == "demo:photos"


def test_rows_are_matched_to_the_dataset_and_not_predicted_again(audit: Audit, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any) -> Any:
        raise AssertionError("read or predicted")

    names = ["elsewhere.png", *(f"image-{row:06d}" for row in (7, 96, 3))]  # 96 failed
    source = Samples.of([Sample(name, None, None, None, never) for name in names])
    run = OpenRun(audit.path)
    gallery = Gallery("photos/", source, Labels(np.zeros(4, dtype=np.int32), None), None)
    predictions = Predictions(gallery.labels.indices, never)
    monkeypatch.setattr("camlens.studio.runs.opened.weights_hash", lambda _: audit.manifest.weights)
    run.meet(load_model("demo:photos"), gallery, predictions)
    assert (run.samples[7], run.samples[96], run.samples[3], run.samples[8]) == (1, 2, 3, -1)
    predicted, confidence = filled(audit, "predicted"), filled(audit, "confidence")
    assert predictions.classes.tolist() == [PENDING, predicted[7], UNREADABLE, predicted[3]]
    assert predictions.confidences[3] == confidence[3]
    assert mapped_rows(run, np.array([3, 8]))[0].sample == "s3"
    assert mapped_rows(run, np.array([3, 8]))[1].sample is None
    assert "897" in run.problems[0]  # images that are missing from the dataset


def test_the_weights_of_the_run_are_compared_with_those_of_the_model(tmp_path: Path, photos: Path) -> None:
    audited = camlens.audit.run(str(photos), "demo:photos", tmp_path / "run", workers=0, limit=12, report=False)
    settings = StudioSettings(audit=str(audited.path), data=str(photos))
    with TestClient(create_app(settings), base_url=BASE) as client:
        ask_until(client, lambda status: status["state"] == "ready")
        weights = got(client, "/api/audit/run")["weights"]
        assert weights == {
            "run": audited.manifest.weights,
            "loaded": weights_hash(load_model("demo:photos").model),
            "file": None,
            "same": True,
            "notice": None,
        }
    with TestClient(create_app(replace(settings, model="demo:watermark")), base_url=BASE) as client:
        ask_until(client, is_settled)
        weights = got(client, "/api/audit/run")["weights"]
        assert weights["loaded"] == weights_hash(load_model("demo:watermark").model) != weights["run"]
        assert not weights["same"]
        assert f"`camlens studio --audit {audited.path}`" in weights["notice"]
        bench: Any = client.app.state.bench  # type: ignore[attr-defined]
        run, predictions = bench.run, bench.predictions
        ((index, _),) = bench.predict([int(run.samples[0])])
        assert predictions.classes[run.samples[0]] == index, "not the prediction of the run"
        assert got(client, "/api/audit/rows/some", row=0)[0]["predicted"] == run.outcomes.predicted[0]


@pytest.mark.parametrize(
    ("facts", "named"),
    [
        ({"model": None, "model_type": "Ours"}, ("Ours", "--model", "--weights")),
        ({"model": "resnet50"}, ("`camlens studio --audit 'my run'`",)),
        ({"model": "demo:photos", "weights_file": "w.pt"}, ("`camlens studio --audit 'my run'`",)),
        ({"model": "demo:photos"}, ("demo:photos", "--weights FILE")),
    ],
)
def test_a_run_of_other_weights_names_the_fix(audit: Audit, facts: dict[str, Any], named: tuple[str, ...]) -> None:
    notice = compared_weights(replace(audit.manifest, **facts), "my run", load_model("demo:photos")).notice
    assert notice is not None
    assert [text for text in named if text not in notice] == []


# misclassifications


def test_error_counts_match_the_columns(client: TestClient, audit: Audit) -> None:
    label, predicted = filled(audit, "label"), filled(audit, "predicted")
    judged = (label >= 0) & (predicted >= 0)
    answer = got(client, "/api/audit/errors")
    hits = int((judged & (label == predicted)).sum())
    assert (answer["accuracy"]["hits"], answer["accuracy"]["total"]) == (hits, int(judged.sum()))
    assert answer["accuracy"]["low"] < hits / judged.sum() < answer["accuracy"]["high"]
    cells = dict(
        zip(
            zip(answer["cells"]["labels"], answer["cells"]["predictions"], strict=True),
            answer["cells"]["counts"],
            strict=True,
        )
    )
    slow: dict[tuple[int, int], int] = {}
    for true, said in zip(label[judged].tolist(), predicted[judged].tolist(), strict=True):
        slow[true, said] = slow.get((true, said), 0) + 1
    assert cells == slow
    wrong = {pair: count for pair, count in slow.items() if pair[0] != pair[1]}
    assert answer["wrong"] == sum(wrong.values())
    assert answer["confused"] == len(wrong)
    assert [pair["count"] for pair in answer["pairs"]] == sorted(wrong.values(), reverse=True)[: len(answer["pairs"])]
    first = answer["classes"][3]
    called = sum(count for pair, count in slow.items() if pair[1] == 3)
    assert first["precision"]["value"] == pytest.approx(slow[3, 3] / called)
    assert sum(answer["calibration"]["counts"]) == judged.sum()


def test_a_confusion_cell_lists_its_images_with_both_maps(client: TestClient, audit: Audit) -> None:
    pair = got(client, "/api/audit/errors")["pairs"][0]
    page = got(client, "/api/audit/rows", label=pair["label"], prediction=pair["prediction"], count=5)
    assert page["matching"] == pair["count"]
    confidences = [row["confidence"] for row in page["rows"]]
    assert confidences == sorted(confidences, reverse=True)
    for row in page["rows"]:
        assert (row["label"], row["predicted"]) == (pair["label"], pair["prediction"])
        np.testing.assert_array_equal(grid(row["map_predicted"]), audit.maps([row["row"]], "predicted")[0])
        np.testing.assert_array_equal(grid(row["map_label"]), audit.maps([row["row"]], "label")[0])
    rest = got(client, "/api/audit/rows", label=pair["label"], prediction=pair["prediction"], offset=5, count=100)
    assert {row["row"] for row in rest["rows"]} & {row["row"] for row in page["rows"]} == set()
    assert len(rest["rows"]) == pair["count"] - 5
    right = got(client, "/api/audit/rows", label=2, prediction=2, count=3)["rows"]
    assert [row["map_label"] for row in right] == [None] * 3


def test_the_gallery_lists_the_most_confident_errors_of_each_pair(client: TestClient, audit: Audit) -> None:
    answer = got(client, "/api/audit/errors/gallery", groups=6, each=3)
    assert len(answer["groups"]) == 6
    assert [group["count"] for group in answer["groups"]] == sorted(
        (g["count"] for g in answer["groups"]), reverse=True
    )
    for group in answer["groups"]:
        alone = got(client, "/api/audit/rows", label=group["label"], prediction=group["prediction"], count=3)
        assert [row["row"] for row in group["rows"]] == [row["row"] for row in alone["rows"]]
    sure = got(client, "/api/audit/errors/gallery", least=0.6, label=4)
    confidence = filled(audit, "confidence")
    fits = (filled(audit, "label") == 4) & (filled(audit, "predicted") != 4) & (confidence >= 0.6)
    assert sure["matching"] == int((fits & (filled(audit, "predicted") >= 0)).sum())
    assert all(row["confidence"] >= 0.6 for group in sure["groups"] for row in group["rows"])


def test_detail_of_an_error(client: TestClient, audit: Audit) -> None:
    row = got(client, "/api/audit/rows", correct=False, count=1)["rows"][0]["row"]
    detail = asked(client, f"/api/audit/rows/{row}")
    assert detail["row"]["row"] == row
    assert [one["index"] for one in detail["top"]] == audit.column("top_classes")[row].tolist()
    assert detail["measures"]["entropy"] == pytest.approx(float(audit.column("entropy")[row]))
    assert detail["reasons"]
    assert all(reason["sentence"].endswith(".") for reason in detail["reasons"])
    features = audit.embeddings()
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    right = filled(audit, "correct") & np.isfinite(features[:, 0])
    apart = np.where(right, np.linalg.norm(features - features[row], axis=1), np.inf)
    nearest = np.argsort(apart, kind="stable")[:6]
    assert [near["row"] for near in detail["nearest"]] == nearest.tolist()
    np.testing.assert_allclose([near["distance"] for near in detail["nearest"]], apart[nearest], atol=1e-3)


def test_correct_and_failed_images_have_no_reasons(client: TestClient, audit: Audit) -> None:
    right = got(client, "/api/audit/rows", correct=True, count=1)["rows"][0]["row"]
    assert asked(client, f"/api/audit/rows/{right}")["reasons"] == []
    failed = int(np.flatnonzero(filled(audit, "predicted") < 0)[0])
    detail = asked(client, f"/api/audit/rows/{failed}")
    assert detail["row"]["error"]
    assert (detail["row"]["map_predicted"], detail["top"], detail["nearest"]) == (None, [], [])


def test_unknown_rows_and_classes_are_refused(client: TestClient) -> None:
    for path, code in (
        (f"rows/{ROWS}", "row.out-of-range"),
        ("rows?label=77", "target.out-of-range"),
        (f"rows/some?row=3&row={ROWS}", "row.out-of-range"),
        ("attention?predicted=10", "target.out-of-range"),
    ):
        answer = client.get(f"/api/audit/{path}")
        assert answer.status_code == 404, path
        assert answer.json()["code"] == code
    assert client.get("/api/audit/rows?least=2").status_code == 422
    assert client.get("/api/audit/layouts/pie").status_code == 422


# embeddings


def test_a_layout_is_returned_as_numbers_and_stored(client: TestClient, audit: Audit) -> None:
    layout = asked(client, "/api/audit/layouts/pca", samples=300)
    rows = np.frombuffer(base64.b64decode(layout["rows"]), "<i4")
    points = np.frombuffer(base64.b64decode(layout["points"]), "<f4").reshape(-1, 2)
    assert layout["count"] == len(rows) == len(points) == 300
    assert layout["of"] == int((filled(audit, "predicted") >= 0).sum())
    np.testing.assert_array_equal(
        np.frombuffer(base64.b64decode(layout["labels"]), "<i4"), filled(audit, "label")[rows]
    )
    np.testing.assert_array_equal(
        np.frombuffer(base64.b64decode(layout["predictions"]), "<i4"), filled(audit, "predicted")[rows]
    )
    np.testing.assert_array_equal(
        np.frombuffer(base64.b64decode(layout["confidences"]), "<f4"), filled(audit, "confidence")[rows]
    )
    assert -1 <= layout["silhouette"] <= 1
    assert layout["silhouette"] != layout["silhouette_2d"]
    kept = list((audit.path / "layouts").glob("pca-*.parquet"))
    assert len(kept) == 1


def test_a_read_only_studio_computes_a_layout_without_storing_it(audit: Audit, photos: Path, tmp_path: Path) -> None:
    run = shutil.copytree(audit.path, tmp_path / "run", ignore=shutil.ignore_patterns("layouts"))
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    settings = StudioSettings(audit=str(run), data=str(photos), read_only=True)
    with TestClient(create_app(settings), base_url=BASE) as client:
        ask_until(client, lambda status: status["state"] == "ready")
        assert asked(client, "/api/audit/layouts/pca", samples=300)["count"] == 300
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before


def test_an_impossible_layout_is_refused(client: TestClient) -> None:
    answer = client.get("/api/audit/layouts/tsne", params={"samples": 50, "near": 40, "wait": 60})
    assert answer.status_code == 422
    assert answer.json()["code"] == "argument.invalid"


def test_a_cancelled_layout_leaves_no_file(client: TestClient, audit: Audit, monkeypatch: pytest.MonkeyPatch) -> None:
    held = Held(monkeypatch, steps=10, kind="layout")
    job = client.get("/api/audit/layouts/tsne", params={"samples": 800, "wait": 0}).json()
    assert job["state"] in ("waiting", "running")
    assert held.reached.wait(PATIENCE)
    now = got(client, f"/api/jobs/{job['id']}")
    assert now["total"] > now["done"] >= 10
    client.delete(f"/api/jobs/{job['id']}")
    held.go.set()
    until(lambda: got(client, f"/api/jobs/{job['id']}")["state"] == "cancelled")
    assert list((audit.path / "layouts").glob("tsne-*")) == []


def test_a_layout_does_not_block_explanations(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    held = Held(monkeypatch, steps=1, kind="layout")
    job = client.get("/api/audit/layouts/tsne", params={"samples": 850, "wait": 0}).json()
    assert held.reached.wait(PATIENCE)
    answer = client.post("/api/explanations", params={"wait": 60}, json={"image": "s2"}).json()
    assert answer["state"] == "done"
    assert got(client, f"/api/jobs/{job['id']}")["state"] == "running"
    client.delete(f"/api/jobs/{job['id']}")
    held.go.set()


def test_neighbors_include_correct_and_incorrect_images(client: TestClient, audit: Audit) -> None:
    answer = asked(client, "/api/audit/rows/11/neighbours")
    assert answer["row"]["row"] == 11
    assert len(answer["nearest"]) == 6
    distances = [near["distance"] for near in answer["nearest"]]
    assert distances == sorted(distances)
    assert 11 not in [near["row"] for near in answer["nearest"]]


# attention


def test_spreads_count_each_labeled_image_once(client: TestClient, audit: Audit) -> None:
    answer = got(client, "/api/audit/attention")
    entropy = answer["spreads"][0]
    assert entropy["measure"] == "entropy"
    label, predicted = filled(audit, "label"), filled(audit, "predicted")
    wrong = (label >= 0) & (predicted >= 0) & (label != predicted)
    values = audit.column("entropy")
    assert sum(entropy["incorrect"]) == int((wrong & np.isfinite(values)).sum())
    assert entropy["mean_incorrect"] == pytest.approx(float(values[wrong].mean()), rel=1e-5)
    assert grid(answer["peaks_incorrect"]).sum() == int(wrong.sum())
    one = got(client, "/api/audit/attention", predicted=5)
    assert one["images"] == int((predicted == 5).sum())
    assert sum(map(sum, (one["spreads"][0][name] for name in ("correct", "incorrect", "unlabelled")))) == one["images"]


def test_a_class_with_corner_evidence_is_listed_and_visible_in_its_mean_map(client: TestClient) -> None:
    leaning = got(client, "/api/audit/attention")["leaning"]
    assert leaning[0]["index"] == 9
    assert leaning[0]["mean"] > 2 * leaning[0]["others"]
    classes = asked(client, "/api/audit/attention/classes")["classes"]
    assert [one["index"] for one in classes] == list(range(10))
    mean = grid(classes[9]["mean_map"])
    assert mean.sum() == pytest.approx(1, abs=1e-4)
    assert mean[4:, 4:].sum() > 0.7
    assert grid(classes[0]["mean_map"])[4:, 4:].sum() < 0.5
    assert classes[9]["corner_energy"] == max(one["corner_energy"] for one in classes)


# size


def test_counts_are_complete_with_many_classes(tmp_path: Path) -> None:
    run = synthetic_run(tmp_path / "large", rows=20_000, classes=400, width=8, shard_size=4096)
    with TestClient(create_app(StudioSettings(audit=str(run.path))), base_url=BASE) as client:
        ask_until(client, lambda status: status["run"] is not None)
        pairs = got(client, "/api/audit/errors")["pairs"]
        for pair in pairs[:6]:
            page = got(client, "/api/audit/rows", label=pair["label"], prediction=pair["prediction"])
            assert page["matching"] == pair["count"]
