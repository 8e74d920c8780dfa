"""What type checkers and signatures tell users of the public functions."""

import ast
import inspect
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from camlens import Explainer, Explanation, audit, explain, load_model

RIGHT = """
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from camlens import Explainer, Explanation, audit, explain, load_model
from camlens.targets import Contrast, PerImage

model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))
images = torch.zeros(2, 3, 16, 16)

alone: Explanation = explain(model, images)
several: dict[str, Explanation] = explain(model, images, method=["gradcam", "layercam"], seed=1)
maps: Tensor = several["gradcam"].maps["0"]
heat: Tensor = alone.heatmaps()
explain(model, images, layers=model[0], target=[1, Contrast(1, 2), lambda out: out[:, 0]], output=lambda out: out)
explain(model, images, target=PerImage([1, lambda out: out[:, 2]]), options={"samples": 3}, kwargs={"scale": 2.0})

explainer = Explainer(model, layers=["0"])
once: Explanation = explainer(images, target=1)
both: dict[str, Explanation] = Explainer(model, method=["gradcam"])(images)

loaded = load_model("demo:imagenet")
first: Explanation = explain(loaded, Image.new("RGB", (8, 8)))
many: Explanation = explain(loaded, [Path("cat.jpg"), "dog.jpg", np.zeros((8, 8, 3), np.uint8)])
reason: str = first.provenance["layer_choice"]["0"]
dictionary = first.to_dict()
pictures = alone.overlay(images)
pictures[0].shape
alone.figure(images).save("figure.png")
run = audit.run("photos", "resnet50", "runs/photos", method="layercam", batch_size=8)
"""

WRONG = """
import torch
from torch import nn

from camlens import Explainer, Explanation, audit, explain, load_model

model = nn.Linear(2, 2)
images = torch.zeros(2, 3, 16, 16)

explain(model, images, layer="0")  # wrong
explain(model, images, method=3)  # wrong
wrong: Explanation = explain(model, images, method=["gradcam"])  # wrong
explain(model, images).maps["0"].nothing  # wrong
Explainer(model, targets=1)  # wrong
Explainer(model)(images, class_idx=1)  # wrong
load_model("resnet18", weight="x")  # wrong
audit.run("photos", "resnet50", "run", layers="0")  # wrong
"""

CHECKERS = {
    "mypy": ["-m", "mypy", "--strict", "--python-executable", sys.executable, "--cache-dir"],
    "pyright": ["-m", "pyright", "--pythonpath", sys.executable],
}


def complaints(checker: str, program: str, directory: Path) -> list[int]:
    """The lines of a user's program that a checker finds an error in."""
    file = directory / "program.py"
    file.write_text(program.lstrip(), encoding="utf-8")
    cache = [str(directory / "cache")] if checker == "mypy" else []
    run = subprocess.run(
        [sys.executable, *CHECKERS[checker], *cache, str(file)], capture_output=True, text=True, cwd=directory
    )
    return sorted({int(line) for line in re.findall(r"program\.py:(\d+):.*?error:", run.stdout)})


@pytest.mark.slow
@pytest.mark.parametrize("checker", CHECKERS)
def test_a_program_that_uses_the_public_functions_type_checks(checker: str, tmp_path: Path) -> None:
    assert complaints(checker, RIGHT, tmp_path) == []


@pytest.mark.slow
@pytest.mark.parametrize("checker", CHECKERS)
def test_wrong_keywords_and_types_are_found_before_running(checker: str, tmp_path: Path) -> None:
    expected = [number for number, line in enumerate(WRONG.lstrip().splitlines(), start=1) if "# wrong" in line]
    assert complaints(checker, WRONG, tmp_path) == expected


PUBLIC = [explain, load_model, audit.run, Explainer.__init__, Explainer.__call__, Explainer.optimized] + [
    method for name, method in vars(Explanation).items() if inspect.isfunction(method) and not name.startswith("_")
]


@pytest.mark.parametrize("function", PUBLIC, ids=lambda function: function.__qualname__)
def test_public_signatures_are_explicit(function: Any) -> None:
    (node,) = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(function)))).body
    assert isinstance(node, ast.FunctionDef)
    assert node.args.kwarg is None
    named = {
        one.id for part in (node.args, node.returns) if part for one in ast.walk(part) if isinstance(one, ast.Name)
    }
    assert "Any" not in named
