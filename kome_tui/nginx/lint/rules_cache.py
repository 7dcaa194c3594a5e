"""Rules about answers that are kept: for whom, whether at all, and whether anybody sees it."""

import re
from collections.abc import Iterator

from kome_tui.nginx.conf_tree import Block, Directive
from kome_tui.nginx.lint.conf import Conf, caches, only_returns
from kome_tui.nginx.lint.rule import Rule, Suspect
from kome_tui.nginx.lint.values import at, option, seconds, sent_header, title, words

_PAGE_KEPT_S = 300
_MAX_AGE = re.compile(r"(?:s-maxage|max-age)\s*=\s*\"?(\d{1,12})", re.IGNORECASE)
_HASH = re.compile(r"[_-][0-9a-f]{6,}\Z")


def _health_cached(conf: Conf) -> Iterator[Suspect]:
    for block in conf.health:
        if caches(block):
            yield at(block, "proxy_cache"), f"{block.label()} caches the health answer"


def _not_logged(conf: Conf) -> Iterator[Suspect]:
    for block in conf.caching:
        if block.value("access_log", "on") == "off":
            yield at(block, "access_log"), f"{block.label()} caches and does not log"


def _never_flushed(conf: Conf) -> Iterator[Suspect]:
    for line in conf.everywhere("access_log"):
        collects = any(word.startswith(("buffer=", "gzip")) for word in line.args[1:])
        if collects and option(line, "flush") is None:
            yield line, "the access log collects lines in memory"


def _page_expires(conf: Conf) -> Iterator[Suspect]:
    for block in conf.pages:
        if only_returns(block):
            continue
        for line in block.nearest("expires")[-1:]:
            word = line.args[-1] if line.args else ""
            if word == "max" or (seconds(word) or 0) > _PAGE_KEPT_S:
                yield line, f"{block.label()} lets browsers keep the page for {word}"
        for line in block.nearest("add_header"):
            value = line.args[1] if len(line.args) > 1 else ""
            age = _MAX_AGE.search(value) if title(line) == "cache-control" else None
            if age and int(age[1]) > _PAGE_KEPT_S and "no-cache" not in value:
                yield line, f"{block.label()} lets browsers keep the page for {age[1]} s"


def _cookies_shared(conf: Conf) -> Iterator[Suspect]:
    for block in conf.caching:
        ignored = "set-cookie" in words(block, "proxy_ignore_headers")
        if ignored and "set-cookie" not in words(block, "proxy_hide_header"):
            said = f"{block.label()} keeps answers with Set-Cookie"
            yield at(block, "proxy_ignore_headers"), said


def _personal_kept(conf: Conf) -> Iterator[Suspect]:
    for block in conf.caching:
        if "cache-control" not in words(block, "proxy_ignore_headers"):
            continue  # the server can still say: private
        if sent_header(block, "authorization") != "" and not _minds_authorization(conf, block):
            said = f"{block.label()} keeps what a client with Authorization was given"
            yield at(block, "proxy_ignore_headers"), said


def _minds_authorization(conf: Conf, block: Block) -> bool:
    lines = [*block.nearest("proxy_no_cache"), *block.nearest("proxy_cache_key")]
    said = [word for line in lines for word in line.args]
    return any(word == "1" or conf.depends_on(word, "$http_authorization") for word in said)


def _never_kept(conf: Conf) -> Iterator[Suspect]:
    for block in conf.caching:
        if block.value("proxy_buffering", "on") == "off":
            yield at(block, "proxy_buffering"), f"{block.label()} caches without buffering"


def _zones(conf: Conf) -> Iterator[Suspect]:
    for line in conf.everywhere("proxy_cache_path", "limit_req_zone", "limit_conn_zone"):
        name = _zone(line)
        if name and not _HASH.search(name):
            what = "folder and levels" if line.name == "proxy_cache_path" else "key"
            yield line, f"zone {name} is bound to this {what} until nginx is restarted"


def _zone(line: Directive) -> str:
    return (option(line, "keys_zone") or option(line, "zone") or "").partition(":")[0]


RULES = (
    Rule(
        "health-cached",
        "error",
        "it stays green after the service is gone",
        "location = /health with proxy_cache off; and Cache-Control no-store",
        "seen in use: /health kept for 5 minutes was green for 5 minutes too long",
        _health_cached,
    ),
    Rule(
        "cache-not-logged",
        "warning",
        "nobody can tell the hit rate, or that there are no hits",
        "access_log with $upstream_cache_status here",
        "the hit rate is counted from the access log",
        _not_logged,
    ),
    Rule(
        "log-not-flushed",
        "warning",
        "on a quiet node a line appears only when the log is reopened, so numbers stand still",
        "add flush=1s",
        "measured: with buffer=64k and no flush a line never appeared",
        _never_flushed,
    ),
    Rule(
        "page-expires",
        "warning",
        "after an update people keep seeing the old page",
        "no expires, or expires -1;, for pages; long times only for assets named by their content",
        "nginx ngx_http_headers_module; browsers ask for nothing until then",
        _page_expires,
    ),
    Rule(
        "cache-shares-cookies",
        "error",
        "one user's cookie, and login, goes to everybody",
        "proxy_hide_header Set-Cookie; or take Set-Cookie out of proxy_ignore_headers",
        "measured: Set-Cookie keeps an answer out of the cache, until it is ignored",
        _cookies_shared,
    ),
    Rule(
        "cache-shares-authorized",
        "warning",
        "Cache-Control private is ignored, so one user's answer may go to everybody",
        "proxy_no_cache $http_authorization; proxy_cache_bypass $http_authorization;",
        "nginx ngx_http_proxy_module: the cache key has no Authorization in it",
        _personal_kept,
    ),
    Rule(
        "cache-unbuffered",
        "warning",
        "nothing is ever kept: each request is a MISS",
        "proxy_buffering on; in this location",
        "measured: MISS, MISS with proxy_buffering off",
        _never_kept,
    ),
    Rule(
        "zone-name-fixed",
        "info",
        "a reload with another under the same name is refused, with a line in error.log and exit 0",
        "change the name with the definition, such as by a hash at its end: NAME_3f9a1c",
        "measured: nginx -t and reload exit 0, the old configuration goes on serving",
        _zones,
    ),
)
