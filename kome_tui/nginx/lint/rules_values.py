"""The rule for what nginx refuses: words, times, repeats and names that our other rules read.

Not a second `nginx -t`: only directives that another rule goes by are looked at here, so that a
value nobody can use is not taken for a good one. Measured with nginx -t of 1.22 and 1.31.
"""

import difflib
import re
from collections.abc import Callable, Iterator

from crossplane.analyzer import DIRECTIVES

from kome_tui.nginx.conf_tree import Block, Directive
from kome_tui.nginx.lint.conf import Conf
from kome_tui.nginx.lint.rule import Rule, Suspect
from kome_tui.nginx.lint.rules_servers import addresses
from kome_tui.nginx.lint.values import option

_MODULES = ("proxy", "fastcgi", "uwsgi", "scgi")
_FLAGS = frozenset(
    {
        *("gzip", "proxy_request_buffering", "real_ip_recursive"),
        *(f"{module}_buffering" for module in _MODULES),
        *(f"{module}_intercept_errors" for module in _MODULES),
    }
)
_TIMES = frozenset(
    {
        *("worker_shutdown_timeout", "grpc_read_timeout", "grpc_send_timeout"),
        *(f"{m}_{what}_timeout" for m in _MODULES for what in ("read", "send", "connect")),
    }
)
_STATUS = frozenset({"limit_req_status", "limit_conn_status"})
_ONCE = (
    _FLAGS
    | _TIMES
    | _STATUS
    | {
        *("proxy_pass", "fastcgi_pass", "uwsgi_pass", "scgi_pass", "grpc_pass", "proxy_cache"),
        *("proxy_http_version", "proxy_cache_key", "keepalive", "keepalive_timeout", "expires"),
        *("try_files", "auth_basic", "auth_request", "root"),
    }
)
_NAMES = _ONCE | {
    *("proxy_set_header", "proxy_next_upstream", "proxy_ignore_headers", "proxy_hide_header"),
    *("proxy_no_cache", "proxy_cache_bypass", "proxy_cache_path", "proxy_cache_valid"),
    *("add_header", "error_page", "access_log", "gzip_types", "set_real_ip_from", "allow", "deny"),
    *("limit_req", "limit_conn", "limit_req_zone", "limit_conn_zone", "include", "listen"),
    *("server_name", "rewrite", "return", "location", "server", "upstream", "events", "http"),
}
_OWN_WORDS = frozenset({"map", "geo", "types", "charset_map", "split_clients", "match"})
"""Blocks whose lines start with words of their own."""

_PARTS = r"(?:\d+d)?(?:\d+h)?(?:\d+m)?(?:\d+s?)?(?:\d+ms)?"
_MS_TIME = re.compile(rf"(?:\d+w)?{_PARTS}")
_S_TIME = re.compile(rf"(?:\d+y)?(?:\d+M)?(?:\d+w)?{_PARTS}")
_VERSIONS = ("1.0", "1.1", "2")  # 2 from nginx 1.29.4
_FAILURES = frozenset(
    {
        *("error", "timeout", "invalid_header", "non_idempotent", "denied", "updating", "off"),
        *(f"http_{code}" for code in (500, 502, 503, 504, 403, 404, 429)),
    }
)
_IGNORABLE = frozenset(
    {
        *(f"x-accel-{what}" for what in ("redirect", "expires", "limit-rate", "buffering")),
        *("x-accel-charset", "expires", "cache-control", "set-cookie", "vary"),
    }
)
_MANY_WORDS = ("expires", "keepalive_timeout", "proxy_next_upstream", "proxy_ignore_headers")
_NO_BACKUP = ("hash", "ip_hash", "random")


def _refused(conf: Conf) -> Iterator[Suspect]:
    for block in conf.blocks:
        if block.head.name in _OWN_WORDS:
            continue
        seen: set[str] = set()
        for line in block.own:
            if line.name in seen and line.name in _ONCE:
                yield line, f"{line.name} stands here twice"
            seen.add(line.name)
            said = _wrong_value(line) or _misspelt(line)
            if said:
                yield line, said
        for inner in block.blocks:
            said = _misspelt(inner.head)
            if said:
                yield inner.head, said
    yield from _backups(conf)
    yield from _two_defaults(conf)


def _wrong_value(line: Directive) -> str | None:
    name, args = line.name, line.args
    check = _check_of(name)
    if check is None:
        return None
    one_word = name not in _MANY_WORDS
    if not args or (one_word and len(args) > 1):
        few = "no value" if not args else f"{len(args)} words in place of one: is a ; missing?"
        return f"{name} has {few}"
    wrong = next((word for word in args if not check(word)), None)
    return None if wrong is None else f"{name} can't be {wrong}"


def _check_of(name: str) -> Callable[[str], bool] | None:
    if name in _FLAGS:
        return lambda word: word.lower() in ("on", "off")
    if name in _TIMES or name == "keepalive_timeout":
        return lambda word: _is_time(_MS_TIME, word)
    if name in _STATUS:
        return lambda word: word.isascii() and word.isdigit() and 400 <= int(word[:9]) <= 599
    return _LISTS.get(name)


def _is_time(pattern: re.Pattern[str], word: str) -> bool:
    bare = word.replace(" ", "")
    return bool(bare) and pattern.fullmatch(bare) is not None


def _can_expire(word: str) -> bool:
    bare = word[1:] if word[:1] in ("-", "+", "@") else word
    known = ("epoch", "max", "off", "modified")
    return word in known or word.startswith("$") or _is_time(_S_TIME, bare)


_LISTS: dict[str, Callable[[str], bool]] = {
    "expires": _can_expire,
    "proxy_next_upstream": lambda word: word.lower() in _FAILURES,
    "proxy_ignore_headers": lambda word: word.lower() in _IGNORABLE,
    "proxy_http_version": lambda word: word in _VERSIONS,
}


def _misspelt(line: Directive) -> str | None:
    if line.name in DIRECTIVES or line.name in _NAMES or len(line.name) < 5:
        return None
    near = difflib.get_close_matches(line.name, sorted(_NAMES), 1, 0.88)
    if not near or abs(len(near[0]) - len(line.name)) > 1:
        return None
    return f"there is no directive {line.name}: {near[0]} is meant"


def _backups(conf: Conf) -> Iterator[Suspect]:
    for group in conf.groups.values():
        chosen_by = None
        for line in group.own:
            if line.name in _NO_BACKUP:
                chosen_by = line.name
            elif line.name == "server":
                if chosen_by and "backup" in line.args:
                    yield line, f"{group.label()} has {chosen_by}, which takes no backup"
                word = option(line, "fail_timeout")
                if word is not None and not _is_time(_S_TIME, word):
                    yield line, f"fail_timeout can't be {word}"
                count = option(line, "max_fails")
                if count is not None and not (count.isascii() and count.isdigit()):
                    yield line, f"max_fails can't be {count}"


def _two_defaults(conf: Conf) -> Iterator[Suspect]:
    first: dict[str, Block] = {}
    for server in conf.servers:
        for line in server.all("listen"):
            if not {"default_server", "default"} & set(line.args[1:]):
                continue
            (address,) = addresses([line.args[0]])
            holder = first.setdefault(address, server)
            if holder is not server:
                where = f"{holder.head.file}:{holder.head.line}"
                yield line, f"{address} has its default_server at {where}"


RULES = (
    Rule(
        "value",
        "error",
        "nginx refuses it, and neither starts nor reloads with it",
        "write what nginx knows; nginx -t names what else there is",
        "measured with nginx -t; only directives that another rule here reads are looked at",
        _refused,
    ),
)
