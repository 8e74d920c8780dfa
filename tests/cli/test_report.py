"""Tests of `camlens report`."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from camlens.core.errors import MissingExtraError
from camlens.render.interactive.page import overlay_script

MODEL = ("--model", "camlens_tiny:classifier")

try:
    overlay_script()
except MissingExtraError as error:
    pytest.skip(str(error), allow_module_level=True)


def test_the_page_has_every_readable_image(camlens: Any, folder: Path) -> None:
    (folder / "broken.png").write_text("no picture")
    result = camlens("report", "one.png", "broken.png", "two.jpg", *MODEL, "--output", "maps.html", "--alpha", "0.7")
    assert result.exit_code == 1
    assert "broken.png" in result.stderr
    text = (folder / "maps.html").read_text(encoding="utf-8")
    (data,) = re.findall(r'id="maps">(.*?)</script>', text)
    page = json.loads(data)
    assert [image["title"] for image in page["images"]] == ["one.png", "two.jpg"]
    assert page["opacity"] == 0.7


def test_a_foreign_file_is_replaced_only_with_force(camlens: Any, folder: Path) -> None:
    (folder / "report.html").write_text("mine")
    assert camlens("report", "one.png", *MODEL).exit_code == 2
    assert (folder / "report.html").read_text() == "mine"
    assert camlens("report", "one.png", *MODEL, "--force").exit_code == 0
    first = (folder / "report.html").read_bytes()
    assert camlens("report", "two.jpg", *MODEL).exit_code == 0  # its own page
    assert (folder / "report.html").read_bytes() != first
