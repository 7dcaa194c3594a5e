"""Measures token streams: the same prompt through several paths at the same time.

The measuring runs in a plain subprocess (probe_child): inside the console's interpreter a garbage
collection would show as a gap of 100 ms. multiprocessing cannot start one under Textual.
"""

import json
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from kome_tui.errors import UsageError
from kome_tui.signals.gaps import stream_stats
from kome_tui.signals.hops import verdict
from kome_tui.signals.readings import PathProbe, ProbeResult, StreamStats
from kome_tui.text import CELL_LIMIT, clean
from kome_tui.topology.model import Endpoint, Topology, UpstreamName

GRACE_S = 1.0
"""How much longer than its own deadline the child may live."""
POLL_S = 0.1

_START = (
    "import sys; sys.path.append(sys.argv[1]); "
    "from kome_tui.signals.probe_child import main; main()"
)
"""Started with -P and the package's home last: no json.py of some other folder comes first."""
_URL = re.compile(r"http://[A-Za-z0-9.:\[\]-]+(?:/[A-Za-z0-9_.~/-]*)?\Z")
_API = re.compile(r"(?:/v1(?:/chat/completions|/models)?)?/*\Z")


@dataclass(frozen=True, slots=True)
class ProbeTarget:
    """One path to send the prompt through."""

    path: str
    """Its name: frontend, okome, gpu, a node's name or a URL."""
    endpoint: Endpoint
    prefix: str = ""
    """What stands before /v1 in its URLs."""
    host: str = ""
    """The Host header; empty: the endpoint."""
    depth: int = 0
    """How far behind the client's side it stands; see hops.verdict."""


def targets_for(topology: Topology, names: Sequence[str]) -> tuple[ProbeTarget, ...]:
    """Find the paths called `names`, in hop order, each once.

    A name is `frontend`, `okome`, `gpu` (vLLM), a node of the topology, or an http:// URL of a
    server with /v1. Raises UsageError for anything else.
    """
    targets = {name: _target(topology, name) for name in names}
    return tuple(sorted(targets.values(), key=lambda target: target.depth))


def run_probe(
    targets: Sequence[ProbeTarget],
    tokens: int,
    timeout_s: float,
    gzip: bool = True,
    stop: threading.Event | None = None,
) -> ProbeResult:
    """Stream `tokens` tokens through every target at the same time, then again with gzip offered.

    All of it ends within `timeout_s` (and GRACE_S, should the child hang: it is killed then).
    Setting `stop` kills it at once. A path that fails is a result with an error, never an
    exception.
    """
    order = json.dumps(
        {
            "targets": [_as_order(target) for target in targets],
            "tokens": tokens,
            "deadline": time.monotonic() + timeout_s,  # one clock for the whole machine
            "gzip": gzip,
        }
    )
    runs = _child_answer(order, timeout_s + GRACE_S, stop)
    if isinstance(runs, str):
        runs = [{"plain": {"error": runs}, "gzip": None} for _ in targets]
    paths = tuple(
        PathProbe(target.path, _stats(run["plain"]), _stats(run["gzip"]) if run["gzip"] else None)
        for target, run in zip(targets, runs, strict=True)
    )
    return ProbeResult(paths, verdict(paths, [target.depth for target in targets]))


def to_json(result: ProbeResult) -> dict[str, Any]:
    """The `paths` and `verdict` of `probe --json`."""
    return {
        "paths": {
            path.path: asdict(path.plain) | {"gzip": asdict(path.gzip) if path.gzip else None}
            for path in result.paths
        },
        "verdict": asdict(result.verdict),
    }


def _target(topology: Topology, name: str) -> ProbeTarget:
    straight = topology.stream_upstream() is UpstreamName.VLLM
    edge = 1 if straight else 0  # then the edge stands beside OKOME, not in front of it
    match name:
        case "frontend":
            return ProbeTarget(name, topology.http_of(topology.frontend), depth=edge)
        case "okome":
            return ProbeTarget(name, topology.endpoint(UpstreamName.OKOME), depth=1)
        case "gpu":
            return ProbeTarget(name, topology.endpoint(UpstreamName.VLLM), depth=2)
        case _ if name in topology.nodes:
            return ProbeTarget(name, topology.http_of(name), depth=edge)
        case _ if "://" in name:
            return _url_target(name, edge)
    raise UsageError(
        f"no path is called {clean(name, CELL_LIMIT)}",
        hint="use frontend, okome, gpu, a node's name or a URL such as http://192.168.86.25:8000",
    )


def _url_target(url: str, depth: int) -> ProbeTarget:
    shown = clean(url, CELL_LIMIT)
    if not _URL.match(url):
        raise UsageError(
            f"{shown} cannot be probed", hint="only http://HOST[:PORT][/PREFIX] can be"
        )
    try:
        parts = urlsplit(url)
        port = 80 if parts.port is None else parts.port
        found = socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
        endpoint = Endpoint(address=str(found[0][4][0]), port=port)
    except (ValueError, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not an address"
        raise UsageError(f"{shown} cannot be probed: {reason}") from error
    return ProbeTarget(shown, endpoint, _API.sub("", parts.path), parts.netloc, depth)


def _as_order(target: ProbeTarget) -> dict[str, str | int]:
    return {
        "address": target.endpoint.address,
        "port": target.endpoint.port,
        "prefix": target.prefix,
        "host": target.host or str(target.endpoint),
    }


def _stats(run: Mapping[str, Any]) -> StreamStats:
    return stream_stats(run.get("arrivals_ns", ()), run.get("tokens"), run["error"])


def _child_answer(order: str, limit_s: float, stop: threading.Event | None) -> Any:
    """What the child answered, or the text of why it did not."""
    try:
        child = subprocess.Popen(
            [sys.executable, "-P", "-c", _START, str(Path(__file__).parents[2])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="backslashreplace",
        )
    except OSError as error:
        return f"the probe's process did not start: {error.strerror}"
    with child:
        try:
            said = _communicate(child, order, limit_s, stop)
        finally:
            child.kill()
    if said is None:
        return "the probe was stopped" if stop and stop.is_set() else "the probe did not end"
    out, err = said
    try:
        return json.loads(out)
    except ValueError:
        last = (err.strip().splitlines() or ["no answer"])[-1]
        return f"the probe's process failed: {clean(last, CELL_LIMIT)}"


def _communicate(
    child: subprocess.Popen[str], order: str, limit_s: float, stop: threading.Event | None
) -> tuple[str, str] | None:
    """Standard output and error of a child that ended by itself; None: it is to be killed."""
    deadline = time.monotonic() + limit_s
    to_send: str | None = order
    while time.monotonic() < deadline and not (stop and stop.is_set()):
        try:
            return child.communicate(to_send, timeout=POLL_S)
        except subprocess.TimeoutExpired:
            to_send = None
    return None
