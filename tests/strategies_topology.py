"""Any topology that validates, as the values of a file: hypothesis draws every field of the model.

What may be drawn comes from the model's own annotations, so a new field is drawn from the day it is
there. Extremes come as often as ordinary values, and paths from a small pool, so that they meet.
What breaks a rule between values is for the caller to drop.
"""

import ipaddress
import os
from collections.abc import Mapping
from functools import cache
from itertools import chain
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from hypothesis import assume
from hypothesis import strategies as st

from kome_tui.errors import TopologyError
from kome_tui.topology import grammar
from kome_tui.topology.load import parse
from kome_tui.topology.model import Frozen, Node, Role, Topology, UpstreamName
from kome_tui.topology.write import to_yaml

EXAMPLES = int(os.environ.get("KOME_EXAMPLES", "60"))
"""How many topologies a property is shown; the environment may ask for more."""

MOST_NODES = 7

Values = dict[str, Any]
Strategy = st.SearchStrategy[Any]


def _either(pattern: Any, *likely: str) -> Strategy:
    return st.sampled_from(likely) | st.from_regex(pattern, fullmatch=True)


def _network(v4: int, v6: int, width: int) -> str:
    address = ipaddress.IPv4Address(v4) if v4 % 2 else ipaddress.IPv6Address(v6)
    drop = width % (address.max_prefixlen - 7)
    return str(ipaddress.ip_network((int(address), address.max_prefixlen - drop), strict=False))


def _joined(segments: list[str]) -> str:
    return "".join(f"/{segment}" for segment in segments)


# Made, not filtered: of the patterns' own `not . or ..` and of multicast most draws would be lost.
_SEGMENT = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}", fullmatch=True)
_SEGMENTS = st.lists(_SEGMENT, min_size=1, max_size=16).map(_joined)
_V4 = st.integers(1, 0xDFFF_FFFF) | st.integers(0xF000_0000, 0xFFFF_FFFE)
_V6 = st.integers(1, (0xFF << 120) - 1)
_IPS = (
    st.sampled_from(("127.0.0.1", "::1", "10.0.0.1", "169.254.1.1", "fe80::1", "255.255.255.254"))
    | st.integers(1, 254).map("192.168.86.{}".format)
    | _V4.map(ipaddress.IPv4Address).map(str)
    | _V6.map(ipaddress.IPv6Address).map(str)
)
_NETWORKS = st.sampled_from(
    ("192.168.86.0/24", "10.0.0.0/8", "127.0.0.0/8", "127.0.0.1/32", "::/8", "fd00::/8", "::1/128")
) | st.builds(_network, st.integers(0, 2**32 - 1), st.integers(0, 2**128 - 1), st.integers(0, 120))
_PATHS = _SEGMENTS | st.sampled_from(
    (
        *("/etc/nginx", "/etc/nginx/mime.types", "/run/nginx.pid", "/run/kome", "/var/log/nginx"),
        *("/var/cache/nginx/kome", "/a", "/a/b", "/a/b/c", "/a.b", "/" + "/".join(["x" * 64] * 16)),
        *("/usr/sbin/nginx", "/_", "/0", "/a-/b_", "/etc/nginx/nginx.conf", "/..a", "/.a/b"),
        *("/var/log/nginx/access.log", "/etc", "/run", "/var/cache/nginx"),
    )
)
_URIS = ("/", "/a", "/a/", "/A/", "/a/b", "/ab/", "/.a", "/~u/", "/x.js", "/a-b/", "/nodesx", "/v")
_MADE_URIS = _SEGMENTS | _SEGMENTS.map("{}/".format)

_NAMES = _either(
    grammar.NAME, "a", "node-01", "default", "x" * 32, "a-" * 15 + "a", "http", "include"
)

_DRAWN: list[tuple[Any, Strategy]] = [
    (grammar.Name, _NAMES),
    (grammar.PathText, _PATHS),
    (grammar.Uri, st.sampled_from(_URIS) | _MADE_URIS),
    (
        grammar.CachedUri,
        st.sampled_from((*_URIS, "/assets/", "/version", "/v1a/", "/healthy", "/healthz", "/w"))
        | _MADE_URIS,
    ),
    (grammar.Size, _either(grammar.SIZE, "1k", "999999k", "999999m", "999999g", "64m", "1g")),
    (grammar.Time, _either(grammar.TIME, "1ms", "99999ms", "1s", "4s", "3600s", "24h", "99999d")),
    (grammar.WholeTime, _either(grammar.WHOLE_TIME, "1s", "30s", "99999s", "24h", "7d", "99999d")),
    (grammar.User, _either(grammar.USER, "www-data", "root", "_", "nobody", "a" + "-" * 31)),
    (grammar.Version, _either(grammar.VERSION, "1.22", "1.26.3", "1.19.0", "0.0", "999.999.999")),
    (grammar.Ip, _IPS),
    (grammar.Network, _NETWORKS),
    (grammar.Port, st.sampled_from((1, 80, 8000, 65535)) | st.integers(1, 65535)),
    (grammar.Count, st.sampled_from((1, 2, 1_000_000)) | st.integers(1, 1_000_000)),
    (grammar.Workers, st.just("auto") | st.sampled_from((1, 512)) | st.integers(1, 512)),
    (grammar.YesNo, st.booleans()),
    (grammar.SchemaVersion, st.just(1)),
]

# Narrower than their type, or the sum of all disks would nearly always be above its budget.
_SMALL = _either(r"[1-9][0-9]{0,2}[km]", "1k", "1m", "200m", "1g")
_NARROW: dict[tuple[str, str], Strategy] = {
    ("Cache", "size"): _SMALL,
    ("Cache", "tmpfs"): st.none() | st.sampled_from(("2k", "2m", "256m", "2g")),
    ("Node", "cache_size"): st.none() | _SMALL,
    ("Node", "cache_tmpfs"): st.none() | st.sampled_from(("2k", "2m", "256m", "2g")),
    ("Disk", "log"): st.sampled_from(("1k", "64m")),
    ("Disk", "system"): st.sampled_from(("1k", "2g")),
    ("Disk", "budget"): st.sampled_from(("5g", "100g", "999999g")),
    ("Push", "keep"): st.integers(1, 20),
    ("Push", "trial"): st.sampled_from(("1s", "30s", "10m", "600s")),
}


def _of_type(kind: Any) -> Strategy:
    for known, strategy in _DRAWN:
        if kind == known:
            return strategy
    origin, args = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _of_type(args[0])
    if origin in (Union, UnionType):
        return st.one_of(*(st.none() if each is type(None) else _of_type(each) for each in args))
    if origin is Literal:
        return st.sampled_from(args)
    if origin is tuple:
        unique = get_origin(args[0]) is Literal
        return st.lists(_of_type(args[0]), max_size=4, unique=unique)
    if origin is not None and issubclass(origin, Mapping):
        return st.dictionaries(_of_type(args[0]), _of_type(args[1]), max_size=3)
    if isinstance(kind, type) and issubclass(kind, UpstreamName | Role):
        return st.sampled_from([str(each) for each in kind])
    if isinstance(kind, type) and issubclass(kind, Frozen):
        return st.deferred(lambda: section(kind))
    raise TypeError(f"no strategy for {kind}")


@cache
def section(model: type[Frozen], **over: Strategy) -> Strategy:
    """Values of one section of the file; what has a default may be left out."""
    hints = get_type_hints(model, include_extras=True)
    required: dict[str, Strategy] = {}
    optional: dict[str, Strategy] = {}
    for name, field in model.model_fields.items():
        strategy = over.get(name, _NARROW.get((model.__name__, name)))
        if strategy is None:
            strategy = _of_type(hints[name])
        (required if field.is_required() else optional)[field.alias or name] = strategy
    return st.fixed_dictionaries(required, optional=optional)


@cache
def _node(role: str) -> Strategy:
    return section(Node, role=st.just(role))


@st.composite
def _nodes(draw: st.DrawFn) -> Values:
    roles = ["frontend", *draw(st.lists(st.sampled_from(list(Role)[1:]), max_size=5))]
    if Role.INGRESS in roles:
        roles += [Role.CACHE_STREAM] * draw(st.integers(1, 3))
    nodes: Values = {}
    for role in roles:
        name, node = draw(_NAMES), draw(_node(str(role)))
        for part, only in (("draft", Role.SPECULATIVE_GPU), ("services", Role.OBSERVABILITY)):
            if role != only:
                node.pop(part, None)
        _put_right(node.get("layout", {}))
        nodes.setdefault(name, node)
    return nodes


def _put_right(layout: Values) -> None:
    """`listen` and `ipv6` go together by a rule of their own; drawn alone they rarely would."""
    if layout.get("listen") is not None:
        layout["ipv6"] = False


_FILES = section(Topology, nodes=_nodes())


@st.composite
def topologies(draw: st.DrawFn) -> Values:
    """The values of a whole file. Most of them are valid, and the rest breaks a rule."""
    values: Values = draw(_FILES)
    layout = values.get("layout", {})
    _put_right(layout)
    if layout.get("listen") is not None:
        for node in values["nodes"].values():
            node.get("layout", {}).pop("ipv6", None)
    if paths := values.get("cache", {}).get("paths"):
        once = {path.rstrip("/"): path for path in paths}
        values["cache"]["paths"] = [path for bare, path in once.items() if _may_be_cached(bare)]
    values["lan"] = list(dict.fromkeys(values["lan"])) or ["192.168.86.0/24"]
    return values


def _may_be_cached(bare: str) -> bool:
    return bool(bare) and not any(f"{bare}/".startswith(f"{no}/") for no in grammar.UNCACHED)


def read(values: Values) -> Topology:
    """The topology of these values; an example that breaks a rule is dropped."""
    try:
        return parse(to_yaml(values).encode(), "topology.yaml")
    except TopologyError:
        assume(False)
        raise


def looked_at(topology: Topology) -> list[str]:
    """A node of every role, and more of them up to MOST_NODES."""
    one = [topology.with_role(role)[:1] for role in Role]
    return list(dict.fromkeys([*chain(*one), *topology.nodes]))[:MOST_NODES]
