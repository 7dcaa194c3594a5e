"""Judges an nginx configuration, ours or a stranger's, by what goes wrong in front of an LLM.

A rule looks at the location that would answer a sample request, with inheritance as nginx does it.
Every rule owns a case that fires it and one that stays quiet: tests/cases/lint/RULE/.
"""

import ipaddress
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from kome_tui.nginx.conf_tree import Block, Directive, Unreadable, parse_conf, serving
from kome_tui.text import clean

Severity = Literal["error", "warning"]
Suspect = tuple[int, str]
"""The line, and what is there."""


@dataclass(frozen=True, slots=True)
class LintFinding:
    """One thing to mend: where, by which rule, why it matters, and how."""

    file: str
    line: int
    rule: str
    severity: Severity
    message: str
    fix: str


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule: its code, why it matters, the fix, and the search for what breaks it."""

    code: str
    severity: Severity
    reason: str
    fix: str
    suspects: Callable[[Block], Iterator[Suspect]]


def lint_conf(conf: str, name: str) -> tuple[LintFinding, ...]:
    """Return what is wrong in one configuration file, called `name`, in the order of its lines.

    A file that cannot be read as nginx configuration gives one finding, of rule `syntax`.
    """
    try:
        tree = parse_conf(conf)
    except Unreadable as error:
        fix = "nginx -t names the place; mend it there"
        return (LintFinding(name, error.line, "syntax", "error", clean(str(error)), fix),)
    found = {
        LintFinding(
            name, line, rule.code, rule.severity, clean(f"{what}: {rule.reason}"), rule.fix
        ): None
        for rule in RULES
        for line, what in rule.suspects(tree)
    }
    return tuple(sorted(found, key=lambda finding: (finding.line, finding.rule)))


_STREAMS = ("/v1/chat/completions", "/v1/completions", "/api/chat", "/ws")
_HEALTH = ("/health", "/healthz")


def _answering(tree: Block, paths: tuple[str, ...]) -> Iterator[Block]:
    """The proxying blocks that answer one of `paths`, each once."""
    for server in tree.named("server"):
        if server.parent is None or server.parent.head.name not in ("http", "file"):
            continue  # of an upstream, of stream {}
        for block in dict.fromkeys(serving(server, path) for path in paths):
            if block.all("proxy_pass"):
                yield block


def _buffered(tree: Block) -> Iterator[Suspect]:
    for block in _answering(tree, _STREAMS):
        if block.value("proxy_buffering", "on") != "off":
            yield _at(block, "proxy_buffering"), f"{block.label()} buffers streams"


def _http10(tree: Block) -> Iterator[Suspect]:
    for block in _answering(tree, _STREAMS):
        if block.value("proxy_http_version", "1.0") == "1.0":
            yield _at(block, "proxy_http_version"), f"{block.label()} speaks HTTP/1.0 upstream"


def _gzipped(tree: Block) -> Iterator[Suspect]:
    for block in _answering(tree, _STREAMS):
        types = {word for line in block.nearest("gzip_types") for word in line.args}
        if block.value("gzip", "off") == "on" and types & {"*", "text/event-stream"}:
            yield _at(block, "gzip_types"), f"{block.label()} compresses streams"


def _cached(tree: Block) -> Iterator[Suspect]:
    for block in _answering(tree, _STREAMS):
        if _caches(block):
            yield _at(block, "proxy_cache"), f"{block.label()} caches API answers"


def _health_cached(tree: Block) -> Iterator[Suspect]:
    for block in _answering(tree, _HEALTH):
        if _caches(block):
            yield _at(block, "proxy_cache"), f"{block.label()} caches the health answer"


def _retried(tree: Block) -> Iterator[Suspect]:
    for directive in _everywhere(tree, "proxy_next_upstream"):
        if "non_idempotent" in directive.args:
            yield directive.line, "a request that was sent may be sent again"


def _headers_lost(tree: Block) -> Iterator[Suspect]:
    for block in tree.walk():
        for name in ("add_header", "proxy_set_header"):
            own, outer = block.all(name), block.parent.nearest(name) if block.parent else []
            lost = dict.fromkeys(_title(line) for line in outer)
            for line in own:
                lost.pop(_title(line), None)
            if own and lost:
                yield own[0].line, f"{block.label()} loses the inherited {name} {', '.join(lost)}"


def _limit_status(tree: Block) -> Iterator[Suspect]:
    for block in tree.walk():
        for kind in ("limit_req", "limit_conn"):
            for directive in block.all(kind)[:1]:
                if block.value(f"{kind}_status", "503") == "503":
                    yield directive.line, f"{block.label()} refuses with 503"


def _names(tree: Block) -> Iterator[Suspect]:
    groups = {block.head.args[0] for block in tree.named("upstream") if block.head.args}
    for block in tree.named("upstream"):
        for line in block.all("server"):
            if line.args and _must_resolve(line.args[0], groups):
                yield line.line, f"upstream {block.head.args[0]} names {line.args[0]}"
    for line in _everywhere(tree, "proxy_pass"):
        host = line.args[0].partition("://")[2].partition("/")[0] if line.args else ""
        if _must_resolve(host, groups):
            yield line.line, f"proxy_pass names {host}"


def _trusted_by_all(tree: Block) -> Iterator[Suspect]:
    for directive in _everywhere(tree, "set_real_ip_from"):
        if directive.args and directive.args[0].endswith("/0"):
            yield directive.line, f"set_real_ip_from {directive.args[0]} trusts everybody"


def _everywhere(tree: Block, name: str) -> Iterator[Directive]:
    for block in tree.walk():
        yield from block.all(name)


def _at(block: Block, name: str) -> int:
    own = block.all(name)
    return own[-1].line if own else block.head.line


def _caches(block: Block) -> bool:
    return block.value("proxy_cache", "off") != "off"


def _title(header: Directive) -> str:
    return header.args[0].lower() if header.args else ""


def _must_resolve(host: str, groups: set[str]) -> bool:
    bare = host.partition(":")[0]
    if not bare or bare in groups or bare in ("unix", "localhost") or host[0] in "[$":
        return False
    if "$" in host:
        return False
    try:
        ipaddress.ip_address(bare)
    except ValueError:
        return True
    return False


RULES = (
    Rule(
        "stream-buffered",
        "error",
        "tokens wait until a buffer is full and then arrive as a clump",
        "proxy_buffering off;",
        _buffered,
    ),
    Rule(
        "stream-http10",
        "error",
        "without chunked coding and keep-alive, a buffering hop holds the whole answer back",
        'proxy_http_version 1.1; proxy_set_header Connection "";',
        _http10,
    ),
    Rule(
        "stream-gzip",
        "error",
        "the compressor holds tokens back until it has a block",
        "gzip off; in this location, and no text/event-stream or * in gzip_types",
        _gzipped,
    ),
    Rule(
        "stream-cached",
        "error",
        "one user's answer is replayed to the next, in one piece",
        "proxy_cache off;",
        _cached,
    ),
    Rule(
        "retry-non-idempotent",
        "error",
        "a prompt can run twice",
        "take non_idempotent out of proxy_next_upstream",
        _retried,
    ),
    Rule(
        "health-cached",
        "error",
        "it stays green after the service is gone",
        "location = /health with proxy_cache off; and Cache-Control no-store",
        _health_cached,
    ),
    Rule(
        "header-inheritance",
        "warning",
        "one such line drops all those of the outer level",
        "repeat the outer level's lines here",
        _headers_lost,
    ),
    Rule(
        "limit-status-503",
        "warning",
        "to clients and monitors that looks like an outage",
        "limit_req_status 429; (limit_conn_status alike) and a Retry-After header",
        _limit_status,
    ),
    Rule(
        "name-in-upstream",
        "warning",
        "a name that does not resolve keeps nginx from starting",
        "write the IP address",
        _names,
    ),
    Rule(
        "realip-everywhere",
        "error",
        "any client can choose the address it is seen as",
        "name only the proxies in front of this node, each as an address",
        _trusted_by_all,
    ),
)
