"""Rules about servers and locations that take each other's requests, and about old workers."""

from collections.abc import Iterator

from kome_tui.nginx.conf_tree import Block, matched
from kome_tui.nginx.lint.conf import Conf
from kome_tui.nginx.lint.rule import Rule, Suspect
from kome_tui.nginx.lint.values import at, seconds
from kome_tui.nginx.regex import without_boundary


def _no_boundary(conf: Conf) -> Iterator[Suspect]:
    for block in conf.blocks:
        modifier, pattern = matched(block) if block.head.name == "location" else ("", "")
        taken = without_boundary(pattern) if modifier in ("~", "~*") else None
        if taken:
            yield block.head, f"{block.label()} takes {taken} too"


def _same_name(conf: Conf) -> Iterator[Suspect]:
    first: dict[tuple[str, str], Block] = {}
    for server in conf.servers:
        if server.head.name != "server":
            continue
        names = [word.lower() for line in server.all("server_name") for word in line.args] or [""]
        said = [line.args[0] for line in server.all("listen") if line.args] or ["80"]
        for address in addresses(said):
            for name in names:
                holder = first.setdefault((address, name), server)
                if holder is not server:
                    where = f"{holder.head.file}:{holder.head.line}"
                    taken = f'server "{name}" on {address} is taken by the one at {where}'
                    yield at(server, "server_name"), taken


def addresses(listens: list[str]) -> list[str]:
    """The addresses in what stands after `listen`, each once: `80` and `0.0.0.0:80` are one."""
    return list(dict.fromkeys(_address(word) for word in listens))


def _address(word: str) -> str:
    if word.startswith("unix:"):
        return word
    host, colon, port = word.rpartition(":")
    if word.isdigit():
        host, port = "*", word
    elif not colon or word.endswith("]"):
        host, port = word, "80"
    return f"{'*' if host == '0.0.0.0' else host.lower()}:{port}"


def _old_workers(conf: Conf) -> Iterator[Suspect]:
    longest_s = max(
        (seconds(block.value("proxy_read_timeout", "60s")) or 0 for block in conf.streams),
        default=None,
    )
    if not conf.is_main or longest_s is None:
        return
    lines = conf.tree.all("worker_shutdown_timeout")
    if not lines:
        events = conf.tree.inner("events")[0]
        yield events.head, "worker_shutdown_timeout is not set"
        return
    shutdown_s = seconds(lines[-1].args[0]) if lines[-1].args else None
    if shutdown_s is not None and shutdown_s < longest_s:
        said = f"{shutdown_s:g} s is shorter than the {longest_s:g} s a stream may be silent"
        yield lines[-1], f"worker_shutdown_timeout {said}"


RULES = (
    Rule(
        "regex-no-boundary",
        "warning",
        "other paths than the ones meant are answered here",
        "end it with (/|$), or use prefix locations",
        "seen in use: ^/(v1|run|ws) answers /runtime.js",
        _no_boundary,
    ),
    Rule(
        "server-name-conflict",
        "error",
        "nginx ignores the second server, with no more than a warning",
        "give it another server_name or listen, or take it out",
        "measured: nginx -t exits 0 with [warn] conflicting server name",
        _same_name,
    ),
    Rule(
        "shutdown-timeout",
        "warning",
        "after a reload old workers pile up behind long streams, or cut them short",
        "worker_shutdown_timeout, at least proxy_read_timeout, at the top of the file",
        "measured: with 1s a stream ended after 19 of 20 tokens, without a word in the log",
        _old_workers,
    ),
)
