"""Rules about headers: what a level loses by its own, and who may name a client's address."""

import ipaddress
from collections.abc import Iterator

from kome_tui.nginx.conf_tree import Directive
from kome_tui.nginx.lint.conf import Conf
from kome_tui.nginx.lint.rule import Rule, Suspect
from kome_tui.nginx.lint.values import title

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_WHOLE_LANS = frozenset(
    map(
        ipaddress.ip_network,
        ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7", "fd00::/8"),
    )
)
"""All private addresses of their kind: the proxies, and everybody else."""


def _headers_lost(conf: Conf) -> Iterator[Suspect]:
    for block in conf.blocks:
        for name in ("add_header", "proxy_set_header"):
            own, outer = block.all(name), block.parent.nearest(name) if block.parent else []
            if not own or block.value(f"{name}_inherit", "on") == "merge":
                continue
            lost = {title(line): line.args[0] for line in outer if line.args}
            for line in own:
                lost.pop(title(line), None)
            if lost:
                said = f"{block.label()} loses the inherited {name} {', '.join(lost.values())}"
                yield own[0], said


def _trusted_by_all(conf: Conf) -> Iterator[Suspect]:
    for line in conf.everywhere("set_real_ip_from"):
        network = _network(line)
        if network is not None and not network.is_private and _is_vast(network):
            yield line, f"set_real_ip_from {line.args[0]} trusts everybody"


def _is_vast(network: _Network) -> bool:
    """Wider than any provider's: 0.0.0.0/1 and 128.0.0.0/1 are all there is."""
    return network.prefixlen < (8 if network.version == 4 else 16)


def _lan_trusted(conf: Conf) -> Iterator[Suspect]:
    for line in conf.everywhere("set_real_ip_from"):
        network = _network(line)
        if network is not None and network in _WHOLE_LANS:
            yield line, f"set_real_ip_from {line.args[0]} trusts every client of a home or office"


def _network(line: Directive) -> _Network | None:
    try:
        return ipaddress.ip_network(line.args[0] if line.args else "", strict=False)
    except ValueError:
        return None  # a socket, or a name


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
    Rule(
        "realip-lan",
        "warning",
        "whoever is in there can choose the address it is seen as",
        "name only the proxies in front of this node, each as an address",
        "RFC 1918, RFC 4193; nginx ngx_http_realip_module",
        _lan_trusted,
    ),
)
