"""Runs a lab until it is interrupted: `run_headless`.

From before the first file is made until after the last is gone, a signal only sets a flag: there
is no moment at which Ctrl-C could leave something half made.
"""

import asyncio
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from kome_tui.errors import LabError
from kome_tui.lab import cleanup
from kome_tui.lab.claim import Claim
from kome_tui.lab.fleet import Lab

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stop:
    """A wish to end, from a signal or from the other end of a pipe."""

    def __init__(self) -> None:
        self._wished = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._event: asyncio.Event | None = None

    def wish(self) -> None:
        """End the lab. Safe in a signal handler and from any thread."""
        self._wished = True
        if self._loop is not None and self._event is not None:
            with contextlib.suppress(RuntimeError):  # the loop has just closed: the end has begun
                self._loop.call_soon_threadsafe(self._event.set)

    async def wait(self) -> None:
        """Return once the end is wished for."""
        self._loop, self._event = asyncio.get_running_loop(), asyncio.Event()
        if self._wished:  # before there was a loop to tell
            return
        await self._event.wait()

    @contextlib.contextmanager
    def on_signals(self) -> Iterator[None]:
        """Take SIGINT, SIGTERM and SIGHUP as the wish to end.

        After a good end they are ignored: the process is over, and a second Ctrl-C must not turn
        its exit code into a failure. After an error they are what they were.
        """
        before = {number: signal.signal(number, lambda *_: self.wish()) for number in SIGNALS}
        try:
            yield
        except BaseException:  # passed on: only the handlers are put back
            for number, handler in before.items():
                signal.signal(number, handler)
            raise
        # Blocked first: a signal between its arrival and its handler would end in a traceback.
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)

    def on_end_of_input(self) -> None:
        """Take the end of standard input as the wish to end."""

        def read() -> None:
            while os.read(0, 4096):
                pass
            self.wish()

        threading.Thread(target=read, daemon=True).start()


def run_headless(
    directory: Path, nodes: int = 11, *, traffic: bool = True, leash: bool = False
) -> int:
    """Run a lab in `directory` until SIGINT, SIGTERM or SIGHUP; print `ready` when it is.

    With `leash` the end of standard input ends it too. Nothing is left behind: no process, no
    port, no file. 0 after it was ready, 1 when it was interrupted before. Raises LabError.
    """
    stop = Stop()
    with stop.on_signals():
        if leash:
            stop.on_end_of_input()
        try:
            with Claim(directory) as claim:
                return asyncio.run(_run(claim, nodes, stop, traffic))
        except OSError as error:
            raise LabError(f"the lab of {directory} cannot go on: {error}") from error


async def _run(claim: Claim, nodes: int, stop: Stop, traffic: bool) -> int:
    wished = asyncio.ensure_future(stop.wait())
    try:
        async with Lab(claim.folder, nodes, traffic=traffic, on_group=claim.note_group) as lab:
            starting = asyncio.ensure_future(lab.start())
            try:
                await asyncio.wait({starting, wished}, return_when=asyncio.FIRST_COMPLETED)
                if not starting.done():
                    print("kome-tui lab: interrupted before it was ready", file=sys.stderr)
                    return 1
                _raise_one(starting)
                with contextlib.suppress(BrokenPipeError):  # nobody waits for the word
                    print("ready", flush=True)
                await wished
                return 0
            finally:
                starting.cancel()
                await asyncio.wait({starting})
                # Before the sockets close: commands that end now are still waited for.
                await asyncio.to_thread(cleanup.end_processes, claim.folder, claim.groups())
    finally:
        wished.cancel()


def _raise_one(starting: "asyncio.Future[None]") -> None:
    """The error of a start that failed; of several at once the first."""
    error = starting.exception()
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if error is not None:
        raise error
