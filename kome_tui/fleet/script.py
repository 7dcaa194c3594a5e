"""kome-node with a node's layout filled in: the one file that lies on the node.

Its parts stand in node/, joined in the order of their names. Every value comes from a validated
Layout and is quoted anyway: it becomes a line of a script that runs as root.
"""

import re
import shlex
from importlib.resources import files
from pathlib import PurePosixPath

from kome_tui.errors import UsageError
from kome_tui.topology.model import Layout

_HEADER = re.compile(r"(?<=# --- layout:)([^\n]*\n).*?(?=# --- end of the layout)", re.DOTALL)
_SHELL = "/bin/sh"
_LOOPBACK = "127.0.0.1"


def node_script(layout: Layout, *, port: int | None = None, keep: int = 5) -> str:
    """The whole script for a node with this layout.

    `port` where the node's own port differs from the layout's; `keep` is topology.push.keep.
    Raises UsageError for a layout that would make the script archive itself.
    """
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
        "KOME_TEST": 0,
    }
    lines = "".join(f"{name}={shlex.quote(str(value))}\n" for name, value in values.items())
    return _HEADER.sub(
        lambda match: f" from topology.yaml ---\n{lines}", packaged_script(), count=1
    )


def packaged_script() -> str:
    """The whole script as it is packaged, with Debian's layout."""
    parts = files("kome_tui.fleet").joinpath("node").iterdir()
    texts = {part.name: part for part in parts if part.name.endswith(".sh")}
    return "".join(texts[name].read_text(encoding="utf-8") for name in sorted(texts))

