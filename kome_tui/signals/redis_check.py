"""PINGs a Redis by redis-py, over a connection of ours.

The password comes from the environment only and must never reach a reason: a server may echo it.
"""

import os
from typing import Any

from redis.backoff import NoBackoff
from redis.connection import Connection
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    InvalidResponse,
    RedisError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from kome_tui.errors import KomeError
from kome_tui.signals.dial import Dial, Line, NoAnswer, failed, opened
from kome_tui.signals.readings import Check
from kome_tui.text import CELL_LIMIT, clean
from kome_tui.topology.model import Endpoint

PASSWORD_VARIABLE = "KOME_REDIS_PASSWORD"


def check_redis(endpoint: Endpoint, dial: Dial, timeout_s: float) -> Check:
    """PING, with the password of KOME_REDIS_PASSWORD where that is set. Never raises.

    up: PONG. degraded: it lives but refuses (a password is missing or wrong, loading, any other
    error reply). down: refused, silent, or no Redis.
    """
    password = os.environ.get(PASSWORD_VARIABLE) or None
    check = _ping(endpoint, dial, timeout_s, password)
    if password and check.reason == _NO_PASSWORD_THERE:
        check = _ping(endpoint, dial, timeout_s, None)
    return check


_CLOSED = "closed the connection without an answer"
_NO_REDIS = "does not answer like a Redis"
_NO_PASSWORD_THERE = f"has no password, but {PASSWORD_VARIABLE} is set"


class _Dialled(Connection):
    """redis-py's connection, over a line that stands already."""

    def __init__(self, line: Line, password: str | None) -> None:
        super().__init__(  # type: ignore[no-untyped-call]
            password=password,
            protocol=2,  # no HELLO: Redis before 6 does not know it
            driver_info=None,  # no CLIENT SETINFO either
            retry=Retry(NoBackoff(), 0),
        )
        self._line = line

    def _connect(self) -> Line:
        return self._line


def _ping(endpoint: Endpoint, dial: Dial, timeout_s: float, password: str | None) -> Check:
    try:
        with opened(dial, endpoint, timeout_s) as line:
            return _pinged(line, password, timeout_s)
    except (KomeError, OSError) as error:
        return failed(error, timeout_s)


def _pinged(line: Line, password: str | None, timeout_s: float) -> Check:
    connection: Any = _Dialled(line, password)  # redis-py's own methods have no types
    try:
        connection.connect()
        connection.send_command("PING")
        reply = connection.read_response()
    except RedisTimeoutError:
        return failed(NoAnswer(), timeout_s)
    except BusyLoadingError:
        return Check("degraded", line.waited_ms(), "is loading its data")
    except AuthenticationError as error:
        return Check("degraded", line.waited_ms(), _refusal(str(error), password))
    except RedisConnectionError as error:
        if "max number of clients" in str(error):
            return Check("degraded", line.waited_ms(), "has no room for more clients")
        return Check("down", None, _NO_REDIS if line.received else _CLOSED)
    except InvalidResponse:
        return Check("down", None, _NO_REDIS)
    except RedisError as error:
        said = _hidden(str(error), password)
        return Check("degraded", line.waited_ms(), f"answered an error: {said}")
    except (ValueError, IndexError, RecursionError, TypeError):
        # redis-py's parser on a reply that is no RESP
        return Check("down", None, _NO_REDIS)
    finally:
        connection.disconnect()
    if reply in (b"PONG", "PONG"):
        return Check("up", line.waited_ms(), None)
    said = reply.decode("utf-8", "replace") if isinstance(reply, bytes) else str(reply)
    return Check("degraded", line.waited_ms(), f"answered {_hidden(said, password)} to PING")


def _refusal(said: str, password: str | None) -> str:
    if "without any password configured" in said or "no password is set" in said:
        return _NO_PASSWORD_THERE
    if password is None:
        return f"needs a password: set {PASSWORD_VARIABLE}"
    return f"does not accept the password of {PASSWORD_VARIABLE}"


def _hidden(said: str, password: str | None) -> str:
    return clean(said.replace(password, "***") if password else said, CELL_LIMIT)
