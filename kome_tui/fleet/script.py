"""kome-node with a node's layout filled in: the one file that lies on the node.

Its parts stand in node/, joined in the order of their names. Every value comes from a validated
Layout and is quoted anyway: it becomes a line of a script that runs as root.
"""

import hashlib
import re
import shlex
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from pathlib import PurePosixPath

from kome_tui.errors import UsageError
from kome_tui.nginx.host import unit_name
from kome_tui.topology.model import Endpoint, Layout, Topology, UpstreamName

_HEADER = re.compile(r"(?<=# --- layout:)([^\n]*\n).*?(?=# --- end of the layout)", re.DOTALL)
_SHELL = "/bin/sh"
_LOOPBACK = "127.0.0.1"
_BOOTSTRAP_PARTS = ("00-start.sh", "10-disk.sh", "20-nginx.sh")


def script_of(topology: Topology, name: str) -> str:
    """The whole script of the node called `name`, with the upstreams that it may try to reach.

    Raises UsageError for a layout that would make the script archive itself.
    """
    return _filled(packaged_script(), _lines_of(topology, name))


def script_digest(topology: Topology, name: str) -> str:
    """The 12 hex digits that script_of() tells of itself: over its parts and its layout."""
    return _digest(_lines_of(topology, name))


def node_script(
    layout: Layout, *, port: int | None = None, keep: int = 5, reach: Iterable[Endpoint] = ()
) -> str:
    """The whole script for a node with this layout.

    `port` where the node's own port differs from the layout's; `keep` is topology.push.keep;
    `reach` are the only endpoints that the verb of this name tries. Raises UsageError for a
    layout that would make it archive itself.
    """
    return _filled(packaged_script(), _lines(layout, port=port, keep=keep, reach=reach))


def bootstrap_script(topology: Topology, name: str) -> str:
    """The program that runs as root on a host before there is a kome-node.

    It stands on the node script's own parts for input, disk and nginx.
    """
    own = parts()
    text = "".join(own[part] for part in _BOOTSTRAP_PARTS)
    for file in ("bootstrap-packages.sh", "bootstrap.sh"):
        text += files("kome_tui.fleet").joinpath(file).read_text(encoding="utf-8")
    return _filled(text, _lines_of(topology, name))


def packaged_script() -> str:
    """The whole script as it is packaged, with Debian's layout."""
    return "".join(parts().values())


@cache
def parts() -> Mapping[str, str]:
    """The script's parts by file name, in order."""
    found = files("kome_tui.fleet").joinpath("node").iterdir()
    texts = {part.name: part for part in found if part.name.endswith(".sh")}
    return {name: texts[name].read_text(encoding="utf-8") for name in sorted(texts)}


def _lines_of(topology: Topology, name: str) -> str:
    return _lines(
        topology.layout_of(name),
        port=topology.http_of(name).port,
        keep=topology.push.keep,
        reach=(topology.endpoint(upstream, seen_from=name) for upstream in UpstreamName),
    )


def _lines(layout: Layout, *, port: int | None, keep: int, reach: Iterable[Endpoint]) -> str:
    """The layout as lines of the script."""
    for name in ("state", "run", "cache"):
        if PurePosixPath(getattr(layout, name)).is_relative_to(layout.etc):
            raise UsageError(
                f"layout.{name} is inside layout.etc ({layout.etc})",
                hint="put it elsewhere: all of that folder is kept as the release `original`",
            )
    values = {
        "SH": _SHELL,
        "ETC": layout.etc,
        "STATE": layout.state,
        "RUN": layout.run,
        "LOG": layout.log,
        "CACHE": layout.cache,
        "NGINX": layout.nginx,
        "PID": layout.pid,
        "ADDRESS": layout.listen or _LOOPBACK,
        "PORT": port or layout.port,
        "SERVICE": layout.service,
        "KEEP": keep,
        "REACH": " ".join(dict.fromkeys(f"{at.address}|{at.port}" for at in reach)),
        "MOUNT": unit_name(layout.cache, "mount"),
        "HOST": "",
        "KOME_TEST": 0,
    }
    return "".join(f"{name}={shlex.quote(str(value))}\n" for name, value in values.items())


def _filled(text: str, lines: str) -> str:
    head = f" from topology.yaml ---\n{lines}DIGEST={_digest(lines)}\n"
    return _HEADER.sub(lambda match: head, text, count=1)


def _digest(lines: str) -> str:
    return hashlib.sha256(f"{_digest_of_parts()}\n{lines}".encode()).hexdigest()[:12]


@cache
def _digest_of_parts() -> str:
    return hashlib.sha256(packaged_script().encode()).hexdigest()
