"""Large requests through real nginx: they stream through, nothing of them is written to disk."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.http_client import Wire, request
from tests.nginx_fixture import RunSite
from tests.nginx_process import Nginx
from tests.nginx_site import EVERY_ROLE, Site, on_linux
from tests.upstreams import Answer, Asked, answer
from tests.waiting import wait_until

MIB = 1024 * 1024
SIZE = 200 * MIB
PART = bytes(MIB)


def parts(chunked: bool) -> Iterator[bytes]:
    """The body as it goes over the wire."""
    for _ in range(SIZE // MIB):
        yield b"%x\r\n%s\r\n" % (MIB, PART) if chunked else PART
    if chunked:
        yield b"0\r\n\r\n"


def files_of(nginx: Nginx, temp: str) -> set[str]:
    """What the workers hold open in their folder for temporary files, deleted files included."""
    links = [link for pid in nginx.workers() for link in Path(f"/proc/{pid}/fd").iterdir()]
    names = {f"{link.readlink()}" for link in links if link.is_symlink()}
    return {name for name in names if name.startswith(temp)}


def written(nginx: Nginx) -> int:
    """Bytes that the workers have caused to be written to a disk."""
    texts = [Path(f"/proc/{pid}/io").read_text() for pid in nginx.workers()]
    lines = [line for text in texts for line in text.splitlines()]
    return sum(int(line.split()[1]) for line in lines if line.startswith("write_bytes:"))


@on_linux
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
@pytest.mark.parametrize("node", ["kome", "node-01", "node-07"])
def test_200_mb_stream_through_and_are_not_written_to_disk(
    fleet: Site, node: str, chunked: bool
) -> None:
    on_disk: set[str] = set()
    nodes = [fleet.nodes[name] for name in (node, "node-03", "node-04")]

    def received(asked: Asked) -> Answer:
        # nginx would hold a file of the body open until the request is answered
        for name, nginx in fleet.nodes.items():
            on_disk.update(files_of(nginx, f"{fleet.topology.layout_of(name).temp}"))
        return answer(f"{asked.length}", "200 OK", "Connection: close")

    fleet.okome.script = received
    before, there = sum(map(written, nodes)), fleet.okome.body_bytes
    coding = {"Transfer-Encoding": "chunked"} if chunked else {"Content-Length": f"{SIZE}"}
    with Wire(fleet.port(node), timeout_s=60) as wire:
        wire.send(request("POST", "/v1/files", {"Connection": "close", **coding}))
        for number, part in enumerate(parts(chunked)):
            wire.send(part)
            if number == 0:
                # it has arrived before the rest was sent
                wait_until(lambda: fleet.okome.body_bytes > there)
        text = wire.rest()

    assert text.startswith(b"HTTP/1.1 200 ")
    assert text.endswith(b"%d" % SIZE)
    assert on_disk == set()
    assert sum(map(written, nodes)) - before < 10 * MIB


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
@pytest.mark.parametrize("node", EVERY_ROLE)
def test_a_request_above_the_limit_is_413_and_reaches_nobody_whole(
    run_site: RunSite, node: str, chunked: bool
) -> None:
    body = bytes(64 * 1024)
    with run_site(node, limits={"body": "32k"}) as edge, Wire(edge.port(node)) as wire:
        coding = {"Transfer-Encoding": "chunked"} if chunked else {"Content-Length": f"{len(body)}"}
        wire.send(request("POST", "/v1/files", coding))
        if chunked:
            wire.send(b"%x\r\n%s\r\n" % (len(body), body))
        head = wire.until(b"</html>").partition(b"\r\n\r\n")[0].decode().split("\r\n")

        assert head[0] == "HTTP/1.1 413 Request Entity Too Large"
        for name in ("X-Cache: NONE", f"X-Kome-Node: {node}", "X-Request-ID: "):
            assert len([line for line in head if line.startswith(name)]) == 1
        assert edge.okome.asked == []


def test_a_slow_upload_does_not_keep_others_waiting(fleet: Site) -> None:
    with Wire(fleet.port()) as slow:
        slow.send(request("POST", "/v1/files", {"Content-Length": "10"}) + b"12345")

        assert fleet.ask("/v1/embeddings", method="POST", body=b"123").body == b"3"

        fleet.okome.script = lambda asked: answer(asked.body)
        slow.send(b"67890")
        slow.until(b"1234567890")
