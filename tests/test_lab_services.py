"""The lab's services speak the protocols that the console and nginx will meet."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from itertools import pairwise

import pytest

from kome_tui.lab import models
from kome_tui.lab.http import Answer, ask
from kome_tui.lab.listener import Listener
from kome_tui.lab.okome import ASSET_BYTES, ASSETS, PAGE, SCHEMAS, Okome
from kome_tui.lab.ports import LOOPBACK
from kome_tui.signals.checks import check_http
from kome_tui.signals.dial import direct
from kome_tui.signals.grpc_check import check_grpc
from kome_tui.topology.model import Endpoint
from tests.ports import free_port

CHAT = "/v1/chat/completions"


@asynccontextmanager
async def listening(*listeners: Listener) -> AsyncIterator[None]:
    for listener in listeners:
        await listener.open()
    try:
        yield
    finally:
        for listener in listeners:
            await listener.shut_down()


async def redis_pong(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readline()
    writer.write(b"+PONG\r\n")
    await writer.drain()


def prompt(tokens: int, stream: bool) -> bytes:
    message = {"role": "user", "content": "hello"}
    return json.dumps({"messages": [message], "max_tokens": tokens, "stream": stream}).encode()


async def events(answer: Answer) -> list[str]:
    return [part.decode() async for part in answer.parts]


def endpoint(listener: Listener) -> Endpoint:
    return Endpoint(address=LOOPBACK, port=listener.port)


async def test_vllm_streams_role_tokens_finish_and_done() -> None:
    vllm = models.vllm()
    async with listening(vllm):
        answer = await ask(vllm.port, "POST", CHAT, prompt(5, stream=True))
        assert answer.headers["content-type"].startswith("text/event-stream")
        *chunks, done = await events(answer)
    assert done == "data: [DONE]\n\n"
    said = [json.loads(chunk.removeprefix("data: ")) for chunk in chunks]
    assert said[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert [c["choices"][0]["delta"].get("content", "") != "" for c in said[1:-1]] == [True] * 5
    assert said[-1]["choices"][0]["finish_reason"] == "length"
    assert said[-1]["usage"]["completion_tokens"] == 5
    assert {chunk["id"] for chunk in said} == {said[0]["id"]}


async def test_vllm_paces_its_tokens_and_never_bunches_them() -> None:
    vllm = models.vllm()
    loop = asyncio.get_running_loop()
    async with listening(vllm):
        answer = await ask(vllm.port, "POST", CHAT, prompt(20, stream=True))
        arrivals = []
        async for part in answer.parts:
            assert part.count(b"data: ") == 1
            arrivals.append(loop.time())
    gaps = [after - before for before, after in pairwise(arrivals[:21])]
    assert min(gaps) > models.TOKEN_S * 0.5


async def test_vllm_answers_without_a_stream_too() -> None:
    vllm = models.vllm()
    async with listening(vllm):
        answer = json.loads(await (await ask(vllm.port, "POST", CHAT, prompt(3, False))).body())
        models_said = json.loads(await (await ask(vllm.port, "GET", "/v1/models")).body())
        bad = await ask(vllm.port, "POST", CHAT, b"[]")
        await bad.body()
    assert answer["choices"][0]["message"]["content"] == "The edge passes"
    assert models_said["data"][0]["id"] == models.MODEL
    assert bad.status == 400


async def test_ollama_answers_in_lines_of_json() -> None:
    ollama = models.ollama()
    async with listening(ollama):
        asked = json.dumps({"model": "x", "prompt": "hi", "options": {"num_predict": 4}}).encode()
        answer = await ask(ollama.port, "POST", "/api/generate", asked)
        lines = (await answer.body()).decode().splitlines()
        version = json.loads(await (await ask(ollama.port, "GET", "/api/version")).body())
        tags = json.loads(await (await ask(ollama.port, "GET", "/api/tags")).body())
    said = [json.loads(line) for line in lines]
    assert [line["done"] for line in said] == [False] * 4 + [True]
    assert said[-1]["eval_count"] == 4
    assert "version" in version
    assert tags["models"]


async def test_tf_serving_knows_its_model_only() -> None:
    rest = models.tf_rest()
    async with listening(rest):
        known = await ask(rest.port, "GET", f"/v1/models/{models.MODEL}")
        state = json.loads(await known.body())["model_version_status"][0]["state"]
        unknown = await ask(rest.port, "GET", "/v1/models")
        await unknown.body()
    assert (known.status, state, unknown.status) == (200, "AVAILABLE", 404)


async def test_tf_grpc_answers_the_preface_with_settings() -> None:
    grpc = models.tf_grpc()
    async with listening(grpc):
        check = await asyncio.to_thread(check_grpc, endpoint(grpc), direct, 2.0)
    assert (check.state, check.reason) == ("up", None)


async def test_tf_grpc_answers_a_call_with_unimplemented() -> None:
    grpc = models.tf_grpc()
    async with listening(grpc):
        reader, writer = await asyncio.open_connection(LOOPBACK, grpc.port)
        settings = bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
        call = bytes((0, 0, 1, 1, 5, 0, 0, 0, 1)) + b"\x82"
        writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + settings + call)
        assert await reader.readexactly(9) == settings
        assert await reader.readexactly(9) == bytes((0, 0, 0, 4, 1, 0, 0, 0, 0))
        head = await reader.readexactly(9)
        payload = await reader.readexactly(int.from_bytes(head[:3]))
        writer.close()
        await writer.wait_closed()
    assert head[3:5] == bytes((1, 5))
    assert b"grpc-status\x0212" in payload


async def test_okome_page_names_assets_that_are_there_and_keep() -> None:
    okome = Okome(free_port(), free_port()).listener()
    async with listening(okome):
        page = await (await ask(okome.port, "GET", "/")).body()
        assert page == PAGE
        for path in ASSETS:
            assert path.encode() in page
            answer = await ask(okome.port, "GET", path)
            body = await answer.body()
            assert (answer.status, len(body)) == (200, ASSET_BYTES)
            assert "immutable" in answer.headers["cache-control"]
        for path in (*SCHEMAS, "/version", "/version/"):
            answer = await ask(okome.port, "GET", path)
            json.loads(await answer.body())
            assert answer.status == 200


Down = Callable[[Listener, Listener], Listener]


@pytest.mark.parametrize(
    ("down", "component"),
    [(lambda vllm, redis: vllm, "vllm"), (lambda vllm, redis: redis, "redis")],
    ids=["vllm", "redis"],
)
async def test_okome_health_tells_which_component_is_down(down: Down, component: str) -> None:
    vllm, redis = models.vllm(), Listener(redis_pong)
    okome = Okome(vllm.port, redis.port).listener()
    async with listening(vllm, redis, okome):
        before = await asyncio.to_thread(check_http, endpoint(okome), "/health", direct, 2.0)
        await down(vllm, redis).close()
        after = await asyncio.to_thread(check_http, endpoint(okome), "/health", direct, 2.0)
    assert (before.state, before.detail["vllm"], before.detail["redis"]) == ("up", "up", "up")
    assert after.state == "degraded"
    assert after.detail[component] == "down"


async def test_okome_passes_a_stream_on_chunk_by_chunk() -> None:
    vllm = models.vllm()
    okome = Okome(vllm.port, free_port()).listener()
    async with listening(vllm, okome):
        answer = await ask(okome.port, "POST", CHAT, prompt(6, stream=True))
        chunks = await events(answer)
    assert len(chunks) == 9
    assert all(chunk.count("data: ") == 1 for chunk in chunks)


async def test_okome_without_vllm_answers_502_in_json() -> None:
    okome = Okome(free_port(), free_port()).listener()
    async with listening(okome):
        for method, path, body in (("GET", "/v1/models", b""), ("POST", CHAT, prompt(3, True))):
            answer = await ask(okome.port, method, path, body)
            error = json.loads(await answer.body())["error"]
            assert (answer.status, error["code"]) == (502, 502)


async def test_stream_breaks_off_when_vllm_is_lost_midway() -> None:
    vllm = models.vllm()
    okome = Okome(vllm.port, free_port()).listener()
    async with listening(vllm, okome):
        answer = await ask(okome.port, "POST", CHAT, prompt(500, stream=True))
        await anext(answer.parts)
        await vllm.close()
        with pytest.raises((OSError, EOFError)):
            await answer.body()


async def test_closed_listener_refuses_keeps_its_port_and_opens_again() -> None:
    vllm = models.vllm()
    port = vllm.port
    async with listening(vllm):
        await vllm.close()
        await vllm.close()
        with pytest.raises(ConnectionRefusedError):
            await ask(port, "GET", "/health")
        await vllm.open()
        await vllm.open()
        answer = await ask(port, "GET", "/health")
        await answer.body()
    assert answer.status == 200


@pytest.mark.parametrize(
    "raw",
    [b"nonsense\r\n\r\n", b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", b"x" * 200_000],
    ids=["no-http", "negative-length", "endless-head"],
)
async def test_nonsense_ends_one_connection_only(raw: bytes) -> None:
    vllm = models.vllm()
    async with listening(vllm):
        reader, writer = await asyncio.open_connection(LOOPBACK, vllm.port)
        writer.write(raw)
        with suppress(ConnectionResetError):
            assert await reader.read() == b""
        writer.close()
        answer = await ask(vllm.port, "GET", "/health")
        await answer.body()
    assert answer.status == 200
