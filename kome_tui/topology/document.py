"""Reads YAML as plain text values, and remembers where each key and value stands.

Limits are checked on the parser's events, before anything is built, so a hostile file costs no
more than a large one. No scalar is ever interpreted here: `no`, `010` and `22:22` stay the text
they are, and the schema converts them.
"""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import TypeAlias

import yaml

from kome_tui.errors import Problem, TopologyError
from kome_tui.text import clean

MAX_BYTES = 256 * 1024
MAX_DEPTH = 20
MAX_NODES = 20_000
MAX_SCALAR = 4096
MAX_PROBLEMS = 100

Keys: TypeAlias = tuple[str | int, ...]
Value: TypeAlias = "str | list[Value] | dict[str, Value]"

# libyaml where PyYAML was built with it (ten times as fast), else the same in Python.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_SUSPECT = re.compile(r"[^\t\n\r\x20-\x7e]")
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_LINE_BREAK = re.compile(r"\r\n|\n|\r")


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where something stands in the file; both count from 1."""

    line: int
    column: int


TOP = Place(1, 1)


@dataclass(slots=True)
class Document:
    """A file's values as text, where they stand, and what was wrong but did not stop the reading.

    `repeated` holds the paths of keys that were given twice; the first value is the one kept.
    `unnamed` counts problems that nobody put into words, because there are too many.
    """

    name: str
    value: Value = ""
    keys: dict[Keys, Place] = field(default_factory=dict)
    values: dict[Keys, Place] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    repeated: list[Keys] = field(default_factory=list)
    unnamed: int = 0

    def note(self, place: Place, path: Keys, message: str) -> None:
        """Adds a problem."""
        problem = Problem(self.name, place.line, place.column, path_text(path), message)
        self.problems.append(problem)

    def error(self) -> TopologyError:
        """The problems in the order of the file, as one error; the first 100 of them."""
        found = sorted(self.problems, key=lambda problem: (problem.line, problem.column))
        more = len(found[MAX_PROBLEMS:]) + self.unnamed
        del found[MAX_PROBLEMS:]
        if more:
            text = f"and {more} more problems; mend the ones above first"
            found.append(Problem(self.name, found[-1].line, found[-1].column, "", text))
        return TopologyError(tuple(found))

    def at_key(self, path: Keys) -> Place:
        """Where the key of `path` stands; what is not in the file is shown at its parent."""
        while path and path not in self.keys and path not in self.values:
            path = path[:-1]
        return self.keys.get(path) or self.values.get(path, TOP)

    def at_value(self, path: Keys) -> Place:
        """Where the value of `path` stands, or its key where that is on another line."""
        key = self.at_key(path)
        value = self.values.get(path, key)
        return value if value.line == key.line else key


def path_text(path: Keys) -> str:
    """The path as people write it: `nodes.node-01.port`, `lan[0]`."""
    parts = (f"[{key}]" if isinstance(key, int) else f".{clean(key, 40)}" for key in path)
    return "".join(parts).strip(".")


def read(raw: bytes, name: str) -> Document:
    """The one YAML document in `raw`.

    Raises TopologyError when it cannot be read at all: too large, not UTF-8, not YAML, or using
    anchors, aliases, merge keys, tags, directives or a second document. Keys given twice are
    noted in the document, and reading goes on.
    """
    document = Document(name)
    text = _decoded(raw, document)
    try:
        _Reader(text, document).read()
    except yaml.YAMLError as error:
        document.note(_place_of(error), (), _syntax(error, text))
        raise document.error() from error
    return document


def _decoded(raw: bytes, document: Document) -> str:
    if len(raw) > MAX_BYTES:
        document.note(TOP, (), f"the file is too large; allowed are {MAX_BYTES} bytes (256 KiB)")
        raise document.error()
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        place = _place_at(raw[: error.start].decode("utf-8", "replace"))
        document.note(place, (), "the text is not UTF-8; allowed is UTF-8")
        raise document.error() from error
    for match in islice(_hidden(text), MAX_PROBLEMS):
        message = f"an invisible character ({clean(match.group())}); allowed is printable text"
        document.note(_place_at(text[: match.start()]), (), message)
    if document.problems:
        raise document.error()
    return text


def _hidden(text: str) -> Iterator[re.Match[str]]:
    for match in _SUSPECT.finditer(text):
        if unicodedata.category(match.group()) in _HIDDEN:
            yield match


def _place_at(before: str) -> Place:
    lines = _LINE_BREAK.split(before.removeprefix("\ufeff"))
    return Place(len(lines), len(lines[-1]) + 1)


class _Reader:
    """Builds the value from the parser's events, one after the other."""

    def __init__(self, text: str, document: Document) -> None:
        self._events: Iterator[yaml.Event] = yaml.parse(text, Loader=_LOADER)
        self._document = document
        self._nodes = 0
        self._refused = False

    def read(self) -> None:
        next(self._events)  # the start of the stream
        event = next(self._events)
        if isinstance(event, yaml.StreamEndEvent):
            self._document.note(TOP, (), "the file is empty; allowed is a topology")
            raise self._document.error()
        self._check_start(event)
        self._document.value = self._node(next(self._events), (), 0)
        next(self._events)  # the end of the document
        after = next(self._events)
        if not isinstance(after, yaml.StreamEndEvent):
            self._refuse(after, (), "a second document; allowed is one")
        if self._refused:
            raise self._document.error()

    def _check_start(self, event: yaml.Event) -> None:
        if getattr(event, "version", None) or getattr(event, "tags", None):
            self._refuse(event, (), "a % directive; allowed is none")

    def _node(self, event: yaml.Event, path: Keys, depth: int) -> Value:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            self._stop(event, path, f"too many values; allowed are {MAX_NODES}")
        if depth > MAX_DEPTH:
            self._stop(event, path, f"nested too deeply; allowed are {MAX_DEPTH} levels")
        self._document.values.setdefault(path, _start(event))
        self._check_features(event, path)
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event, path)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(path, depth)
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(path, depth)
        return ""  # an alias, already refused

    def _check_features(self, event: yaml.Event, path: Keys) -> None:
        if isinstance(event, yaml.AliasEvent):
            self._refuse(event, path, "an alias (*name); allowed is the value itself")
        elif getattr(event, "anchor", None) is not None:
            self._refuse(event, path, "an anchor (&name); allowed is the value alone")
        if getattr(event, "tag", None) is not None:
            self._refuse(event, path, "a tag (!name); allowed is the value alone")

    def _scalar(self, event: yaml.ScalarEvent, path: Keys) -> str:
        value: str = event.value
        if len(value.encode("utf-8", "surrogatepass")) > MAX_SCALAR:
            self._stop(event, path, f"the value is too long; allowed are {MAX_SCALAR} bytes")
        if not value:
            self._document.values.pop(path, None)
        return value

    def _sequence(self, path: Keys, depth: int) -> Value:
        items: list[Value] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            items.append(self._node(event, (*path, len(items)), depth + 1))
        return items

    def _mapping(self, path: Keys, depth: int) -> Value:
        entries: dict[str, Value] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key = self._key(event, path, depth)
            here = (*path, key)
            if key in entries:
                self._repeated(event, here)
                self._node(next(self._events), (*here, ""), depth + 1)
            else:
                self._document.keys[here] = _start(event)
                entries[key] = self._node(next(self._events), here, depth + 1)
        return entries

    def _key(self, event: yaml.Event, path: Keys, depth: int) -> str:
        key = self._node(event, (*path, ""), depth + 1)
        self._document.values.pop((*path, ""), None)
        if not isinstance(key, str):
            self._refuse(event, path, "a list or mapping as a key; allowed is one word")
            return f"? {self._nodes}"
        if key == "<<" and isinstance(event, yaml.ScalarEvent) and event.implicit[0]:
            self._refuse(event, path, "a merge key (<<); allowed are the values themselves")
        return key

    def _repeated(self, event: yaml.Event, path: Keys) -> None:
        first = self._document.keys[path].line
        name = clean(str(path[-1]), 40)
        message = f"the key {name} was given in line {first} already; allowed is once"
        self._document.note(_start(event), path, message)
        self._document.repeated.append(path)

    def _refuse(self, event: yaml.Event, path: Keys, message: str) -> None:
        self._document.note(_start(event), path, message)
        self._refused = True

    def _stop(self, event: yaml.Event, path: Keys, message: str) -> None:
        self._document.note(_start(event), path, message)
        raise self._document.error()


def _start(event: yaml.Event) -> Place:
    mark = event.start_mark
    return Place(mark.line + 1, mark.column + 1) if mark else TOP


def _place_of(error: yaml.YAMLError) -> Place:
    for name in ("problem_mark", "context_mark"):
        if mark := getattr(error, name, None):
            return Place(mark.line + 1, mark.column + 1)
    return TOP


def _syntax(error: yaml.YAMLError, text: str) -> str:
    place = _place_of(error)
    line = next(islice(_LINE_BREAK.split(text), place.line - 1, None), "")
    at = line[place.column - 1 : place.column]
    problem = str(getattr(error, "problem", None) or "it cannot be read")
    if at == "\t":
        return "a tab; allowed are spaces"
    if at and at in "@`%" and "directive" not in problem:
        return f"a value cannot start with {at}; allowed is such a value in quotes"
    if problem.startswith("mapping values are not allowed"):
        return "a key inside a value; allowed is one `key: value` a line, at one indentation"
    context = getattr(error, "context", None)
    said = f"{context}, {problem}" if context else problem
    return f"not YAML: {clean(said, 200)}; allowed are `key: value` lines, indented by spaces"
