"""The rules that no single value can break: what must hold between the values of a topology.

Each rule names the value to mend. A rule reads only sections whose values are all valid, so that
one mistake does not show as two.
"""

from collections.abc import Collection, Iterator

from kome_tui.topology.broken import Broken, Intact
from kome_tui.topology.budget import disk_budget, to_mend
from kome_tui.topology.document import Keys
from kome_tui.topology.grammar import GATEWAYS, seconds, size_bytes
from kome_tui.topology.model import Layout, Role, Topology, UpstreamName
from kome_tui.topology.places import addresses_of_nobody, is_systems_own, loops, ports_of_ssh

# Names that mean something else in a command or an answer.
_TAKEN = frozenset({"operator", "okome", "gpu", *UpstreamName})
# Answered by an observability node itself.
_OWN_PATHS = ("/.kome", "/health", "/nodes")
_OWN = ", ".join(_OWN_PATHS)
_LONGEST_TRIAL_S = 600
_LAYOUT_FILES = ("script", "nginx", "pid", "mime_types")
_FILES_INSIDE = (("etc", "nginx.conf"), ("log", "access.log"), ("log", "error.log"))
_EMPTIED = "allowed is a folder for this alone, because it gets emptied"


def broken_rules(topology: Topology, intact: Intact) -> Iterator[Broken]:
    """Every rule that the valid parts of `topology` break."""
    if intact.section("lan"):
        yield from _lan(topology)
    if intact.section("cache"):
        yield from _cache(topology)
        yield from _cache_paths(topology)
    if intact.section("push"):
        yield from _push(topology)
    if intact.section("layout"):
        yield from _layout(("layout",), topology.layout, topology.layout.given())
    if intact.section("nodes"):
        yield from _roles(topology)
    nodes = [name for name in topology.nodes if intact.node(name)]
    yield from _names(topology, nodes)
    yield from _parts_of_roles(topology, nodes)
    yield from _services(topology, nodes)
    if intact.section("lan"):
        yield from addresses_of_nobody(topology, nodes, intact)
    if intact.section("layout"):
        yield from _addresses(topology, nodes)
        yield from loops(topology, nodes, intact)
        if intact.section("ssh"):
            yield from ports_of_ssh(topology, nodes)
        for name in nodes:
            own = topology.nodes[name].layout.given()
            yield from _layout(("nodes", name, "layout"), topology.layout_of(name), own)
    if intact.section("cache"):
        yield from _node_caches(topology, nodes)
        if intact.section("disk") and intact.section("push"):
            yield from _disks(topology, nodes)


def _lan(topology: Topology) -> Iterator[Broken]:
    if not topology.lan:
        yield Broken(("lan",), "lan is an empty list; allowed is at least one network")
    seen: set[str] = set()
    for index, network in enumerate(topology.lan):
        if network in seen:
            yield Broken(("lan", index), f"{network} stands here twice; allowed is once")
        seen.add(network)


def _cache(topology: Topology) -> Iterator[Broken]:
    cache = topology.cache
    if cache.tmpfs and size_bytes(cache.size) >= size_bytes(cache.tmpfs):
        yield Broken(("cache", "size"), _too_large(cache.size, cache.tmpfs))


def _too_large(size: str, tmpfs: str) -> str:
    return (
        f"the cache may grow to {size}, its memory file system holds {tmpfs}; "
        f"allowed is a size below {tmpfs}"
    )


def _cache_paths(topology: Topology) -> Iterator[Broken]:
    seen: set[str] = set()
    for index, path in enumerate(topology.cache.paths):
        bare = path.rstrip("/")
        if bare in seen:
            message = f"{bare} stands here twice; allowed is once, with / at its end or without"
            yield Broken(("cache", "paths", index), message)
        seen.add(bare)


def _push(topology: Topology) -> Iterator[Broken]:
    trial = topology.push.trial
    if seconds(trial) > _LONGEST_TRIAL_S:
        message = f"a node would wait {trial} on trial; allowed are at most {_LONGEST_TRIAL_S}s"
        yield Broken(("push", "trial"), message)


def _layout(where: Keys, layout: Layout, own: Collection[str]) -> Iterator[Broken]:
    """The rules of one layout; `own` are the keys that stand at `where`, the ones to mend."""
    if layout.listen and layout.ipv6:
        message = f"nginx listens on {layout.listen} only; allowed is ipv6: no beside it"
        yield from _at_own(where, own, ("ipv6", "listen"), message)
    for name in ("cache", "temp"):
        folder = getattr(layout, name)
        held = [
            (other, path)
            for other, path in layout.model_dump(exclude={name}).items()
            if folder and isinstance(path, str) and f"{path}/".startswith(f"{folder}/")
        ]
        for other, path in held:
            what = f"{folder} also holds {other} ({path})"
            yield from _at_own(where, own, (name, other), f"{what}; {_EMPTIED}")
        if folder and not held and is_systems_own(folder):
            what = f"{folder} is the system's own"
            yield from _at_own(where, own, (name,), f"{what}; {_EMPTIED}")
    yield from _files(where, layout, own)


def _files(where: Keys, layout: Layout, own: Collection[str]) -> Iterator[Broken]:
    """A file is no folder and no other file: nginx would write its pid over what stands there."""
    files = [(name, getattr(layout, name)) for name in _LAYOUT_FILES]
    files += [(folder, f"{getattr(layout, folder)}/{name}") for folder, name in _FILES_INSIDE]
    told: set[frozenset[str]] = set()
    for name, file in files:
        for other, path in layout.model_dump(exclude={name}).items():
            taken = isinstance(path, str) and f"{path}/".startswith(f"{file}/")
            if taken and frozenset((name, other)) not in told:
                message = (
                    f"{path} ({other}) is at or below {file}, a file that {name} stands for; "
                    "allowed is a place of its own"
                )
                yield from _at_own(where, own, (other, name), message)
                told.add(frozenset((name, other)))


def _at_own(
    where: Keys, own: Collection[str], keys: tuple[str, ...], message: str
) -> Iterator[Broken]:
    # Where a node gives none of the keys, the fleet's layout has shown the problem already.
    given = [key for key in keys if key in own]
    yield from (Broken((*where, key), message) for key in given[:1])


def _roles(topology: Topology) -> Iterator[Broken]:
    first, *more = topology.with_role(Role.FRONTEND) or ("",)
    if not first:
        message = "no node has the role frontend; allowed is exactly one"
        yield Broken(("nodes",), message)
    for name in more:
        message = f"a second frontend beside {first}; allowed is exactly one"
        yield Broken(("nodes", name, "role"), message)
    if not topology.with_role(Role.CACHE_STREAM):
        for name in topology.with_role(Role.INGRESS):
            message = (
                "an ingress hands files to cache-stream nodes, and there is none; "
                "allowed is at least one node with role cache-stream"
            )
            yield Broken(("nodes", name, "role"), message)


def _names(topology: Topology, nodes: list[str]) -> Iterator[Broken]:
    for name in nodes:
        is_frontend = topology.nodes[name].role is Role.FRONTEND
        if name in _TAKEN or (name == "frontend" and not is_frontend):
            message = f"{name} means something else; allowed is any other name, such as node-01"
            yield Broken(("nodes", name), message)


def _parts_of_roles(topology: Topology, nodes: list[str]) -> Iterator[Broken]:
    for name in nodes:
        node = topology.nodes[name]
        for part, given, role in (
            ("draft", node.draft, Role.SPECULATIVE_GPU),
            ("services", node.services, Role.OBSERVABILITY),
        ):
            if given and node.role is not role:
                message = f"{part} on a node with role {node.role}; allowed only with role {role}"
                yield Broken(("nodes", name, part), message)


def _services(topology: Topology, nodes: list[str]) -> Iterator[Broken]:
    for name in nodes:
        seen: dict[str, str] = {}
        for service, at in topology.nodes[name].services.items():
            where = ("nodes", name, "services", service, "path")
            bare = at.path.rstrip("/")
            if _is_below(bare, _OWN_PATHS):
                message = f"{at.path} is the edge's own; allowed is any path but {_OWN}"
                yield Broken(where, message)
            elif _is_below(bare, GATEWAYS):
                message = (
                    f"{at.path} is for OKOME, and this would send people's prompts past it; "
                    f"allowed is any path but {', '.join(GATEWAYS)}"
                )
                yield Broken(where, message)
            elif bare in seen:
                message = f"{at.path} leads to {seen[bare]} already; allowed is a path of its own"
                yield Broken(where, message)
            seen.setdefault(bare, service)


def _is_below(path: str, folders: tuple[str, ...]) -> bool:
    return any(f"{path}/".startswith(f"{folder}/") for folder in folders)


def _addresses(topology: Topology, nodes: list[str]) -> Iterator[Broken]:
    seen: dict[str, str] = {}
    for name in nodes:
        endpoint = str(topology.http_of(name))
        if endpoint in seen:
            message = (
                f"{name} and {seen[endpoint]} both answer at {endpoint}; "
                "allowed is an address and port of its own"
            )
            yield Broken(("nodes", name, "address"), message)
        seen.setdefault(endpoint, name)


def _node_caches(topology: Topology, nodes: list[str]) -> Iterator[Broken]:
    for name in nodes:
        node = topology.nodes[name]
        size = node.cache_size or topology.cache.size
        tmpfs = node.cache_tmpfs or topology.cache.tmpfs
        own = node.cache_size or node.cache_tmpfs
        if own and tmpfs and size_bytes(size) >= size_bytes(tmpfs):
            key = "cache_size" if node.cache_size else "cache_tmpfs"
            yield Broken(("nodes", name, key), _too_large(size, tmpfs))


def _disks(topology: Topology, nodes: list[str]) -> Iterator[Broken]:
    """One problem for each value to mend, however many nodes it is too much for."""
    seen: set[Keys] = set()
    for name in nodes:
        budget, path = disk_budget(topology, name), to_mend(topology, name)
        if budget.total > budget.allowed and path not in seen:
            message = (
                f"the disk of {name} may come to hold {budget}; "
                f"allowed is {topology.disk.budget} (disk.budget)"
            )
            yield Broken(path, message)
            seen.add(path)
