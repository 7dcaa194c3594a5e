"""Threads that never end in silence: an error that nobody expected becomes a line for the operator.

All are daemons: one that hangs in a system call must not keep the program from ending.
"""

import threading
import time
from collections.abc import Callable, Iterable

from kome_tui.text import CELL_LIMIT, clean


def spawn(
    name: str,
    work: Callable[[], None],
    on_error: Callable[[str], None],
    again: Callable[[], bool] = lambda: False,
) -> threading.Thread:
    """Run `work` in a thread; `on_error` gets the words for an exception that got out of it.

    After an exception, and only then, `again` is asked whether to start anew; it may wait.
    """

    def run() -> None:
        while True:
            try:
                work()
                return
            except Exception as error:  # noqa: BLE001 - the last stop: told, and the rest goes on
                on_error(clean(f"{name}: {type(error).__name__}: {error}", CELL_LIMIT))
            if not again():
                return

    thread = threading.Thread(target=run, name=f"kome-{name}", daemon=True)
    thread.start()
    return thread


def join_all(threads: Iterable[threading.Thread], deadline: float) -> None:
    """Wait for threads until `deadline` (time.monotonic()): for all together, not for each."""
    for thread in threads:
        if thread is not threading.current_thread():
            thread.join(max(0.0, deadline - time.monotonic()))
