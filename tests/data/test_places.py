"""Tests of remote images and of Parquet manifests."""

import io
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from camlens.core.errors import DataError
from camlens.data.places import RemotePlace, place_of
from camlens.data.sources import Source, folder_per_class, manifest, open_source
from tests.refusals import refused


def encoded(value: int) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (6, 4), (value, value, value)).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def memory() -> Iterator[Any]:
    system = fsspec.filesystem("memory")
    yield system
    system.rm("/", recursive=True)


@pytest.fixture
def pets(memory: Any) -> str:
    names = ["dog/b.png", "dog/a.PNG", "cat/deep/c.png", "cat/._c.png", ".hidden/h.png", "dog/notes.txt"]
    for number, name in enumerate(names):
        memory.pipe(f"/pets/{name}", encoded(number))
    return "memory://pets"


def seen(source: Source) -> list[tuple[str, int | None, int]]:
    return [(sample.id, sample.label, int(sample.load()[0, 0, 0])) for sample in source]


def test_a_remote_folder_equals_a_local_one(pets: str, tmp_path: Path) -> None:
    for name, value in {"dog/b.png": 0, "dog/a.PNG": 1, "cat/deep/c.png": 2}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(encoded(value))
    wanted = [("cat/deep/c.png", 0, 2), ("dog/a.PNG", 1, 1), ("dog/b.png", 1, 0)]
    for source in (
        open_source(pets),
        open_source(f"{pets}/"),
        open_source(f"file://{tmp_path}"),
        folder_per_class(pets),
    ):
        assert source.class_names == ["cat", "dog"]
        assert seen(source) == wanted
    remote = open_source(pets)[0]
    assert (remote.path, remote.url) == (None, "memory://pets/cat/deep/c.png")
    assert open_source(f"file://{tmp_path}")[0].path == tmp_path / "cat/deep/c.png"


def test_a_stamp_changes_with_the_remote_image(pets: str, memory: Any) -> None:
    before = open_source(pets)[0].stamp
    assert before is not None
    assert open_source(pets)[0].stamp == before
    memory.pipe("/pets/cat/deep/c.png", encoded(2) + b"more")
    assert open_source(pets)[0].stamp != before


def test_a_remote_image_and_a_remote_flat_folder_are_opened(memory: Any) -> None:
    memory.pipe("/flat/a.png", encoded(1))
    memory.pipe("/flat/b.png", encoded(2))
    assert seen(open_source("memory://flat")) == [("a.png", None, 1), ("b.png", None, 2)]
    assert seen(open_source("memory://flat/b.png")) == [("b.png", None, 2)]


def test_remote_images_are_decoded_as_safely_as_files(pets: str, memory: Any) -> None:
    memory.pipe("/pets/dog/b.png", b"GIF89a and so on")
    with refused("image.format", DataError, image="memory://pets/dog/b.png", format="a GIF"):
        open_source(pets)[2].load()
    with refused("image.too-many-pixels", DataError, width=6, height=4, allowed=20):
        open_source(pets, max_pixels=20)[0].load()
    memory.rm("/pets/cat/deep/c.png")
    with refused("data.absent", DataError, path="cat/deep/c.png"):
        RemotePlace(pets).sample("cat/deep/c.png", 100).load()
    with refused("data.too-many-bytes", DataError, path="dog/a.PNG", allowed=9):
        RemotePlace(pets).read("dog/a.PNG", max_bytes=9)


def test_a_missing_url_is_refused(pets: str) -> None:
    with refused("data.absent", DataError, path="memory://nothing"):
        open_source("memory://nothing")
    with refused("data.unreadable", DataError, path="nosuchscheme://here"):
        open_source("nosuchscheme://here")


def test_remote_samples_can_be_pickled(pets: str) -> None:
    source = pickle.loads(pickle.dumps(open_source(pets)))
    assert seen(source) == seen(open_source(pets))


def test_a_parquet_manifest_equals_a_csv_manifest(tmp_path: Path) -> None:
    for name, value in {"a.png": 10, "b.png": 20, "mask.png": 255}.items():
        (tmp_path / name).write_bytes(encoded(value))
    lines = ["path,label,box,mask", "a.png,dog,1 0 5 3,", "b.png,cat,,mask.png", "a.png,,,"]
    (tmp_path / "list.csv").write_text("\n".join(lines))
    table = pa.table(
        {
            "Path": ["a.png", "b.png", "a.png"],
            "label": ["dog", "cat", None],
            "box": pa.array([[1.0, 0.0, 5.0, 3.0], None, None], pa.list_(pa.float32())),
            "mask": [None, "mask.png", None],
            "other": [1, 2, 3],
        }
    )
    pq.write_table(table, tmp_path / "list.parquet")
    written, listed = open_source(tmp_path / "list.csv"), open_source(tmp_path / "list.parquet")
    assert written.class_names == listed.class_names == ["cat", "dog"]
    assert seen(written) == seen(listed) == [("a.png", 1, 10), ("b.png", 0, 20), ("a.png#3", None, 10)]
    assert [sample.box for sample in listed] == [(1, 0, 5, 3), None, None]
    mask = listed[1].load_mask()
    assert mask is not None
    assert mask.all()


def test_integers_in_parquet_are_indices_even_if_some_are_missing(tmp_path: Path) -> None:
    for column in (pa.array([3, None, 0]), pa.array([3.0, np.nan, 0.0])):
        pq.write_table(pa.table({"path": ["a.png", "b.png", "c.png"], "label": column}), tmp_path / "list.pq")
        source = open_source(tmp_path / "list.pq")
        assert [sample.label for sample in source] == [3, None, 0]
        assert source.class_names == ["class 0", "class 1", "class 2", "class 3"]


def test_an_invalid_parquet_manifest_is_refused(tmp_path: Path) -> None:
    (tmp_path / "list.parquet").write_bytes(b"PAR1 no more")
    with refused("manifest.unreadable", DataError, path=str(tmp_path / "list.parquet")):
        open_source(tmp_path / "list.parquet")
    pq.write_table(pa.table({"file": ["a.png"]}), tmp_path / "list.parquet")
    with refused("manifest.no-path-column", DataError, columns=["file"]):
        open_source(tmp_path / "list.parquet")


def test_a_remote_manifest_lists_only_images_in_its_directory(memory: Any, pets: str) -> None:
    memory.pipe("/pets/list.csv", b"path,label\ndog/b.png,1\nmemory://pets/dog/a.PNG,0\n")
    assert seen(open_source("memory://pets/list.csv")) == [("dog/b.png", 1, 0), ("memory://pets/dog/a.PNG", 0, 1)]
    for name in ("../other/x.png", "memory://other/x.png", "file:///etc/passwd", "/etc/passwd", "dog/../../x.png"):
        memory.pipe("/pets/list.csv", f"path\n{name}\n".encode())
        with refused("data.outside", DataError, path=name, root="memory://pets"):
            open_source("memory://pets/list.csv")


def test_a_local_manifest_may_list_remote_images_with_root(pets: str, tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("path\ndog/b.png\n")
    assert seen(manifest(tmp_path / "list.csv", root=pets)) == [("dog/b.png", None, 0)]
    (tmp_path / "list.csv").write_text(f"path\n{pets}/dog/b.png\n")
    with refused("data.outside", DataError):
        manifest(tmp_path / "list.csv")


def test_file_urls_are_paths(tmp_path: Path) -> None:
    assert str(place_of(f"file://{tmp_path}/a%20b")) == f"{tmp_path}/a b"


def test_a_remote_hugging_face_dataset_is_opened(memory: Any) -> None:
    datasets = pytest.importorskip("datasets")
    pictures = [Image.new("RGB", (6, 4), (value, value, value)) for value in range(3)]
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])})
    saved = datasets.Dataset.from_dict({"image": pictures, "label": [0, 1, 1]}, features=features)
    datasets.disable_progress_bars()
    saved.save_to_disk("memory://saved")
    source = open_source("memory://saved")
    assert source.class_names == ["cat", "dog"]
    assert seen(source) == [("000000", 0, 0), ("000001", 1, 1), ("000002", 1, 2)]
    assert source[0].stamp == open_source("memory://saved")[0].stamp
