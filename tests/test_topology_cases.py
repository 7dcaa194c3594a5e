"""One file per kind of mistake in tests/cases/topology/, the expected lines beside it.

A case NAME.yaml has NAME.txt with `line:column: sentence` for each problem, or the word `good`.
"""

import re
from pathlib import Path

import pytest
import yaml

from kome_tui.errors import TopologyError
from kome_tui.topology import document
from kome_tui.topology.load import parse

CASES = Path(__file__).parent / "cases" / "topology"
NAMES = sorted(path.stem for path in CASES.glob("*.yaml"))
# What the two YAML parsers say in words of their own.
_PARSER_WORDS = re.compile(r"not YAML: .*?;")


def said_about(name: str) -> str:
    try:
        parse((CASES / f"{name}.yaml").read_bytes(), name)
    except TopologyError as error:
        return "".join(f"{str(each).removeprefix(f'{name}:')}\n" for each in error.problems)
    return "good\n"


def test_there_is_a_text_for_every_case() -> None:
    assert sorted(path.stem for path in CASES.glob("*.txt")) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_every_problem_is_told_with_its_place(name: str) -> None:
    assert said_about(name) == (CASES / f"{name}.txt").read_text()


@pytest.mark.parametrize("name", NAMES)
def test_the_parser_in_python_agrees(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document, "_LOADER", yaml.SafeLoader)
    expected = _PARSER_WORDS.sub("not YAML;", (CASES / f"{name}.txt").read_text())
    assert _PARSER_WORDS.sub("not YAML;", said_about(name)) == expected


@pytest.mark.parametrize("name", NAMES)
def test_problems_are_plain_printable_sentences(name: str) -> None:
    for line in said_about(name).splitlines():
        assert line.isprintable()
        assert not re.search(r"[Ii]nput should|pydantic|Value error|https?:|type=|<class", line)
        assert line == "good" or "allowed" in line or "must be given" in line or "and " in line
