"""The registry entries of the methods."""

import inspect
import re

import pytest

from camlens.methods import METHODS


@pytest.mark.parametrize("name", METHODS)
def test_a_docstring_has_a_formula_and_an_example(name: str) -> None:
    entry = METHODS[name]
    text = inspect.getdoc(entry.function) or ""
    assert "= " in text, "no formula"
    assert f'explain(model, images, method="{name}"' in text
    assert entry.good_for
    assert re.search(r"\b20\d\d\b|control|unpublished", entry.paper), "no year, and not unpublished"


@pytest.mark.parametrize("name", METHODS)
def test_a_method_takes_what_it_needs_and_only_keyword_options_with_defaults(name: str) -> None:
    entry = METHODS[name]
    needs = {"activations": ["activations"], "gradients": ["activations", "gradients"], "probe": ["probe"]}
    parameters = inspect.signature(entry.function).parameters.values()
    assert [one.name for one in parameters if one.kind is not one.KEYWORD_ONLY] == needs[entry.needs]
    assert all(one.default is not one.empty for one in parameters if one.kind is one.KEYWORD_ONLY)
