"""Errors by their code and facts."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from camlens.core.errors import CamlensError


@contextmanager
def refused(
    code: str, error: type[CamlensError] = CamlensError, /, **facts: object
) -> Iterator[pytest.ExceptionInfo[CamlensError]]:
    """Fail unless the block raises a camlens error with this code and at least these facts."""
    with pytest.raises(error) as caught:
        yield caught
    assert caught.value.code == code
    assert {name: caught.value.facts.get(name) for name in facts} == facts
