"""Rules about limits and access: refused with the wrong word, or never asked at all.

`return` and `rewrite` run before limit_req, allow, deny and passwords: a location that only returns
answers everybody.
"""

from collections.abc import Iterator

from kome_tui.nginx.conf_tree import Block, Directive
from kome_tui.nginx.lint.conf import Conf, answers_all
from kome_tui.nginx.lint.rule import Rule, Suspect

_LIMITS = ("limit_req", "limit_conn")
_REFUSALS = ("403", "404", "410", "429", "444")


def _status(conf: Conf) -> Iterator[Suspect]:
    unasked = set(_returning(conf))  # limit-on-return says it there
    for block in conf.blocks:
        for kind in _LIMITS if block not in unasked else ():
            for line in block.all(kind)[:1]:
                if block.value(f"{kind}_status", "503") == "503":
                    yield line, f"{block.label()} refuses with 503"


def _limit_unasked(conf: Conf) -> Iterator[Suspect]:
    for block in _returning(conf):
        for kind in _LIMITS:
            for line in block.all(kind)[:1]:
                yield line, f"{block.label()} only returns, so {kind} is never asked"


def _access_unasked(conf: Conf) -> Iterator[Suspect]:
    for block, answer in _returning(conf).items():
        word = answer.args[0] if answer.name == "return" and answer.args else "302"
        if word in _REFUSALS:
            continue
        said = "redirects everybody" if answer.name == "rewrite" else f"returns {word} to everybody"
        for line in _guards(block, only_own=not word.startswith("2")):
            yield line, f"{block.label()} {said}: {line.name} is never asked"


def _guards(block: Block, only_own: bool) -> Iterator[Directive]:
    for name in ("deny", "auth_basic", "auth_request"):
        lines = block.all(name) if only_own else block.nearest(name)
        yield from (line for line in lines[:1] if line.args[:1] != ("off",))


def _returning(conf: Conf) -> dict[Block, Directive]:
    """Locations that answer every request before access is asked, with the line that does."""
    every = [block for block in conf.blocks if block.head.name == "location"]
    return {block: line for block in every if (line := answers_all(block)) is not None}


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
