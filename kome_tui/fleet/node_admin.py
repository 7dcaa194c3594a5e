"""A node's verbs that are no push: purge, restart, reach, gc, host files, the script itself.

They are a client of their own because most of the console never calls them. Errors are those of
NodeClient; a change of the host is on trial until confirm() comes over a connection opened later.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Literal, cast, get_args

from kome_tui.fleet import parsing
from kome_tui.fleet.client import CHANGE_S, READ_S, NodeClient, trial_fields
from kome_tui.fleet.parsing import Answer, BadAnswer
from kome_tui.topology.model import Endpoint

ReachResult = Literal["ok", "refused", "no-route", "timed-out"]


@dataclass(frozen=True, slots=True)
class Reached:
    """Answer to `reach`: how a TCP connection from the node to an upstream went."""

    result: ReachResult
    ms: int
    """Until that was known."""


@dataclass(frozen=True, slots=True)
class HostChange:
    """Answer to `host`."""

    version: str
    changed: int
    """Files that were written or removed; 0: the host had this version already."""
    on_trial: bool
    """Goes back by itself unless confirmed over a new connection."""


@dataclass(frozen=True, slots=True)
class Upload:
    """One host file as it is sent."""

    path: str
    mode: int
    content: bytes


class NodeAdmin(NodeClient):
    """One node's verbs for the operator's hand."""

    def reach(self, endpoint: Endpoint, timeout_s: float) -> Reached:
        """Try a TCP connection from the node; only to the upstreams of its topology."""
        timeout_s = min(max(timeout_s, 0.1), 10.0)
        fields: dict[str, str | int] = {
            "address": endpoint.address,
            "port": endpoint.port,
            "timeout": f"{timeout_s:.1f}",
        }
        return self._value(_reached, "reach", fields, b"", READ_S)

    def start_nginx(self) -> None:
        """Start nginx where it is stopped; refused where it runs."""
        self._value(_done, "restart", {"how": "start"}, b"", CHANGE_S)

    def restart_nginx(self) -> None:
        """Stop nginx, which cuts every stream, and start it."""
        self._value(_done, "restart", {"how": "restart"}, b"", CHANGE_S)

    def purge(self, path: str | None = None) -> int:
        """Empty the cache, or take one request's answers out of it; how many files went.

        `path` is the request line's target as clients send it, with its query.
        """
        content = b"" if path is None else path.encode()
        fields = sized(content) if path is not None else {}
        return self._value(lambda got: _count(got, "removed"), "purge", fields, content, CHANGE_S)

    def gc(self) -> int:
        """Remove what pushes that died have left, and old releases; how many entries went."""
        return self._value(lambda got: _count(got, "removed"), "gc", {}, b"", CHANGE_S)

    def host(
        self, version: str, uploads: tuple[Upload, ...], token: str, trial_s: float
    ) -> HostChange:
        """Put host files in place. What may lock us out is on trial for `trial_s` seconds."""
        content = bundle(version, uploads)
        fields = {**sized(content), **trial_fields(token, trial_s)}
        return self._value(host_change, "host", fields, content, CHANGE_S)

    def upgrade(self, script: str) -> None:
        """Replace the node's script by one that the old one has tried first."""
        content = script.encode()
        self._value(_done, "upgrade", sized(content), content, CHANGE_S)


def bundle(version: str, uploads: tuple[Upload, ...]) -> bytes:
    """Host files as the node reads them: mode, length and path of each, then its bytes."""
    parts = [f"kome-host 1 {version}\n".encode()]
    for upload in uploads:
        head = f"file {upload.mode:o} {len(upload.content)} {upload.path}\n"
        parts += [head.encode(), upload.content, b"\n"]
    return b"".join((*parts, b"end\n"))


def sized(content: bytes) -> dict[str, str | int]:
    """What a payload is announced with."""
    return {"size": len(content), "sha256": sha256(content).hexdigest()}


def _done(answer: Answer) -> None:
    """The end has said it all."""


def _count(answer: Answer, key: str) -> int:
    value = answer.fields.get(key, "")
    if not (value.isascii() and value.isdigit() and len(value) <= 18):
        raise BadAnswer(f"{key} {value!r} is no whole number")
    return int(value)


def _reached(answer: Answer) -> Reached:
    result = answer.fields.get("result")
    if result not in get_args(ReachResult):
        raise BadAnswer(f"result {result!r}")
    return Reached(cast(ReachResult, result), _count(answer, "ms"))


def host_change(answer: Answer) -> HostChange:
    """Of `host`."""
    fields: Mapping[str, str] = answer.fields
    if "version" not in fields or "trial" not in fields:
        raise BadAnswer("version or trial is missing")
    return HostChange(fields["version"], _count(answer, "changed"), fields["trial"] != parsing.NONE)
