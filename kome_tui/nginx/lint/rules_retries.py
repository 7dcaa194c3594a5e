"""Rules about a request that is sent twice, and about retries that never happen."""

from collections.abc import Iterator

from kome_tui.nginx.conf_tree import Block, Directive, matched
from kome_tui.nginx.lint.conf import Conf, caches, has_one_address, hosts
from kome_tui.nginx.lint.rule import Rule, Suspect
from kome_tui.nginx.lint.values import option, seconds

_LONGEST_FAIL_S = 60
_AFTER_SENDING = {"502", "504"}
_IF_INTERCEPTED = {"500", "503"}


def _retried(conf: Conf) -> Iterator[Suspect]:
    users = _users(conf)
    for line in conf.everywhere("proxy_next_upstream"):
        behind = users.get(line, [])
        repeats = not behind or any(conf.may_repeat(block) for block in behind)
        if "non_idempotent" in line.args and repeats:
            yield line, "a request that was sent may be sent again"


def _sent_on(conf: Conf) -> Iterator[Suspect]:
    for block, server in conf.server_of.items():
        lines = block.nearest("error_page")
        if not lines or not _may_get_prompts(conf, block):
            continue
        intercepts = block.value("proxy_intercept_errors", "off") == "on"
        codes = _AFTER_SENDING | (_IF_INTERCEPTED if intercepts else set())
        for line in lines:
            if not codes & set(line.args):
                continue
            for location in conf.led_to(server, line):
                if _sends(conf, location):
                    yield line, f"a request that failed is sent again by {location.label()}"


def _may_get_prompts(conf: Conf, block: Block) -> bool:
    if block in conf.streams:
        return not conf.refuses_methods(block)
    is_one_page = block.head.name == "location" and matched(block)[0] == "="
    return not (is_one_page or caches(block) or conf.refuses_methods(block))


def _sends(conf: Conf, location: Block) -> bool:
    proxies = any(block.all("proxy_pass") for block in location.walk())
    return proxies and not conf.refuses_methods(location)


def _never_retried(conf: Conf) -> Iterator[Suspect]:
    for group in conf.groups.values():
        if not has_one_address(group):
            continue
        line = group.all("server")[0]
        idle = [n for n in ("max_fails", "fail_timeout") if option(line, n) not in (None, "0")]
        if idle:
            yield line, f"{group.label()} has one server, so {' and '.join(idle)} do nothing"
    for line, blocks in _users(conf).items():
        if "off" not in line.args and not any(conf.may_repeat(block) for block in blocks):
            yield line, "there is one server behind this, so nothing is retried"


def _users(conf: Conf) -> dict[Directive, list[Block]]:
    """Each proxy_next_upstream with the blocks that it holds for."""
    users: dict[Directive, list[Block]] = {}
    for block in conf.proxying:
        for line in block.nearest("proxy_next_upstream"):
            users.setdefault(line, []).append(block)
    return users


def _dead_for_long(conf: Conf) -> Iterator[Suspect]:
    for group in conf.groups.values():
        servers = group.all("server")
        for line in servers if len(servers) > 1 else ():
            word = option(line, "fail_timeout")
            timeout_s = seconds(word) if word else None
            if timeout_s and timeout_s > _LONGEST_FAIL_S and option(line, "max_fails") != "0":
                yield line, f"{group.label()} leaves a server out for {word}"


def _twins_fail(conf: Conf) -> Iterator[Suspect]:
    for group in conf.groups.values():
        servers = group.all("server")
        if len(servers) > 1 and len(set(hosts(servers))) == 1:
            failing = [line for line in servers if option(line, "max_fails") != "0"]
            for line in failing[:1]:
                yield line, f"{group.label()} has one server, named {len(servers)} times"


RULES = (
    Rule(
        "retry-non-idempotent",
        "error",
        "a prompt can run twice",
        "take non_idempotent out of proxy_next_upstream",
        "measured: a POST dropped after it was sent ran again; with one server, if keepalive is on",
        _retried,
    ),
    Rule(
        "retry-error-page",
        "error",
        "a POST that was sent and dropped runs again: a prompt can run twice",
        "let only GET and HEAD through: if ($request_method !~ ^(GET|HEAD)$) { return 502; } there",
        "measured: error_page 502 504 = @other sends a dropped POST again",
        _sent_on,
    ),
    Rule(
        "single-server-settings",
        "warning",
        "nginx never marks the only server down and never tries it again",
        "name a second server or a backup; the same server twice with max_fails=0 repeats a"
        " refused connection",
        "measured; ngx_http_upstream_round_robin.c, peers->single",
        _never_retried,
    ),
    Rule(
        "fail-timeout-long",
        "warning",
        "a server that is back is not asked until then",
        "fail_timeout=5s (60s at most)",
        "nginx issue 524: fail_timeout=10000s kept a server out for 2.8 hours",
        _dead_for_long,
    ),
    Rule(
        "twin-server-fails",
        "warning",
        "a dropped connection or two marks all of them down, and everybody gets 502 for 10 s",
        "max_fails=0 on each",
        "measured: 200 502 502 502 where one line gives 502 200 502 200",
        _twins_fail,
    ),
)
