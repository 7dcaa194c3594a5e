"""Rules about connections to upstreams: names, and keep-alive that is not kept."""

from collections.abc import Iterator

from kome_tui.nginx.conf_tree import Block, Directive
from kome_tui.nginx.lint.conf import Conf, keeps
from kome_tui.nginx.lint.rule import Rule, Suspect
from kome_tui.nginx.lint.values import at, host_of, is_address, seconds, sent_header, variables

_SERVERS_CLOSE_AFTER_S = 5
"""uvicorn's (so vLLM's), Node's and cpp-httplib's idle time."""

_PASSES = ("proxy_pass", "grpc_pass", "fastcgi_pass", "uwsgi_pass", "scgi_pass")


def _names(conf: Conf) -> Iterator[Suspect]:
    for name, group in conf.groups.items():
        for line in group.all("server"):
            if line.args and _must_resolve(conf, line.args[0]) and "resolve" not in line.args:
                yield line, f"upstream {name} names {line.args[0]}"
    for line in conf.everywhere(*_PASSES):
        host = host_of(line.args[0]) if line.args else ""
        part = not conf.tree.inner("http") and "." not in host and ":" not in host
        # in a part, a bare word is an upstream of another part
        if not part and _must_resolve(conf, host):
            yield line, f"{line.name} names {host}"


def _must_resolve(conf: Conf, host: str) -> bool:
    bare = host.partition(":")[0]
    if not bare or bare == "localhost" or host in conf.groups or "$" in host:
        return False
    return not is_address(host)


def _close_by_map(conf: Conf) -> Iterator[Suspect]:
    if not any(keeps(group) for group in conf.groups.values()):
        return
    sent = {word for block in conf.proxying for word in _connection_variables(block)}
    for name, made in conf.maps.items():
        if made.head.args[0] == "$http_upgrade" and name in sent:
            line = _without_upgrade(made)
            if line is not None and line.args[:1] == ("close",):
                yield line, f'map makes {name} "close" for every request but WebSocket'


def _connection_variables(block: Block) -> list[str]:
    return variables(sent_header(block, "connection") or "")


def _without_upgrade(made: Block) -> Directive | None:
    lines = made.all("") or made.all("default")
    return lines[-1] if lines else None


def _not_kept(conf: Conf) -> Iterator[Suspect]:
    for block in conf.proxying:
        group = conf.group_of(block)
        if group is None or not keeps(group):
            continue
        connection = sent_header(block, "connection")
        if block.value("proxy_http_version", "1.0") == "1.0":
            if block not in conf.streams:  # stream-http10 says it there
                said = f"{block.label()} speaks HTTP/1.0 to {group.label()}"
                yield at(block, "proxy_http_version"), said
        elif connection is None or "close" in connection.lower():
            said = f"{block.label()} sends Connection: close to {group.label()}"
            yield at(block, "proxy_set_header"), said


def _kept_too_long(conf: Conf) -> Iterator[Suspect]:
    behind = {conf.group_of(block) for block in conf.streams}
    for group in conf.groups.values():
        word = group.all("keepalive_timeout")[-1:]
        idle_s = seconds(word[0].args[0] if word and word[0].args else "60s")
        if group in behind and keeps(group) and idle_s and idle_s >= _SERVERS_CLOSE_AFTER_S:
            line = (word or group.all("keepalive"))[0]
            yield line, f"{group.label()} keeps idle connections for {idle_s:g} s"


RULES = (
    Rule(
        "name-in-upstream",
        "warning",
        "a name that does not resolve keeps nginx from starting",
        "write the IP address",
        "nginx resolves at start; nginx-proxy-manager issues 3970, 4488, 4530",
        _names,
    ),
    Rule(
        "upgrade-map-close",
        "warning",
        "each ordinary request closes its connection, and the upstream's keepalive keeps none",
        "'' ''; in place of '' close;",
        "measured: the upstream saw Connection: close",
        _close_by_map,
    ),
    Rule(
        "keepalive-lost",
        "warning",
        "the upstream's keepalive keeps no connection open",
        'proxy_http_version 1.1; proxy_set_header Connection "";',
        "nginx ngx_http_upstream_module, keepalive; not needed from 1.29.7",
        _not_kept,
    ),
    Rule(
        "keepalive-too-long",
        "warning",
        "uvicorn, vLLM and Node close after 5 s: a POST meets a closing connection and gets a 502",
        "keepalive_timeout 4s; in the upstream, or let the server keep connections longer",
        "defaults of uvicorn --timeout-keep-alive and Node's keepAliveTimeout; nginx's is 60s",
        _kept_too_long,
    ),
)
