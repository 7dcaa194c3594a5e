"""Random files: never a traceback, and no metacharacter in an accepted topology.

The characters are those that nginx's, the shell's or the terminal's reader would act on.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from kome_tui.errors import Problem, TopologyError
from kome_tui.topology import grammar
from kome_tui.topology.load import packaged_file, parse
from kome_tui.topology.model import Topology

SHIPPED = packaged_file("topology.yaml").read_bytes()
CASES = sorted((Path(__file__).parent / "cases" / "topology").glob("*.yaml"))
SAFE = re.compile(r"[A-Za-z0-9_./:~][A-Za-z0-9_./:~-]*\Z")
PIECES = [
    *(path.read_bytes() for path in CASES if path.stat().st_size < 300),
    *(b"\n", b"\t", b"\r", b" ", b": ", b"- ", b"? ", b"[", b"]", b"{", b"}", b"&a ", b"*a"),
    *(b"!!binary ", b"!", b"|\n", b">\n", b"<<: ", b"---\n", b"...\n", b"%YAML 1.1\n", b"#"),
    *(b'"', b"'", b"\\", b'"\\n"', b'"a; }"', b'"\\ud800"', b"\x00", b"\x1b[2J", b"\xff", b"@"),
    *("\u202e".encode(), "\ufeff".encode(), "\u2028".encode(), "é".encode(), b"$host", b";"),
    *(b"none", b"yes", b"0", b"-1", b"1e3", b"22:22", b"99999999999", b"/", b"..", b"../../x"),
    *(b"0.0.0.0/0", b"::1", b"fe80::1%eth0", b"frontend", b"ingress", b"okome", b"1g", b"24h"),
]


def texts_in(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, each in value.items():
            yield from texts_in(key)
            yield from texts_in(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from texts_in(each)


def check(text: bytes) -> None:
    match outcome(text):
        case Topology() as topology:
            assert topology.frontend
            assert all(topology.layout_of(name) for name in topology.nodes)
            for each in texts_in(topology.model_dump(mode="json")):
                assert SAFE.match(each), each
        case problems:
            assert 1 <= len(problems) <= 101
            for problem in problems:
                assert str(problem).isprintable()
                assert min(problem.line, problem.column) >= 1


def outcome(text: bytes) -> Topology | tuple[Problem, ...]:
    try:
        return parse(text, "topology.yaml")
    except TopologyError as error:
        return error.problems


@settings(max_examples=600, deadline=None)
@given(st.binary(max_size=400))
@example(b"")
@example(b"\xef\xbb\xbf")
@example(b"? ")
@example(b'"\\ud800": 1')
def test_random_bytes_are_refused_or_read(text: bytes) -> None:
    check(text)


@settings(max_examples=600, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=30))
def test_random_pieces_of_yaml_are_refused_or_read(pieces: list[bytes]) -> None:
    check(b"".join(pieces))


@st.composite
def mutations(draw: st.DrawFn) -> bytes:
    text = SHIPPED
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        gone = draw(st.integers(0, 40))
        piece = draw(st.sampled_from(PIECES) | st.binary(max_size=6))
        text = text[:start] + piece + text[start + gone :]
    return text


@settings(max_examples=800, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(mutations())
def test_random_edits_of_the_shipped_file(text: bytes) -> None:
    check(text)


VALUE = re.compile(rb"(?<=: )[^\s{}\[\],#]+")


@st.composite
def other_values(draw: st.DrawFn) -> bytes:
    """The shipped file with some values replaced, so that much of it stays acceptable."""
    places = list(VALUE.finditer(SHIPPED))
    place = draw(st.sampled_from(places))
    alphabet = "".join(map(chr, range(32, 127))) + "\n\t\x00\u202eé٣"
    value = draw(st.text(alphabet, max_size=8) | st.sampled_from(["none", "/a", "1.2", "b", "9"]))
    quoted = '"' + "".join(f"\\U{ord(char):08x}" for char in value) + '"'
    return SHIPPED[: place.start()] + quoted.encode() + SHIPPED[place.end() :]


@settings(max_examples=800, deadline=None)
@given(other_values())
def test_random_values_in_the_shipped_file(text: bytes) -> None:
    check(text)


@pytest.mark.parametrize(
    "pattern",
    [value for value in vars(grammar).values() if isinstance(value, re.Pattern)],
)
@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_no_grammar_lets_a_metacharacter_in(pattern: re.Pattern[str], data: st.DataObject) -> None:
    text = data.draw(st.from_regex(pattern) | st.text(max_size=20))
    for candidate in (text, text + "\n", text.rstrip("\n")):
        if pattern.match(candidate):
            assert SAFE.match(candidate)
