"""Hostile values in valid files: refused, in their own line.

Every value and every name of the file takes its turn, in every kind of topology that validates.
"""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from kome_tui.errors import TopologyError
from kome_tui.nginx.render import render_release
from kome_tui.topology.load import parse
from kome_tui.topology.model import Topology
from kome_tui.topology.write import to_yaml
from tests.strategies_topology import EXAMPLES, looked_at, read, topologies
from tests.test_topology_fuzz import SAFE, outcome, texts_in

# Many examples, on a machine that may be busy with others.
pytestmark = pytest.mark.timeout(900)

HOSTILE = st.sampled_from(
    (
        *("a; } server {", "x;", "a b", "a\tb", "a\nb", "a\r\nb", "a\n", "{", "}", "a{b}"),
        *("#", "a#b"),
        *("$host", "${host}", "$(reboot)", "`reboot`", 'a"b', "a'b", "\\", "a\\nb", "a|b"),
        *("a&b", "<a>"),
        *("{{ 7*7 }}", "{% raw %}", "{{ c.__class__ }}", "%s%n", "a=b", "a?b", "a,b", "a*"),
        *("(a)", "!a"),
        *("-", "-a", "--help", "-o ProxyCommand=x", " ", " a", "a ", "é", "а", "٣", "１"),
        "a\u00a0b",
        *("\u202ea", "a\u200bb", "\ufeffa", "a\u2028b", "\x00", "a\x00b", "\x1b[2J", "\x7f"),
        "\x85",
        *("\u009b2J", "\U000e0041", "e\u0301" * 50, "[/x]", "[bold]x", "~^.*$", "@x", "^a"),
        "a" * 5000,
    )
) | st.text(min_size=1, max_size=6).filter(lambda text: not SAFE.match(text))

ODD = st.sampled_from(
    (
        *("none", "null", "~", "yes", "on", "0", "-0", "010", "0x10", "1e3", "1_000", "+1"),
        "22:22",
        *("..", "../x", "/..", "/a/../b", "//", "/a//b", "/.", "0.0.0.0", "::", "127.1"),
        "2130706433",
        *("0177.0.0.1", "::ffff:1.2.3.4", "fe80::1%eth0", "0.0.0.0/0", "10.0.0.1/8", "1.2", "auto"),
        *("/v1", "/v1/", "/.kome/", "/health", "/nodes/", "unix:/x", "localhost", "00"),
        "99999999999",
    )
)

TRICKS = (
    *("&a x", "*a", "!!python/object/apply:os.system [x]", "!!binary aGk=", "!x y", "@x"),
    *("`x`", "%x"),
    *("<<", "{<<: x}", "{a: b}", "[a, b]", "x: y", "? x", "'a\\nb;'", '"a\\nb;"', '"\\x00"'),
    '"\\ud800"',
)

HERE = "hostile-stands-here"


def spots(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where the scalars of a file stand; a name that is a key stands at (..., None, name)."""
    if isinstance(value, dict):
        for key, each in value.items():
            if path and path[-1] in ("nodes", "services"):
                yield (*path, None, key)
            yield from spots(each, (*path, key))
    elif isinstance(value, list):
        for index, each in enumerate(value):
            yield from spots(each, (*path, index))
    else:
        yield path


def marked(value: Any, path: tuple[Any, ...]) -> Any:
    """`value` with HERE in the place of what stands at `path`."""
    match path:
        case ():
            return HERE
        case (None, name):
            return {HERE if key == name else key: each for key, each in value.items()}
        case (key, *rest) if isinstance(value, dict):
            return {**value, key: marked(value[key], tuple(rest))}
        case (index, *rest):
            return [*value[:index], marked(value[index], tuple(rest)), *value[index + 1 :]]
    raise AssertionError(path)


def with_marks(values: Any, at: list[int]) -> Iterator[tuple[str, int]]:
    """The file with HERE in the place of one value or name, each with the line that has it."""
    every = list(spots(values))
    for number in at:
        text = to_yaml(marked(values, every[number % len(every)]))
        yield text, 1 + next(n for n, line in enumerate(text.splitlines()) if HERE in line)


def quoted(text: str) -> str:
    """The text as one line of YAML that means exactly it."""
    return '"' + "".join(f"\\U{ord(char):08x}" for char in text) + '"'


def several(words: st.SearchStrategy[str]) -> st.SearchStrategy[list[tuple[int, str]]]:
    """Places in a file, and what to put there: a whole topology takes longer to draw than these."""
    return st.lists(st.tuples(st.integers(0, 9999), words), min_size=6, max_size=6)


FILES = settings(
    max_examples=EXAMPLES // 2,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@FILES
@given(values=topologies(), put=several(HOSTILE))
def test_a_hostile_value_is_refused_in_its_own_line_and_nowhere_else(
    values: dict[str, Any], put: list[tuple[int, str]]
) -> None:
    read(values)
    marks = with_marks(values, [number for number, _ in put])

    for (text, line), (_, hostile) in zip(marks, put, strict=True):
        with pytest.raises(TopologyError) as refused:
            parse(text.replace(HERE, quoted(hostile)).encode(), "topology.yaml")
        assert {problem.line for problem in refused.value.problems} == {line}, text


@FILES
@given(values=topologies(), put=several(st.sampled_from(TRICKS)))
def test_a_trick_of_yaml_is_refused_in_its_own_line(
    values: dict[str, Any], put: list[tuple[int, str]]
) -> None:
    read(values)
    marks = with_marks(values, [number for number, _ in put])

    for (text, line), (_, trick) in zip(marks, put, strict=True):
        with pytest.raises(TopologyError) as refused:
            parse(text.replace(HERE, trick).encode(), "topology.yaml")
        assert line in {problem.line for problem in refused.value.problems}, (trick, text)


@FILES
@given(values=topologies(), put=several(ODD))
def test_an_odd_value_is_refused_or_harmless(
    values: dict[str, Any], put: list[tuple[int, str]]
) -> None:
    read(values)
    marks = with_marks(values, [number for number, _ in put])

    for (text, _), (_, odd) in zip(marks, put, strict=True):
        found = outcome(text.replace(HERE, quoted(odd)).encode())
        event("taken" if isinstance(found, Topology) else "refused")
        if isinstance(found, Topology):
            assert all(SAFE.match(each) for each in texts_in(found.model_dump(mode="json")))
            for name in looked_at(found):
                render_release(found, name)  # checks the tree: raises where it differs
