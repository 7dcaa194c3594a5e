"""A request that runs on a node: bytes in, items out, and what it means when they end too early."""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager

from kome_tui.errors import (
    FleetError,
    NodeBusy,
    NodeRefused,
    NodeTimeout,
    NotSetUp,
    ProtocolError,
    SshUnreachable,
)
from kome_tui.fleet.framing import AnswerParser, End, FramingError, Item
from kome_tui.fleet.parsing import BadAnswer
from kome_tui.fleet.remote import RemoteCommand
from kome_tui.text import clean

# As sudo and sh say it without a translation.
_NOT_SET_UP = re.compile(
    r"password is required|not allowed|may not run sudo|not in the sudoers|must have a tty"
    r"|command not found|[Nn]o such file|[Nn]ot found|can't open|cannot open"
)


class ScriptSilent(NodeTimeout):
    """A script that waits on a node, and was well, has not said its first word in time."""


class Exchange:
    """A running request. Its items are to be read until the parser has ended."""

    def __init__(self, node: str, verb: str, remote: RemoteCommand) -> None:
        self.node = node
        self.verb = verb
        self.remote = remote
        self.parser = AnswerParser(verb)
        self.received = 0
        """Bytes so far."""
        self._noise = b""

    def first_items(self, patience_s: float) -> list[Item]:
        """Up to the first line, of a script that waits for the request and has only to say it.

        Raises ScriptSilent after `patience_s`, and FleetError.
        """
        deadline = time.monotonic() + patience_s
        items: list[Item] = []
        try:
            while not self.parser.greeted:
                items += self.next_items(deadline)
        except NodeTimeout as error:
            what = f"does not answer: its script has said nothing in {patience_s:.0f} s"
            raise ScriptSilent(self.node, what) from error
        return items

    def next_items(self, deadline: float) -> list[Item]:
        """What the next bytes complete; may be empty. Raises FleetError."""
        try:
            received = self.remote.read(deadline)
        except NodeTimeout as error:
            raise NodeTimeout(
                self.node, f"{self.verb}: {error.what}", hint="ask its status before you try again"
            ) from error
        if not received:
            raise self._cut_short(deadline)
        self.received += len(received)
        try:
            return self.parser.feed(received)
        except FramingError as error:
            if not self.parser.greeted:
                self._noise = received
                raise self._no_script(deadline, str(error)) from error
            raise ProtocolError(self.node, f"{self.verb}: {error}") from error

    def _cut_short(self, deadline: float) -> FleetError:
        if self.remote.closed:
            return SshUnreachable(self.node, "the connection was closed")
        if self.remote.lost:
            return SshUnreachable(
                self.node, f"the connection was lost during {self.verb}; its outcome is not known"
            )
        if not self.parser.greeted:
            return self._no_script(deadline, "it answered nothing")
        status = self.remote.finish(deadline)
        how = "was killed" if status is None else f"ended ({status})"
        return ProtocolError(
            self.node, f"{self.verb} {how} in the middle of its answer{_said(self.remote.stderr)}"
        )

    def _no_script(self, deadline: float, what: str) -> FleetError:
        """What answered was not kome-node: is it missing, or not ours to run?"""
        if not self.remote.accepted:
            return NotSetUp(self.node, "its SSH server runs no command for us")
        if not self._noise:
            status = self.remote.finish(deadline)
            stderr = self.remote.stderr.decode("utf-8", "replace")
            if status in (126, 127) or _NOT_SET_UP.search(stderr):
                return NotSetUp(
                    self.node,
                    f"it has no kome-node that we may run{_said(self.remote.stderr)}",
                    hint=f"set it up with `kome-tui rebuild {self.node}`",
                )
            left = clean(self.parser.unread, 120)
            what = f"{f'it answered: {left}' if left else what} (exit status {status})"
        return ProtocolError(self.node, f"{self.verb}: {what}{_said(self.remote.stderr)}")


def raise_refusal(node: str, verb: str, end: End, stderr: bytes) -> None:
    match end.code:
        case "busy":
            raise NodeBusy(node, end.text or "another push")
        case "refused" | "failed" | "usage":
            reason = end.text or _first_line(stderr) or "no reason given"
            raise NodeRefused(node, verb, reason, failed=end.code == "failed")
        case "ok" | "rolled-back" | "degraded":
            return


@contextmanager
def as_protocol_error(node: str, verb: str) -> Iterator[None]:
    try:
        yield
    except BadAnswer as error:
        raise ProtocolError(node, f"{verb}: {error}") from error


def _first_line(stderr: bytes) -> str:
    return next((clean(line, 400) for line in stderr.splitlines() if line.strip()), "")


def _said(stderr: bytes) -> str:
    line = _first_line(stderr)
    return f": {line}" if line else ""
