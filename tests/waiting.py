"""Waiting for a condition instead of a time."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(condition: Callable[[], T], within_s: float = 10.0, every_s: float = 0.02) -> T:
    """Return the first true result of `condition`; fail when there is none in `within_s`."""
    deadline = time.monotonic() + within_s
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > deadline:
            raise AssertionError(f"not true within {within_s} s; last seen: {result!r}")
        time.sleep(every_s)
