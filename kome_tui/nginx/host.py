"""topology -> the files beside nginx.conf that make a host a node; `rebuild` puts them there.

They are not in the release id. Their version is a digest of all of them, so a change of one shows.
Pure: the same topology gives the same bytes on every machine.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from jinja2.exceptions import TemplateError

from kome_tui.errors import RenderError
from kome_tui.nginx.render import environment
from kome_tui.topology.budget import LOGS_KEPT
from kome_tui.topology.grammar import size_bytes
from kome_tui.topology.model import Endpoint, Layout, Topology, UpstreamName

_UNITS = "/etc/systemd/system"
_NFT = "/usr/sbin/nft"
_SSH_PORT = 22
_LOOPBACK = ("127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class HostFile:
    """One file of a host."""

    path: str
    text: str
    mode: int = 0o644
    owner: str = "root:root"
    check: tuple[str, ...] = ()
    """The command that must accept a copy of it, named as its last word, before it is moved in."""

    @property
    def digest(self) -> str:
        """The SHA256 of its content, in hex digits."""
        return hashlib.sha256(self.text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Diversion:
    """A file of a Debian package that stands where one of ours has to; harmless to repeat.

    Made before our file is written. Undone: our file removed, then `undo`.
    """

    path: str
    aside: str

    @property
    def make(self) -> tuple[str, ...]:
        """Moves it aside, now and at every upgrade, also when the package comes later."""
        return (*self._words("--divert", self.aside), "--add", self.path)

    @property
    def undo(self) -> tuple[str, ...]:
        """Puts it back."""
        return (*self._words(), "--remove", self.path)

    def _words(self, *more: str) -> tuple[str, ...]:
        return ("dpkg-divert", "--quiet", "--local", "--rename", *more)


@dataclass(frozen=True, slots=True)
class HostFiles:
    """All files of one host beside its nginx.conf, in an order in which they can be written."""

    version: str
    """12 hex digits over every path, mode, owner and content."""
    files: tuple[HostFile, ...]
    units: tuple[str, ...]
    """What `systemctl enable` is for, after a daemon-reload."""
    diversions: tuple[Diversion, ...]
    manifest: HostFile
    """What was put there: the version, then `SHA256 MODE OWNER PATH` a line. Written last."""


def host_files(topology: Topology, name: str) -> HostFiles:
    """Return the files of the node called `name`.

    Without systemd (layout.service: direct) nothing that has to happen at boot is among them.
    Raises RenderError where a value is no single word, KeyError for an unknown node.
    """
    layout = topology.layout_of(name)
    files = tuple(_files(topology, name, layout))
    lines = "".join(_manifest_line(file) for file in files)
    version = hashlib.sha256(lines.encode()).hexdigest()[:12]
    return HostFiles(
        version=version,
        files=files,
        units=tuple(_enabled(files)),
        diversions=(Diversion("/etc/logrotate.d/nginx", "/etc/logrotate.d/nginx.disabled"),),
        manifest=HostFile(f"{layout.state}/host-files", f"kome-host 1 {version}\n{lines}"),
    )


def ports_in_use(topology: Topology, name: str, ports: Iterable[int]) -> HostFile:
    """More TCP ports for the node's firewall: what the operator has come through to `rebuild` it.

    Not in the version: it is known only on contact. Raises ValueError for what is no port.
    """
    numbers = sorted(set(ports))
    if not numbers or not all(0 < number < 65536 for number in numbers):
        raise ValueError(f"not ports: {numbers}")
    words = ", ".join(map(str, numbers))
    state = topology.layout_of(name).state
    text = f"add element inet kome tcp_ports {{ {words} }}\n"
    return HostFile(f"{state}/firewall.d/operator.nft", text)


def unit_name(path: str, suffix: str) -> str:
    r"""The unit of a path, as `systemd-escape --path` makes it: `/a-b/c` is `a\x2db-c`."""
    escaped = re.sub(
        r"\A\.|[^A-Za-z0-9:_./]",
        lambda found: "".join(rf"\x{byte:02x}" for byte in found.group().encode()),
        path.strip("/"),
    )
    return f"{escaped.replace('/', '-')}.{suffix}"


@dataclass(frozen=True, slots=True)
class _Folder:
    path: str
    mode: str
    user: str
    group: str


@dataclass(frozen=True, slots=True)
class _Context:
    """Everything a template may name, as `c`."""

    node: str
    ssh_user: str
    script: str
    state: str
    log: str
    log_bytes: int
    logs_kept: int
    worker: str
    pid: str
    cache: str
    tmpfs_bytes: int | None
    folders: tuple[_Folder, ...]
    tcp_ports: tuple[int, ...]
    reachable: tuple[str, ...]


def _context(topology: Topology, name: str, layout: Layout) -> _Context:
    ssh, tmpfs, worker = topology.ssh_of(name), topology.tmpfs_of(name), layout.user or "root"
    folders = [
        _Folder(layout.cache, "0700", worker, "root"),
        _Folder(layout.log, "0755", "root", "adm"),
    ]
    if layout.temp is not None:
        folders.append(_Folder(layout.temp, "0755", "root", "root"))
    ports = {ssh.port or _SSH_PORT, topology.http_of(name).port}
    return _Context(
        node=name,
        ssh_user=ssh.user,
        script=layout.script,
        state=layout.state,
        log=layout.log,
        log_bytes=size_bytes(topology.disk.log),
        logs_kept=LOGS_KEPT,
        worker=worker,
        pid=layout.pid,
        cache=layout.cache,
        tmpfs_bytes=size_bytes(tmpfs) if tmpfs else None,
        folders=tuple(folders),
        tcp_ports=tuple(sorted(ports)),
        reachable=tuple(_reachable(topology, name, layout)),
    )


def _reachable(topology: Topology, name: str, layout: Layout) -> Iterator[str]:
    """The upstreams as this node sees them, and its own nginx; each once."""
    found = [topology.endpoint(upstream, seen_from=name) for upstream in UpstreamName]
    own = topology.http_of(name)
    addresses = (own.address, layout.listen or own.address, *_LOOPBACK)
    found += [Endpoint(address=address, port=own.port) for address in addresses]
    yield from dict.fromkeys(map(str, found))


def _files(topology: Topology, name: str, layout: Layout) -> Iterator[HostFile]:
    context = _context(topology, name, layout)

    def made(template: str) -> str:
        try:
            return environment("host").get_template(f"{template}.j2").render(c=context)
        except TemplateError as error:
            raise RenderError(f"template {template}: {error}", where=f"node {name}") from error

    yield HostFile("/etc/logrotate.d/nginx", made("logrotate"))
    yield HostFile(
        "/etc/ssh/sshd_config.d/10-kome.conf",
        made("sshd.conf"),
        check=("/usr/sbin/sshd", "-t", "-f"),
    )
    if layout.root == "sudo":
        check = ("/usr/sbin/visudo", "-c", "-q", "-f")
        yield HostFile("/etc/sudoers.d/kome", made("sudoers"), mode=0o440, check=check)
    if layout.service != "systemd":
        return
    yield HostFile("/etc/tmpfiles.d/kome.conf", made("tmpfiles"))
    for unit in ("kome-recover.service", "kome-logs.service", "kome-logs.timer"):
        yield HostFile(f"{_UNITS}/{unit}", made(unit))
    if context.tmpfs_bytes is not None:
        yield HostFile(f"{_UNITS}/{unit_name(layout.cache, 'mount')}", made("cache.mount"))
    if layout.firewall == "nftables":
        table = made("firewall.nft")
        yield HostFile(f"{layout.state}/firewall.nft", table, check=(_NFT, "-c", "-f"))
        yield HostFile(f"{_UNITS}/kome-firewall.service", made("kome-firewall.service"))
        drop_in = made("nftables-drop-in.conf")
        yield HostFile(f"{_UNITS}/nftables.service.d/kome.conf", drop_in)


def _enabled(files: Iterable[HostFile]) -> Iterator[str]:
    for file in files:
        if file.path.startswith(f"{_UNITS}/") and "\n[Install]\n" in file.text:
            yield file.path.removeprefix(f"{_UNITS}/")


def _manifest_line(file: HostFile) -> str:
    return f"{file.digest} {file.mode:04o} {file.owner} {file.path}\n"
