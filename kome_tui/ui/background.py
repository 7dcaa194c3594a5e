"""Blocking work beside the loop, with a deadline.

A daemon thread each, not the loop's executor: asyncio waits for its executor at exit, so one call
that hangs would keep the program from ending.
"""

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def in_background(work: Callable[[], T], deadline_s: float) -> T:
    """Run `work` in a thread and return its result. Raises what it raises, or TimeoutError."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if done.done():
            return  # the deadline was first
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        result, failure = None, None
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001 - handed to the one who waits
            failure = error
        try:
            loop.call_soon_threadsafe(settle, result, failure)
        except RuntimeError:
            return  # the loop has ended; nobody waits any more

    threading.Thread(target=run, name="kome-ui-work", daemon=True).start()
    return await asyncio.wait_for(done, deadline_s)
