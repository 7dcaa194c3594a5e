"""The stream probe against real servers on 127.0.0.1, through the real child process."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from kome_tui.errors import UsageError
from kome_tui.signals.probe import ProbeTarget, run_probe, targets_for, to_json
from kome_tui.signals.readings import PathProbe, ProbeResult
from kome_tui.topology.model import Topology
from tests.signals_servers import (
    DONE,
    FINISH,
    ROLE,
    StreamServer,
    answering,
    closed_port,
    clumped,
    event,
    gzip_flushed,
    gzip_whole,
    http,
    running,
    scripted,
    silent,
    steady,
    token,
    usage,
)


def probe(
    server: StreamServer, tokens: int = 48, timeout_s: float = 10.0, **more: bool
) -> PathProbe:
    return result_of(server, tokens, timeout_s, **more).paths[0]


def result_of(
    server: StreamServer, tokens: int = 48, timeout_s: float = 10.0, **more: bool
) -> ProbeResult:
    with running(server):
        return run_probe([ProbeTarget("okome", server.endpoint)], tokens, timeout_s, **more)


def test_a_steady_stream_is_measured_as_it_was_sent() -> None:
    path = probe(StreamServer(steady(), compress=gzip_flushed))
    assert path.plain.ok, path.plain.error
    assert (path.plain.chunks, path.plain.tokens, path.plain.stalls) == (48, 48, 0)
    assert path.plain.gap_ms.p50 == pytest.approx(20, abs=3)
    assert path.plain.tpot_ms == pytest.approx(20, abs=2)
    assert path.plain.ttft_ms is not None
    assert 15 < path.plain.ttft_ms < 60
    assert path.plain.burst == pytest.approx(1.0, abs=0.3)
    assert not path.plain.buffered
    assert path.gzip is not None
    assert path.gzip.chunks == 48
    assert not path.gzip.buffered


def test_it_warms_the_connection_up_and_asks_for_the_first_model() -> None:
    server = StreamServer(steady(4, 5))
    probe(server, tokens=4)
    assert server.paths == ["/v1/models", "/v1/chat/completions", "/v1/chat/completions"]
    assert len(server.connections) == 1
    assert server.orders[0]["model"] == "practice-model"
    assert server.orders[0]["max_tokens"] == 4
    assert server.orders[0]["stream"] is True


def test_without_gzip_there_is_one_stream() -> None:
    server = StreamServer(steady(4, 5))
    assert probe(server, tokens=4, gzip=False).gzip is None
    assert len(server.orders) == 1


def test_a_clumped_stream_is_called_buffered() -> None:
    path = probe(StreamServer(clumped()), gzip=False)
    assert path.plain.ok
    assert path.plain.buffered
    assert path.plain.burst == pytest.approx(16, abs=0.1)


def test_a_stream_that_gzip_holds_back_is_found_only_with_gzip() -> None:
    result = result_of(StreamServer(steady(24, 10), compress=gzip_whole))
    path = result.paths[0]
    assert not path.plain.buffered
    assert path.gzip is not None
    assert path.gzip.buffered
    assert path.gzip.chunks == 24
    assert result.verdict.buffering_hop == "okome"
    assert "only to clients that offer gzip" in result.verdict.text


def test_a_stall_is_counted_and_not_called_buffering() -> None:
    script = [(at + 1200 * (at > 200), data) for at, data in steady(24, 20)]
    plain = probe(StreamServer(script), gzip=False).plain
    assert plain.stalls == 1
    assert plain.gap_ms.max == pytest.approx(1220, abs=40)
    assert not plain.buffered


def test_a_stream_split_at_every_byte_counts_the_same() -> None:
    whole = b": hello\r\n\r\n" + ROLE + b"".join(token(f"é{at}") for at in range(5)) + FINISH
    whole = whole.replace(b"\n\n", b"\r\n\r\n") + DONE
    script = [(0.0, bytes([byte])) for byte in whole]
    plain = probe(StreamServer(script), gzip=False).plain
    assert plain.ok, plain.error
    assert plain.chunks == 5


def test_the_servers_own_count_of_tokens_is_used() -> None:
    script = [*steady(6, 5)[:-1], (40.0, FINISH + usage(18) + DONE)]
    plain = probe(StreamServer(script), gzip=False).plain
    assert (plain.chunks, plain.tokens) == (6, 18)


def test_reasoning_is_tokens_too() -> None:
    thought = event({"choices": [{"delta": {"reasoning_content": "hm"}}]})
    plain = probe(
        StreamServer([(0, ROLE), (5, thought), (9, token()), (9, DONE)]), gzip=False
    ).plain
    assert plain.chunks == 2


@pytest.mark.parametrize("cut", [True, False])
def test_a_stream_without_its_end_is_broken(cut: bool) -> None:
    path = probe(StreamServer(steady(48, 2)[:13], cut=cut))
    assert not path.plain.ok
    assert path.plain.error is not None
    assert path.plain.error.startswith("stream broke after 12 tokens")
    assert path.plain.chunks == 12
    assert path.gzip is None


def test_an_answer_without_tokens_is_an_error() -> None:
    assert probe(StreamServer([(0, ROLE + FINISH + DONE)])).plain.error == "ended without a token"


def test_an_error_answer_is_told_with_its_cleaned_text() -> None:
    body = b'{"error": {"message": "no\\u001b[31m such \\u202emodel"}}'
    plain = probe(StreamServer([], status=404, body=body)).plain
    assert plain.error == "answered 404: no\\x1b[31m such \\u202emodel"


def test_an_error_page_is_not_quoted() -> None:
    plain = probe(StreamServer([], status=502, body=b"<html>\r\n<h1>502</h1>")).plain
    assert plain.error == "answered 502"


@pytest.mark.parametrize(
    ("program", "error"),
    [
        ("/bin/false", "the probe's process failed: no answer"),
        ("/nowhere/python", "the probe's process did not start: No such file or directory"),
    ],
)
def test_a_process_that_does_not_work_is_an_error_of_every_path(
    monkeypatch: pytest.MonkeyPatch, program: str, error: str
) -> None:
    monkeypatch.setattr(sys, "executable", program)
    result = run_probe([ProbeTarget("a", closed_port()), ProbeTarget("b", closed_port())], 8, 2.0)
    assert [path.plain.error for path in result.paths] == [error, error]


def test_the_probe_does_not_import_from_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('not this one')")
    monkeypatch.chdir(tmp_path)
    assert probe(StreamServer(steady(4, 2)), tokens=4, gzip=False).plain.ok


def test_the_childs_imports_stay_few() -> None:
    code = "import sys, kome_tui.signals.probe_child; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"pydantic", "redis", "httpx", "paramiko", "textual", "kome_tui.topology.model"}
    assert heavy.isdisjoint(run.stdout.split())


def test_an_error_inside_the_stream_is_told() -> None:
    script = [(0, ROLE), (1, token()), (2, event({"error": {"message": "out of memory"}}))]
    plain = probe(StreamServer(script)).plain
    assert plain.error == "error in the stream: out of memory"
    assert plain.chunks == 1


def test_a_whole_answer_is_no_stream() -> None:
    plain = probe(StreamServer([(0, b"{}")], content_type="application/json")).plain
    assert plain.error == "answered application/json, not an event stream"


def test_a_server_that_does_not_know_max_tokens_is_cut_off() -> None:
    plain = probe(StreamServer(steady(200, 1)), tokens=10, gzip=False).plain
    assert plain.ok
    assert plain.chunks == 20


def test_a_refused_path_costs_the_others_nothing() -> None:
    server = StreamServer(steady(10, 5))
    with running(server):
        targets = [
            ProbeTarget("frontend", closed_port()),
            ProbeTarget("okome", server.endpoint, depth=1),
        ]
        result = run_probe(targets, 10, 10.0, gzip=False)
    assert result.paths[0].plain.error == "connection refused"
    assert result.paths[0].plain.ttft_ms is None
    assert result.paths[1].plain.ok
    assert result.verdict.text == "frontend failed: connection refused."


def test_a_silent_server_ends_with_the_time() -> None:
    with scripted(silent) as endpoint:
        began = time.monotonic()
        result = run_probe([ProbeTarget("okome", endpoint)], 48, 0.6)
        assert time.monotonic() - began < 1.6
    assert result.paths[0].plain.error == "GET /v1/models: silent until the time was over"


def test_a_stream_that_falls_silent_ends_with_the_time() -> None:
    script = [*steady(5, 5)[:-1], (60_000.0, DONE)]
    plain = probe(StreamServer(script), timeout_s=0.8).plain
    assert plain.error == "stream broke after 5 tokens: silent until the time was over"


def test_stop_ends_a_probe_at_once() -> None:
    stop = threading.Event()
    with scripted(silent) as endpoint:
        threading.Timer(0.3, stop.set).start()
        began = time.monotonic()
        result = run_probe([ProbeTarget("okome", endpoint)], 48, 30.0, stop=stop)
        assert time.monotonic() - began < 3
    assert result.paths[0].plain.error == "the probe was stopped"


@pytest.mark.parametrize(
    "answer",
    [
        b"\x1b]52;c;aGk=\x07 not http\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n[[[[[",
        http(b"[" * 60_000),
        http(b'{"data": [{"id": 7}]}'),
        http(b'{"data": "' + b"x" * 2_000_000),
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 200_000,
        b"",
    ],
)
def test_nonsense_instead_of_models_is_an_error_and_clean(answer: bytes) -> None:
    with scripted(answering(answer)) as endpoint:
        plain = run_probe([ProbeTarget("okome", endpoint)], 48, 5.0).paths[0].plain
    assert plain.error is not None
    assert plain.error.isprintable()
    assert "internal" not in plain.error


def test_a_gzip_bomb_is_not_unpacked_to_its_end() -> None:
    def bomb(script: object) -> list[tuple[float, bytes]]:
        return gzip_whole([(0.0, b": " + b"\n" * 50_000_000)])

    path = probe(StreamServer(steady(4, 2), compress=bomb), timeout_s=8.0)
    assert path.gzip is not None
    assert path.gzip.error == "the stream is larger than any answer"


def test_json_has_the_contracts_fields() -> None:
    told = to_json(result_of(StreamServer(steady(8, 5), compress=gzip_flushed)))
    fields = {
        *("ok", "error", "ttft_ms", "chunks", "tokens", "gap_ms", "tpot_ms", "stalls"),
        *("burst", "buffered", "arrivals_ns"),
    }
    path = told["paths"]["okome"]
    assert set(path) == fields | {"gzip"}
    assert set(path["gzip"]) == fields
    assert set(path["gap_ms"]) == {"p50", "p95", "p99", "max"}
    assert set(told["verdict"]) == {"buffering_hop", "slow_hop", "text"}


def topology(**more: object) -> Topology:
    at = {
        name: {"address": "127.0.0.1", "port": 7000 + index}
        for index, name in enumerate(("okome", "vllm", "ollama", "tf-rest", "tf-grpc", "redis"))
    }
    nodes = {
        "edge-1": {"role": "ingress", "address": "127.0.0.1", "port": 7101},
        "kome": {"role": "frontend", "address": "127.0.0.1", "port": 7100},
    }
    return Topology.model_validate(
        {"lan": ["127.0.0.0/8"], "upstreams": at, "nodes": nodes, **more}
    )


def test_targets_come_in_hop_order_and_once() -> None:
    found = targets_for(topology(), ["gpu", "okome", "frontend", "edge-1", "okome"])
    assert [(target.path, target.endpoint.port, target.depth) for target in found] == [
        ("frontend", 7100, 0),
        ("edge-1", 7101, 0),
        ("okome", 7000, 1),
        ("gpu", 7001, 2),
    ]


def test_with_the_gpu_behind_the_edge_okome_stands_beside_it() -> None:
    found = targets_for(topology(stream_path="gpu"), ["frontend", "okome", "gpu"])
    assert [target.depth for target in found] == [1, 1, 2]


@pytest.mark.parametrize("path", ["", "/", "/v1", "/v1/", "/v1/chat/completions"])
def test_a_url_is_a_target(path: str) -> None:
    (target,) = targets_for(topology(), [f"http://127.0.0.1:7300/llm{path}"])
    assert (target.endpoint.port, target.prefix, target.host) == (7300, "/llm", "127.0.0.1:7300")


@pytest.mark.parametrize(
    "name",
    [
        *("nobody", "", "https://127.0.0.1/", "http://127.0.0.1:99999/", "http://[::1", "http://"),
        *(
            "http://u:p@127.0.0.1/",
            "http://127.0.0.1/a b",
            "http://127.0.0.1/\r\nX: y",
            "file:///x",
        ),
        *("http://127.0.0.1/?q", "http://127.0.0.1:0/", "\x1b[31m"),
    ],
)
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        targets_for(topology(), [name])
    assert str(caught.value).isprintable()
