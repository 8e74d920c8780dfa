import re
from html.parser import HTMLParser

import pytest

from camlens.core.errors import InputError
from camlens.render.index_page import PageEntry, index_page
from tests.refusals import refused


class Reader(HTMLParser):
    """Every tag with its attributes, every tag that was left open, and the text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


ENTRIES = [
    PageEntry("one.png", "one", "cat", 0.912, "cat", (800, 300)),
    PageEntry("deep/two & 3%.png", "two", "dog", 0.5, "cat"),
    PageEntry("three.png", "three", "cat", 0.4),
]


def test_a_page_is_well_formed_and_has_one_panel_per_entry() -> None:
    page = Reader(index_page(ENTRIES, title="Panels"))
    assert page.open == []
    assert [article["class"] for article in page.all("article")] == ["correct", "incorrect", "unlabeled"]
    assert page.all("html") == [{"lang": "en"}]


def test_links_are_relative_and_escaped() -> None:
    page = Reader(index_page(ENTRIES, title="Panels"))
    sources = [image["src"] for image in page.all("img")]
    assert sources == ["one.png", "deep/two%20%26%203%25.png", "three.png"]
    assert [link["href"] for link in page.all("a")] == sources


def test_a_page_loads_nothing_and_has_no_scripts() -> None:
    page = index_page(ENTRIES, title="Panels")
    assert re.findall(r"https?:|//|<script|<link|url\(|@import|\son\w+=", page) == []


def test_every_picture_is_described_and_sized_where_known() -> None:
    images = Reader(index_page(ENTRIES, title="Panels")).all("img")
    assert images[0]["alt"] == "Panel of one: predicted cat, 91.2 %"
    assert images[1]["alt"] == "Panel of two: predicted dog, 50.0 %, true class: cat"
    assert (images[0]["width"], images[0]["height"]) == ("800", "300")
    assert "width" not in images[1]


def test_the_header_and_the_filters_show_counts() -> None:
    page = Reader(index_page(ENTRIES, title="Panels", subtitle="a model"))
    assert "a model  ·  3 images  ·  1 of 2 correct (50 %)" in page.text
    ids = [choice["id"] for choice in page.all("input")]
    assert ids == ["show-all", "show-correct", "show-incorrect", "show-unlabeled"]
    assert [label["for"] for label in page.all("label")] == ids


def test_there_are_no_filters_if_all_panels_have_the_same_verdict() -> None:
    assert Reader(index_page(ENTRIES[:1], title="Panels")).all("input") == []


def test_texts_are_escaped() -> None:
    evil = '"><script>alert(1)</script>{title}'
    page = index_page([PageEntry(f"{evil}.png", evil, evil, 0.5, "x", alt=evil)], title=evil, subtitle=evil)
    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 6
    assert Reader(page).all("img")[0]["alt"] == evil


@pytest.mark.parametrize("path", ["", "/etc/x.png", "C:\\x.png", "\\\\host\\x.png", "//host/x.png"])
def test_paths_that_are_not_relative_are_refused(path: str) -> None:
    with refused("path.not-relative", InputError, path=path):
        index_page([PageEntry(path, "x", "cat", 0.5)], title="x")


def test_a_script_address_becomes_a_harmless_file_name() -> None:
    page = Reader(index_page([PageEntry("javascript:alert(1)", "x", "cat", 0.5)], title="x"))
    assert page.all("a")[0]["href"] == "javascript%3Aalert%281%29"


def test_a_page_may_have_no_panels() -> None:
    assert Reader(index_page([], title="x")).all("img") == []
