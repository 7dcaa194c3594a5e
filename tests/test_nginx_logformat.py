"""What nginx writes is what we read: complete lines, exact numbers, nothing forged."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kome_tui.nginx.logformat import FIELDS, log_format_directive, parse_line

LINE = (
    b"1700000000.123\tnode-03\tHIT\t200\t0.004\t0.001\t192.168.86.25:8000\t20480\t"
    b"0123abcd\tGET\t192.168.86.77\t/assets/app.js?v=1\tMozilla/5.0\n"
)


def with_field(name: str, value: bytes) -> bytes:
    """LINE with another value in one column."""
    columns = LINE[:-1].split(b"\t")
    columns[[field.name for field in FIELDS].index(name)] = value
    return b"\t".join(columns) + b"\n"


def test_every_field_is_read() -> None:
    line = parse_line(LINE)

    assert line is not None
    assert (line.at, line.node, line.cache, line.status) == (1700000000.123, "node-03", "HIT", 200)
    assert (line.request_s, line.upstream_s, line.bytes_sent) == (0.004, 0.001, 20480)
    assert (line.upstream, line.request_id, line.method) == (
        "192.168.86.25:8000",
        "0123abcd",
        "GET",
    )
    assert (line.client, line.uri, line.agent) == (
        "192.168.86.77",
        "/assets/app.js?v=1",
        "Mozilla/5.0",
    )
    assert line.path == "/assets/app.js"


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (b"-", None),
        (b"0.100", 0.1),
        (b"0.100, 0.200", 0.3),
        (b"0.100, 0.200 : 0.300", 0.6),
        (b"-, 0.200", 0.2),
        (b"- : -", None),
    ],
)
def test_upstream_time_is_the_sum_of_all_that_were_tried(
    written: bytes, read: float | None
) -> None:
    line = parse_line(with_field("upstream_s", written))

    assert line is not None
    assert line.upstream_s == (None if read is None else pytest.approx(read))


def test_an_upstream_may_be_a_group_or_none() -> None:
    groups = parse_line(with_field("upstream", b"127.0.0.1:1, okome"))
    none = parse_line(with_field("upstream", b"-"))

    assert groups is not None
    assert groups.upstream == "127.0.0.1:1, okome"
    assert none is not None
    assert none.upstream is None


@pytest.mark.parametrize(
    "line",
    [
        LINE[:-1],
        LINE[:-20],
        b"",
        b"\n",
        LINE[:-1] + b"\tmore\n",
        LINE.replace(b"\tHIT", b""),
        b'127.0.0.1 - - [01/Jan/2026:00:00:00 +0000] "GET / HTTP/1.1" 200 1 "-" "-"\n',
        with_field("at", b"nan"),
        with_field("at", b"-1"),
        with_field("request_s", b"inf"),
        with_field("status", b"2x0"),
        with_field("status", b"9" * 40),
        with_field("bytes_sent", b"-"),
        with_field("upstream_s", b"x"),
    ],
)
def test_a_torn_foreign_or_malformed_line_is_none(line: bytes) -> None:
    assert parse_line(line) is None


def test_bytes_that_are_no_text_are_kept_visible() -> None:
    line = parse_line(with_field("agent", b"\xff\xfe"))

    assert line is not None
    assert line.agent == r"\xff\xfe"


def test_directive_names_every_field_once_and_the_clients_own_last() -> None:
    directive = log_format_directive()

    assert directive.startswith("log_format kome '$msec\\t$kome_node\\t")
    assert directive.endswith("$request_uri\\t$http_user_agent';")
    assert directive.count("$") == len(FIELDS)


@given(st.binary(max_size=300))
def test_any_bytes_are_a_line_or_none(raw: bytes) -> None:
    parse_line(raw)
    parse_line(raw + b"\n")
