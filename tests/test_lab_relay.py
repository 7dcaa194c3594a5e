"""The relay between a node and OKOME does to the bytes what its mode says, and nothing else."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from kome_tui.lab.listener import Listener
from kome_tui.lab.ports import LOOPBACK
from kome_tui.lab.relay import CLUMP_S, DELAY_S, Mode, Relay

TICK_S = 0.02
TICKS = 30


async def ticker(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers a line with TICKS bytes, one every TICK_S."""
    while await reader.readline():
        for _ in range(TICKS):
            writer.write(b".")
            await writer.drain()
            await asyncio.sleep(TICK_S)


@asynccontextmanager
async def relayed(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], object] = ticker,
) -> AsyncIterator[tuple[Relay, Listener]]:
    target = Listener(serve)  # type: ignore[arg-type]
    relay = Relay(target.port)
    await target.open()
    await relay.open()
    try:
        yield relay, target
    finally:
        await relay.shut_down()
        await target.shut_down()


async def arrivals(port: int) -> list[tuple[float, int]]:
    """When how many bytes came, after one line was sent."""
    loop = asyncio.get_running_loop()
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    writer.write(b"go\n")
    begun, seen, total = loop.time(), [], 0
    while total < TICKS:
        data = await asyncio.wait_for(reader.read(4096), 5)
        assert data, "the connection ended early"
        total += len(data)
        seen.append((loop.time() - begun, len(data)))
    writer.close()
    await writer.wait_closed()
    return seen


async def test_pass_keeps_the_bytes_apart() -> None:
    async with relayed() as (relay, _):
        seen = await arrivals(relay.port)
    assert len(seen) >= TICKS * 0.8


async def test_clump_gathers_them() -> None:
    async with relayed() as (relay, _):
        await relay.set_mode(Mode.CLUMP)
        seen = await arrivals(relay.port)
    assert len(seen) <= TICKS * TICK_S / CLUMP_S + 2
    assert seen[0][0] >= CLUMP_S * 0.9
    assert max(size for _, size in seen) >= 6


async def test_delay_shifts_them_all() -> None:
    async with relayed() as (relay, _):
        await relay.set_mode(Mode.DELAY)
        seen = await arrivals(relay.port)
    assert seen[0][0] >= DELAY_S * 0.9
    assert len(seen) >= TICKS * 0.5


async def test_cut_refuses_and_resets_what_there_was() -> None:
    async with relayed() as (relay, _):
        reader, writer = await asyncio.open_connection(LOOPBACK, relay.port)
        writer.write(b"go\n")
        assert await reader.read(1) == b"."
        await relay.set_mode(Mode.CUT)
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(reader.read(), 5)
        writer.close()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(LOOPBACK, relay.port)
        await relay.set_mode(Mode.PASS)
        assert len(await arrivals(relay.port)) > 1


async def test_hold_accepts_and_never_answers_until_it_passes_again() -> None:
    async with relayed() as (relay, _):
        await relay.set_mode(Mode.HOLD)
        reader, writer = await asyncio.open_connection(LOOPBACK, relay.port)
        writer.write(b"go\n")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), 0.3)
        await relay.set_mode(Mode.PASS)
        assert await asyncio.wait_for(reader.read(1), 5) == b"."
        writer.close()
        await writer.wait_closed()


async def test_refuses_while_its_target_is_down_and_remembers_its_mode() -> None:
    async with relayed() as (relay, _):
        await relay.follow(target_up=False)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(LOOPBACK, relay.port)
        await relay.set_mode(Mode.CUT)
        await relay.follow(target_up=True)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(LOOPBACK, relay.port)
        await relay.set_mode(Mode.PASS)
        assert len(await arrivals(relay.port)) > 1


async def test_carries_megabytes_both_ways_unchanged() -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()

    sent = bytes(range(256)) * 16_384
    async with relayed(echo) as (relay, _):
        reader, writer = await asyncio.open_connection(LOOPBACK, relay.port)
        writing = asyncio.ensure_future(_write(writer, sent))
        got = await asyncio.wait_for(reader.readexactly(len(sent)), 20)
        await writing
        writer.close()
        await writer.wait_closed()
    assert got == sent


async def test_target_notices_that_the_client_has_gone() -> None:
    gone = asyncio.Event()

    async def wait_for_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        gone.set()

    async with relayed(wait_for_end) as (relay, _):
        _, writer = await asyncio.open_connection(LOOPBACK, relay.port)
        writer.write(b"x")
        await writer.drain()
        writer.close()
        await asyncio.wait_for(gone.wait(), 5)


async def _write(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(data)
    await writer.drain()
