"""rebuild on the command line: what is there, a question, then the steps on standard error.

A sudo password is typed once, kept in memory for the run, and goes nowhere but to sudo.
"""

import getpass
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from kome_tui.cli.options import Options, chosen
from kome_tui.cli.output import ask, is_interactive, say
from kome_tui.cli.push import run_push, show_report
from kome_tui.errors import RefusedError, UsageError
from kome_tui.fleet.fleet import Fleet
from kome_tui.fleet.operator_keys import PublicKey, from_file
from kome_tui.release.rebuild import Found, Rebuild
from kome_tui.release.set_up import Choices
from kome_tui.text import clean
from kome_tui.topology.grammar import USER
from kome_tui.topology.model import Topology


def rebuild(
    options: Options,
    nodes: list[str],
    bootstrap_user: str | None,
    packages: Path | None,
    keys: list[Path],
    yes: bool,
    as_json: bool,
) -> int:
    """Rebuild nodes; always asks, or wants --yes."""
    options.refuse_if_read_only()
    if bootstrap_user is not None and not USER.match(bootstrap_user):
        raise UsageError(f"{clean(bootstrap_user, 60)!r} is no user name")
    choices = Choices(bootstrap_user, _debs(packages), _public(keys))
    topology, _ = options.load(touches_network=True)
    names = chosen(topology, nodes)
    if not yes and not is_interactive():
        raise RefusedError("refused: a rebuild asks first", hint="add --yes")

    def open_fleet(of: Topology) -> Fleet:
        return Fleet(of, options.ssh_config)

    with Rebuild(topology, open_fleet, choices) as work:
        found = work.look(names, partial(_password, bootstrap_user))
        for name, seen in found.items():
            say(f"{name:<10} {_in_words(topology, name, seen)}")
        if found and not yes and not ask(_question(found)):
            raise RefusedError("nothing was changed")
        report = run_push(work.run, options.command)
    return show_report(report, as_json)


def _password(user: str | None, where: tuple[str, ...], again: bool) -> str:
    if not is_interactive():
        raise RefusedError(
            f"{', '.join(where)}: sudo wants a password, and nobody is here to type it",
            hint="run it in a terminal, or let that user use sudo without one",
        )
    if again:
        say(f"{', '.join(where)}: sudo does not take this password")
    return getpass.getpass(f"sudo password of {user} on {', '.join(where)}: ")


def _question(found: Mapping[str, Found]) -> str:
    foreign = [name for name, seen in found.items() if seen.serves_something_else]
    others = f"; what {', '.join(foreign)} serves now is kept as `original`" if foreign else ""
    return f"Make {', '.join(found)} serve what the topology says{others}?"


def _in_words(topology: Topology, name: str, seen: Found) -> str:
    if seen.status is not None:
        return f"is a node already, serves {seen.status.live or 'something of its own'}"
    host = seen.host
    assert host is not None
    port = topology.http_of(name).port
    parts = [f"{host.system} ({host.architecture})"]
    parts.append(f"nginx {host.nginx_version}" if host.nginx_version else "no nginx")
    if host.page is None:
        parts.append(f"nothing answers on port {port}")
    else:
        page = f": {host.text}" if host.text else ""
        whose = host.live or "something of its own"
        parts.append(f"port {port} serves {whose} ({host.page}{page})")
    if host.missing:
        parts.append(f"installs {', '.join(host.missing)}")
    return ", ".join(parts)


def _debs(folder: Path | None) -> tuple[Path, ...]:
    if folder is None:
        return ()
    files = tuple(sorted(folder.glob("*.deb"))) if folder.is_dir() else ()
    if not files:
        raise UsageError(f"there are no .deb files in {clean(str(folder), 200)}")
    return files


def _public(keys: list[Path]) -> tuple[PublicKey, ...]:
    return tuple(from_file(path) for path in keys)
