"""Tests that compare a method or a metric with its slow float64 twin, written from the paper."""

import inspect
import sys
from collections.abc import Callable
from functools import wraps
from types import CodeType, FrameType
from typing import Any

from camlens import METHODS, METRICS

COMPARED: set[str] = set()


def twin_of(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Decorate a test that compares these methods or metrics with their twins in a `reference.py`.

    The test fails unless it calls both. If it is parametrized by a `name` or a `metric`, it is checked for that one.
    """
    COMPARED.update(names)

    def decorate(test: Callable[..., None]) -> Callable[..., None]:
        @wraps(test)
        def checked(*args: Any, **kwargs: Any) -> None:
            called: set[CodeType] = set()

            def record(frame: FrameType, event: str, _value: object) -> None:
                if event == "call":
                    called.add(frame.f_code)

            before = sys.getprofile()
            sys.setprofile(record)
            try:
                test(*args, **kwargs)
            finally:
                sys.setprofile(before)
            chosen = kwargs.get("name") or getattr(kwargs.get("metric"), "__name__", None)
            for name in [chosen] if chosen else names:
                function = (METHODS if name in METHODS else METRICS)[name].function
                assert inspect.unwrap(function).__code__ in called, f"{name} is not called"
            assert any(code.co_filename.endswith("reference.py") for code in called), "no twin is called"

        return checked

    return decorate
