"""Every shape of what we render, for those who judge it: our lint and gixy-ng."""

from copy import deepcopy
from typing import Any

from kome_tui.nginx.render import render_all
from tests.builders_topology import ROLES, topology, topology_values

_WITHOUT_PEERS = [name for name in ROLES if ROLES[name][0] != "cache-stream"]
_DRAFT = {"draft": {"address": "127.0.0.1", "port": 9000}}
_GRAFANA = {"address": "127.0.0.1", "port": 3000}

_SHAPES: dict[str, dict[str, Any]] = {
    "plain": {},
    "gpu": {"stream_path": "gpu"},
    "draft": {"node-07": _DRAFT},
    "services": {
        "node-09": {
            "services": {
                "grafana": {**_GRAFANA, "path": "/grafana/"},
                "prometheus": {"address": "::1", "port": 9090, "path": "/prometheus/"},
            }
        }
    },
    "service-is-all": {"node-09": {"services": {"grafana": {**_GRAFANA, "path": "/"}}}},
    "no-peers": {"only": _WITHOUT_PEERS},
    "no-modules": {"layout": {"modules": []}},
    "no-realip": {"layout": {"modules": ["stub_status"]}},
    "tmpfs": {"cache": {"tmpfs": "256m", "size": "128m"}},
    "more-cached": {"cache": {"paths": ["/assets/", "/version", "/fonts/a/"]}},
    "old-nginx": {"layout": {"nginx_version": "1.18"}},
    "new-nginx": {"layout": {"nginx_version": "1.31.3"}},
    "no-root": {"layout": {"user": "none", "temp": "/srv/kome/tmp", "workers": "2"}},
    "one-address": {"layout": {"listen": "127.0.0.1", "ipv6": "no", "port": "8080"}},
}


def rendered_shapes() -> dict[str, str]:
    """Every file once, by `SHAPE-NODE`: all roles in every shape."""
    found: dict[str, str] = {}
    for shape, parts in _SHAPES.items():
        for name, release in render_all(topology(**_values(deepcopy(parts)))).items():
            found.setdefault(release.conf, f"{shape}-{name}")
    return {name: conf for conf, name in found.items()}


def _values(parts: dict[str, Any]) -> dict[str, Any]:
    nodes: dict[str, Any] = topology_values()["nodes"]
    names = parts.pop("only", list(nodes))
    kept = {name: nodes[name] | parts.pop(name, {}) for name in names}
    return {**parts, "nodes": kept}
