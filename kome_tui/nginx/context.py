"""The ready values of one node's configuration. Templates only choose and repeat them.

Whatever computes stands here. Every address comes from Topology.endpoint and Topology.http_of, so
that render and checks look at the same place.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_network

from kome_tui.errors import RenderError
from kome_tui.nginx.logformat import log_format_directive
from kome_tui.topology.grammar import seconds, size_bytes
from kome_tui.topology.model import Endpoint, Layout, Node, Role, Topology, UpstreamName

OUR_TEXTS = frozenset({log_format_directive()})
"""nginx text made by this package, not by a topology: all that may hold `$` or quotes."""

_LOOPBACK = ("127.0.0.0/8", "::1/128")
_MIB = 1024 * 1024
_MIN_FREE_SINCE = (1, 19, 1)
_OWN_LOCATIONS = ("/.kome/", "/health")


@dataclass(frozen=True, slots=True)
class Server:
    """One `server` line of an upstream."""

    address: str
    max_fails: int
    fail_timeout: str | None = None
    backup: bool = False


@dataclass(frozen=True, slots=True)
class Group:
    """One upstream block."""

    name: str
    servers: tuple[Server, ...]


@dataclass(frozen=True, slots=True)
class Location:
    """One location of cached paths; a prefix one wins over every other prefix."""

    uri: str
    exact: bool


@dataclass(frozen=True, slots=True)
class CacheZone:
    """The node's own cache. The zone's name changes with what a reload may not change."""

    zone: str
    directory: str
    levels: str
    max_size: str
    min_free: str | None
    ttl: str
    keep: str
    """How long without a visit; never shorter than ttl."""


@dataclass(frozen=True, slots=True)
class LimitZones:
    """Both buckets of a client address, and the size of a body."""

    zone: str
    rate: int
    burst: int
    cached_zone: str
    cached_rate: int
    cached_burst: int
    body: str


@dataclass(frozen=True, slots=True)
class Peer:
    """A cache-stream node behind an ingress: its upstream and its share of the split."""

    name: str
    share: str


@dataclass(frozen=True, slots=True)
class ServicePath:
    """A service of an observability node: where it appears, and its upstream."""

    uri: str
    upstream: str


@dataclass(frozen=True, slots=True)
class StatusPath:
    """A node whose status an observability node passes on."""

    name: str
    address: str


@dataclass(frozen=True, slots=True)
class Context:
    """Everything a template may name, as `c`."""

    role: str
    node: str
    user: str | None
    workers: int | str
    pid: str
    log: str
    temp: str | None
    mime_types: str
    listen: tuple[str, ...]
    lan: tuple[str, ...]
    fleet: tuple[str, ...]
    has_stub_status: bool
    has_realip: bool
    log_format: str
    connect_timeout: str
    send_timeout: str
    read_timeout: str
    cached_read_timeout: str
    cached_lock_timeout: str
    health_timeout: str
    shutdown_timeout: str
    upstream_keepalive: str
    limits: LimitZones
    cache: CacheZone
    cached: tuple[Location, ...]
    upstreams: tuple[Group, ...]
    okome: str
    okome_lan: str
    v1_upstream: str | None
    peers: tuple[Peer, ...]
    has_draft: bool
    services: tuple[ServicePath, ...]
    node_statuses: tuple[StatusPath, ...]
    pass_rest: bool


def context_of(topology: Topology, name: str) -> Context:
    """Return the ready values of the node called `name`.

    Raises RenderError where paths of the topology would take each other's place, or the golden
    rule's.
    """
    node, layout = topology.nodes[name], topology.layout_of(name)
    caches = node.role in (Role.FRONTEND, Role.CACHE_STREAM)
    splits = node.role is Role.INGRESS
    peers = topology.with_role(Role.CACHE_STREAM) if splits else ()
    draft = node.draft if node.role is Role.SPECULATIVE_GPU else None
    services = _services(name, node)
    on_gpu = node.role is Role.FRONTEND and topology.stream_upstream() is UpstreamName.VLLM
    okome = topology.endpoint(UpstreamName.OKOME, seen_from=name)
    groups = [_sole("okome", okome)]
    if on_gpu:
        groups.append(_sole("vllm", topology.endpoint(UpstreamName.VLLM, seen_from=name)))
    groups += [_peer(peer, topology.http_of(peer), okome) for peer in peers]
    if draft is not None:
        groups.append(_sole("draft", draft))
    for service in services:
        at = node.services[service.upstream.removeprefix("service-")]
        groups.append(_sole(service.upstream, Endpoint(address=at.address, port=at.port)))
    fleet = [f"{other.address}" for other in topology.nodes.values()]
    has_realip = "realip" in layout.modules
    times = topology.timeouts
    return Context(
        role=node.role.value,
        node=name,
        user=layout.user,
        workers=layout.workers,
        pid=layout.pid,
        log=layout.log,
        temp=layout.temp,
        mime_types=layout.mime_types,
        listen=_listen(topology, name, layout),
        lan=_networks([*_LOOPBACK, *topology.lan, *fleet]),
        fleet=_networks(fleet),
        has_stub_status="stub_status" in layout.modules,
        has_realip=has_realip,
        log_format=log_format_directive(),
        connect_timeout=times.connect,
        send_timeout=times.send,
        read_timeout=times.read,
        cached_read_timeout=times.cached_read,
        cached_lock_timeout=_half(times.cached_read),
        health_timeout=times.health,
        shutdown_timeout=times.shutdown,
        upstream_keepalive=times.upstream_keepalive,
        limits=_limits(topology, "binary_remote_addr" if has_realip else "kome_limit_key"),
        cache=_cache(topology, node, layout),
        cached=_cached(topology.cache.paths) if caches or splits else (),
        upstreams=tuple(groups),
        okome=str(okome),
        okome_lan=str(topology.endpoint(UpstreamName.OKOME)),
        v1_upstream="vllm" if on_gpu else None,
        peers=_shares(peers),
        has_draft=draft is not None,
        services=services,
        node_statuses=tuple(StatusPath(n, str(topology.http_of(n))) for n in topology.nodes)
        if node.role is Role.OBSERVABILITY
        else (),
        pass_rest=all(service.uri != "/" for service in services),
    )


def _sole(name: str, at: Endpoint) -> Group:
    # the same server twice, never marked down: with one line nginx retries nothing, and with the
    # default max_fails two dropped connections take it out for 10 s
    line = Server(str(at), max_fails=0)
    return Group(name, (line, line))


def _peer(name: str, at: Endpoint, okome: Endpoint) -> Group:
    first = Server(str(at), max_fails=1, fail_timeout="5s")
    return Group(f"peer-{name}", (first, Server(str(okome), max_fails=0, backup=True)))


def _shares(peers: tuple[str, ...]) -> tuple[Peer, ...]:
    # rounded down: shares of more than 100 % together, as 154 x 0.65, are refused
    share = f"{10_000 // len(peers) / 100:.2f}%" if peers else ""
    names = [f"peer-{peer}" for peer in peers]
    return tuple(Peer(n, "*" if n == names[-1] else share) for n in names)


def _listen(topology: Topology, name: str, layout: Layout) -> tuple[str, ...]:
    port = topology.http_of(name).port
    if layout.listen is not None:
        return (str(Endpoint(address=layout.listen, port=port)),)
    return (str(port), f"[::]:{port}") if layout.ipv6 else (str(port),)


def _networks(texts: Iterable[str]) -> tuple[str, ...]:
    # collapsed, because nginx warns about a network named twice
    every = [ip_network(text) for text in texts]
    v4 = collapse_addresses(n for n in every if isinstance(n, IPv4Network))
    v6 = collapse_addresses(n for n in every if isinstance(n, IPv6Network))
    return (*map(str, v4), *map(str, v6))


def _hash6(definition: str) -> str:
    return hashlib.sha256(definition.encode()).hexdigest()[:6]


def _limits(topology: Topology, key: str) -> LimitZones:
    limits, name = topology.limits, _hash6(key)
    return LimitZones(
        zone=f"kome_client_{name}",
        rate=limits.rate,
        burst=limits.burst,
        cached_zone=f"kome_cached_{name}",
        cached_rate=limits.cached_rate,
        cached_burst=limits.cached_burst,
        body=limits.body,
    )


def _cache(topology: Topology, node: Node, layout: Layout) -> CacheZone:
    tmpfs = node.cache_tmpfs or topology.cache.tmpfs
    max_size = node.cache_size or topology.cache.size
    reserve = "64m"
    if tmpfs is not None:
        # nginx counts late and writes a file before it evicts one: a quarter stays free
        room = max(_MIB, size_bytes(tmpfs) * 3 // 4)
        max_size = f"{min(size_bytes(max_size), room) // 1024}k"
        reserve = f"{max(1, size_bytes(tmpfs) // 8 // 1024)}k"
    levels = "1:2"
    return CacheZone(
        zone=f"kome_cache_{_hash6(f'{layout.cache} {levels}')}",
        directory=layout.cache,
        levels=levels,
        max_size=max_size,
        min_free=reserve if _version(layout) >= _MIN_FREE_SINCE else None,
        ttl=topology.cache.ttl,
        keep=max(topology.cache.keep, topology.cache.ttl, key=seconds),
    )


def _half(time: str) -> str:
    # who waits for another's fetch in vain asks OKOME then: half as long again, and no more
    return f"{max(1, round(seconds(time) * 500))}ms"


def _version(layout: Layout) -> tuple[int, ...]:
    return (*map(int, layout.nginx_version.split(".")), 0)[:3]


def _cached(paths: tuple[str, ...]) -> tuple[Location, ...]:
    locations: dict[Location, None] = {}
    for path in paths:
        if path.endswith("/"):
            locations[Location(path, exact=False)] = None
            # nginx answers the path without its last slash by a redirect of its own
            locations[Location(path[:-1], exact=True)] = None
        else:
            locations[Location(path, exact=True)] = None
    return tuple(locations)


def _services(name: str, node: Node) -> tuple[ServicePath, ...]:
    if node.role is not Role.OBSERVABILITY:
        return ()
    taken: dict[str, str] = {}
    for service, at in node.services.items():
        uri = at.path if at.path.endswith("/") else f"{at.path}/"
        if any(_overlap(uri, own) for own in (*_OWN_LOCATIONS, "/nodes/")) and uri != "/":
            raise _refusal(name, f"services.{service}: {uri} is a path of the edge itself")
        if uri in taken:
            raise _refusal(name, f"services.{service}: {uri} is taken by {taken[uri]}")
        taken[uri] = service
    return tuple(ServicePath(uri, f"service-{service}") for uri, service in taken.items())


def _overlap(one: str, other: str) -> bool:
    one, other = one.rstrip("/") + "/", other.rstrip("/") + "/"
    return one.startswith(other) or other.startswith(one)


def _refusal(node: str, what: str) -> RenderError:
    return RenderError(what, where=f"node {node}", hint="choose another path in topology.yaml")
