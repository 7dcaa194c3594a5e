"""The GPU host: vLLM, Ollama and TensorFlow Serving, answering in their real protocols.

A token is written, then time passes, then the next: a server that is late never catches up with
several tokens at once, because that would look like buffering to the stream probe.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator

from kome_tui.lab.http import Request, Response, http_listener, json_response
from kome_tui.lab.listener import Listener

TOKEN_S = 0.012
FIRST_TOKEN_S = 0.03
MODEL = "kome-practice"
DEFAULT_TOKENS = 96
TOKEN_LIMIT = 4096

_WORDS = (
    *("The", "edge", "passes", "every", "token", "on", "at", "once", "and", "keeps", "nothing"),
    *("back", "so", "a", "reader", "sees", "the", "answer", "grow", "word", "by", "word"),
)
_COMPLETION = "chat.completion"


def vllm() -> Listener:
    """vLLM's OpenAI-compatible server."""
    return http_listener(_vllm, "uvicorn")


def ollama() -> Listener:
    """Ollama's native API."""
    return http_listener(_ollama, "ollama")


def tf_rest() -> Listener:
    """TensorFlow Serving's REST API."""
    return http_listener(_tf_rest, "TensorFlow Serving")


def tf_grpc() -> Listener:
    """TensorFlow Serving's gRPC port."""
    return Listener(_grpc)


async def _vllm(request: Request) -> Response:
    match request.method, request.path:
        case "GET", "/health":
            return Response(200, content_type="text/plain")
        case "GET", "/version":
            return json_response({"version": "0.8.5"})
        case "GET", "/v1/models":
            model = {"id": MODEL, "object": "model", "owned_by": "vllm", "max_model_len": 8192}
            return json_response({"object": "list", "data": [model]})
        case "POST", "/v1/chat/completions":
            return await _chat(request)
    return json_response({"detail": "Not Found"}, 404)


async def _chat(request: Request) -> Response:
    asked = request.json()
    if not isinstance(asked.get("messages"), list):
        error = {"message": "messages: field required", "type": "BadRequestError", "code": 400}
        return json_response({"error": error}, 400)
    count = _token_count(asked.get("max_completion_tokens") or asked.get("max_tokens"))
    if asked.get("stream") is True:
        return Response(200, _chat_events(count), "text/event-stream; charset=utf-8")
    await asyncio.sleep(FIRST_TOKEN_S + count * TOKEN_S)
    message = {"role": "assistant", "content": "".join(_word(i) for i in range(count))}
    choice = {"index": 0, "message": message, "finish_reason": "length"}
    return json_response(_envelope(_COMPLETION) | {"choices": [choice], "usage": _usage(count)})


async def _chat_events(count: int) -> AsyncIterator[bytes]:
    envelope = _envelope(f"{_COMPLETION}.chunk")

    def event(delta: dict[str, str], finish: str | None = None, **more: object) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return b"data: " + json.dumps(envelope | {"choices": [choice]} | more).encode() + b"\n\n"

    await asyncio.sleep(FIRST_TOKEN_S)
    yield event({"role": "assistant", "content": ""})
    for index in range(count):
        await asyncio.sleep(TOKEN_S)
        yield event({"content": _word(index)})
    yield event({}, "length", usage=_usage(count))
    yield b"data: [DONE]\n\n"


async def _ollama(request: Request) -> Response:
    match request.method, request.path:
        case "GET" | "HEAD", "/":
            return Response(200, b"Ollama is running", "text/plain; charset=utf-8")
        case "GET", "/api/version":
            return json_response({"version": "0.6.8"})
        case "GET", "/api/tags":
            details = {"family": "llama", "parameter_size": "1B", "quantization_level": "Q4_K_M"}
            model = {"name": f"{MODEL}:latest", "model": f"{MODEL}:latest", "details": details}
            return json_response({"models": [model]})
        case "POST", "/api/generate":
            return await _generate(request)
    return Response(404, b"404 page not found", "text/plain")


async def _generate(request: Request) -> Response:
    asked = request.json()
    options = asked.get("options")
    count = _token_count(options.get("num_predict") if isinstance(options, dict) else None)
    if asked.get("stream") is not False:
        return Response(200, _generated(count), "application/x-ndjson")
    await asyncio.sleep(FIRST_TOKEN_S + count * TOKEN_S)
    text = "".join(_word(index) for index in range(count))
    return json_response(_ollama_line(text, True, count))


async def _generated(count: int) -> AsyncIterator[bytes]:
    await asyncio.sleep(FIRST_TOKEN_S)
    for index in range(count):
        await asyncio.sleep(TOKEN_S)
        yield json.dumps(_ollama_line(_word(index), False)).encode() + b"\n"
    yield json.dumps(_ollama_line("", True, count)).encode() + b"\n"


def _ollama_line(text: str, done: bool, count: int = 0) -> dict[str, object]:
    made = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    line: dict[str, object] = {"model": MODEL, "created_at": made, "response": text, "done": done}
    return line | {"done_reason": "length", "eval_count": count} if done else line


async def _tf_rest(request: Request) -> Response:
    if request.method == "GET" and request.path == f"/v1/models/{MODEL}":
        status = {"error_code": "OK", "error_message": ""}
        version = {"version": "1", "state": "AVAILABLE", "status": status}
        return json_response({"model_version_status": [version]})
    message = f"Malformed request: {request.method} {request.path}"
    return json_response({"error": message}, 404)


_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_HEADERS, _SETTINGS, _PING, _GOAWAY = 1, 4, 6, 7
_ACK, _END_STREAM_AND_HEADERS = 1, 5
_FRAME_LIMIT = 1 << 14


async def _grpc(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """HTTP/2 as far as a gRPC server without services needs it: every call is UNIMPLEMENTED."""
    if await reader.readexactly(len(_PREFACE)) != _PREFACE:
        return
    writer.write(_frame(_SETTINGS))
    while True:
        head = await reader.readexactly(9)
        size, kind, flags = int.from_bytes(head[:3]), head[3], head[4]
        stream = int.from_bytes(head[5:])
        if size > _FRAME_LIMIT or kind == _GOAWAY:
            return
        payload = await reader.readexactly(size)
        if kind == _SETTINGS and not flags & _ACK:
            writer.write(_frame(_SETTINGS, _ACK))
        elif kind == _PING and not flags & _ACK:
            writer.write(_frame(_PING, _ACK, payload=payload))
        elif kind == _HEADERS:
            writer.write(_frame(_HEADERS, _END_STREAM_AND_HEADERS, stream, _UNIMPLEMENTED))
        await writer.drain()


def _frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3) + bytes((kind, flags)) + stream.to_bytes(4) + payload


# HPACK: `:status 200` from the static table, then two literal fields (RFC 7541, 6.1 and 6.2.2).
_UNIMPLEMENTED = b"\x88" + b"".join(
    b"\x00" + bytes((len(name),)) + name + bytes((len(value),)) + value
    for name, value in ((b"content-type", b"application/grpc"), (b"grpc-status", b"12"))
)


def _token_count(asked: object) -> int:
    if isinstance(asked, int) and not isinstance(asked, bool) and asked > 0:
        return min(asked, TOKEN_LIMIT)
    return DEFAULT_TOKENS


def _word(index: int) -> str:
    return ("" if index == 0 else " ") + _WORDS[index % len(_WORDS)]


def _usage(count: int) -> dict[str, int]:
    return {"prompt_tokens": 8, "completion_tokens": count, "total_tokens": 8 + count}


def _envelope(kind: str) -> dict[str, object]:
    now = time.time()
    return {
        "id": f"chatcmpl-{int(now * 1e6):x}",
        "object": kind,
        "created": int(now),
        "model": MODEL,
    }
