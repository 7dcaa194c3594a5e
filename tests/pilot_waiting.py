"""Waiting for a condition while a Textual app runs under a pilot."""

import asyncio
import time
from collections.abc import Callable
from typing import Any, TypeVar

from textual.css.query import QueryError
from textual.pilot import Pilot

T = TypeVar("T")


async def until(pilot: Pilot[Any], condition: Callable[[], T], within_s: float = 10.0) -> T:
    """Return the first true result of `condition`; fail when there is none in `within_s`.

    Gives the app its turns in between. A condition that raises (a widget that is not there yet)
    counts as not true.
    """
    deadline = time.monotonic() + within_s
    last: object = None
    while time.monotonic() < deadline:
        await pilot.pause()
        try:
            result = condition()
        except (LookupError, QueryError) as error:
            last = error
        else:
            if result:
                return result
            last = result
        await asyncio.sleep(0.01)  # the poll's own step, not a guess at how long things take
    raise AssertionError(f"not true within {within_s} s; last seen: {last!r}")
