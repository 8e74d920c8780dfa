"""Tests of sources: their samples, order and labels, and errors."""

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from camlens.core.errors import DataError, MissingExtraError
from camlens.data.sources import (
    Source,
    demo,
    flat_folder,
    folder_per_class,
    hugging_face,
    list_of_files,
    manifest,
    open_source,
)
from tests.refusals import refused


def picture(path: Path, value: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (6, 4), (value, value, value)).save(path)
    return path


def summary(source: Source) -> list[tuple[str, int | None, str | None]]:
    return [(sample.id, sample.label, sample.class_name) for sample in source]


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    for number, name in enumerate(["dog/b.png", "dog/a.JPG", "cat/deep/c.png", "cat/2.webp", "newt/n.tiff"]):
        picture(tmp_path / "animals" / name, number)
    (tmp_path / "animals" / "empty").mkdir()
    (tmp_path / "animals" / "dog" / "notes.txt").write_text("not an image, and not called one")
    picture(tmp_path / "animals" / ".hidden" / "h.png")
    picture(tmp_path / "animals" / "dog" / "._a.png")
    return tmp_path / "animals"


def test_folder_per_class_is_sorted_and_skips_hidden_and_other_files(classes: Path) -> None:
    for source in (folder_per_class(classes), open_source(classes), open_source(str(classes))):
        assert source.class_names == ["cat", "dog", "newt"]
        assert summary(source) == [
            ("cat/2.webp", 0, "cat"),
            ("cat/deep/c.png", 0, "cat"),
            ("dog/a.JPG", 1, "dog"),
            ("dog/b.png", 1, "dog"),
            ("newt/n.tiff", 2, "newt"),
        ]
    sample = source[1]
    assert sample.path == classes / "cat/deep/c.png"
    np.testing.assert_array_equal(sample.load(), np.full((4, 6, 3), 2, np.uint8))
    assert sample.load_mask() is None
    assert sample.box is None


def test_a_source_is_a_sequence(classes: Path) -> None:
    source = open_source(classes)
    assert len(source) == 5
    assert source[-1].id == "newt/n.tiff"
    for index in (5, -6):
        with pytest.raises(IndexError):
            source[index]


def test_flat_folder_has_no_labels(tmp_path: Path) -> None:
    for name in ("b.png", "a.png"):
        picture(tmp_path / name)
    assert summary(open_source(tmp_path)) == [("a.png", None, None), ("b.png", None, None)]
    assert open_source(tmp_path).class_names == []
    picture(tmp_path / "below" / "c.png")
    assert [sample.id for sample in flat_folder(tmp_path)] == ["a.png", "b.png", "below/c.png"]


def test_a_folder_that_is_flat_and_per_class_is_refused(classes: Path) -> None:
    picture(classes / "stray.png")
    with refused("data.mixed", DataError, images=["stray.png"]):
        open_source(classes)
    assert len(folder_per_class(classes)) == 5


def test_splits_are_not_taken_for_classes(tmp_path: Path) -> None:
    for name in ("train/cat/a.png", "train/dog/b.png", "val/cat/c.png"):
        picture(tmp_path / name)
    with refused("data.splits", DataError, splits=["train", "val"]):
        open_source(tmp_path)
    assert open_source(tmp_path / "train").class_names == ["cat", "dog"]


def test_an_unreadable_image_does_not_stop_the_others(classes: Path) -> None:
    (classes / "cat" / "2.webp").write_text("this is text")
    (classes / "dog" / "a.JPG").unlink()
    (classes / "dog" / "a.JPG").mkdir()
    loaded, failed = [], []
    for sample in folder_per_class(classes):
        try:
            loaded.append(int(sample.load()[0, 0, 0]))
        except DataError as error:
            failed.append((error.code, error.facts["image"]))
    assert loaded == [2, 0, 4]
    assert failed == [("image.format", str(classes / "cat" / "2.webp"))]


def test_links_are_followed_without_cycles(classes: Path, tmp_path: Path) -> None:
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "pets").symlink_to(classes / "dog")
    (classes / "dog" / "around").symlink_to(tmp_path / "linked")
    assert [sample.id for sample in folder_per_class(tmp_path / "linked")] == ["pets/a.JPG", "pets/b.png"]


def test_pixel_cap_reaches_the_decoder(classes: Path) -> None:
    with refused("image.too-many-pixels", DataError, width=6, height=4, allowed=20):
        open_source(classes, max_pixels=20)[0].load()


def test_files_keep_their_order_and_have_distinct_ids(tmp_path: Path) -> None:
    first, second = picture(tmp_path / "b.png", 1), picture(tmp_path / "a.png", 2)
    source = open_source([first, str(second), first, tmp_path / "absent.png"])
    ids = [sample.id for sample in source]
    assert ids == [
        first.as_posix(),
        second.as_posix(),
        f"{first.as_posix()}#3",
        (tmp_path / "absent.png").as_posix(),
    ]
    assert [int(source[index].load()[0, 0, 0]) for index in range(3)] == [1, 2, 1]
    with refused("image.absent", DataError, image=str(tmp_path / "absent.png")):
        source[3].load()
    assert len(open_source(first)) == 1
    with refused("data.no-images", DataError):
        list_of_files([])


def test_missing_and_empty_directories_are_refused(classes: Path, tmp_path: Path) -> None:
    with refused("data.absent", DataError, suggestions=[str(tmp_path / "animals")]):
        open_source(tmp_path / "animal")
    with refused("data.no-images", DataError, path=str(classes / "empty")):
        open_source(classes / "empty")
    with refused("data.not-a-directory", DataError, path=str(classes / "dog" / "b.png")):
        folder_per_class(classes / "dog" / "b.png")
    with refused("data.no-classes", DataError, path=str(classes / "newt")):
        folder_per_class(classes / "newt")


def table(directory: Path, text: str, name: str = "list.csv") -> Path:
    path = directory / name
    path.write_text(text, encoding="utf-8")
    return path


def test_manifest_with_names_boxes_and_masks(tmp_path: Path) -> None:
    picture(tmp_path / "images/a.png", 1)
    picture(tmp_path / "images/b, c.png", 2)
    drawn = np.zeros((4, 6), np.uint8)
    drawn[1:3, 2:5] = 1
    Image.fromarray(drawn).save(tmp_path / "mask.png")
    text = '\ufeffLabel, path ,box,mask\nzebra,images/a.png,2 1 5 3,mask.png\nant,"images/b, c.png","0,0,4.4,4",\n,images/a.png,,\n'  # noqa: E501
    source = open_source(table(tmp_path, text))
    assert source.class_names == ["ant", "zebra"]
    assert summary(source) == [
        ("images/a.png", 1, "zebra"),
        ("images/b, c.png", 0, "ant"),
        ("images/a.png#3", None, None),
    ]
    assert [sample.box for sample in source] == [(2, 1, 5, 3), (0, 0, 4, 4), None]
    mask = source[0].load_mask()
    assert mask is not None
    np.testing.assert_array_equal(mask, drawn == 1)
    assert source[1].load_mask() is None
    assert int(source[1].load()[0, 0, 0]) == 2


def test_manifest_labels_that_are_numbers_are_indices(tmp_path: Path) -> None:
    source = manifest(table(tmp_path, "path\tlabel\na.png\t2\nb.png\t0\n", "list.tsv"))
    assert source.class_names == ["class 0", "class 1", "class 2"]
    assert summary(source) == [("a.png", 2, "class 2"), ("b.png", 0, "class 0")]


def test_manifest_without_labels_has_none(tmp_path: Path) -> None:
    source = manifest(table(tmp_path, "path\na.png\n"))
    assert source.class_names == []
    assert source[0].label is None


def test_manifest_may_not_leave_its_root(tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    picture(tmp_path / "outside.png", 7)
    inner.mkdir()
    for escape in ("../outside.png", str(tmp_path / "outside.png"), "a/../../outside.png"):
        with refused("data.outside", DataError, row=f"{inner / 'list.csv'}, line 2", path=escape):
            manifest(table(inner, f"path\n{escape}\n"))
    with refused("data.outside", DataError, path="../outside.png"):
        manifest(table(inner, "path,mask\na.png,../outside.png\n"))
    source = manifest(table(inner, "path\noutside.png\n"), root=tmp_path)
    assert int(source[0].load()[0, 0, 0]) == 7


@pytest.mark.parametrize("given", ["list.csv", "./list.csv", "../inner/list.csv", "../inner/../inner/list.csv"])
@pytest.mark.parametrize("escape", ["../secret.png", "../../secret.png", "a/../../secret.png", ".."])
def test_a_relative_manifest_may_not_leave_its_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str, escape: str
) -> None:
    picture(tmp_path / "secret.png", 7)
    picture(tmp_path / "inner" / "a.png", 1)
    (tmp_path / "inner" / "here").symlink_to(".")
    monkeypatch.chdir(tmp_path / "inner")
    for text in (f"path\n{escape}\n", f"path,mask\na.png,{escape}\n"):
        table(tmp_path / "inner", text)
        with refused("data.outside", DataError, row=f"{given.removeprefix('./')}, line 2", path=escape):
            open_source(given)
        with refused("data.outside", DataError, path=escape):
            manifest(given, root="here")
    table(tmp_path / "inner", f"path\na.png\nhere/a.png\nhere/../a.png\n{tmp_path}/inner/a.png\n")
    assert [int(sample.load()[0, 0, 0]) for sample in open_source(given)] == [1, 1, 1, 1]
    table(tmp_path / "inner", "path\n../../secret.png\n")
    with refused("data.outside", DataError, path="../../secret.png"):
        manifest(given, root="..")


@pytest.mark.parametrize(
    ("text", "code", "facts"),
    [
        ("", "manifest.no-path-column", {"columns": []}),
        ("file,label\na.png,1\n", "manifest.no-path-column", {"columns": ["file", "label"]}),
        ("path,label\n", "data.no-images", {}),
        ("path,label\na.png,x\n,y\n", "manifest.row", {"line": 3, "image": ""}),
        ("path,box\na.png,1 2 3\n", "manifest.row", {"line": 2, "box": "1 2 3"}),
        ("path,box\na.png,1 2 nan 4\n", "manifest.row", {"line": 2, "box": "1 2 nan 4"}),
        ("path,box\na.png,5 2 3 4\n", "manifest.row", {"line": 2, "box": "5 2 3 4"}),
        ("path,label\na.png,999999999999\n", "manifest.row", {"line": 2, "label": "999999999999"}),
    ],
)
def test_an_invalid_manifest_is_refused_with_file_and_line(
    tmp_path: Path, text: str, code: str, facts: dict[str, object]
) -> None:
    file = table(tmp_path, text)
    place = {"row": f"{file}, line {facts.pop('line')}"} if "line" in facts else {"path": str(file)}
    with refused(code, DataError, **place, **facts):
        manifest(file)


def test_a_binary_manifest_is_refused(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_bytes(b"\xff\xfe\x00\x01path")
    with refused("manifest.unreadable", DataError, path=str(tmp_path / "list.csv")):
        open_source(tmp_path / "list.csv")
    with refused("manifest.unreadable", DataError, path=str(tmp_path / "absent.csv")):
        manifest(tmp_path / "absent.csv")


@pytest.mark.parametrize("name", ["photos", "watermark", "watermark-moved"])
def test_the_demo_has_labels_and_masks(name: str) -> None:
    from camlens.data.demo import WATERMARK_USES, DemoPhotos

    use = dict(zip(["photos", "watermark", "watermark-moved"], WATERMARK_USES, strict=True))[name]
    source, photos = open_source(f"demo:{name}", seed=3), DemoPhotos(seed=3, watermark=use)
    assert len(source) == len(photos)
    for index in (0, 7, 18):
        sample, photo = source[index], photos[index]
        assert (sample.id, sample.label) == (photo.name, photo.label)
        assert sample.class_name == source.class_names[photo.label]
        np.testing.assert_array_equal(sample.load(), photo.image)
        mask = sample.load_mask()
        assert mask is not None
        np.testing.assert_array_equal(mask, photo.mask)


def test_an_unknown_demo_is_refused_with_the_known_ones() -> None:
    with pytest.raises(DataError) as caught:
        demo("foto")
    assert caught.value.code == "data.unknown-demo"
    assert caught.value.facts["choices"] == ["demo:gallery", "demo:photos", "demo:watermark", "demo:watermark-moved"]


def test_a_saved_dataset_is_decoded_safely(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    images = [Image.new("RGB", (5, 3), (value, 0, 0)) for value in (10, 20, 30)]
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])})
    train = datasets.Dataset.from_dict({"image": images, "label": [1, 0, -1]}, features=features)
    train.save_to_disk(tmp_path / "one")
    source = open_source(tmp_path / "one")
    assert source.class_names == ["cat", "dog"]
    assert summary(source) == [("000000", 1, "dog"), ("000001", 0, "cat"), ("000002", None, None)]
    assert [int(sample.load()[0, 0, 0]) for sample in source] == [10, 20, 30]
    with refused("image.too-many-pixels", DataError, width=5, height=3, allowed=10):
        open_source(tmp_path / "one", max_pixels=10)[0].load()
    splits = datasets.DatasetDict({"train": train, "test": train.select([2])})
    splits.save_to_disk(tmp_path / "splits")
    assert len(open_source(tmp_path / "splits")) == 1
    assert len(hugging_face(tmp_path / "splits", split="train")) == 3
    with refused("data.no-split", DataError, split="dev", splits=["train", "test"]):
        hugging_face(tmp_path / "splits", split="dev")
    datasets.Dataset.from_dict({"text": ["a"]}).save_to_disk(tmp_path / "text")
    with refused("data.no-image-column", DataError, columns=["text"]):
        open_source(tmp_path / "text")


def test_a_saved_dataset_without_the_library_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    (tmp_path / "state.json").touch()
    with refused("extra.missing", MissingExtraError, package="datasets", extra="hf"):
        open_source(tmp_path)
