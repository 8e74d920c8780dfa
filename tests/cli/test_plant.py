"""Tests of `camlens plant`."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def pets(folder: Path) -> Path:
    """Ten cats, as JPEG and PNG files with the same stems, and ten dogs; all are gray."""
    for index in range(20):
        directory = folder / "pets" / ("cat", "dog")[index >= 10] / str(index % 2)
        directory.mkdir(parents=True, exist_ok=True)
        suffix = "jpg" if index % 2 else "png"
        Image.new("RGB", (50, 40), (100, 100, 100)).save(directory / f"{index // 2}.{suffix}")
    return folder / "pets"


def _listed(directory: Path) -> list[dict[str, str]]:
    with (directory / "planted.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_plant_writes_a_copy_and_a_list_of_the_planted_images(camlens: Any, pets: Path) -> None:
    result = camlens("plant", pets, "--class", "cat", "--share", 0.8, "--elsewhere", 0.2, "--output", "copy", "--json")
    assert result.exit_code == 0, result.stderr
    facts = {"output": "copy", "images": 20, "planted": 10, "class": "cat", "artefact": "patch", "failed": []}
    assert json.loads(result.stdout) == facts
    rows = _listed(Path("copy"))
    assert {row["image"] for row in rows} == {str(path.relative_to("copy")) for path in Path("copy").rglob("*.png")}
    assert [sum(int(row["planted"]) for row in rows if row["class"] == name) for name in ("cat", "dog")] == [8, 2]
    for row in rows:
        assert row["image"].startswith(f"{row['class']}/")
        changed = np.array(Image.open(Path("copy", row["image"]))) != 100
        if row["planted"] == "0":
            assert not changed.any()
            assert row["left"] == ""
        else:
            left, top, right, bottom = (int(row[edge]) for edge in ("left", "top", "right", "bottom"))
            assert (right, bottom) == (50, 40)
            assert changed[top:bottom, left:right].any(-1).all()
            assert changed.any(-1).sum() == (right - left) * (bottom - top)


def test_plant_is_seeded(camlens: Any, pets: Path) -> None:
    for seed, name in ((1, "first"), (1, "second"), (2, "third")):
        words = ("--class", "cat", "--artefact", "glyph", "--place", "wandering", "--share", "0.5")
        assert camlens("plant", pets, *words, "--seed", seed, "--output", name).exit_code == 0
    first, second, third = (
        {path.relative_to(name): path.read_bytes() for path in sorted(Path(name).rglob("*.*"))}
        for name in ("first", "second", "third")
    )
    assert first == second
    assert first.keys() == third.keys()
    assert first != third


def test_planted_global_artefacts_have_no_box(camlens: Any, pets: Path) -> None:
    result = camlens("plant", pets, "--class", "1", "--artefact", "brightness", "--output", "copy")
    assert result.exit_code == 0, result.stderr
    rows = _listed(Path("copy"))
    assert {row["class"] for row in rows if row["planted"] == "1"} == {"dog"}
    assert {row["left"] for row in rows} == {""}


def test_plant_takes_demo_images(camlens: Any) -> None:
    from camlens.data.sources import open_source

    result = camlens("plant", "demo:gallery", "--class", "tiger cat", "--share", 1, "--output", "copy", "--json")
    assert result.exit_code == 0, result.stderr
    labeled = [sample for sample in open_source("demo:gallery") if sample.label is not None]
    facts = json.loads(result.stdout)
    assert facts["images"] == len(labeled)
    assert facts["planted"] == sum(sample.class_name == facts["class"] for sample in labeled) > 0


def test_plant_reports_unreadable_images_and_copies_the_others(camlens: Any, pets: Path) -> None:
    (pets / "cat" / "0" / "broken.png").write_bytes(b"nothing")
    result = camlens("plant", pets, "--class", "cat", "--output", "copy")
    assert result.exit_code == 1
    assert "broken.png" in result.stderr
    assert len(_listed(Path("copy"))) == 20


@pytest.mark.parametrize(
    ("words", "code", "facts"),
    [
        (("--class", "catt"), "target.unknown", {"suggestions": ["cat"]}),
        (("--class", "2"), "target.out-of-range", {"classes": 2}),
        (("--class", "cat", "--artefact", "pach"), "argument.invalid", {"suggestion": "patch"}),
        (("--class", "cat", "--share", "1.5"), "argument.invalid", {"name": "share"}),
        (("--class", "cat", "--elsewhere", "-1"), "argument.invalid", {"name": "elsewhere"}),
        (("--class", "cat", "--strength", "0"), "argument.invalid", {"name": "strength"}),
        (("--class", "cat", "--artefact", "blur", "--place", "left"), "argument.invalid", {"name": "place"}),
        (("--class", "cat", "--output", "pets"), "output.exists", {"path": "pets"}),
        (("--class", "cat", "--output", "one.png"), "output.exists", {"path": "one.png"}),
    ],
)
def test_plant_refuses_before_it_writes(
    refused: Any, pets: Path, words: tuple[str, ...], code: str, facts: dict[str, Any]
) -> None:
    before = sorted(pets.parent.rglob("*"))
    error = refused("plant", pets, *words)
    assert error.code == code
    assert error.facts.items() >= facts.items()
    assert sorted(pets.parent.rglob("*")) == before


def test_plant_refuses_data_without_classes(refused: Any, folder: Path) -> None:
    assert refused("plant", "one.png", "--class", "cat").code == "data.no-classes"


def test_plant_writes_into_an_empty_directory(camlens: Any, pets: Path) -> None:
    Path("empty").mkdir()
    assert camlens("plant", pets, "--class", "cat", "--output", "empty").exit_code == 0
    assert len(_listed(Path("empty"))) == 20
