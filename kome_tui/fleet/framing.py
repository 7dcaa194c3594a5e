"""The wire protocol kome/1 between the console and kome-node: one request out, lines back.

Pure: bytes in, values out, no clock and no socket. Everything that is not exactly the protocol
raises FramingError; text that came from the node leaves this file cleaned.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from kome_tui.text import clean

VERSION = 1
LINE_LIMIT = 16 * 1024
DATA_LIMIT = 32 * 1024 * 1024
"""Far above the largest log tail or configuration; a longer length is a broken node."""

EndCode = Literal["ok", "busy", "refused", "failed", "rolled-back", "degraded", "usage"]

_VERB = re.compile(r"[a-z]{1,16}\Z")
_KEY = re.compile(r"[a-z_][a-z0-9_]{0,31}\Z")
_VALUE = re.compile(r"[A-Za-z0-9._:/-]{1,200}\Z")
_NUMBER = re.compile(r"[0-9]{1,18}\Z")
_CODES: Mapping[str, EndCode] = {code: code for code in get_args(EndCode)}


class FramingError(Exception):
    """The bytes are not the protocol. The text is one clean line."""


@dataclass(frozen=True, slots=True)
class Field:
    """A line `key value`; the value is clean and may be empty."""

    key: str
    value: str


@dataclass(frozen=True, slots=True)
class Data:
    """Raw bytes of a file: `content` starts at `offset` of the file `inode`."""

    key: str
    inode: int
    offset: int
    content: bytes


@dataclass(frozen=True, slots=True)
class End:
    """The last line. `text` is the node's reason, clean, empty where it gave none."""

    code: EndCode
    text: str


Item = Field | Data | End


def encode_request(verb: str, fields: Mapping[str, str | int], payload: bytes = b"") -> bytes:
    """The bytes of one request. A value outside the grammar raises ValueError: it never leaves."""
    if not _VERB.match(verb):
        raise ValueError(f"not a verb: {verb!r}")
    words = [f"kome/{VERSION}", verb]
    for key, value in fields.items():
        if not _KEY.match(key) or not _VALUE.match(str(value)):
            raise ValueError(f"not allowed in a request: {key}={value!r}")
        words.append(f"{key}={value}")
    return " ".join(words).encode() + b"\n" + payload


class AnswerParser:
    """Takes the node's bytes as they arrive and gives whole items, in order.

    The result does not depend on how the bytes were cut.
    """

    def __init__(self, verb: str) -> None:
        self._greeting = f"kome-node {VERSION} {verb}"
        self._left = bytearray()
        self._pending: tuple[str, int, int, int] | None = None
        self.greeted = False
        """The first line has come: there is a kome-node at the other end."""
        self.ended = False
        """The last line has come."""

    @property
    def unread(self) -> bytes:
        """What has arrived and is no whole item yet; where nothing was greeted, the noise."""
        return bytes(self._left)

    def feed(self, received: bytes) -> list[Item]:
        """The items that `received` completes. Raises FramingError."""
        self._left += received
        items: list[Item] = []
        while True:
            if self.ended:
                if self._left:
                    raise FramingError(f"text after the end: {clean(self.unread, 80)}")
                return items
            item = self._next_data() if self._pending else self._next_line()
            if item is None:
                return items
            if not isinstance(item, _Nothing):
                items.append(item)

    def _next_data(self) -> Data | None:
        assert self._pending is not None
        key, inode, offset, length = self._pending
        if len(self._left) <= length:
            return None
        if self._left[length] != ord("\n"):
            raise FramingError(f"data {key} is not followed by a newline")
        content = bytes(self._left[:length])
        del self._left[: length + 1]
        self._pending = None
        return Data(key, inode, offset, content)

    def _next_line(self) -> "Item | _Nothing | None":
        end = self._left.find(b"\n", 0, LINE_LIMIT + 1)
        if end < 0:
            if len(self._left) > LINE_LIMIT:
                raise FramingError(f"a line longer than {LINE_LIMIT} bytes")
            return None
        line = bytes(self._left[:end])
        del self._left[: end + 1]
        if not self.greeted:
            if line != self._greeting.encode():
                raise FramingError(f"expected {self._greeting!r}, got: {clean(line, 120)}")
            self.greeted = True
            return _NOTHING
        return self._item(line)

    def _item(self, line: bytes) -> "Item | _Nothing":
        word, _, rest = line.partition(b" ")
        key = word.decode("ascii", "replace")
        if key == "end":
            self.ended = True
            return _end(rest)
        if key == "data":
            self._pending = _data_header(rest)
            return _NOTHING
        if not _KEY.match(key):
            raise FramingError(f"not a line of the protocol: {clean(line, 120)}")
        return Field(key, clean(rest))


class _Nothing:
    """A line that is complete and gives no item by itself."""


_NOTHING = _Nothing()


def _end(rest: bytes) -> End:
    word, _, text = rest.partition(b" ")
    code = _CODES.get(word.decode("ascii", "replace"))
    if code is None:
        raise FramingError(f"not an end code: {clean(word, 40)}")
    return End(code, clean(text))


def _data_header(rest: bytes) -> tuple[str, int, int, int]:
    words = rest.decode("ascii", "replace").split(" ")
    if len(words) != 4 or not _KEY.match(words[0]) or not all(map(_NUMBER.match, words[1:])):
        raise FramingError(f"not a data line: {clean(rest, 120)}")
    inode, offset, length = (int(word) for word in words[1:])
    if length > DATA_LIMIT:
        raise FramingError(f"data of {length} bytes, more than {DATA_LIMIT}")
    return words[0], inode, offset, length
