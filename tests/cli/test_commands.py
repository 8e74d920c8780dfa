"""Tests of `camlens compare`, `layers`, `methods` and `predict`."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from camlens import METHODS

MODEL = ("--model", "camlens_tiny:classifier")


@pytest.mark.parametrize(
    ("kind", "members", "labels"),
    [
        ("layers", "0,2,3", ["0", "2", "3"]),
        ("methods", "gradcam,eigencam", ["gradcam", "eigencam"]),
        ("classes", "dog,2,tabby, tabby cat", ["dog", "hen", "tabby, tabby cat"]),
        ("classes", "dog,hen", ["dog", "hen"]),
    ],
)
def test_compare_draws_the_maps_in_the_requested_order(
    camlens: Any, folder: Path, kind: str, members: str, labels: list[str]
) -> None:
    result = camlens("compare", "one.png", *MODEL, f"--{kind}", members, "--json")
    assert result.exit_code == 0, result.stderr
    output = json.loads(result.stdout)
    assert [view["label"] for view in output["views"]] == labels
    assert output["output"] == f"one-{kind}.png"
    with Image.open(folder / f"one-{kind}.png") as figure:
        assert figure.format == "PNG"
        assert figure.width > 600


@pytest.mark.parametrize("words", [(), ("--layers", "0,2", "--methods", "gradcam,eigencam")])
def test_compare_takes_exactly_one_kind(camlens: Any, words: tuple[str, ...]) -> None:
    result = camlens("compare", "one.png", *MODEL, *words)
    assert result.exit_code == 2
    assert all(option in result.stderr for option in ("--layers", "--methods", "--classes"))


@pytest.mark.parametrize(
    ("words", "code", "facts"),
    [
        (("--layers", "0"), "comparison.too-few", {"kind": "layers", "count": 1}),
        (("--methods", "gradcam,nope"), "method.unknown", {}),
        (("--classes", "dog,99"), "target.out-of-range", {"value": 99, "classes": 5}),
    ],
)
def test_compare_refuses_in_one_line(
    refused: Any, folder: Path, words: tuple[str, str], code: str, facts: dict[str, Any]
) -> None:
    error = refused("compare", "one.png", *MODEL, *words)
    assert error.code == code
    assert error.facts.items() >= facts.items()
    assert {path.name for path in folder.iterdir()} == {"one.png", "two.jpg"}


def test_compare_refuses_a_missing_image(refused: Any) -> None:
    error = refused("compare", "missing.png", *MODEL, "--layers", "0,2")
    assert (error.code, error.facts["image"]) == ("image.absent", "missing.png")


def test_compare_replaces_a_foreign_file_only_with_force(camlens: Any, folder: Path) -> None:
    words = ("compare", "one.png", *MODEL, "--layers", "0,2", "--output", "figure.PNG")
    (folder / "figure.PNG").write_text("mine")
    refused = camlens(*words)
    assert refused.exit_code == 2
    assert (folder / "figure.PNG").read_text() == "mine"
    assert camlens(*words, "--force").exit_code == 0
    assert (folder / "figure.PNG").read_bytes().startswith(b"\x89PNG")
    assert camlens(*words).exit_code == 0  # its own figure


@pytest.mark.parametrize("name", ["figure.jpg", "figure", "figure.png.webp"])
def test_compare_writes_no_png_under_another_name(refused: Any, folder: Path, name: str) -> None:
    error = refused("compare", "one.png", *MODEL, "--layers", "0,2", "--output", name)
    assert (error.code, error.facts["path"]) == ("output.suffix", name)
    assert {path.name for path in folder.iterdir()} == {"one.png", "two.jpg"}


def test_layers_reports_which_layers_are_usable(camlens: Any) -> None:
    output = json.loads(camlens("layers", *MODEL, "--json").stdout)
    assert [(layer["name"], layer["usable"]) for layer in output["layers"]] == [
        *((str(number), True) for number in range(4)),
        *((str(number), False) for number in range(4, 7)),
    ]
    first = output["layers"][0]
    assert (first["type"], first["shape"], first["grid"]) == ("Conv2d", [1, 6, 16, 16], [16, 16])
    assert first["parameters"] == 3 * 3 * 3 * 6 + 6
    assert output["layers"][4]["reason"]
    assert output["default_layer"] == "3"


def test_layers_filters_usable_layers_at_another_input_size(camlens: Any) -> None:
    output = json.loads(camlens("layers", *MODEL, "--input-size", "16x24", "--usable", "--json").stdout)
    assert [layer["grid"] for layer in output["layers"]] == [[8, 12], [8, 12], [4, 6], [4, 6]]


def test_layers_prints_one_row_per_layer(camlens: Any) -> None:
    lines = camlens("layers", *MODEL).stdout.splitlines()
    rows = [line.split()[:2] for line in lines if line[:1].isdigit()]
    kinds = ("Conv2d", "ReLU", "Conv2d", "ReLU", "AdaptiveAvgPool2d", "Flatten", "Linear")
    assert rows == [[str(number), kind] for number, kind in enumerate(kinds)]
    assert lines[-1].startswith("Default layer: 3 (")


def test_layers_refuses_an_invalid_size(camlens: Any) -> None:
    result = camlens("layers", *MODEL, "--input-size", "16by24")
    assert result.exit_code == 2
    assert "16by24" in result.stderr


def test_methods_lists_all_of_them(camlens: Any) -> None:
    printed = camlens("methods")
    assert printed.exit_code == 0
    firsts = {line.split()[0] for line in printed.stdout.splitlines() if line.strip()}
    assert set(METHODS) <= firsts
    output = json.loads(camlens("methods", "--json").stdout)
    assert {entry["name"]: entry["cost"] for entry in output} == {entry.name: entry.cost for entry in METHODS.values()}


def test_predict_prints_the_most_likely_classes_first(camlens: Any) -> None:
    result = camlens("predict", "one.png", "missing.png", *MODEL, "--top-k", "3", "--json")
    assert result.exit_code == 1
    output = json.loads(result.stdout)
    confidences = [prediction["confidence"] for prediction in output["images"][0]["predictions"]]
    assert confidences == sorted(confidences, reverse=True)
    assert len(confidences) == 3
    assert [failure["image"] for failure in output["failed"]] == ["missing.png"]


def test_predict_prints_a_line_for_each_class(camlens: Any) -> None:
    first, *rest = camlens("predict", "one.png", *MODEL).stdout.splitlines()
    assert first == "one.png"
    assert len(rest) == 5
    assert sum(float(line.split("%")[0]) for line in rest) == pytest.approx(100, abs=0.3)


def test_predict_prints_the_output_of_a_regression_and_both_classes_of_a_single_logit(
    camlens: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import camlens_tiny
    import torch

    def measurement() -> Any:
        model = camlens_tiny.net()
        model[-1] = torch.nn.Linear(8, 1)
        with torch.no_grad():
            model[-1].weight.zero_()
            model[-1].bias.fill_(0.26)
        return model, camlens_tiny.classifier()[1], ["defect"]

    monkeypatch.setattr(camlens_tiny, "measurement", measurement, raising=False)
    model = ("--model", "camlens_tiny:measurement")
    regression = camlens("predict", "one.png", *model, "--task", "regression")
    assert "0.26" in regression.stdout
    assert "%" not in regression.stdout
    binary = camlens("predict", "one.png", *model)
    assert "56.5%  defect (1)" in binary.stdout
    assert "43.5%  not defect (0)" in binary.stdout


def test_panels_of_a_regression_show_its_outputs(
    camlens: Any, refused: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from camlens.render.canvas import Canvas

    words: list[str] = []
    really = Canvas.write

    def write(canvas: Canvas, text: str, *place: Any, **style: Any) -> Any:
        words.append(text)
        return really(canvas, text, *place, **style)

    monkeypatch.setattr(Canvas, "write", write)
    model = ("--model", "camlens_tiny:measuring", "--task", "regression")
    shown = camlens("explain", "one.png", *model, "--class", "weight", "--output", "maps")
    assert shown.exit_code == 0, shown.stderr
    assert {"Outputs", "weight"} <= set(words)
    assert not any("%" in text for text in words)
    (entry,) = json.loads((folder / "maps" / "manifest.json").read_text())["images"]
    assert [prediction["class_name"] for prediction in entry["predictions"]] == ["tilt", "weight", "depth"]
    assert entry["confidence"] == pytest.approx(entry["score"])
    assert entry["score"] == pytest.approx(812.5, rel=0.01)
    assert refused("explain", "one.png", *model, "--output", "none").code == "target.needed"
    assert not (folder / "none").exists()


def test_the_report_of_a_regression_has_its_outputs(
    camlens: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("camlens.render.interactive.page.overlay_script", lambda: "draw()")
    model = ("--model", "camlens_tiny:measuring", "--task", "regression")
    shown = camlens("report", "one.png", *model, "--class", "weight", "--output", "page.html")
    assert shown.exit_code == 0, shown.stderr
    text = (folder / "page.html").read_text()
    (image,) = json.loads(text.partition('id="maps">')[2].partition("</script>")[0])["images"]
    assert image["task"] == "regression"
    assert dict(image["predictions"])["weight"] == pytest.approx(812.5, rel=0.01)
    assert dict(image["facts"])["Scores"].startswith("weight: ")


@pytest.mark.parametrize("factory", ["backbone", "named_backbone"])
@pytest.mark.parametrize("command", [("predict",), ("explain", "--layer", "0")])
def test_a_backbone_predicts_no_class(camlens: Any, refused: Any, factory: str, command: tuple[str, ...]) -> None:
    error = refused(*command, "one.png", "--model", f"camlens_tiny:{factory}")
    assert (error.code, error.facts["outputs"]) == ("target.needed", 40)
    assert camlens("layers", "--model", f"camlens_tiny:{factory}").exit_code == 0


def test_a_feature_of_a_backbone_is_explained_by_its_index(camlens: Any, refused: Any, folder: Path) -> None:
    shown = camlens("explain", "one.png", "--model", "camlens_tiny:backbone", "--class", "31", "--layer", "0")
    assert shown.exit_code == 0, shown.stderr
    (entry,) = json.loads((folder / "camlens-maps" / "manifest.json").read_text())["images"]
    assert (entry["class_idx"], entry["class_name"]) == (31, "class 31")
    error = refused("explain", "one.png", "--model", "camlens_tiny:backbone", "--class", "40", "--layer", "0")
    assert (error.code, error.facts["classes"]) == ("target.out-of-range", 40)


def test_a_wrong_number_of_class_names_is_refused(refused: Any) -> None:
    error = refused("explain", "one.png", "--model", "camlens_tiny:named_backbone", "--class", "3", "--layer", "0")
    assert (error.code, error.facts) == ("model.class-names", {"outputs": 40, "class_names": 5})
