"""Count the lines of camlens, and the files and functions that one call enters.

python scripts/calls.py [--list] [compute_gradcam explainer explain audit studio]

Every call is made once before it is counted, so that imports and first-call work are left out.
"""

import argparse
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType

os.environ["CAMLENS_OFFLINE"] = "1"

import torch
import torchvision
from fastapi.testclient import TestClient
from PIL import Image
from torch import Tensor, nn

import camlens
import camlens.audit
from camlens.data import DemoPhotos

PACKAGE = Path(camlens.__file__).parent
Call = Callable[[], object]
entered: dict[CodeType, None] = {}


def profile(frame: FrameType, event: str, _argument: object) -> None:
    """Record the code of every Python function that is called in any thread."""
    if event == "call":
        entered.setdefault(frame.f_code)


def functions(call: Call) -> list[tuple[str, str]]:
    """Return (file, function) of the functions of camlens that the second `call` enters, in order of first entry."""
    call()
    entered.clear()
    call()
    codes = [code for code in list(entered) if PACKAGE in Path(code.co_filename).parents]
    return [
        (Path(code.co_filename).relative_to(PACKAGE).as_posix(), code.co_qualname)
        for code in codes
        if not code.co_name.startswith("<")  # comprehensions and lambdas
    ]


def network() -> tuple[nn.Module, Tensor]:
    """Return a ResNet-18 with random weights and one random image (c, h, w)."""
    return torchvision.models.resnet18().eval(), torch.rand(3, 224, 224)


@contextmanager
def compute_gradcam() -> Iterator[Call]:
    """compute_gradcam at the last stage."""
    model, image = network()
    yield lambda: camlens.compute_gradcam(model, "cpu", image, model.layer4)


@contextmanager
def explainer() -> Iterator[Call]:
    """A call of an Explainer, with heat maps."""
    model, image = network()
    ready = camlens.Explainer(model)
    yield lambda: ready(image[None]).heatmaps()


@contextmanager
def explain() -> Iterator[Call]:
    """explain with everything at its default, with heat maps."""
    model, image = network()
    yield lambda: camlens.explain(model, image[None]).heatmaps()


@contextmanager
def audit() -> Iterator[Call]:
    """An audit of one image, from the first line to the committed shard."""
    loaded = camlens.load_model("demo:photos")
    with tempfile.TemporaryDirectory() as folder:
        yield lambda: camlens.audit.run("demo:photos", loaded, Path(folder) / "run", limit=1, force=True, report=False)


@contextmanager
def studio() -> Iterator[Call]:
    """A request to a running studio for a map that it has not computed before."""
    from camlens.studio.app import create_app
    from camlens.studio.settings import StudioSettings

    classes = iter(range(1, 10))
    with tempfile.TemporaryDirectory() as folder:
        Image.fromarray(DemoPhotos(split="test")[0].image).save(Path(folder) / "image.png")
        app = create_app(StudioSettings(model="demo:photos", data=folder))
        with TestClient(app, base_url="http://127.0.0.1:8765") as client:
            while not settled(client.get("/api/status").json()):
                time.sleep(0.1)

            def call() -> None:
                question = {"image": "s0", "target": {"kind": "class", "index": next(classes)}}
                answer = client.post("/api/explanations?wait=60", json=question).raise_for_status().json()
                assert answer["state"] == "done", answer

            yield call


def settled(status: dict[str, dict[str, int]]) -> bool:
    """Whether the model is loaded and nothing runs in the background."""
    return status["state"] == "ready" and status["predictions"]["done"] == status["predictions"]["total"]


CALLS = {call.__name__: call for call in (compute_gradcam, explainer, explain, audit, studio)}


def main() -> None:
    """Print the figures of the chosen calls."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(CALLS)} (default: all)")
    parser.add_argument("--list", action="store_true", help="also list the functions")
    given = parser.parse_args()
    sources = list(PACKAGE.rglob("*.py"))
    lines = sum(len(source.read_text(encoding="utf-8").splitlines()) for source in sources)
    print(f"src/camlens: {lines} lines in {len(sources)} files")
    threading.setprofile(profile)  # for the threads that the studio starts
    sys.setprofile(profile)
    for name in given.names or CALLS:
        with CALLS[name]() as call:
            found = functions(call)
        print(f"{name}: {len(found)} functions in {len({file for file, _ in found})} files")
        if given.list:
            print("\n".join(f"    {file}: {function}" for file, function in found))
    sys.setprofile(None)
    threading.setprofile(None)


if __name__ == "__main__":
    main()
