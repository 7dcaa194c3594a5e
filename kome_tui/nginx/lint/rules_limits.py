"""Rules about limits and access: refused with the wrong word, or never asked at all.

`return` and `rewrite` run before limit_req, allow, deny and passwords: a location that only returns
answers everybody.
"""

from collections.abc import Iterator

from kome_tui.nginx.conf_tree import Block, Directive
from kome_tui.nginx.lint.conf import Conf, only_returns
from kome_tui.nginx.lint.rule import Rule, Suspect

_LIMITS = ("limit_req", "limit_conn")
_REFUSALS = ("403", "404", "410", "429", "444")


def _status(conf: Conf) -> Iterator[Suspect]:
    for block in conf.blocks:
        for kind in _LIMITS:
            for line in block.all(kind)[:1]:
                if block.value(f"{kind}_status", "503") == "503":
                    yield line, f"{block.label()} refuses with 503"


def _limit_unasked(conf: Conf) -> Iterator[Suspect]:
    for block in _returning(conf):
        for kind in _LIMITS:
            for line in block.all(kind)[:1]:
                yield line, f"{block.label()} only returns, so {kind} is never asked"


def _access_unasked(conf: Conf) -> Iterator[Suspect]:
    for block in _returning(conf):
        code = (block.all("return")[0].args or ("",))[0]
        if code in _REFUSALS:
            continue
        for line in _guards(block, only_own=not code.startswith("2")):
            yield line, f"{block.label()} returns {code} to everybody: {line.name} is never asked"


def _guards(block: Block, only_own: bool) -> Iterator[Directive]:
    for name in ("deny", "auth_basic", "auth_request"):
        lines = block.all(name) if only_own else block.nearest(name)
        yield from (line for line in lines[:1] if line.args[:1] != ("off",))


def _returning(conf: Conf) -> Iterator[Block]:
    for block in conf.blocks:
        if block.head.name == "location" and only_returns(block):
            yield block


RULES = (
    Rule(
        "limit-status-503",
        "warning",
        "to clients and monitors that looks like an outage",
        "limit_req_status 429; (limit_conn_status alike) and a Retry-After header",
        "nginx ngx_http_limit_req_module: 503 by default",
        _status,
    ),
    Rule(
        "limit-on-return",
        "warning",
        "nginx returns before it counts",
        "take the limit out, or put it where something is served",
        "measured: five of five requests got their 200",
        _limit_unasked,
    ),
    Rule(
        "access-on-return",
        "error",
        "nginx returns before it asks who the client is",
        "geo $allowed { ... } and if ($allowed = 0) { return 403; } before the return",
        "measured: allow and deny do not stop return; the rewrite phase comes first",
        _access_unasked,
    ),
)
