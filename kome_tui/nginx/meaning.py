"""What changes between two configurations, said as what people's requests will feel.

Compared is the effect, not the text: the settings that hold where a sample request is answered,
inherited ones and nginx's defaults included. A line moved to another level changes nothing here.
"""

import re
from collections.abc import Iterator
from itertools import islice

from kome_tui.nginx.conf_tree import Block, Unreadable, parse_conf, serving
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
    for line in http.all("proxy_cache_path"):
        words = dict(word.partition("=")[::2] for word in line.args[1:])
        found["cache folder"] = line.args[0]
        found["cache size"] = _plain(words.get("max_size", "without limit"), size=True)
        found["cache keeps unused files"] = _plain(words.get("inactive", "10m"))
    return found


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
