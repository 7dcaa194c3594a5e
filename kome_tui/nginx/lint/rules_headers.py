"""Rules about headers: what a level loses by its own, and who may name a client's address."""

from collections.abc import Iterator

from kome_tui.nginx.lint.conf import Conf
from kome_tui.nginx.lint.rule import Rule, Suspect
from kome_tui.nginx.lint.values import title


def _headers_lost(conf: Conf) -> Iterator[Suspect]:
    for block in conf.blocks:
        for name in ("add_header", "proxy_set_header"):
            own, outer = block.all(name), block.parent.nearest(name) if block.parent else []
            if not own or block.value(f"{name}_inherit", "on") == "merge":
                continue
            lost = dict.fromkeys(title(line) for line in outer)
            for line in own:
                lost.pop(title(line), None)
            if lost:
                yield own[0], f"{block.label()} loses the inherited {name} {', '.join(lost)}"


def _trusted_by_all(conf: Conf) -> Iterator[Suspect]:
    for line in conf.everywhere("set_real_ip_from"):
        if line.args and line.args[0].endswith("/0"):
            yield line, f"set_real_ip_from {line.args[0]} trusts everybody"


RULES = (
    Rule(
        "header-inheritance",
        "warning",
        "one such line drops all those of the outer level",
        "repeat the outer level's lines here",
        "measured, for both; add_header_inherit merge; is there from nginx 1.29.3",
        _headers_lost,
    ),
    Rule(
        "realip-everywhere",
        "error",
        "any client can choose the address it is seen as",
        "name only the proxies in front of this node, each as an address",
        "nginx ngx_http_realip_module",
        _trusted_by_all,
    ),
)
