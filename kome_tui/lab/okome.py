"""OKOME: the web page, its assets, and the gateway to vLLM.

Its /health really asks Redis and vLLM, so a stopped one shows as it would at home.
"""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable

from kome_tui.lab.http import Answer, Request, Response, ask, http_listener, json_response
from kome_tui.lab.listener import Listener
from kome_tui.lab.ports import LOOPBACK

VERSION = "2.4.0"
ASSET_BYTES = 20_000
CHECK_S = 1.0
GATEWAY_S = 120.0
IMMUTABLE = "public, max-age=31536000, immutable"

_LOST = (OSError, EOFError, ValueError)


def _asset(name: str, extension: str) -> tuple[str, bytes]:
    line = f"/* okome {name} {VERSION} */\n".encode()
    body = (line * (ASSET_BYTES // len(line) + 1))[:ASSET_BYTES]
    return f"/assets/{name}-{hashlib.sha256(body).hexdigest()[:8]}.{extension}", body


ASSETS: dict[str, bytes] = dict(
    [
        _asset("index", "css"),
        _asset("chat", "css"),
        *(_asset(name, "js") for name in ("index", "vendor", "chat", "models", "markdown")),
    ]
)
SCHEMAS: dict[str, bytes] = {
    f"/ui-schema/{name}.json": json.dumps({"schema": name, "version": VERSION}).encode()
    for name in ("chat", "models", "settings")
}
_TYPES = {"js": "text/javascript", "css": "text/css", "json": "application/json"}


def _page() -> bytes:
    css = "".join(f'<link rel="stylesheet" href="{p}">' for p in ASSETS if p.endswith("css"))
    js = "".join(f'<script type="module" src="{p}"></script>' for p in ASSETS if p.endswith("js"))
    head = f'<meta charset="utf-8"><title>OKOME</title>{css}{js}'
    return (
        f"<!doctype html>\n<html><head>{head}</head><body>OKOME {VERSION}</body></html>\n".encode()
    )


PAGE = _page()


class Okome:
    """The gateway in front of vLLM and Redis at their ports of 127.0.0.1."""

    def __init__(self, vllm_port: int, redis_port: int) -> None:
        self._vllm = vllm_port
        self._redis = redis_port

    def listener(self) -> Listener:
        """Its HTTP server."""
        return http_listener(self._answer, "uvicorn")

    async def _answer(self, request: Request) -> Response:
        path = request.path
        if request.method in ("GET", "HEAD"):
            if path in ("/", "/index.html"):
                headers = {"Cache-Control": "no-cache"}
                return Response(200, PAGE, "text/html; charset=utf-8", headers)
            if path in ASSETS:
                return _static(request, ASSETS[path], IMMUTABLE)
            if path in SCHEMAS:
                return _static(request, SCHEMAS[path], "public, max-age=300")
            if path in ("/version", "/version/"):
                return json_response({"name": "okome", "version": VERSION})
            if path == "/health":
                return await self._health()
            if path == "/v1/models":
                return await self._forward(request)
        if request.method == "POST" and path == "/v1/chat/completions":
            return await self._forward(request)
        return json_response({"error": {"message": f"no such path: {path}", "code": 404}}, 404)

    async def _health(self) -> Response:
        redis, vllm = await asyncio.gather(
            _component(lambda: _ping(self._redis)), _component(lambda: _healthy(self._vllm))
        )
        well = redis["status"] == "up" and vllm["status"] == "up"
        report = {
            "status": "healthy" if well else "degraded",
            "version": VERSION,
            "components": {"redis": redis, "vllm": vllm},
        }
        return json_response(report, cache_control="no-store")

    async def _forward(self, request: Request) -> Response:
        try:
            answer = await ask(
                self._vllm, request.method, request.path, request.body, timeout_s=GATEWAY_S
            )
            media = answer.headers.get("content-type", "application/json")
            if "transfer-encoding" in answer.headers:
                return Response(answer.status, _carried(answer), media)
            return Response(answer.status, await answer.body(), media)
        except _LOST:
            error = {"message": "vLLM does not answer", "type": "upstream_error", "code": 502}
            return json_response({"error": error}, 502)


async def _carried(answer: Answer) -> AsyncIterator[bytes]:
    """vLLM's chunks, one by one. Lost midway: the client's connection breaks off too."""
    try:
        async for part in answer.parts:
            yield part
    except _LOST as error:
        raise ConnectionResetError("vLLM was lost midway") from error


async def _component(check: Callable[[], Awaitable[bool]]) -> dict[str, object]:
    loop = asyncio.get_running_loop()
    begun = loop.time()
    try:
        well = await asyncio.wait_for(check(), CHECK_S)
    except _LOST:
        well = False
    latency_ms = round((loop.time() - begun) * 1000, 2) if well else None
    return {"status": "up" if well else "down", "latency_ms": latency_ms}


async def _ping(port: int) -> bool:
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    try:
        writer.write(b"*1\r\n$4\r\nPING\r\n")  # fakeredis knows no inline commands
        return (await reader.readline()).startswith(b"+PONG")
    finally:
        writer.close()


async def _healthy(port: int) -> bool:
    answer = await ask(port, "GET", "/health", timeout_s=CHECK_S)
    await answer.body()
    return answer.status == 200


def _static(request: Request, body: bytes, cache_control: str) -> Response:
    etag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
    headers = {"Cache-Control": cache_control, "ETag": etag}
    media = _TYPES[request.path.rpartition(".")[2]]
    if request.headers.get("if-none-match") == etag:
        return Response(304, content_type=media, headers=headers)
    return Response(200, body, media, headers)
