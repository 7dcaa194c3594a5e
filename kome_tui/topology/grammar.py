"""The allow-lists: what may stand in a topology's values, and so in a rendered file.

nginx -t is no defence (it accepts `a; } server {`), so nothing outside these grammars gets in.
Every pattern ends in \\Z: a `$` would let a final newline through. Values are refused, never
repaired.
"""

import ipaddress
import re
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, BeforeValidator, WithJsonSchema

_SEGMENT = r"(?!\.{1,2}(?:/|\Z))[A-Za-z0-9_.][A-Za-z0-9_.-]{0,63}"
_URI_SEGMENT = r"(?!\.{1,2}(?:/|\Z))[A-Za-z0-9_~.][A-Za-z0-9_~.-]{0,63}"

NAME = re.compile(r"[a-z](?:[a-z0-9-]{0,30}[a-z0-9])?\Z")
PATH = re.compile(rf"(?:/{_SEGMENT}){{1,16}}\Z")
URI = re.compile(rf"(?=/)(?:/{_URI_SEGMENT}){{0,16}}/?\Z")
SIZE = re.compile(r"[1-9][0-9]{0,5}[kmg]\Z")
WHOLE_TIME = re.compile(r"[1-9][0-9]{0,4}[smhd]\Z")
TIME = re.compile(r"[1-9][0-9]{0,4}(?:ms|s|m|h|d)\Z")
USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}\Z")
VERSION = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){1,2}\Z")
RELEASE_ID = re.compile(r"(?:[0-9a-f]{12}|original)\Z")

UNCACHED = ("/v1", "/api", "/ws", "/health", "/.kome")
"""Never served from a cache: API answers, streams, and what says how things are now."""

GATEWAYS = ("/v1", "/api", "/ws", "/run")
"""OKOME's alone, on every node: what people send to a model goes through the gateway."""

SHORTEST_PREFIX = 8
"""Of a network that is still one LAN: 0.0.0.0/0 is everybody."""

_SIZE_UNITS = {"k": 1024, "m": 1024**2, "g": 1024**3}
_TIME_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def size_bytes(size: str) -> int:
    """Bytes of an nginx size such as `1g`."""
    return int(size[:-1]) * _SIZE_UNITS[size[-1]]


def seconds(time: str) -> float:
    """Seconds of an nginx time such as `24h` or `500ms`."""
    number = time.rstrip("mshd")
    return int(number) * _TIME_UNITS[time[len(number) :]]


def _matching(pattern: re.Pattern[str], allowed: str) -> BeforeValidator:
    def check(value: object) -> str:
        if isinstance(value, str) and pattern.match(value):
            return value
        raise ValueError(allowed)

    return BeforeValidator(check)


def _pattern(pattern: re.Pattern[str]) -> WithJsonSchema:
    # Editors use the regular expressions of JavaScript, which has no \Z.
    return WithJsonSchema({"type": "string", "pattern": "^" + pattern.pattern.replace(r"\Z", "$")})


def _ip(value: object) -> str:
    allowed = "allowed is the IPv4 or IPv6 address of one machine in its usual spelling, no name"
    if not isinstance(value, str) or not value.isascii() or "%" in value:
        raise ValueError(allowed)
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        raise ValueError(allowed) from None
    nobody = address.is_multicast or address.is_unspecified or _has_no_own_spelling(address)
    if nobody or str(address) != value.lower():
        raise ValueError(allowed)
    return value.lower()


def _has_no_own_spelling(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Broadcast, which nginx's geo cannot tell from an error, and IPv4 written as IPv6.

    Of the second, Python's usual spelling depends on its version, and so would every release id.
    """
    if isinstance(address, ipaddress.IPv6Address):
        return address.ipv4_mapped is not None
    return int(address) == 2**32 - 1


def _network(value: object) -> str:
    allowed = (
        "allowed is a network such as 192.168.86.0/24, host bits zero, of one LAN (at most /8)"
    )
    if not isinstance(value, str) or not value.isascii() or "%" in value:
        raise ValueError(allowed)
    try:
        network = ipaddress.ip_network(value)
    except ValueError:
        raise ValueError(allowed) from None
    odd = _has_no_own_spelling(network.network_address)
    if odd or str(network) != value.lower() or network.prefixlen < SHORTEST_PREFIX:
        raise ValueError(allowed)
    return str(network)


def _cached(value: str) -> str:
    bare = value.rstrip("/")
    if not bare or any(f"{bare}/".startswith(f"{never}/") for never in UNCACHED):
        raise ValueError(
            "allowed is /NAME/ (all below it) or /NAME (only that), but not / "
            f"and nothing in {', '.join(UNCACHED)}, which must never be cached"
        )
    return value


def _number(value: object, low: int, high: int) -> int | None:
    if isinstance(value, str) and re.fullmatch(r"0|[1-9][0-9]{0,8}", value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if low <= value <= high else None


def _whole(low: int, high: int, *words: str) -> BeforeValidator:
    allowed = f"allowed is {''.join(f'{word} or ' for word in words)}a whole number"

    def check(value: object) -> int | str:
        if isinstance(value, str) and value in words:
            return value
        number = _number(value, low, high)
        if number is None:
            raise ValueError(f"{allowed} from {low} to {high}")
        return number

    return BeforeValidator(check)


def _yes_no(value: object) -> bool:
    if isinstance(value, bool):
        return value
    if value in ("true", "yes"):
        return True
    if value in ("false", "no"):
        return False
    raise ValueError("allowed is yes or no")


def _none(value: object) -> object:
    return None if value == "none" else value


def _schema(value: object) -> int:
    if value in ("1", 1) and not isinstance(value, bool):
        return 1
    raise ValueError("allowed is 1, the only version of this file that there is")


Name = Annotated[
    str,
    _matching(NAME, "allowed are a-z, 0-9 and -, at most 32, first a letter, last no -"),
    _pattern(NAME),
]
PathText = Annotated[
    str,
    _matching(PATH, "allowed is an absolute path of A-Z a-z 0-9 _ . -, with no / at its end"),
    _pattern(PATH),
]
Uri = Annotated[
    str,
    _matching(URI, "allowed is a path of a URL, such as /assets/, of A-Z a-z 0-9 _ ~ . -"),
    _pattern(URI),
]
CachedUri = Annotated[Uri, AfterValidator(_cached)]
Size = Annotated[
    str,
    _matching(SIZE, "allowed is a size such as 512k, 256m or 1g"),
    _pattern(SIZE),
]
Time = Annotated[
    str,
    _matching(TIME, "allowed is a time such as 500ms, 30s, 10m or 24h"),
    _pattern(TIME),
]
WholeTime = Annotated[
    str,
    _matching(WHOLE_TIME, "allowed is a time in whole seconds or more, such as 30s, 10m or 24h"),
    _pattern(WHOLE_TIME),
]
User = Annotated[
    str,
    _matching(USER, "allowed is a user name: a-z 0-9 _ -, at most 32, first a letter or _"),
    _pattern(USER),
]
Version = Annotated[
    str,
    _matching(VERSION, "allowed is a version such as 1.22 or 1.26.3"),
    WithJsonSchema({"type": ["string", "number"]}),
]
Ip = Annotated[str, BeforeValidator(_ip)]
Network = Annotated[str, BeforeValidator(_network)]
Port = Annotated[int, _whole(1, 65535)]
Count = Annotated[int, _whole(1, 1_000_000)]
Workers = Annotated[int | Literal["auto"], _whole(1, 512, "auto")]
YesNo = Annotated[
    bool,
    BeforeValidator(_yes_no),
    WithJsonSchema({"enum": ["yes", "no", True, False]}),
]
SchemaVersion = Annotated[Literal[1], BeforeValidator(_schema)]

T = TypeVar("T")
OrNone = Annotated[T | None, BeforeValidator(_none)]
"""A value that may be left unset. The written form of that is the word `none`."""
