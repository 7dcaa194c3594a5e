"""The node's answers as values: pure parsers of what framing.py has cut.

`-` stands for "none" in every value. A key that is missing or says something else than it may is
a BadAnswer, never a default: a guess here would be shown as a measurement.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import cast, get_args

from kome_tui.fleet.answers import (
    Applied,
    Decided,
    Decision,
    LogChunk,
    NginxState,
    NodeFacts,
    NodeStatus,
    Staged,
)
from kome_tui.fleet.framing import Data, End, Field, Item

NONE = "-"


class BadAnswer(Exception):
    """The answer is well framed and does not say what its verb must say."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer to one request."""

    fields: Mapping[str, str]
    data: tuple[Data, ...]
    end: End


def collect(items: Iterable[Item]) -> Answer:
    """An answer from all its items; the last one has to be the end."""
    fields: dict[str, str] = {}
    data: list[Data] = []
    for item in items:
        match item:
            case Field(key, value):
                fields[key] = value
            case Data():
                data.append(item)
            case End():
                return Answer(fields, tuple(data), item)
    raise BadAnswer("no end")


def staged(answer: Answer) -> Staged:
    """Of `stage`."""
    fields = answer.fields
    return Staged(
        live=_text(fields, "live"),
        drift=_flag(fields, "drift"),
        unchanged=_flag(fields, "unchanged"),
        trial=_text(fields, "trial"),
        script_digest=_optional(fields, "digest"),
    )


def applied(answer: Answer) -> Applied:
    """Of `apply` and `rollback`. On trial only where the node ended with ok."""
    reason = answer.end.text or _optional(answer.fields, "reason")
    return Applied(
        on_trial=answer.end.code == "ok",
        live=_live(answer),
        reason=reason,
        degraded=answer.end.code == "degraded",
        shows=answer.fields.get("shows"),
    )


def decided(answer: Answer) -> Decided:
    """Of `confirm`, `cancel` and `recover`."""
    fields = answer.fields
    degraded = answer.end.code == "degraded" or ("degraded" in fields and _flag(fields, "degraded"))
    decision = _optional(fields, "decision")
    if decision is None and answer.end.code == "rolled-back":
        decision = "rolled-back"
    if decision is not None and decision not in get_args(Decision):
        raise BadAnswer(f"decision {decision!r}")
    return Decided(
        decision=cast("Decision | None", decision),
        live=_live(answer),
        degraded=degraded,
        reason=answer.end.text or _optional(fields, "reason"),
    )


def status_of(answer: Answer) -> NodeStatus:
    """Of `status`."""
    fields = answer.fields
    script = _number(fields, "script")
    if script is None:
        raise BadAnswer("no script version")
    return NodeStatus(
        live=_text(fields, "live"),
        running=_text(fields, "running"),
        previous=_text(fields, "previous"),
        nginx=_nginx(fields),
        drift=_flag(fields, "drift"),
        trial=_text(fields, "trial"),
        last=_text(fields, "last"),
        nginx_version=_text(fields, "version"),
        script_version=script,
        kept=tuple(word for word in _required(fields, "kept").split() if word != NONE),
        disk_free_bytes=_number(fields, "disk_free"),
        inodes_free=_number(fields, "inodes_free"),
        busy=_text(fields, "busy"),
        script_digest=_optional(fields, "digest"),
        host_version=_optional(fields, "host"),
    )


def content(answer: Answer, key: str) -> bytes:
    """The bytes of `live` (conf) and `readlog` (log): every data item of `key`, joined."""
    found = [item.content for item in answer.data if item.key == key]
    if not found:
        raise BadAnswer(f"no data {key}")
    return b"".join(found)


def log_chunk(item: Item) -> LogChunk | None:
    """Of one item of `follow`; None for a sign of life."""
    match item:
        case Data("log", inode, offset, taken):
            return LogChunk(inode, offset, taken)
        case Field("tick", _):
            return None
        case _:
            raise BadAnswer(f"unexpected {type(item).__name__.lower()} in a log")


class FactsFrames:
    """Makes NodeFacts of the lines of `facts`; CPU is measured from one frame to the next."""

    def __init__(self) -> None:
        self._fields: dict[str, str] = {}
        self._before: tuple[float, float] | None = None

    def feed(self, item: Item) -> NodeFacts | None:
        """The frame that `item` ends, None within one."""
        match item:
            case Field("frame", _):
                fields, self._fields = self._fields, {}
                return self._facts(fields)
            case Field(key, value):
                self._fields[key] = value
                return None
            case _:
                raise BadAnswer(f"unexpected {type(item).__name__.lower()} in facts")

    def _facts(self, fields: Mapping[str, str]) -> NodeFacts:
        return NodeFacts(
            live=_text(fields, "live"),
            drift=_flag(fields, "drift"),
            nginx=_nginx(fields),
            connections=_number(fields, "connections"),
            cpu_percent=self._cpu_percent(fields),
            memory_bytes=_number(fields, "memory"),
            cache_bytes=_number(fields, "cache_bytes"),
            cache_files=_number(fields, "cache_files"),
            disk_free_bytes=_number(fields, "disk_free"),
            old_workers=_number(fields, "old_workers"),
        )

    def _cpu_percent(self, fields: Mapping[str, str]) -> float | None:
        """Of one core, over the time since the frame before; None where a process ended."""
        ticks = _decimal(fields, "cpu_ticks")
        per_s = _decimal(fields, "clock_ticks_per_s")
        uptime_s = _decimal(fields, "uptime_s")
        if ticks is None or uptime_s is None or not per_s:
            self._before = None
            return None
        before, self._before = self._before, (ticks, uptime_s)
        if before is None or uptime_s <= before[1] or ticks < before[0]:
            return None
        return 100.0 * (ticks - before[0]) / per_s / (uptime_s - before[1])


def _required(fields: Mapping[str, str], key: str) -> str:
    try:
        return fields[key]
    except KeyError:
        raise BadAnswer(f"{key} is missing") from None


def _text(fields: Mapping[str, str], key: str) -> str | None:
    value = _required(fields, key)
    return None if value in (NONE, "") else value


def _optional(fields: Mapping[str, str], key: str) -> str | None:
    return _text(fields, key) if key in fields else None


def _live(answer: Answer) -> str | None:
    """Of a change: has to be told where it went well, may be left out where it did not."""
    told = "live" in answer.fields or answer.end.code == "ok"
    return _text(answer.fields, "live") if told else None


def _flag(fields: Mapping[str, str], key: str) -> bool:
    value = _required(fields, key)
    if value not in ("yes", "no"):
        raise BadAnswer(f"{key} {value!r} is neither yes nor no")
    return value == "yes"


def _decimal(fields: Mapping[str, str], key: str) -> float | None:
    value = _text(fields, key)
    if value is None:
        return None
    whole, _, part = value.partition(".")
    if not (whole.isascii() and whole.isdigit() and len(value) <= 30):
        raise BadAnswer(f"{key} {value!r} is not a number")
    if part and not (part.isascii() and part.isdigit()):
        raise BadAnswer(f"{key} {value!r} is not a number")
    return float(value)


def _number(fields: Mapping[str, str], key: str) -> int | None:
    value = _decimal(fields, key)
    return None if value is None else int(value)


def _nginx(fields: Mapping[str, str]) -> NginxState:
    value = _required(fields, "nginx")
    if value not in get_args(NginxState):
        raise BadAnswer(f"nginx {value!r}")
    return cast(NginxState, value)
