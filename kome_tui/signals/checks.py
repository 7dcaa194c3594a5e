"""Looks at one service once, from any vantage point.

One deadline covers dialling and answering, and at most 64 KiB of an answer are read, so a service
that drips or floods costs no more than a healthy one. Every text of an answer is cleaned here.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace

import httpcore

from kome_tui.errors import KomeError
from kome_tui.signals.dial import Dial, Line, failed, opened
from kome_tui.signals.grpc_check import check_grpc
from kome_tui.signals.readings import Check, UpstreamState
from kome_tui.text import CELL_LIMIT, clean
from kome_tui.topology.model import Endpoint, Topology, UpstreamName

SLOW_MS = 2000.0
BODY_LIMIT = 64 * 1024
BODY_SHOWN = 200

_KEPT_HEADERS = {b"x-cache": "X-Cache", b"x-kome-node": "X-Kome-Node"}
_WELL = frozenset({"ok", "healthy", "up", "pass"})
_COMPONENT_KEYS = ("components", "checks", "services", "dependencies")
_COMPONENTS_SHOWN = 20
_HEALTH_PATHS = {
    UpstreamName.OKOME: "/health",
    UpstreamName.VLLM: "/health",
    UpstreamName.OLLAMA: "/api/version",
    UpstreamName.TF_REST: "/v1/models",
}


def check_upstream(
    topology: Topology, upstream: UpstreamName, dial: Dial, seen_from: str | None, timeout_s: float
) -> Check:
    """Look at an upstream in its own protocol, where `seen_from` (None: the operator) finds it."""
    endpoint = topology.endpoint(upstream, seen_from)
    if upstream is UpstreamName.TF_GRPC:
        return check_grpc(endpoint, dial, timeout_s)
    if upstream is UpstreamName.REDIS:
        # redis-py takes 0.2 s to import: not before a Redis is looked at
        from kome_tui.signals.redis_check import check_redis

        return check_redis(endpoint, dial, timeout_s)
    check = check_http(endpoint, _HEALTH_PATHS[upstream], dial, timeout_s)
    if upstream is UpstreamName.TF_REST and check.status is not None and check.status < 500:
        return replace(check, state="up", reason=None)  # without a model it answers 404
    return check


def check_http(
    endpoint: Endpoint, path: str, dial: Dial, timeout_s: float, host: str | None = None
) -> Check:
    """GET `path` and judge the answer; `host` is the Host header, by default the endpoint.

    up: 2xx, 3xx. degraded: 4xx, 5xx, slower than SLOW_MS, or a health report that is not ok.
    down: refused, timed out, or no HTTP. unknown: the vantage point cannot look. The latency is
    from the request sent to the head of the answer. `detail` has X-Cache, X-Kome-Node, `body`
    (the start of a small answer that is not HTML), and `status`, `version` and the components of
    a JSON answer. Never raises.
    """
    try:
        with opened(dial, endpoint, timeout_s) as line:
            return _judged(*_ask(line, endpoint, path, host or str(endpoint)))
    except (KomeError, OSError) as error:
        return failed(error, timeout_s)
    except httpcore.ProtocolError as error:
        return Check("down", None, f"no HTTP answer: {clean(str(error), CELL_LIMIT)}")


class HttpLine(httpcore.NetworkStream):
    """A line as httpcore wants it."""

    def __init__(self, line: Line) -> None:
        self._line = line

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._line.recv(max_bytes)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        try:
            if buffer:
                self._line.sendall(buffer)
        except OSError as error:
            raise httpcore.WriteError from error  # httpcore then still reads an early answer

    def close(self) -> None:
        self._line.close()


def _ask(
    line: Line, endpoint: Endpoint, path: str, host: str
) -> tuple[httpcore.Response, float, bytes]:
    url = httpcore.URL(
        scheme=b"http", host=endpoint.address.encode(), port=endpoint.port, target=path.encode()
    )
    headers = [
        (b"Host", host.encode()),
        (b"User-Agent", b"kome-tui"),
        (b"Accept", b"*/*"),
        (b"Connection", b"close"),
    ]
    connection = httpcore.HTTP11Connection(origin=url.origin, stream=HttpLine(line))
    response = connection.handle_request(httpcore.Request("GET", url, headers=headers))
    latency_ms = line.waited_ms()
    return response, latency_ms, _start_of(response.iter_stream())


def _start_of(body: Iterable[bytes]) -> bytes:
    start = bytearray()
    for part in body:
        start += part
        if len(start) >= BODY_LIMIT:
            break
    return bytes(start[:BODY_LIMIT])


def _judged(response: httpcore.Response, latency_ms: float, body: bytes) -> Check:
    detail = {
        _KEPT_HEADERS[name.lower()]: clean(value, CELL_LIMIT)
        for name, value in response.headers
        if name.lower() in _KEPT_HEADERS
    }
    media = b"".join(value for name, value in response.headers if name.lower() == b"content-type")
    report = _report(body)
    if body.strip() and b"html" not in media.lower():
        detail["body"] = clean(body.strip(), BODY_SHOWN)
    detail |= report
    state, reason = _verdict(response, latency_ms, report)
    return Check(state, latency_ms, reason, response.status, detail)


def _verdict(
    response: httpcore.Response, latency_ms: float, report: Mapping[str, str]
) -> tuple[UpstreamState, str | None]:
    status = report.get("status")
    unwell = f'reports "{status}"' if status and status.lower() not in _WELL else None
    if response.status >= 400:
        phrase = clean(response.extensions.get("reason_phrase", b""), 60)
        answered = f"answered {response.status} {phrase}".rstrip()
        return "degraded", f"{answered}, {unwell}" if unwell else answered
    if unwell:
        return "degraded", unwell
    if latency_ms > SLOW_MS:
        return "degraded", f"slow: answered after {latency_ms / 1000:.1f} s"
    return "up", None


def _report(body: bytes) -> dict[str, str]:
    """What a JSON answer says of its service: status, version, the state of each component."""
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(said, dict):
        return {}
    report = {
        key: clean(said[key], CELL_LIMIT)
        for key in ("status", "version")
        if isinstance(said.get(key), str)
    }
    for key in _COMPONENT_KEYS:
        parts = said.get(key)
        if isinstance(parts, dict):
            for name, part in list(parts.items())[:_COMPONENTS_SHOWN]:
                state = part.get("status", part) if isinstance(part, dict) else part
                report.setdefault(clean(name, 60), clean(str(state), 60))
    return report
