"""pyarrow, imported when it is first needed."""

import importlib
from typing import Any

from camlens.core.errors import MissingExtraError


def arrow() -> Any:
    """Import `pyarrow`. Raises MissingExtraError if it is not installed."""
    return _imported("pyarrow")


def parquet() -> Any:
    """Import `pyarrow.parquet`. Raises MissingExtraError if it is not installed."""
    return _imported("pyarrow.parquet")


def _imported(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingExtraError.of("pyarrow", "audit") from error
