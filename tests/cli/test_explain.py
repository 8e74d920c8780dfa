"""Tests of `camlens explain`: panels, maps, manifest, and unreadable files."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from camlens import explain, load_model
from camlens.data.decode import decode_image

MODEL = ("--model", "camlens_tiny:classifier")


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_each_image_gets_a_panel_and_a_map_and_all_share_a_manifest(camlens: Any, folder: Path) -> None:
    result = camlens("explain", "one.png", "two.jpg", *MODEL, "--output", "maps")
    assert result.exit_code == 0, result.stderr
    assert names(folder / "maps") == {"one.png", "one.npy", "two.png", "two.npy", "manifest.json"}
    assert "one.png" in result.stdout
    assert "two.png" in result.stdout
    with Image.open(folder / "maps" / "one.png") as panel:
        assert panel.width > 2 * panel.height > 400


def test_the_map_equals_that_of_the_library(camlens: Any, folder: Path) -> None:
    camlens("explain", "one.png", *MODEL, "--layer", "2", "--class", "hen", "--output", "maps")
    loaded = load_model("camlens_tiny:classifier")
    inputs = loaded.preprocess(decode_image(folder / "one.png"))[None]
    expected = explain(loaded.model, inputs, layers="2", target=2).maps["2"][0, 0]
    written = torch.from_numpy(np.load(folder / "maps" / "one.npy"))
    torch.testing.assert_close(written, expected)
    assert written.min() < 0


def test_a_wide_photograph_is_drawn_whole_with_the_region_that_the_model_saw(camlens: Any, folder: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 180, 3), np.uint8)).save(folder / "wide.png")
    panels = []
    for options in ((), ("--crop",)):
        assert camlens("explain", "wide.png", *MODEL, "--output", "maps", *options, "--force").exit_code == 0
        with Image.open(folder / "maps" / "wide.png") as panel:
            panels.append(np.asarray(panel))
    (image,) = json.loads((folder / "maps" / "manifest.json").read_text())["images"]
    geometry = load_model("camlens_tiny:classifier").preprocess.geometry(60, 180)
    assert image["picture_size"] == [60, 180]
    assert geometry is not None
    assert image["region"] == list(geometry.region)
    assert panels[0].shape != panels[1].shape, "the whole photograph is wide, its crop is square"


def test_the_manifest_records_how_the_maps_were_made(camlens: Any, folder: Path) -> None:
    camlens(
        "explain",
        "one.png",
        *MODEL,
        "--method",
        "layercam",
        "--seed",
        "7",
        "--top-k",
        "2",
        "--output",
        "maps",
    )
    manifest = json.loads((folder / "maps" / "manifest.json").read_text())
    (image,) = manifest["images"]
    assert manifest["method"] == "layercam"
    assert manifest["model"] == "camlens_tiny:classifier"
    assert manifest["provenance"]["seed"] == 7
    assert manifest["provenance"]["weights"].startswith("sha256:")
    assert manifest["provenance"]["layer_choice"]["3"].startswith("last layer")
    assert manifest["files"] == ["manifest.json", "one.npy", "one.png"]
    assert image["map_shape"] == [8, 8]
    assert len(image["predictions"]) == 2
    assert image["class_idx"] == image["predictions"][0]["class_idx"]
    assert image["confidence"] == pytest.approx(image["predictions"][0]["confidence"])


@pytest.mark.parametrize("text", ["3", "cup, mug", "MUG", "cup"])
def test_a_class_is_chosen_by_index_name_or_synonym(camlens: Any, text: str) -> None:
    result = camlens("explain", "one.png", *MODEL, "--class", text, "--json")
    assert json.loads(result.stdout)["images"][0]["class_idx"] == 3


def test_only_json_is_printed_on_stdout(camlens: Any, folder: Path) -> None:
    result = camlens("explain", "one.png", "missing.png", *MODEL, "--json", "--output", "maps")
    output = json.loads(result.stdout)
    assert output["output"] == "maps"
    assert [image["image"] for image in output["images"]] == ["one.png"]
    assert [failure["image"] for failure in output["failed"]] == ["missing.png"]
    assert json.loads((folder / "maps" / "manifest.json").read_text())["images"] == output["images"]


def broken_files(folder: Path) -> dict[str, Path]:
    whole = (folder / "two.jpg").read_bytes()
    (folder / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "text.png").write_text("not an image\n")
    (folder / "empty.png").touch()
    (folder / "directory.png").mkdir()
    kinds = ("cut.jpg", "text.png", "empty.png", "directory.png", "missing.png")
    return {name: folder / name for name in kinds}


@pytest.mark.parametrize("bad", ["cut.jpg", "text.png", "empty.png", "directory.png", "missing.png"])
def test_an_unreadable_image_is_reported_in_one_line_and_skipped(camlens: Any, folder: Path, bad: str) -> None:
    broken_files(folder)
    result = camlens("explain", "one.png", bad, "two.jpg", *MODEL, "--output", "maps")
    assert result.exit_code == 1
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("error:")]
    assert bad in line
    assert names(folder / "maps") == {"one.png", "one.npy", "two.png", "two.npy", "manifest.json"}
    failed = json.loads((folder / "maps" / "manifest.json").read_text())["failed"]
    assert [failure["image"] for failure in failed] == [bad]


def test_unreadable_files_and_pictures_of_extreme_proportions_are_skipped(
    camlens: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("RGB", (1, 60_000)).save(folder / "long.png")
    (folder / "locked.png").write_bytes((folder / "one.png").read_bytes())
    really = Path.open

    def open_unless_locked(path: Path, *args: Any, **more: Any) -> Any:
        if path.name == "locked.png":
            raise PermissionError(13, "Permission denied", str(path))
        return really(path, *args, **more)

    monkeypatch.setattr(Path, "open", open_unless_locked)
    result = camlens("explain", "one.png", "locked.png", "long.png", *MODEL, "--output", "maps")
    assert result.exit_code == 1
    manifest = json.loads((folder / "maps" / "manifest.json").read_text())
    assert [failure["image"] for failure in manifest["failed"]] == ["locked.png"]
    result = camlens("explain", "long.png", "one.png", "--model", "camlens_tiny:adopting", "--output", "adopted")
    assert result.exit_code == 1
    manifest = json.loads((folder / "adopted" / "manifest.json").read_text())
    assert [failure["image"] for failure in manifest["failed"]] == ["long.png"]
    assert [image["image"] for image in manifest["images"]] == ["one.png"]


def test_nothing_is_written_if_no_image_is_readable(camlens: Any, folder: Path) -> None:
    before = names(folder) | set(broken_files(folder)) - {"missing.png"}
    result = camlens("explain", "text.png", "missing.png", *MODEL, "--output", "maps", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["output"] is None
    assert len(result.stderr.splitlines()) == 2
    assert names(folder) == before


def test_a_second_run_adds_to_what_the_first_has_written(camlens: Any, folder: Path) -> None:
    assert camlens("explain", "one.png", *MODEL, "--output", "maps").exit_code == 0
    first = json.loads((folder / "maps" / "manifest.json").read_text())
    assert camlens("explain", "two.jpg", *MODEL, "--method", "layercam", "--output", "maps").exit_code == 0
    assert names(folder / "maps") == {"one.png", "one.npy", "two.png", "two.npy", "manifest.json"}
    manifest = json.loads((folder / "maps" / "manifest.json").read_text())
    assert manifest["method"] == "layercam"
    assert [entry["image"] for entry in manifest["images"]] == ["two.jpg"]
    assert [(run["method"], run["images"]) for run in manifest["earlier"]] == [("gradcam", first["images"])]
    assert set(manifest["files"]) == names(folder / "maps")


def test_an_image_that_is_explained_again_replaces_its_earlier_result(camlens: Any, folder: Path) -> None:
    camlens("explain", "one.png", "two.jpg", *MODEL, "--output", "maps")
    before = {name: (folder / "maps" / name).read_bytes() for name in ("one.png", "two.png")}
    assert camlens("explain", "two.jpg", *MODEL, "--class", "dog", "--output", "maps").exit_code == 0
    assert names(folder / "maps") == {"one.png", "one.npy", "two.png", "two.npy", "manifest.json"}
    assert (folder / "maps" / "one.png").read_bytes() == before["one.png"]
    assert (folder / "maps" / "two.png").read_bytes() != before["two.png"]
    manifest = json.loads((folder / "maps" / "manifest.json").read_text())
    assert [entry["image"] for run in (manifest, *manifest["earlier"]) for entry in run["images"]] == [
        "two.jpg",
        "one.png",
    ]


def test_explaining_an_image_with_another_method_removes_its_earlier_files(camlens: Any, folder: Path) -> None:
    lime = ("--method", "lime", "--segments", "4", "--samples", "8")
    assert camlens("explain", "one.png", *MODEL, *lime, "--output", "maps").exit_code == 0
    assert "one-segments.npy" in names(folder / "maps")
    assert camlens("explain", "one.png", *MODEL, "--output", "maps").exit_code == 0
    assert names(folder / "maps") == {"one.png", "one.npy", "manifest.json"}
    assert camlens("explain", "one.png", *MODEL, *lime, "--output", "maps").exit_code == 0


def test_force_begins_with_an_empty_result(camlens: Any, folder: Path) -> None:
    camlens("explain", "one.png", *MODEL, "--output", "maps")
    (folder / "maps" / "thesis.txt").write_text("years of work")
    assert camlens("explain", "two.jpg", *MODEL, "--output", "maps", "--force").exit_code == 0
    assert names(folder / "maps") == {"two.png", "two.npy", "manifest.json", "thesis.txt"}
    assert json.loads((folder / "maps" / "manifest.json").read_text())["earlier"] == []


def test_foreign_files_are_never_touched(camlens: Any, folder: Path) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert camlens("explain", "one.png", *MODEL, "--output", ".").exit_code == 0
    assert names(folder) == {"one.png", "two.jpg", "one-2.png", "one-2.npy", "manifest.json"}
    assert {name: (folder / name).read_bytes() for name in before} == before


def test_a_foreign_manifest_is_refused(refused: Any, folder: Path) -> None:
    (folder / "manifest.json").write_text('{"name": "somebody else\'s"}')
    error = refused("explain", "one.png", *MODEL, "--output", ".", "--force")
    assert (error.code, error.facts["files"]) == ("output.foreign-file", ["manifest.json"])
    assert names(folder) == {"one.png", "two.jpg", "manifest.json"}


def test_images_with_the_same_name_get_separate_files(camlens: Any, folder: Path) -> None:
    (folder / "more").mkdir()
    (folder / "more" / "one.png").write_bytes((folder / "one.png").read_bytes())
    camlens("explain", "one.png", "more/one.png", *MODEL, "--output", "maps")
    assert names(folder / "maps") == {"one.png", "one.npy", "one-2.png", "one-2.npy", "manifest.json"}


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_run_writes_nothing(
    camlens: Any, folder: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    before = names(folder)
    drawn: list[object] = []

    def break_off(image: object, look: object) -> Image.Image:
        drawn.append(image)
        if len(drawn) == 2:
            assert len(names(folder)) == len(before) + 1  # the unfinished directory is there now
            raise error
        return Image.new("RGB", (4, 4))

    monkeypatch.setattr("camlens.cli.explaining.ExplainedImage.panel", break_off)
    result = camlens("explain", "one.png", "two.jpg", *MODEL, "--output", "maps")
    assert len(drawn) == 2
    assert result.exit_code == (130 if error is KeyboardInterrupt else 1)
    assert names(folder) == before


def test_an_interrupted_replacement_keeps_the_earlier_result(
    camlens: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    camlens("explain", "one.png", *MODEL, "--output", "maps")
    before = {path.name: path.read_bytes() for path in (folder / "maps").iterdir()}

    def interrupt(*_ignored: object, **_more: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("camlens.cli.gallery.write_manifest", interrupt)
    result = camlens("explain", "two.jpg", *MODEL, "--output", "maps", "--force")
    assert result.exit_code == 130
    assert {path.name: path.read_bytes() for path in (folder / "maps").iterdir()} == before
    assert names(folder) == {"one.png", "two.jpg", "maps"}


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--class", "bird"), "target.unknown"),
        (("--class", "99"), "target.out-of-range"),
        (("--layer", "nope"), "layer.unknown"),
        (("--layer", "6"), "layer.no-grid"),
        (("--method", "nope"), "method.unknown"),
        (("--weights", "nope.safetensors"), "model.weights-missing"),
    ],
)
def test_a_wrong_value_is_one_line_and_exit_code_2(refused: Any, words: tuple[str, ...], code: str) -> None:
    assert refused("explain", "one.png", *MODEL, *words).code == code


def test_a_warning_about_a_map_names_the_file(camlens: Any, folder: Path) -> None:
    Image.new("RGB", (40, 40), (10, 10, 10)).save(folder / "black.png")
    result = camlens("explain", "one.png", "black.png", *MODEL, "--method", "gradcam", "--layer", "3", "--json")
    images = json.loads(result.stdout)["images"]
    told = [line for line in result.stderr.splitlines() if line.startswith("warning:")]
    assert len(told) == sum(len(image["warnings"]) for image in images)
    assert all(line.split(": ")[1] in ("one.png", "black.png") for line in told)


LIME = ("--method", "lime", "--segments", "6", "--samples", "40", "--features", "3")


@pytest.mark.filterwarnings("ignore::camlens.core.errors.EvidenceWarning")
def test_lime_writes_its_map_its_segments_and_its_fidelity(camlens: Any, folder: Path) -> None:
    result = camlens("explain", "one.png", *MODEL, *LIME, "--seed", "4", "--output", "maps")
    assert result.exit_code == 0, result.stderr
    assert names(folder / "maps") == {"one.png", "one.npy", "one-segments.npy", "manifest.json"}
    manifest = json.loads((folder / "maps" / "manifest.json").read_text())
    (image,) = manifest["images"]
    loaded = load_model("camlens_tiny:classifier")
    inputs = loaded.preprocess(decode_image(folder / "one.png"))[None]
    options = {"segments": 6, "samples": 40, "features": 3}
    expected = explain(loaded.model, inputs, method="lime", options=options, seed=4)
    assert manifest["provenance"]["options"] == options
    assert manifest["layers"] == ["input"]
    assert image["arrays"] == {"segments": "one-segments.npy"}
    assert image["details"]["weights"] == expected.details["weights"][0].tolist()
    assert image["details"]["r_squared"] == expected.details["r_squared"][0].tolist()
    segments = np.load(folder / "maps" / "one-segments.npy")
    assert np.array_equal(segments, expected.details["segments"][0].numpy())
    written = torch.from_numpy(np.load(folder / "maps" / "one.npy"))
    torch.testing.assert_close(written, expected.maps["input"][0, 0])
    assert f"R squared {image['details']['r_squared'][0]:.2f}" in result.stdout


@pytest.mark.filterwarnings("ignore::camlens.core.errors.EvidenceWarning")
@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("occlusion", ["window=(8, 16)", "stride=8", "baseline=0.5"]),
        ("integratedgradients", ["steps=4"]),
        ("smoothgrad", ["noise=0.2"]),
        ("lime", ["segmentation=quickshift", "baseline=mean"]),
    ],
)
def test_any_option_of_a_method_can_be_passed(camlens: Any, folder: Path, method: str, options: list[str]) -> None:
    pairs = [word for pair in options for word in ("--option", pair)]
    few = ("--samples", "8") if method in ("lime", "smoothgrad") else ()
    result = camlens("explain", "one.png", *MODEL, "--method", method, *few, *pairs, "--output", "maps", "--json")
    assert result.exit_code == 0, result.stderr
    given = json.loads(result.stdout)["provenance"]["options"]
    assert {f"{name}={value}" for name, value in given.items()} - {"samples=8"} == {
        pair.replace("(8, 16)", "[8, 16]") for pair in options
    }


@pytest.mark.parametrize(
    ("words", "code", "facts"),
    [
        (["--method", "lime", "--option", "window=3"], "option.unknown", {}),
        (["--method", "gradcam", "--segments", "5"], "option.unknown", {}),
        (["--method", "lime", "--samples", "1"], "argument.invalid", {"name": "samples"}),
        (
            ["--method", "lime", "--segments", "5", "--features", "6"],
            "argument.invalid",
            {"name": "features", "value": 6},
        ),
    ],
)
def test_wrong_options_are_refused_and_nothing_is_written(
    refused: Any, folder: Path, words: list[str], code: str, facts: dict[str, Any]
) -> None:
    error = refused("explain", "one.png", *MODEL, *words, "--output", "maps")
    assert error.code == code
    assert error.facts.items() >= facts.items()
    assert not (folder / "maps").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--method", "lime", "--option", "window"], "NAME=VALUE"),
        (["--method", "lime", "--samples", "5", "--option", "samples=6"], "samples"),
        (["--method", "lime", "--segments", "1"], "--segments"),
    ],
)
def test_misused_options_are_refused_with_the_usage(camlens: Any, folder: Path, words: list[str], message: str) -> None:
    result = camlens("explain", "one.png", *MODEL, *words, "--output", "maps")
    assert result.exit_code == 2
    assert "Usage:" in result.stderr
    assert message in result.stderr
    assert not (folder / "maps").exists()


@pytest.mark.parametrize(
    ("method", "option"),
    [("rise", "masks=0"), ("rise", "cells=5000"), ("occlusion", "window=0")],
)
def test_a_wrong_option_is_an_error_of_the_command_and_not_of_each_image(
    refused: Any, folder: Path, method: str, option: str
) -> None:
    words = ("--method", method, "--option", option, "--output", "maps")
    error = refused("explain", "missing.png", "one.png", "two.jpg", *MODEL, *words)
    assert (error.code, error.facts["name"]) == ("argument.invalid", option.partition("=")[0])
    assert not (folder / "maps").exists()


def test_a_check_is_printed_and_is_in_the_manifest(camlens: Any, folder: Path) -> None:
    result = camlens("explain", "one.png", *MODEL, "--check", "--seed", "3", "--output", "maps")
    assert result.exit_code == 0, result.stderr
    (image,) = json.loads((folder / "maps" / "manifest.json").read_text())["images"]
    expected = explain(load_model("camlens_tiny:classifier"), decode_image(folder / "one.png")).check(
        load_model("camlens_tiny:classifier"), decode_image(folder / "one.png"), seed=3
    )
    assert image["check"] == expected.to_dict()
    assert image["check"]["sentence"] in result.stdout
    assert "check" not in camlens("explain", "one.png", *MODEL, "--output", "plain", "--json").stdout
