"""Reads server-sent events from bytes that may be split anywhere.

Imported by the probe's child: standard library only. An event is complete with the read that
brought its empty line, and gets that read's time; looking ahead would shift it to the next one.
"""

import re

EVENT_LIMIT = 1024 * 1024

_LINE_END = re.compile(rb"\r\n|\n|\r")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class EventTooLong(ValueError):
    """One event is longer than EVENT_LIMIT bytes."""


class EventStream:
    """An incremental parser: bytes in, the data of each complete event out."""

    def __init__(self) -> None:
        self._tail = b""
        self._data: list[bytes] = []
        self._size = 0
        self._after_cr = False
        self._begun = False

    def feed(self, received: bytes) -> list[bytes]:
        """Return the data of the events that `received` completes, in order.

        Comments and other fields are skipped, and an event without data is none. Lines end in LF,
        CR or CRLF; several data lines are joined by LF. Raises EventTooLong.
        """
        if self._after_cr and received.startswith(b"\n"):
            received = received[1:]
        if received:
            self._after_cr = received.endswith(b"\r")
        *lines, self._tail = _LINE_END.split(self._tail + received)
        events = []
        for line in lines:
            event = self._take(line)
            if event is not None:
                events.append(event)
        if self._size + len(self._tail) > EVENT_LIMIT:
            raise EventTooLong(f"an event is longer than {EVENT_LIMIT} bytes")
        return events

    def _take(self, line: bytes) -> bytes | None:
        if not self._begun:
            self._begun = True
            line = line.removeprefix(_BYTE_ORDER_MARK)
        if not line:
            event = b"\n".join(self._data) if self._data else None
            self._data = []
            self._size = 0
            return event
        name, _, value = line.partition(b":")
        if name == b"data":
            self._data.append(value.removeprefix(b" "))
            self._size += len(value)
        return None
