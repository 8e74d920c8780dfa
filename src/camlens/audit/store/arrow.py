"""pyarrow, imported when a run is written or read and not before."""

import importlib
from typing import Any

from camlens.core.errors import MissingExtraError


def arrow() -> Any:
    """The module `pyarrow`; MissingExtraError where the extra `audit` is not installed."""
    return _imported("pyarrow")


def parquet() -> Any:
    """The module `pyarrow.parquet`; MissingExtraError where the extra `audit` is not installed."""
    return _imported("pyarrow.parquet")


def _imported(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingExtraError.of("pyarrow", "audit") from error
