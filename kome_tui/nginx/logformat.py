"""The one access-log format: the directive nginx gets and the parser of what it writes.

Both come from FIELDS. Tabs cannot be forged (nginx writes a tab inside a value as `\\x09`), so the
columns hold as long as what a client chooses (URI, user agent) stands last and the rest stays ours.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

NAME = "kome"


class LogLine(NamedTuple):
    """One request as nginx logged it. Text is decoded, not cleaned: clean() it before showing."""

    at: float
    """Unix seconds, by the node's clock, when the answer ended."""
    node: str
    cache: str
    """HIT, MISS, ... or `-` where no cache took part."""
    status: int
    request_s: float
    """From the first byte of the request to the last of the answer."""
    upstream_s: float | None
    """Sum over every upstream that was tried; None where none was."""
    upstream: str | None
    """Address or addresses tried (a group's name where all were down); None where none was."""
    bytes_sent: int
    request_id: str
    method: str
    client: str
    uri: str
    agent: str

    @property
    def path(self) -> str:
        """The URI without its query."""
        return self.uri.partition("?")[0]


def log_format_directive() -> str:
    """The `log_format` directive that FIELDS stands for, on one line."""
    return f"log_format {NAME} '{_SEPARATOR.join(field.variable for field in FIELDS)}';"


def parse_line(line: bytes) -> LogLine | None:
    """Return the request of one line, or None for a torn, foreign or malformed one.

    Only a line that ends in a newline is complete. Any bytes are accepted inside a text field.
    """
    if line[-1:] != b"\n":
        return None
    values: list[Any] = line[:-1].decode("utf-8", "backslashreplace").split("\t")
    if len(values) != _COUNT:
        return None
    try:
        for column, read in _CONVERTED:
            values[column] = read(values[column])
    except ValueError:
        return None
    return LogLine._make(values)


@dataclass(frozen=True, slots=True)
class Field:
    """One column: its name in LogLine, what nginx writes there, how it is read back."""

    name: str
    variable: str
    read: Callable[[str], object] | None = None
    """None: the text as it is."""


def _optional(text: str) -> str | None:
    return None if text == "-" else text


def _seconds(text: str) -> float:
    value = float(text)
    if 0.0 <= value < 1e11:  # also refuses nan and inf
        return value
    raise ValueError(text)


def _whole(text: str) -> int:
    if text.isdigit() and len(text) < 19:
        return int(text)
    raise ValueError(text)


def _upstream_seconds(text: str) -> float | None:
    if text == "-":
        return None
    if " " not in text:
        return _seconds(text)
    # "0.1, 0.2 : 0.3": commas between servers tried, colons between internal redirects
    tried = [part for part in text.replace(",", " ").replace(":", " ").split() if part != "-"]
    return sum(map(_seconds, tried)) if tried else None


_SEPARATOR = r"\t"

FIELDS = (
    Field("at", "$msec", _seconds),
    Field("node", "$kome_node"),
    Field("cache", "$upstream_cache_status"),
    Field("status", "$status", _whole),
    Field("request_s", "$request_time", _seconds),
    Field("upstream_s", "$upstream_response_time", _upstream_seconds),
    Field("upstream", "$upstream_addr", _optional),
    Field("bytes_sent", "$bytes_sent", _whole),
    Field("request_id", "$kome_request_id"),
    Field("method", "$request_method"),
    Field("client", "$remote_addr"),
    Field("uri", "$request_uri"),
    Field("agent", "$http_user_agent"),
)
_COUNT = len(FIELDS)
_CONVERTED = tuple((at, field.read) for at, field in enumerate(FIELDS) if field.read is not None)

if tuple(field.name for field in FIELDS) != LogLine._fields:
    raise AssertionError("FIELDS and LogLine name different columns")
