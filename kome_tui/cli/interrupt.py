"""What Ctrl-C does to a command, at every moment of it.

Until something has to be ended in order, the process leaves at once and says so in one line: a
KeyboardInterrupt inside an import or a library's callback would be a traceback, or be swallowed.
Nothing slow may be imported here: this has to be in place before the imports that take long.
"""

import contextlib
import os
import signal
import sys
import termios
import threading
from collections.abc import Iterator
from typing import Any

INTERRUPTED = 130
_LINE = b"interrupted\n"
_ANSWER = b'{"schema": 1, "error": "interrupted"}\n'


def leave_at_once(*, as_json: bool) -> None:
    """From now on Ctrl-C ends the process with code 130 and one line; with --json, one object."""
    echo = _terminal()

    def leave(*_: object) -> None:
        with contextlib.suppress(Exception):  # a reader that has gone, or a write under way
            sys.stdout.flush()
        if echo is not None and _terminal() != echo:  # a password was being typed, unseen
            with contextlib.suppress(termios.error):
                termios.tcsetattr(0, termios.TCSANOW, echo)
        _write(2, b"\n" * os.isatty(2) + _LINE)  # after the ^C that the terminal has drawn
        if as_json:
            _write(1, _ANSWER)
        os._exit(INTERRUPTED)

    signal.signal(signal.SIGINT, leave)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def answer_whole() -> None:
    """From now on Ctrl-C does nothing: the answer is being written, and then the process ends."""
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:  # else not ours to end
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def stop_instead(stop: threading.Event) -> None:
    """From now on Ctrl-C and SIGTERM set `stop`, as often as they come.

    It stays so after the push: what was pushed is reported, however impatient the operator is. The
    caller never waits for `stop` itself: its lock would be taken twice.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())


@contextlib.contextmanager
def raised() -> Iterator[None]:
    """In here Ctrl-C is a KeyboardInterrupt, for what has to be ended in order on the way out."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _terminal() -> list[Any] | None:
    try:
        return termios.tcgetattr(0)
    except termios.error:  # standard input is no terminal, or closed
        return None


def _write(to: int, said: bytes) -> None:
    with contextlib.suppress(OSError):
        os.write(to, said)
