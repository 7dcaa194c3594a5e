"""One node's verbs as methods: request out, typed answer back.

After an error of a changing verb its outcome is not known, except for NodeRefused and NodeBusy
(nothing changed). A request that may have reached the node is never repeated here, but a stage,
which changes nothing that serves.
"""

import getpass
import math
import re
import shlex
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from hashlib import sha256
from typing import Generic, TypeVar

from kome_tui.errors import (
    FleetError,
    NodeRefused,
    NotSetUp,
    ProtocolError,
    SshUnreachable,
)
from kome_tui.fleet import parsing
from kome_tui.fleet.answers import Applied, Decided, LogChunk, NodeFacts, NodeStatus, Staged
from kome_tui.fleet.connection import Connection
from kome_tui.fleet.exchange import Exchange, ScriptSilent, as_protocol_error, raise_refusal
from kome_tui.fleet.framing import DATA_LIMIT, End, Item, encode_request
from kome_tui.fleet.parsing import Answer
from kome_tui.fleet.ready import Ready, Waiting
from kome_tui.fleet.remote import RemoteCommand
from kome_tui.topology.model import Layout

T = TypeVar("T")

READ_S = 15.0
"""For a verb that only looks."""
STAGE_S = 20.0
"""Every node of a push waits for this one's verdict: no longer than an SD card needs for a file."""
CHANGE_S = 60.0
"""For a verb that changes: nginx -t, a reload, 5 s of proof, and as much to go back."""
ANSWER_LIMIT = 2 * DATA_LIMIT
TICK_LIMIT_S = 20.0
"""A follow without a sign of life (one is due every 5 s) is dead."""
_FREED_S = 1.0
_LATER_STEPS = frozenset({"apply", "confirm", "cancel"})
"""Verbs that may be asked of a script that has done the step before: one exec for a whole push."""


class NodeClient:
    """The verbs of one node. Connects on first use; any number of threads may use it at once.

    Every method raises FleetError: unreachable, login, host key, NotSetUp, NodeBusy, NodeRefused,
    NodeTimeout or ProtocolError.
    """

    def __init__(
        self,
        node: str,
        layout: Layout,
        connect: Callable[[], Connection],
        waiting: Waiting | None = None,
        port: int | None = None,
        ready: Ready | None = None,
    ) -> None:
        self.node = node
        self._connect = connect
        self._waiting = waiting or Waiting()
        self._ready = ready or Ready()
        self._port = port or layout.port
        script = shlex.quote(layout.script)
        self._command = (
            f"exec env LC_ALL=C sudo -n {script}"
            if layout.root == "sudo"
            else f"exec /bin/sh {script}"
        )

    def make_ready(self) -> None:
        """Have the script wait on the node for the next stage(), unless it does already."""
        self._ready.keep(self._connect(), self._command)

    def stage(self, release_id: str, conf: bytes) -> Staged:
        """Put a release on the node and have `nginx -t` accept it. Serves nothing new."""
        digest = sha256(conf).hexdigest()
        fields: dict[str, str | int] = {
            "id": release_id,
            "size": len(conf),
            "sha256": digest,
            "port": self._port,
        }
        self.hang_up()
        ask = partial(self._value, parsing.staged, "stage", fields, conf, STAGE_S, more=True)
        ahead = self._ready.take()
        if ahead is None:
            return ask()
        asked_at = time.monotonic()
        try:
            return replace(ask(ahead=ahead), ahead=True)
        except ScriptSilent:  # it alone may hang: does the node?
            if not ahead[0].heard_since(asked_at):
                raise
        except (NodeRefused, NotSetUp, ProtocolError, SshUnreachable):
            pass  # it may be from before a rebuild or a reboot
        return ask()  # nothing was changed

    def apply(self, release_id: str, token: str, trial_s: float) -> Applied:
        """Switch to a staged release for a trial of `trial_s` seconds, proved from inside."""
        fields = {"id": release_id, **trial_fields(token, trial_s)}
        return self._value(parsing.applied, "apply", fields, b"", CHANGE_S, more=True)

    def rollback(self, to: str | None, token: str, trial_s: float) -> Applied:
        """Switch to an older release (None: the previous one) for a trial, as apply()."""
        fields = {"to": to or parsing.NONE, **trial_fields(token, trial_s)}
        return self._value(parsing.applied, "rollback", fields, b"", CHANGE_S, more=True)

    def confirm(self, token: str) -> Decided:
        """Keep the release under trial; too late, the answer says so."""
        return self._value(parsing.decided, "confirm", {"token": token}, b"", CHANGE_S)

    def cancel(self, token: str) -> Decided:
        """Take the release under trial back; tells the decision where there was one already."""
        return self._value(parsing.decided, "cancel", {"token": token}, b"", CHANGE_S)

    def hang_up(self) -> None:
        """End the script that waits on the node for the next step of a push, if one does."""
        waiting = self._waiting.take()
        if waiting is not None:
            waiting.close()

    def recover(self) -> Decided:
        """Finish or undo whatever an interrupted push has left."""
        return self._value(parsing.decided, "recover", {}, b"", CHANGE_S)

    def status(self) -> NodeStatus:
        """The node's account of itself."""
        return self._value(parsing.status_of, "status", {}, b"", READ_S)

    def live_conf(self) -> bytes:
        """The configuration file that nginx is told to use now."""
        return self._value(lambda answer: parsing.content(answer, "conf"), "live", {}, b"", READ_S)

    def read_log(self, tail_bytes: int) -> bytes:
        """The last `tail_bytes` of the access log, from a line's start."""
        fields = {"bytes": tail_bytes}
        return self._value(
            lambda answer: parsing.content(answer, "log"), "readlog", fields, b"", READ_S
        )

    def facts(self, interval_s: float) -> "NodeStream[NodeFacts]":
        """What the node measures, every `interval_s` seconds (whole, at least 1), until closed."""
        every_s = max(1, math.ceil(interval_s))
        silence_s = 2 * every_s + READ_S
        return self._stream("facts", {"interval": every_s}, parsing.FactsFrames().feed, silence_s)

    def follow(self, inode: int | None, offset: int) -> "NodeStream[LogChunk]":
        """The access log from `offset` of file `inode` (None: from its end now), until closed."""
        fields = {"inode": parsing.NONE if inode is None else inode, "offset": offset}
        return self._stream("follow", fields, parsing.log_chunk, TICK_LIMIT_S)

    def _value(
        self,
        read: Callable[[Answer], T],
        verb: str,
        fields: Mapping[str, str | int],
        payload: bytes,
        limit_s: float,
        *,
        more: bool = False,
        ahead: tuple[RemoteCommand, float] | None = None,
    ) -> T:
        """The answer to one request as a value, or the error it stands for.

        `more`: the script is asked to wait for the next step of the push on the same exec.
        `ahead`: a script that waits, to be asked, and the seconds in which its first word is due.
        """
        request = encode_request(verb, {**fields, **({"more": "yes"} if more else {})}, payload)
        deadline = time.monotonic() + limit_s
        if ahead is not None:
            ahead[0].feed(request, keep_stdin=more)
        remote = ahead[0] if ahead is not None else self._next_step(verb, request, more)
        try:
            exchange = Exchange(self.node, verb, remote)
            items: list[Item] = []
            if ahead is not None:
                items += exchange.first_items(ahead[1])
            while not exchange.parser.ended:
                items += exchange.next_items(deadline)
                if exchange.received > ANSWER_LIMIT:
                    raise ProtocolError(self.node, f"{verb}: more than {ANSWER_LIMIT} bytes")
            answer = parsing.collect(items)
            stderr = remote.stderr
            if more and answer.end.code == "ok":
                self._waiting.put(remote)
            else:
                remote.close()
        except BaseException:  # Ctrl-C too ends the script
            remote.close()
            raise
        raise_refusal(self.node, verb, answer.end, stderr)
        with as_protocol_error(self.node, verb):
            return read(answer)

    def _next_step(self, verb: str, request: bytes, more: bool) -> RemoteCommand:
        """The script that waits for this request, or a new one that has got it."""
        if verb in _LATER_STEPS:
            remote = self._waiting.take()
            if remote is not None and not remote.ended:
                remote.feed(request, keep_stdin=more)
                return remote
            if remote is not None:
                remote.close()
        return self._start(request, keep_stdin=more)

    def _stream(
        self,
        verb: str,
        fields: Mapping[str, str | int],
        decode: Callable[[Item], T | None],
        silence_s: float,
    ) -> "NodeStream[T]":
        remote = self._start(encode_request(verb, fields), keep_stdin=True)
        return NodeStream(Exchange(self.node, verb, remote), decode, silence_s)

    def _start(self, request: bytes, *, keep_stdin: bool) -> RemoteCommand:
        """Start the script; once more on a new connection where the old one had gone unnoticed."""
        connection = self._connect()
        try:
            return connection.start(self._command, request, keep_stdin=keep_stdin)
        except SshUnreachable:  # nothing was started
            if connection.alive:
                raise
        except NodeRefused:  # it allows no further session
            self._ready.leave()
        deadline = time.monotonic() + _FREED_S
        while True:
            try:
                return self._connect().start(self._command, request, keep_stdin=keep_stdin)
            except NodeRefused:
                if time.monotonic() > deadline:
                    raise
                self._ready.leave()  # one may just have been started
                time.sleep(_FREED_S / 20)  # its sshd counts a session until it has seen its end


class NodeStream(Iterator[T], Generic[T]):
    """Values that a node sends until close(), which any thread may call, ends the remote side.

    Iterating raises FleetError when the node or the link fails, StopIteration only after close().
    """

    def __init__(
        self, exchange: Exchange, decode: Callable[[Item], T | None], silence_s: float
    ) -> None:
        self._exchange = exchange
        self._decode = decode
        self._silence_s = silence_s
        self._items: list[Item] = []

    def __iter__(self) -> "NodeStream[T]":
        return self

    def __next__(self) -> T:
        try:
            while True:
                while self._items:
                    value = self._value(self._items.pop(0))
                    if value is not None:
                        return value
                deadline = time.monotonic() + self._silence_s
                self._items = self._exchange.next_items(deadline)
        except FleetError:
            if self._exchange.remote.closed:
                raise StopIteration from None
            self.close()
            raise

    def _value(self, item: Item) -> T | None:
        if isinstance(item, End):
            exchange = self._exchange
            raise_refusal(exchange.node, exchange.verb, item, exchange.remote.stderr)
            raise ProtocolError(exchange.node, f"{exchange.verb} ended by itself")
        with as_protocol_error(self._exchange.node, self._exchange.verb):
            return self._decode(item)

    def close(self) -> None:
        """End it, here and on the node. Harmless when repeated."""
        self._exchange.remote.close()

    def __enter__(self) -> "NodeStream[T]":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def trial_fields(token: str, trial_s: float) -> dict[str, str]:
    """Whose trial it is, who pushes, and how long it may take."""
    return {"token": token, "trial": str(max(1, math.ceil(trial_s))), "by": _who()}


def _who() -> str:
    """Who pushes, for the node's lock: `user:host`."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = "unknown"
    words = (re.sub(r"[^A-Za-z0-9._-]", "-", word)[:60] for word in (user, socket.gethostname()))
    return ":".join(word.lstrip("-.") or "unknown" for word in words)  # it begins with neither
