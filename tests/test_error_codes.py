"""Every error that camlens raises has a code of its own, which programs can test."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from camlens.core import errors

PACKAGE = Path(errors.__file__).parents[1]
FIXED = {"NoRunError", "NotReadyError", "MisfitError", "MissingExtraError", "UnknownArgumentError", "ReadOnlyError"}
KINDS = {
    name
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, errors.CamlensError) and name not in FIXED
}


def raised(path: Path) -> Iterator[ast.Call]:
    """The calls that make an error whose class does not fix its code."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
            name = node.func.id if isinstance(node.func, ast.Name) else node.func.attr
            if name in KINDS:
                yield node


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_every_error_has_a_code(path: Path) -> None:
    for call in raised(path):
        codes = [keyword.value for keyword in call.keywords if keyword.arg == "code"]
        assert codes, f"{path}:{call.lineno}"
        for code in codes:
            if isinstance(code, ast.Constant):
                assert re.fullmatch(r"[a-z0-9-]+\.[a-z0-9-]+", str(code.value)), f"{path}:{call.lineno}"
