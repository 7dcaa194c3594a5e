"""What changes between two configurations, said as what people's requests will feel.

Compared is the effect, not the text: the settings that hold where a sample request is answered,
inherited ones and nginx's defaults included. A line moved to another level changes nothing here.
"""

import re
from collections.abc import Iterator
from itertools import islice

from kome_tui.nginx.conf_tree import Block, Directive, Unreadable, parse_conf, serving
from kome_tui.text import clean

TRAFFIC = {
    "streams": "/v1/chat/completions",
    "API": "/api/tags",
    "files": "/assets/app.js",
    "page": "/",
    "health": "/health",
}
"""A sample request of each kind of traffic."""

_SETTINGS = {
    "timeout": ("proxy_read_timeout", "60s"),
    "connect timeout": ("proxy_connect_timeout", "60s"),
    "buffering": ("proxy_buffering", "on"),
    "gzip": ("gzip", "off"),
    "HTTP version upstream": ("proxy_http_version", "1.0"),
    "largest request": ("client_max_body_size", "1m"),
}
_EVERYWHERE = {
    "time for streams to finish after a push": ("worker_shutdown_timeout", "without limit"),
    "worker processes": ("worker_processes", "1"),
    "error log": ("error_log", "logs/error.log"),
    "nginx runs as": ("user", "nobody"),
}
_AMOUNT = re.compile(r"(\d+)(ms|[smhdkgKMG])\Z")
_UNITS = {"k": "KB", "m": "MB", "g": "GB"}
_SIZES = ("max_size", "min_free", "client_max_body_size")


def changes(old: str, new: str) -> tuple[str, ...]:
    """Return sentences such as `streams timeout: 60 s -> 3600 s`, in the order of TRAFFIC.

    Empty where nothing in this list changes, though other lines may. A file that cannot be read
    as nginx configuration gives one sentence that says so.
    """
    try:
        before, after = effects(old), effects(new)
    except Unreadable as error:
        return (f"not comparable: line {error.line}: {clean(str(error))}",)
    keys = dict.fromkeys((*after, *before))
    return tuple(
        clean(f"{key}: {before.get(key, 'not there')} -> {after.get(key, 'not there')}")
        for key in keys
        if before.get(key) != after.get(key)
    )


def effects(conf: str) -> dict[str, str]:
    """Return what a configuration does, by name. Raises Unreadable."""
    tree = parse_conf(conf)
    http = next(iter(tree.named("http")), tree)
    found = {name: _plain(tree.value(*setting)) for name, setting in _EVERYWHERE.items()}
    for server in islice((block for block in http.blocks if block.head.name == "server"), 1):
        found["listens on"] = ", ".join(sorted(line.args[0] for line in server.all("listen")))
        for kind, path in TRAFFIC.items():
            answers = serving(server, path)
            found |= {f"{kind} {name}": value for name, value in _felt(http, answers)}
        found["kept paths"] = _kept_paths(server) or "none"
        found |= dict(_others(http, server))
    networks = [line.name for block in http.named("geo") for line in _allowed(block)]
    if networks:
        found["may read /.kome/"] = ", ".join(sorted(networks))
    times = {line.args[0] for block in http.named("upstream") for line in _kept_open(block)}
    if times:
        found["idle upstream connections kept for"] = ", ".join(sorted(map(_plain, times)))
    for line in http.all("proxy_cache_path"):
        words = dict(word.partition("=")[::2] for word in line.args[1:])
        found["cache folder"] = line.args[0]
        found["cache size"] = _plain(words.get("max_size", "without limit"), size=True)
        found["cache keeps unused files"] = _plain(words.get("inactive", "10m"))
    return found


def _kept_paths(server: Block) -> str:
    """The paths whose answers may come from the cache, `/` apart: that is the page."""
    locations = [block for block in server.blocks if block.head.name == "location"]
    kept = [block for block in locations if block.value("proxy_cache", "off") != "off"]
    uris = [block.head.args[-1] for block in kept if block.head.args]
    return ", ".join(sorted(uri for uri in uris if uri.startswith("/") and uri != "/"))


def _others(http: Block, server: Block) -> Iterator[tuple[str, str]]:
    """Where further locations go: a draft model, a service of an observability node."""
    known = {serving(server, path) for path in TRAFFIC.values()}
    for block in server.blocks:
        uri = block.head.args[-1] if block.head.args else ""
        if block.head.name != "location" or block in known or not uri.startswith("/"):
            continue
        if uri.startswith("/.kome/") or block.value("proxy_cache", "off") != "off":
            continue
        passes = block.all("proxy_pass")
        said = [line.args[0] for line in block.all("return") if line.args]
        if passes and passes[0].args:
            yield f"{uri} goes to", _target(http, passes[0].args[0])
        elif said:
            yield f"{uri} goes to", f"nobody: {said[-1]}"


def _allowed(geo: Block) -> Iterator[Directive]:
    """The networks of the list that guards /.kome/."""
    if geo.head.args[-1:] == ("$kome_lan",):
        yield from (line for line in geo.own if line.args == ("1",))


def _kept_open(upstream: Block) -> Iterator[Directive]:
    yield from (line for line in upstream.all("keepalive_timeout") if line.args)


def _felt(http: Block, answers: Block) -> Iterator[tuple[str, str]]:
    passes = answers.all("proxy_pass")
    if not passes:
        said = answers.all("return")
        yield "answered by", f"nginx itself ({said[0].args[0]})" if said else "nginx itself"
        return
    yield "go to", _target(http, passes[0].args[0] if passes[0].args else "")
    for name, (directive, default) in _SETTINGS.items():
        yield name, _plain(answers.value(directive, default), size=directive in _SIZES)
    zone = answers.value("proxy_cache", "off")
    yield "cache", "off" if zone == "off" else "on"
    if zone != "off":
        kept = ", ".join(_plain(line.args[-1]) for line in answers.nearest("proxy_cache_valid"))
        yield "kept for", kept or "as the answer says"
    yield (
        "retries",
        " ".join(answers.nearest("proxy_next_upstream")[-1:][0].args)
        if (answers.nearest("proxy_next_upstream"))
        else "error timeout",
    )
    yield "limit per client", _limit(http, answers)


def _limit(http: Block, answers: Block) -> str:
    rates = {
        words["zone"].partition(":")[0]: words.get("rate", "")
        for words in (_pairs(line.args[1:]) for line in http.all("limit_req_zone"))
        if "zone" in words
    }
    limits = []
    for line in answers.nearest("limit_req"):
        words = _pairs(line.args)
        rate = rates.get(words.get("zone", ""), "an unknown rate").replace("r/s", " requests/s")
        limits.append(f"{rate}, burst {words.get('burst', '0')}")
    return "; ".join(limits) or "none"


def _pairs(words: tuple[str, ...]) -> dict[str, str]:
    return dict(word.partition("=")[::2] for word in words)


def _target(http: Block, url: str) -> str:
    """The addresses behind a proxy_pass, through upstream and split_clients."""
    host = url.partition("://")[2].partition("/")[0]
    if host.startswith("$"):
        splits = (block for block in http.named("split_clients") if block.head.args[-1:] == (host,))
        hosts = [line.args[0] for block in splits for line in block.own if line.args]
    else:
        hosts = [host]
    groups = {block.head.args[0]: block for block in http.named("upstream") if block.head.args}
    addresses = [
        line.args[0] + (" as a backup" if "backup" in line.args else "")
        for name in hosts
        if name in groups
        for line in groups[name].all("server")
        if line.args
    ]
    return ", ".join(dict.fromkeys(addresses)) or url


def _plain(value: str, size: bool = False) -> str:
    """`3600s` as `3600 s`, and `1g` as `1 GB` where it is a size."""
    amount = _AMOUNT.match(value)
    if not amount:
        return value
    unit = _UNITS.get(amount[2].lower(), amount[2]) if size else amount[2]
    return f"{amount[1]} {unit}"
