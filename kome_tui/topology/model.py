"""The typed topology: every value of the fleet, validated and frozen.

A careless change here changes what is rendered, and so every release id. Where a node finds its
upstreams is decided by Topology.endpoint alone; render and checks both ask it.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer

from kome_tui.topology.grammar import (
    CachedUri,
    Count,
    Ip,
    Name,
    Network,
    OrNone,
    PathText,
    Port,
    SchemaVersion,
    Size,
    Time,
    Uri,
    User,
    Version,
    WholeTime,
    Workers,
    YesNo,
)


class Role(StrEnum):
    """What a node does."""

    FRONTEND = "frontend"
    INGRESS = "ingress"
    CACHE_STREAM = "cache-stream"
    SPECULATIVE_GPU = "speculative-gpu"
    OBSERVABILITY = "observability"


class UpstreamName(StrEnum):
    """The services behind the edge."""

    OKOME = "okome"
    VLLM = "vllm"
    OLLAMA = "ollama"
    TF_REST = "tf-rest"
    TF_GRPC = "tf-grpc"
    REDIS = "redis"


class Frozen(BaseModel):
    """A value object: unknown keys refused, never changed after it was made."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def given(self) -> dict[str, Any]:
        """The values that were written down, without the defaults."""
        return {name: getattr(self, name) for name in self.model_fields_set}


class Endpoint(Frozen):
    """A TCP address."""

    address: Ip
    port: Port

    def __str__(self) -> str:
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"{host}:{self.port}"


class Upstreams(Frozen):
    """Where the services are, as the LAN sees them."""

    okome: Endpoint
    vllm: Endpoint
    ollama: Endpoint
    tf_rest: Annotated[Endpoint, Field(alias="tf-rest")]
    tf_grpc: Annotated[Endpoint, Field(alias="tf-grpc")]
    redis: Endpoint

    def of(self, name: UpstreamName) -> Endpoint:
        """The endpoint called `name`."""
        found = getattr(self, name.value.replace("-", "_"))
        assert isinstance(found, Endpoint)
        return found


class Ssh(Frozen):
    """How the console logs in. What `ssh -G` says about keys, jumps and host keys is kept."""

    user: User = "kome"
    port: OrNone[Port] = None
    """None: what the operator's SSH configuration says, else 22."""
    connect_timeout: Time = "5s"


class Layout(Frozen):
    """Where things are on a host. The defaults are Debian's."""

    etc: PathText = "/etc/nginx"
    state: PathText = "/etc/kome"
    """Releases, journal and the `current` link; on the disk."""
    run: PathText = "/run/kome"
    """Lock and trial files; gone after a reboot."""
    log: PathText = "/var/log/nginx"
    cache: PathText = "/var/cache/nginx/kome"
    temp: OrNone[PathText] = None
    """Folder for nginx's temporary files; None: as the package was built."""
    script: PathText = "/usr/local/sbin/kome-node"
    nginx: PathText = "/usr/sbin/nginx"
    nginx_version: Version = "1.22"
    modules: tuple[Literal["stub_status", "realip"], ...] = ("stub_status", "realip")
    pid: PathText = "/run/nginx.pid"
    mime_types: PathText = "/etc/nginx/mime.types"
    user: OrNone[User] = "www-data"
    """nginx's worker user; None: not stated (an unprivileged nginx warns about it)."""
    workers: Workers = "auto"
    service: Literal["systemd", "direct"] = "systemd"
    """How nginx is started and restarted."""
    root: Literal["sudo", "none"] = "sudo"
    """How the script gets root: `sudo -n`, or not at all."""
    listen: OrNone[Ip] = None
    """The address nginx listens on; None: all."""
    port: Port = 80
    ipv6: YesNo = True
    """Listen on [::] too. Must be no where `listen` names an address."""
    firewall: Literal["nftables", "none"] = "nftables"
    """A table of our own that lets in SSH, nginx and what a host needs to live; or none."""


class Cache(Frozen):
    """What the edge keeps of OKOME's static files."""

    size: Size = "1g"
    ttl: WholeTime = "24h"
    keep: WholeTime = "24h"
    """How long a copy that nobody asks for stays, fresh or not; at least `ttl` in any case."""
    paths: tuple[CachedUri, ...] = ("/assets/", "/ui-schema/", "/version/")
    tmpfs: OrNone[Size] = None
    """Size of a memory file system for the cache; None: on the disk."""


class Limits(Frozen):
    """Requests per second and client address, and sizes."""

    rate: Count = 10
    burst: Count = 40
    cached_rate: Count = 100
    cached_burst: Count = 400
    body: Size = "1g"


class Timeouts(Frozen):
    """nginx's patience."""

    connect: Time = "3s"
    read: Time = "3600s"
    """The longest silence of a stream."""
    cached_read: Time = "10s"
    """The longest silence of OKOME on paths that have a kept copy to fall back on."""
    health: Time = "10s"
    """After this, /health is red."""
    send: Time = "3600s"
    shutdown: Time = "3600s"
    """How long an old worker may finish its streams after a reload."""
    upstream_keepalive: Time = "4s"
    """Shorter than OKOME's own 5 s, else a POST meets a closing connection."""


class Push(Frozen):
    """How a release is switched."""

    trial: WholeTime = "30s"
    """A release that is not confirmed in this time is taken back by the node itself."""
    keep: Count = 5
    """Releases kept on a node, besides `original`."""


class Disk(Frozen):
    """What may fill a node's disk. `check` adds it up and refuses more than `budget`."""

    budget: Size = "5g"
    system: Size = "2g"
    """The operating system and all that is installed, as measured on the hosts."""
    log: Size = "64m"
    """A log is rotated at this size, else once a day; 7 old ones are kept beside it."""


class Service(Frozen):
    """A service an observability node makes reachable."""

    address: Ip
    port: Port
    path: Uri


def _given(value: Frozen | None) -> dict[str, Any] | None:
    return value.given() if value else None


# A dump that held the defaults too would, loaded again, override the fleet's values with them.
_ONLY_GIVEN = PlainSerializer(_given)


class Node(Frozen):
    """One edge machine. What is None comes from the fleet's own section."""

    role: Role
    address: Ip
    port: OrNone[Port] = None
    ssh: Annotated[OrNone[Ssh], _ONLY_GIVEN] = None
    """Only the values given here count: ask Topology.ssh_of."""
    layout: Annotated[Layout, _ONLY_GIVEN] = Layout()
    """Only the values given here count: ask Topology.layout_of."""
    upstreams: Mapping[UpstreamName, Endpoint] = Field(default_factory=dict)
    """Where this node finds an upstream, if not where the LAN does."""
    cache_size: OrNone[Size] = None
    cache_tmpfs: OrNone[Size] = None
    draft: OrNone[Endpoint] = None
    """The draft-model server of a speculative-gpu node."""
    services: Mapping[Name, Service] = Field(default_factory=dict)
    """What an observability node shows."""


class Topology(Frozen):
    """The whole LAN. Order of `nodes` is the order of the file."""

    schema_version: Annotated[SchemaVersion, Field(alias="schema")] = 1
    fleet: Name = "kome"
    stream_path: Literal["okome", "gpu"] = "okome"
    lan: tuple[Network, ...]
    """Who may read /.kome/."""
    upstreams: Upstreams
    ssh: Ssh = Ssh()
    layout: Layout = Layout()
    cache: Cache = Cache()
    limits: Limits = Limits()
    timeouts: Timeouts = Timeouts()
    push: Push = Push()
    disk: Disk = Disk()
    nodes: Mapping[Name, Node]

    @property
    def frontend(self) -> str:
        """The name of the one node with role frontend."""
        return self.with_role(Role.FRONTEND)[0]

    def with_role(self, role: Role) -> tuple[str, ...]:
        """Names of the nodes with `role`, in the file's order."""
        return tuple(name for name, node in self.nodes.items() if node.role is role)

    def layout_of(self, name: str) -> Layout:
        """The node's layout: the fleet's, with the node's own values over it."""
        return self.layout.model_copy(update=self.nodes[name].layout.given())

    def ssh_of(self, name: str) -> Ssh:
        """How to log in to the node: the fleet's way, with the node's own values over it."""
        own = self.nodes[name].ssh
        return self.ssh.model_copy(update=own.given()) if own else self.ssh

    def has_cache(self, name: str) -> bool:
        """Whether the node keeps files itself. The others pass everything on."""
        return self.nodes[name].role in (Role.FRONTEND, Role.CACHE_STREAM)

    def tmpfs_of(self, name: str) -> str | None:
        """The size of the memory file system for the node's cache; None: no cache, or on disk."""
        own = self.nodes[name].cache_tmpfs or self.cache.tmpfs
        return own if self.has_cache(name) else None

    def http_of(self, name: str) -> Endpoint:
        """Where the node's nginx answers."""
        node = self.nodes[name]
        port = node.port or self.layout_of(name).port
        return Endpoint(address=node.address, port=port)

    def endpoint(self, upstream: UpstreamName, seen_from: str | None = None) -> Endpoint:
        """Where `upstream` is, as seen from a node, or from the operator (None)."""
        if seen_from is not None and upstream in self.nodes[seen_from].upstreams:
            return self.nodes[seen_from].upstreams[upstream]
        return self.upstreams.of(upstream)

    def stream_upstream(self) -> UpstreamName:
        """Who answers /v1/."""
        return UpstreamName.VLLM if self.stream_path == "gpu" else UpstreamName.OKOME
