"""`camlens audit`: runs, summaries, exports and errors."""

import csv
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import save_file

import camlens.audit as audits
from camlens.cli import audit as command
from camlens.core.errors import MissingExtraError
from camlens.core.provenance import weights_hash
from camlens.models import load_model
from camlens.render.interactive.page import built_script
from camlens.studio.settings import RunDefaults
from tests.audit.shortcuts import shortcuts

MODEL = ("--model", "camlens_tiny:classifier")


@pytest.fixture
def images(folder: Path) -> Path:
    from camlens_tiny import photograph

    for number in range(6):
        place = folder / "images" / ("dog" if number % 2 else "hen")
        place.mkdir(parents=True, exist_ok=True)
        photograph(place / f"{number}.png", number)
    (folder / "images" / "hen" / "broken.png").write_text("no picture")
    return folder / "images"


def test_a_run_is_summarized_and_can_be_opened(camlens: Any, images: Path) -> None:
    result = camlens("audit", "images", *MODEL, "--output", "run", "--json", "--workers", "0", "--no-report")
    assert result.exit_code == 0, result.output
    facts = json.loads(result.stdout)
    assert (facts["images"], facts["failed"], facts["accuracy"]["total"]) == (7, 1, 6)
    assert json.loads((images.parent / "run" / "summary.json").read_text())["images"] == 7
    audit = audits.open(images.parent / "run")
    assert len(audit) == 7
    assert audit.manifest.data == str(images)
    assert audit.manifest.labels == "by name"


def test_errors_are_listed_most_confident_first(camlens: Any, images: Path) -> None:
    result = camlens("audit", "images", *MODEL, "--output", "run", "--csv", "errors.csv", "--workers", "0")
    assert result.exit_code == 0
    rows = list(csv.DictReader((images.parent / "errors.csv").read_text().splitlines()))
    audit = audits.open(images.parent / "run")
    wrong = int((~audit.column("correct").filled(True)).sum())
    assert wrong > 1
    assert len(rows) == wrong + 1
    confidence = [float(row["confidence"]) for row in rows[:-1]]
    assert confidence == sorted(confidence, reverse=True)
    assert {row["label"] for row in rows} == {"dog", "hen"}
    assert "broken.png" in rows[-1]["error"]
    assert rows[-1]["predicted"] == ""


def test_the_same_command_resumes_and_other_settings_are_refused(camlens: Any, images: Path) -> None:
    words = ("audit", "images", *MODEL, "--output", "run", "--workers", "0", "--shard-size", "2")
    assert camlens(*words).exit_code == 0
    assert camlens(*words).exit_code == 0
    refused = camlens(*words[:-1], "3")
    assert refused.exit_code == 2
    assert re.findall(r"shard_size\D*(\d+)\D*(\d+)", refused.stderr) == [("2", "3")]
    assert camlens(*words[:-1], "3", "--force").exit_code == 0


def test_the_weights_file_is_stored_in_the_run_and_opened_by_the_studio(camlens: Any, images: Path) -> None:
    from camlens_tiny import net

    state = {name: value * 1.5 for name, value in net().state_dict().items()}
    save_file(state, "mine.safetensors")
    words = ("audit", "images", *MODEL, "--output", "run", "--workers", "0", "--no-report")
    assert camlens(*words, "--weights", "mine.safetensors").exit_code == 0
    file = images.parent / "mine.safetensors"
    assert audits.open("run").manifest.weights_file == str(file)
    usual = RunDefaults.of(Path("run"))
    assert usual == RunDefaults(MODEL[1], str(images), str(file))
    again = load_model(usual.model, weights=usual.weights)
    assert weights_hash(again.model) == audits.open("run").manifest.weights
    file.rename("moved.safetensors")
    gone = camlens(*words, "--weights", "mine.safetensors")
    assert gone.exit_code == 2
    assert "weights file mine.safetensors does not exist" in gone.stderr
    assert camlens(*words, "--weights", "moved.safetensors").exit_code == 0, "the same weights may lie elsewhere"
    assert "weights was" in camlens(*words).stderr


def test_a_manifest_without_a_weights_file_is_read(camlens: Any, images: Path) -> None:
    words = ("audit", "images", *MODEL, "--output", "run", "--workers", "0", "--no-report")
    assert camlens(*words).exit_code == 0
    facts = json.loads(Path("run/manifest.json").read_text())
    assert facts.pop("weights_file", "absent") is None
    Path("run/manifest.json").write_text(json.dumps(facts))
    assert audits.open("run").manifest.weights_file is None
    assert camlens(*words).exit_code == 0


def test_ctrl_c_stops_the_run_and_reports_its_progress(
    camlens: Any, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = audits.run

    def interrupted(*args: Any, progress: Any, **kwargs: Any) -> None:
        def report(done: int, total: int) -> None:
            progress(done, total)
            if done:
                raise KeyboardInterrupt

        real(*args, progress=report, **kwargs)

    monkeypatch.setattr(audits, "run", interrupted)
    words = ("audit", "images", *MODEL, "--output", "run", "--workers", "0", "--batch-size", "2", "--shard-size", "4")
    result = camlens(*words)
    assert result.exit_code == 130
    assert "2 of 7" in result.stderr
    monkeypatch.setattr(audits, "run", real)
    assert camlens(*words).exit_code == 0
    assert len(audits.open(images.parent / "run")) == 7


def test_invalid_arguments_exit_with_2(camlens: Any, images: Path) -> None:
    assert camlens("audit", "images", *MODEL, "--batch-size", "many").exit_code == 2
    assert camlens("audit", "absent", *MODEL).exit_code == 2
    assert "does not exist" in camlens("audit", "absent", *MODEL).stderr


def test_a_run_is_compared_with_an_earlier_one(camlens: Any, images: Path) -> None:
    words = ("audit", "images", *MODEL, "--workers", "0")
    assert camlens(*words, "--output", "before", "--no-report").exit_code == 0
    result = camlens(*words, "--output", "after", "--compare", "before", "--json")
    assert result.exit_code == 0, result.output
    comparison = json.loads(result.stdout)["comparison"]
    assert (comparison["images"], comparison["difference"], comparison["p"]) == (6, 0, 1)
    assert comparison["left_out"]["unknown"] == 1
    assert json.loads(Path("after/summary.json").read_text())["comparison"] == comparison
    assert 'id="changes"' in Path("after/report.html").read_text()
    absent = camlens(*words, "--output", "third", "--compare", "absent")
    assert (absent.exit_code, Path("third").exists()) == (2, False)


def test_the_exit_code_is_1_if_an_image_that_was_named_or_every_image_is_unreadable(camlens: Any, images: Path) -> None:
    words = (*MODEL, "--output", "run", "--workers", "0", "--no-report", "--force")
    listed = images / "list.csv"
    listed.write_text("path,label\nhen/0.png,hen\nhen/broken.png,hen\n")
    named = camlens("audit", str(listed), *words)
    assert (named.exit_code, "broken.png" in named.stdout) == (1, True)
    listed.write_text("path,label\nhen/0.png,hen\n")
    assert camlens("audit", str(listed), *words).exit_code == 0
    assert camlens("audit", "images", *words).exit_code == 0
    for path in images.rglob("*.png"):
        path.write_text("no picture")
    everything = camlens("audit", "images", *words)
    assert (everything.exit_code, "none of the 7 images" in everything.stderr) == (1, True)


def test_help_has_examples(camlens: Any) -> None:
    result = camlens("audit", "--help")
    assert result.exit_code == 0
    assert "camlens audit photos/ --model resnet50" in " ".join(result.stdout.split())
    assert command.audit.__doc__ is not None


def test_the_report_is_written_into_the_run(camlens: Any, images: Path) -> None:
    try:
        built_script("audit.js")
    except MissingExtraError as error:
        pytest.skip(str(error))
    result = camlens("audit", "images", *MODEL, "--output", "run", "--workers", "0")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[0].startswith("7 images, ")
    assert result.stdout.splitlines()[-1] == "run/report.html"
    assert (images.parent / "run" / "report.html").stat().st_size > 10_000
    assert camlens("audit", "images", *MODEL, "--output", "run", "--workers", "0").exit_code == 0


def test_fail_on_confirmed_exits_with_1(camlens: Any, images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, result = audits.run, shortcuts()

    def tested(*args: Any, **kwargs: Any) -> Any:
        run = real(*args, **kwargs)
        result.write(run.path / "shortcuts.json")
        return run

    monkeypatch.setattr(audits, "run", tested)
    words = ("audit", "images", *MODEL, "--output", "run", "--workers", "0", "--no-report")
    assert camlens(*words).exit_code == 0
    flagged = camlens(*words, "--json", "--fail-on", "confirmed")
    assert flagged.exit_code == 1
    assert json.loads(flagged.stdout)["shortcuts"][0]["status"] == "confirmed"
    result = replace(result, shortcuts=result.shortcuts[3:])
    assert camlens(*words, "--fail-on", "confirmed").exit_code == 0
    assert camlens(*words, "--shortcuts", "off", "--fail-on", "confirmed").exit_code == 2
    assert camlens(*words, "--fail-on", "unused").exit_code == 2
