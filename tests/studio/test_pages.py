"""The routes of the other pages, and the page itself."""

import base64
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient
from torch.testing import assert_close

from camlens.anatomy.activations import LayerActivations
from camlens.core.layouts import Layout
from camlens.core.registry import METHODS
from camlens.models import load_model
from camlens.studio.app import PAGE, create_app, routers
from camlens.studio.bench import Workbench
from camlens.studio.channels import activation_maps, learned_filters
from camlens.studio.export import color_tables, schema
from camlens.studio.jobs import Job
from camlens.studio.routes import _shared, jobs
from camlens.studio.routes.explanations import compared
from camlens.studio.schemas import JobView
from camlens.studio.settings import StudioSettings
from tests.studio.conftest import BASE, PAGE_SOURCES, PATIENCE, Held, ask_until, is_settled, until

SOURCES = Path(__file__).parents[2] / "studio-ui"
BUILT = (PAGE / "index.html").is_file()


def result(answer: Any) -> Any:
    assert answer.status_code == 200, answer.text
    assert answer.json()["state"] == "done"
    return answer.json()["result"]


# status and images


def test_status_of_model_dataset_and_predictions(studio: TestClient) -> None:
    status = studio.get("/api/status").json()
    assert status["model"]["parameters"] == sum(p.numel() for p in load_model("demo:photos").model.parameters())
    assert status["model"]["bytes"] > 4 * status["model"]["parameters"]
    assert status["model"]["input_size"] == [128, 128]
    assert status["data"]["count"] == 24
    assert status["predictions"] == {
        "done": 24,
        "total": 24,
        "correct": status["predictions"]["correct"],
        "incorrect": 24 - status["predictions"]["correct"],
        "unreadable": 0,
    }
    assert 18 <= status["predictions"]["correct"] <= 23  # one is mislabeled on purpose


def test_start_equals_the_single_requests(studio: TestClient) -> None:
    image = "s3"
    asked = studio.post("/api/explanations", json={"image": image}).json()["result"]
    start = studio.get("/api/start", params={"seed": 4, "image": image}).json()
    for name in ("layers", "methods", "classes"):
        assert start[name] == studio.get(f"/api/{name}").json()
    assert start["samples"] == studio.get("/api/samples", params={"seed": 4}).json()
    assert start["question"]["image"] == image
    assert start["question"]["layers"] == ["stage4"]
    assert start["explanation"]["maps"] == asked["maps"]
    assert start["explanation"]["seconds"] == asked["seconds"]  # the computing time, not the time of the lookup


def test_the_first_image_is_explained_in_advance(photos: Path) -> None:
    with TestClient(create_app(StudioSettings(data=str(photos))), base_url=BASE) as client:
        ask_until(client, is_settled)
        start = client.get("/api/start").json()
    assert start["explanation"]["image"]["id"] == start["samples"]["samples"][0]["id"]
    assert start["explanation"]["cached"]


@pytest.mark.parametrize("query", ["?seed=minus", "?image=../../x", "?label=-3", "?show=<script>", "?image=s999"])
def test_an_invalid_query_still_opens_the_page(studio: TestClient, query: str) -> None:
    assert studio.get(f"/{query}").status_code in (200, 503)


def test_samples_by_seed_and_filter(studio: TestClient) -> None:
    def ids(**query: Any) -> list[str]:
        return [one["id"] for one in studio.get("/api/samples", params=query).json()["samples"]]

    assert len(ids(seed=1)) == 20
    assert ids(seed=1) == ids(seed=1) != ids(seed=2)
    assert len(ids(count=200)) == 24
    wrong = studio.get("/api/samples", params={"show": "incorrect", "count": 100}).json()
    assert wrong["settled"]
    assert wrong["matching"] == len(wrong["samples"]) >= 1
    assert all(one["correct"] is False for one in wrong["samples"])
    one_class = studio.get("/api/samples", params={"label": 2, "count": 100}).json()["samples"]
    assert {one["label"] for one in one_class} == {2}


def test_classes_are_counted(studio: TestClient) -> None:
    classes = studio.get("/api/classes").json()
    assert [one["index"] for one in classes] == list(range(10))
    assert sum(one["images"] for one in classes) == sum(one["predicted"] for one in classes) == 24


def test_pictures_and_thumbnails_are_cacheable(studio: TestClient) -> None:
    answer = studio.get("/api/images/s0/picture.png")
    assert answer.headers["content-type"] == "image/png"
    assert "immutable" in answer.headers["cache-control"]
    assert studio.get("/api/images/s0/thumbnail.webp").content[8:12] == b"WEBP"


# layers and methods


def test_layers_have_stages_grids_and_reasons(studio: TestClient) -> None:
    layers = {one["name"]: one for one in studio.get("/api/layers").json()}
    assert layers["stage4"]["grid"] == [16, 16]
    assert layers["stem"]["stage"] == "early"
    assert layers["stage4"]["stage"] == "late"
    assert not layers["head"]["usable"]
    assert layers["head"]["reason"]
    principal = [name for name, one in layers.items() if one["principal"]]
    assert principal == ["stem", "stage1", "stage2", "stage3", "stage4"]


def test_methods_are_those_of_the_registry(studio: TestClient) -> None:
    assert [one["name"] for one in studio.get("/api/methods").json()] == list(METHODS)


# classes


def test_comparison_of_two_maps(studio: TestClient) -> None:
    def request(index: int) -> dict[str, Any]:
        return {"image": "s4", "target": {"kind": "class", "index": index}}

    same = result(studio.post("/api/comparisons", json={"first": request(2), "second": request(2)}))
    assert same["correlation"] == pytest.approx(1)
    other = result(studio.post("/api/comparisons", json={"first": request(2), "second": request(5)}))
    assert -1 <= other["correlation"] < 0.99
    assert other["sentence"] != same["sentence"]


def test_the_interpretation_follows_the_correlation() -> None:
    ramp = torch.arange(4.0).view(2, 2)
    same, opposed, empty = (compared(ramp, other) for other in (3 * ramp, 3 - ramp, torch.zeros(2, 2)))
    assert (same.correlation, opposed.correlation, empty.correlation) == (pytest.approx(1), pytest.approx(-1), None)
    assert len({same.sentence, opposed.sentence, empty.sentence}) == 3


# correct and incorrect


def test_correct_and_incorrect_predictions(studio: TestClient) -> None:
    facing = studio.get("/api/facing", params={"count": 60}).json()
    assert facing["incorrect_count"] + facing["correct_count"] == 24
    assert all(one["correct"] for one in facing["correct"])
    assert not any(one["correct"] for one in facing["incorrect"])
    confidences = [one["prediction"]["confidence"] for one in facing["correct"]]
    assert confidences == sorted(confidences, reverse=True)
    pair = facing["pairs"][0]
    chosen = studio.get("/api/facing", params={"label": pair["label"], "prediction": pair["prediction"]}).json()
    assert chosen["incorrect_count"] == pair["count"]
    assert {one["label"] for one in chosen["incorrect"]} == {pair["label"]}


# model


def test_activations_are_sorted_and_dead_channels_counted() -> None:
    features = torch.zeros(1, 3, 2, 2)
    features[0, 1] = 1
    features[0, 2, 0, 0] = 9
    seen = LayerActivations("layer", Layout("channels_first", (2, 2)), features)
    by_mean = activation_maps(seen, "layer", sort="mean", offset=0, limit=10)
    assert [one.index for one in by_mean.maps] == [2, 1, 0]
    assert [one.dead for one in by_mean.maps] == [False, False, True]
    assert (by_mean.dead, by_mean.channels) == (1, 3)
    assert base64.b64decode(by_mean.maps[0].pixels) == bytes([255, 0, 0, 0])
    assert [one.index for one in activation_maps(seen, "layer", sort="max", offset=1, limit=1).maps] == [1]
    assert [one.index for one in activation_maps(seen, "layer", sort="index", offset=0, limit=9).maps] == [0, 1, 2]


def test_activations_of_a_layer(studio: TestClient) -> None:
    channels = result(studio.get("/api/model/activations", params={"image": "s3", "layer": "stage1", "limit": 5}))
    assert (channels["channels"], channels["shape"], len(channels["maps"])) == (24, [32, 32], 5)
    means = [one["mean"] for one in channels["maps"]]
    assert means == sorted(means, reverse=True)
    assert studio.get("/api/model/activations", params={"image": "s3", "layer": "head"}).status_code == 422


def test_filters_of_the_first_convolution_are_rgb(studio: TestClient) -> None:
    first = studio.get("/api/model/filters", params={"layer": "stem.0", "limit": 4}).json()
    assert (first["colours"], first["count"], first["shape"]) == ("rgb", 16, [5, 5])
    assert len(base64.b64decode(first["filters"][0]["pixels"])) == 5 * 5 * 3
    weight = load_model("demo:photos").model.get_parameter("stem.0.weight")[1]
    assert first["filters"][1]["norm"] == pytest.approx(float(weight.detach().norm()), rel=1e-5)
    assert studio.get("/api/model/filters", params={"layer": "head"}).status_code == 422


def test_signed_filters_are_centered_on_zero() -> None:
    module = torch.nn.Conv2d(2, 1, 3)
    with torch.no_grad():
        module.weight.zero_()
        module.weight[0, 1, 0, 0] = -2
        module.weight[0, 1, 2, 2] = 1
    one = learned_filters(module, "conv", offset=0, limit=1).filters[0]
    pixels = np.frombuffer(base64.b64decode(one.pixels), dtype=np.uint8)
    assert (pixels[0], pixels[4], pixels[8]) == (0, 128, 191)
    assert one.shown == "input channel 1"


# about, jobs, documentation


def test_examples_of_the_clean_and_the_watermark_model(studio: TestClient) -> None:
    answer = result(studio.get("/api/examples", params={"wait": 60}))
    assert answer["problem"] is None
    assert [one["kind"] for one in answer["examples"]] == ["good", "good", "worrying", "worrying"]
    cheat = answer["examples"][2]
    grid = np.frombuffer(base64.b64decode(cheat["grid"]["values"]), dtype="<f4").reshape(cheat["grid"]["shape"])
    heat = np.clip(grid, 0, None)
    assert heat[10:, 10:].sum() > 0.5 * heat.sum()  # the watermark is in the lower right corner


def test_job_events(studio: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    held = Held(monkeypatch, steps=1)
    request = {"image": "s20", "methods": ["scorecam"], "layers": ["stage1"]}
    job = studio.post("/api/explanations", params={"wait": 0}, json=request).json()
    assert job["state"] in ("waiting", "running")
    held.go.set()
    with studio.stream("GET", f"/api/jobs/{job['id']}/events") as events:
        assert events.headers["content-type"].startswith("text/event-stream")
        told = [json.loads(line.removeprefix("data: ")) for line in events.iter_lines() if line]
    assert {one["id"] for one in told} == {job["id"]}
    assert told[-1]["state"] == "done"
    assert studio.get("/api/jobs/unknown").status_code == 404


def test_the_last_event_tells_the_end_of_a_job_that_ended_meanwhile(
    studio: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held(monkeypatch, steps=1)
    request = {"image": "s22", "methods": ["scorecam"], "layers": ["stage1"]}
    answer = studio.post("/api/explanations", params={"wait": 0}, json=request).json()

    def job_view(bench: Workbench, job: Job, ticket: str) -> JobView[Any]:
        view = _shared.job_view(bench, job, ticket)
        held.go.set()
        until(lambda: job.finished)
        return view

    monkeypatch.setattr(jobs, "job_view", job_view)
    with studio.stream("GET", f"/api/jobs/{answer['id']}/events") as events:
        told = [json.loads(line.removeprefix("data: ")) for line in events.iter_lines() if line]
    assert told[-1]["state"] == "done"


def test_a_cancelled_job_stops(studio: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    held = Held(monkeypatch, steps=1)
    request = {"image": "s21", "methods": ["scorecam", "sscam"], "layers": ["stem"]}
    job = studio.post("/api/explanations", params={"wait": 0}, json=request).json()
    assert held.reached.wait(PATIENCE)
    studio.delete(f"/api/jobs/{job['id']}")
    held.go.set()
    until(lambda: studio.get(f"/api/jobs/{job['id']}").json()["state"] == "cancelled")


def test_the_documentation_lists_every_route_and_loads_nothing(studio: TestClient) -> None:
    page = studio.get("/api/docs").text
    assert "<script" not in page
    assert "https://" not in page
    for path in studio.get("/api/openapi.json").json()["paths"]:
        assert path.replace("&", "&amp;") in page


def test_an_unknown_route_is_refused(studio: TestClient) -> None:
    answer = studio.get("/api/nothing")
    assert answer.status_code == 404
    assert answer.json()["kind"] == "route"


def test_every_route_module_is_served() -> None:
    routes = PAGE.parent / "routes"
    assert len(routers()) == len([*routes.glob("[!_]*.py")])


# sources of the front end


@pytest.mark.parametrize("source", PAGE_SOURCES, ids=lambda source: source.stem)
def test_the_type_of_a_page_is_checked(source: Path) -> None:
    constants = re.findall(r"export const page = .*?;\n", source.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert [constant.endswith("} satisfies Page;\n") for constant in constants] == [True]


def test_the_exported_schema_is_current() -> None:
    assert (SOURCES / "openapi.json").read_text(encoding="utf-8") == schema()
    assert (SOURCES / "src" / "core" / "colormaps.json").read_text(encoding="utf-8") == color_tables()


def test_the_lock_file_records_no_addresses() -> None:
    lock = (SOURCES / "package-lock.json").read_text(encoding="utf-8")
    assert '"resolved"' not in lock
    assert '"integrity"' in lock


@pytest.mark.skipif(not BUILT, reason="the page is not built: run `make studio-ui`")
def test_the_page_is_served_for_every_view_and_is_small(studio: TestClient) -> None:
    import gzip

    for path in ("/", "/layers", "/model?tab=filters", "/no/such/page"):
        answer = studio.get(path)
        assert answer.status_code == 200
        assert '<div id="app">' in answer.text
    sizes = [len(gzip.compress(file.read_bytes())) for file in PAGE.rglob("*") if file.is_file()]
    assert sum(sizes) < 150_000


@pytest.mark.skipif(not BUILT, reason="the page is not built: run `make studio-ui`")
def test_embedded_data_cannot_close_the_script_element(tmp_path: Path, photos: Path) -> None:
    evil = "<script>alert(1)<!--.png"
    (tmp_path / evil).write_bytes(next(photos.rglob("*.png")).read_bytes())
    with TestClient(create_app(StudioSettings(data=str(tmp_path))), base_url=BASE) as client:
        ask_until(client, is_settled)
        text = client.get("/").text
        (embedded,) = re.findall(r'<script type="application/json" id="start">(.*?)</script>', text)
        assert json.loads(embedded)["samples"]["samples"][0]["name"] == evil
        assert text.count("<script") == 2
        assert text.count("<!--") == 0
        (picture,) = re.findall(r'<link rel="preload" as="fetch" crossorigin href="([^"]+)" />', text)
        assert client.get(picture).headers["content-type"] == "image/png"


# failures


def test_a_model_that_cannot_be_loaded_fails_the_studio_with_a_problem(caplog: pytest.LogCaptureFixture) -> None:
    with TestClient(create_app(StudioSettings(model="demo:nothing")), base_url=BASE) as client:
        status = ask_until(client, lambda status: status["state"] == "failed")
        assert (status["problem"]["kind"], status["problem"]["code"]) == ("model", "model.unknown")
        answer = client.post("/api/explanations", json={"image": "s0"})
        assert answer.status_code == 422
        assert answer.json() == status["problem"]
    (line,) = [record.getMessage() for record in caplog.records if record.name == "camlens.studio"]
    assert "'demo:nothing'" in line


def test_uploads_work_with_an_empty_folder(tmp_path: Path) -> None:
    from tests.studio.test_uploads import photograph

    with TestClient(create_app(StudioSettings(data=str(tmp_path))), base_url=BASE) as client:
        status = ask_until(client, is_settled)
        assert status["data"]["count"] == 0
        assert status["data"]["problem"]
        assert client.get("/api/samples").json() == {"samples": [], "matching": 0, "settled": True}
        image = client.post("/api/uploads", content=photograph()).json()["id"]
        assert result(client.post("/api/explanations", json={"image": image}))["maps"]


def test_unreadable_images_and_a_single_class_are_reported(tmp_path: Path, photos: Path) -> None:
    (tmp_path / "cat").mkdir()
    good = next((photos / "cat").glob("*.png"))
    (tmp_path / "cat" / "good.png").write_bytes(good.read_bytes())
    (tmp_path / "cat" / "broken.png").write_bytes(b"this is no picture")
    with TestClient(create_app(StudioSettings(data=str(tmp_path))), base_url=BASE) as client:
        status = ask_until(client, is_settled)
        assert status["predictions"]["unreadable"] == 1
        assert status["data"]["problem"]
        answer = client.post("/api/explanations", json={"image": "s0"})
        assert answer.status_code in (404, 422)
        assert answer.json()["code"] == "image.format"
        assert_close(
            torch.tensor(client.get("/api/images/s1").json()["prediction"]["confidence"] > 0), torch.tensor(True)
        )


@pytest.mark.slow
def test_a_hundred_thousand_images(tmp_path: Path, photos: Path) -> None:
    few = {folder.name: sorted(folder.glob("*.png"))[0] for folder in sorted(photos.iterdir())[:4]}
    for name, image in few.items():
        (tmp_path / name).mkdir()
        first = tmp_path / name / "00000.png"
        first.write_bytes(image.read_bytes())
        for number in range(1, 25_000):
            (tmp_path / name / f"{number:05d}.png").hardlink_to(first)
    with TestClient(create_app(StudioSettings(data=str(tmp_path))), base_url=BASE) as client:
        status = ask_until(client, lambda status: status["state"] == "ready")
        assert status["data"] == {
            "spec": str(tmp_path),
            "count": 100_000,
            "classes": 4,
            "labelled": True,
            "problem": None,
        }
        assert [one["images"] for one in client.get("/api/classes").json() if one["images"]] == [25_000] * 4
        correct = client.get("/api/samples", params={"show": "correct", "count": 20, "seed": 3}).json()
        drawn = client.get("/api/samples", params={"count": 20, "seed": 3}).json()
        assert correct["settled"] is False
        assert drawn["matching"] == 100_000
        assert len(drawn["samples"]) == 20
        assert result(client.post("/api/explanations", json={"image": "s99999"}))["maps"]


def test_the_imagenet_demo_accepts_any_correct_class() -> None:
    with TestClient(create_app(StudioSettings(model="demo:imagenet")), base_url=BASE) as client:
        status = ask_until(client, is_settled)
        assert status["data"]["spec"] == "demo:gallery"
        strips = {
            show: client.get("/api/samples", params={"show": show, "count": 200}).json()["samples"]
            for show in ("all", "correct", "incorrect")
        }
        assert len(client.get("/api/samples").json()["samples"]) == 20
        assert status["data"]["count"] == len(strips["all"])
        for show in ("correct", "incorrect"):
            assert status["predictions"][show] == len(strips[show])  # unlabeled photographs are neither
        named = {sample["name"]: sample for sample in strips["all"]}
        assert (named["cat-face"]["label_name"], named["cat-face"]["prediction"]["name"]) == (
            "tiger cat",
            "Egyptian cat",
        )
        assert named["cat-face"]["correct"] is True
        assert named["retina"]["correct"] is None
        assert "astronaut-shuttle" in {sample["name"] for sample in strips["incorrect"]}
        story = [layer["name"] for layer in client.get("/api/layers").json() if layer["principal"]]
        assert story == ["blocks.0", "blocks.1", "blocks.2", "blocks.4", "bn2"]  # the last block of each grid size
