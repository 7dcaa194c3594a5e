"""Addresses and folders that are somebody else's: the edge's own, nobody's, the system's.

A proxy loop passes every other check, and a cache folder is emptied whatever lies in it.
"""

import ipaddress
from collections.abc import Iterator

from kome_tui.topology.broken import Broken, Intact
from kome_tui.topology.document import Keys
from kome_tui.topology.model import Endpoint, Topology, UpstreamName

# Folders of the system's own, and trees in which every folder is: none may be emptied.
_SYSTEM_FOLDERS = frozenset(
    (
        *("/dev", "/dev/shm", "/home", "/lost+found", "/media", "/mnt", "/opt", "/run"),
        *("/run/lock", "/srv", "/tmp", "/usr", "/usr/local", "/usr/local/bin", "/usr/local/etc"),
        *("/usr/local/include", "/usr/local/lib", "/usr/local/sbin", "/usr/local/share", "/var"),
        *("/var/backups", "/var/cache", "/var/cache/nginx", "/var/lib", "/var/lib/nginx"),
        *("/var/local", "/var/lock", "/var/log", "/var/mail", "/var/opt", "/var/run"),
        *("/var/spool", "/var/tmp"),
    )
)
_SSH_PORT = 22
_SYSTEM_TREES = (
    *("/bin", "/boot", "/etc", "/lib", "/lib32", "/lib64", "/proc", "/root", "/sbin", "/sys"),
    *("/usr/bin", "/usr/games", "/usr/include", "/usr/lib", "/usr/lib32", "/usr/lib64"),
    *("/usr/libexec", "/usr/sbin", "/usr/share", "/usr/src"),
)


def loops(topology: Topology, nodes: list[str], intact: Intact) -> Iterator[Broken]:
    """What the edge passes on must not come back to the edge."""
    held = {str(topology.http_of(name)): name for name in nodes}
    if intact.section("upstreams"):
        for upstream in UpstreamName:
            at = str(topology.upstreams.of(upstream))
            if at in held:
                yield _loop(("upstreams", upstream.value, "address"), upstream, at, held[at])
    for name in nodes:
        node, port = topology.nodes[name], topology.http_of(name).port
        targets: dict[Keys, tuple[str, Endpoint]] = {
            ("upstreams", upstream.value): (upstream.value, at)
            for upstream, at in node.upstreams.items()
        }
        if node.draft is not None:
            targets[("draft",)] = ("the draft model", node.draft)
        for what, at_service in node.services.items():
            at_port = Endpoint(address=at_service.address, port=at_service.port)
            if held.get(str(at_port), name) == name:  # another node's pages are no loop
                targets["services", what] = (what, at_port)
        for path, (what, endpoint) in targets.items():
            itself = ipaddress.ip_address(endpoint.address).is_loopback and endpoint.port == port
            back_at = held.get(str(endpoint)) or (name if itself else None)
            if back_at is not None:
                yield _loop(("nodes", name, *path, "address"), what, str(endpoint), back_at)


def ports_of_ssh(topology: Topology, nodes: list[str]) -> Iterator[Broken]:
    """nginx cannot listen where sshd does; the first push would find out."""
    told: set[Keys] = set()
    for name in nodes:
        port = topology.http_of(name).port
        if port != (topology.ssh_of(name).port or _SSH_PORT):
            continue
        path = _port_to_mend(topology, name)
        if path not in told:
            message = (
                f"port {port} of {name} would be nginx's and SSH's; "
                "allowed is a port of its own for each"
            )
            yield Broken(path, message)
            told.add(path)


def _port_to_mend(topology: Topology, name: str) -> Keys:
    """The nearest of the values that say so: the node's own before the fleet's."""
    node = topology.nodes[name]
    if node.port is not None:
        return ("nodes", name, "port")
    if "port" in node.layout.given():
        return ("nodes", name, "layout", "port")
    if node.ssh is not None and "port" in node.ssh.given():
        return ("nodes", name, "ssh", "port")
    return ("layout", "port") if "port" in topology.layout.given() else ("ssh", "port")


def _loop(path: Keys, what: str, at: str, node: str) -> Broken:
    message = (
        f"{at} is where nginx of {node} answers, and requests for {what} would come back to it; "
        f"allowed is the address and port of {what} itself"
    )
    return Broken(path, message)


def addresses_of_nobody(topology: Topology, nodes: list[str], intact: Intact) -> Iterator[Broken]:
    """The first and the last address of an IPv4 network belong to no machine."""
    ends: dict[str, str] = {}
    for network in map(ipaddress.ip_network, topology.lan):
        if network.version == 4 and network.prefixlen < 31:
            ends |= {str(network.network_address): f"the network {network} itself"}
            ends |= {str(network.broadcast_address): f"everybody in {network}"}
    places: dict[Keys, str] = {}
    if intact.section("upstreams"):
        for upstream in UpstreamName:
            places["upstreams", upstream.value, "address"] = topology.endpoint(upstream).address
    for name in nodes:
        node = topology.nodes[name]
        places["nodes", name, "address"] = node.address
        for upstream, at in node.upstreams.items():
            places["nodes", name, "upstreams", upstream.value, "address"] = at.address
        for service, target in node.services.items():
            places["nodes", name, "services", service, "address"] = target.address
        if node.draft is not None:
            places["nodes", name, "draft", "address"] = node.draft.address
    for path, address in places.items():
        if address in ends:
            message = f"{address} is {ends[address]}; allowed is the address of one machine"
            yield Broken(path, message)


def is_systems_own(folder: str) -> bool:
    """Whether a folder is one that every host has for itself, or lies in a tree of such."""
    home = folder.startswith("/home/") and folder.count("/") == 2
    tree = any(f"{folder}/".startswith(f"{tree}/") for tree in _SYSTEM_TREES)
    return home or tree or folder in _SYSTEM_FOLDERS
