"""Topologies for tests, as the values that Topology.model_validate takes."""

from pathlib import Path
from typing import Any

from kome_tui.topology.model import Topology

ROLES = {
    "kome": ("frontend", "192.168.86.20"),
    "node-01": ("ingress", "192.168.86.41"),
    "node-03": ("cache-stream", "192.168.86.43"),
    "node-04": ("cache-stream", "192.168.86.44"),
    "node-07": ("speculative-gpu", "192.168.86.47"),
    "node-09": ("observability", "192.168.86.49"),
}


def topology_values(**over: Any) -> dict[str, Any]:
    """A valid topology with every role; `over` replaces top-level values."""
    return {
        "schema": 1,
        "lan": ["192.168.86.0/24"],
        "upstreams": {
            "okome": {"address": "192.168.86.25", "port": 8000},
            "vllm": {"address": "192.168.86.30", "port": 8000},
            "ollama": {"address": "192.168.86.30", "port": 11434},
            "tf-rest": {"address": "192.168.86.30", "port": 8501},
            "tf-grpc": {"address": "192.168.86.30", "port": 8500},
            "redis": {"address": "192.168.86.19", "port": 6379},
        },
        "nodes": {name: {"role": role, "address": at} for name, (role, at) in ROLES.items()},
        **over,
    }


def topology(**over: Any) -> Topology:
    """The topology of topology_values."""
    return Topology.model_validate(topology_values(**over))


def local_values(
    folder: Path, ports: dict[str, int], okome_port: int, layout: dict[str, Any], **over: Any
) -> dict[str, Any]:
    """A topology whose nodes (`ports` names them) and services are all on 127.0.0.1.

    Each node has a folder of its own under `folder`; `layout` holds what depends on the nginx.
    """
    closed = {"address": "127.0.0.1", "port": 9}
    services = dict.fromkeys(("vllm", "ollama", "tf-rest", "tf-grpc", "redis"), closed)
    return topology_values(
        **{
            "lan": ["127.0.0.0/8"],
            "upstreams": {"okome": {"address": "127.0.0.1", "port": okome_port}, **services},
            "layout": {"listen": "127.0.0.1", "ipv6": False, "workers": 1, **layout},
            "nodes": {
                name: {
                    "role": ROLES[name][0],
                    "address": "127.0.0.1",
                    "port": port,
                    "layout": node_layout(folder / name),
                }
                for name, port in ports.items()
            },
            **over,
        }
    )


def node_layout(root: Path) -> dict[str, str]:
    """The layout values of a node that lives in `root`."""
    return {
        "etc": f"{root}/etc/nginx",
        "state": f"{root}/etc/kome",
        "run": f"{root}/run/kome",
        "log": f"{root}/log",
        "cache": f"{root}/cache/kome",
        "temp": f"{root}/tmp",
        "pid": f"{root}/run/nginx.pid",
        "mime_types": f"{root}/etc/nginx/mime.types",
    }
