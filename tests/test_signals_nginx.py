"""The probe through a real nginx, buffering and not: the hop that clumps is found."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kome_tui.signals.checks import check_http
from kome_tui.signals.dial import direct
from kome_tui.signals.probe import ProbeTarget, run_probe
from kome_tui.signals.readings import ProbeResult
from kome_tui.topology.model import Endpoint
from tests.signals_servers import StreamServer, closed_port, running, steady
from tests.waiting import wait_until

CONF = """
daemon off; master_process off; pid nginx.pid; error_log error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi; scgi_temp_path scgi;
    server {{
        listen 127.0.0.1:{port};
        location = /up {{ return 200 up; }}
        location / {{ proxy_pass http://{upstream}; {setting} }}
    }}
}}
"""
STREAMING = 'proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off;'
OLD = "proxy_http_version 1.0;"
GZIP = "gzip on; gzip_types text/event-stream; gzip_min_length 0;"
PADDING = b": " + b"p" * 150 + b"\n"


@contextmanager
def edge(folder: Path, upstream: Endpoint, setting: str) -> Iterator[Endpoint]:
    program = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    assert program, "install nginx"
    here = closed_port()
    conf = folder / "nginx.conf"
    conf.write_text(CONF.format(port=here.port, upstream=upstream, setting=setting))
    command = [program, "-p", str(folder), "-c", str(conf), "-e", str(folder / "error.log")]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: check_http(here, "/up", direct, 1.0).state == "up")
            yield here
        finally:
            process.terminate()


def through(folder: Path, setting: str) -> ProbeResult:
    # a frame is about 230 bytes, as a real server's: 18 fill one 4 KiB buffer
    script = [(at, data.replace(b"data:", PADDING + b"data:", 1)) for at, data in steady(48, 20)]
    with running(StreamServer(script)) as okome, edge(folder, okome.endpoint, setting) as front:
        targets = [ProbeTarget("frontend", front), ProbeTarget("okome", okome.endpoint, depth=1)]
        return run_probe(targets, 48, 10.0)


@pytest.mark.parametrize(
    ("setting", "buffering", "words"),
    [
        (STREAMING + " gzip off;", None, "All 2 paths stream steadily."),
        (OLD, "frontend", "frontend delivers the stream in clumps of about"),
        (OLD + GZIP, "frontend", "frontend delivers the stream"),
        ("proxy_http_version 1.1;" + GZIP, "frontend", "only to clients that offer gzip"),
        (STREAMING + GZIP, None, "All 2 paths stream steadily."),
    ],
)
def test_the_edge_is_named_exactly_when_it_buffers(
    tmp_path: Path, setting: str, buffering: str | None, words: str
) -> None:
    result = through(tmp_path, setting)
    assert result.verdict.buffering_hop == buffering, result.verdict.text
    assert words in result.verdict.text
    assert [path.plain.chunks for path in result.paths] == [48, 48]
