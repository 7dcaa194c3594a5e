"""An nginx configuration as a tree that knows which setting holds where.

nginx inherits a directive from the nearest level that has it, and then all of it: one `add_header`
in a location drops every one of its server. `nearest` follows exactly that.
"""

import re
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import crossplane


@dataclass(frozen=True, slots=True)
class Directive:
    """One line: its name, what follows it, where it stands."""

    name: str
    args: tuple[str, ...]
    line: int


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """A block with what stands in it; `parent` is None for the file itself."""

    head: Directive
    parent: "Block | None"
    own: list[Directive] = field(default_factory=list)
    blocks: list["Block"] = field(default_factory=list)

    def all(self, name: str) -> list[Directive]:
        """The directives called `name` that stand right here."""
        return [directive for directive in self.own if directive.name == name]

    def nearest(self, name: str) -> list[Directive]:
        """The directives called `name` that hold here, inherited ones too."""
        return self.all(name) or (self.parent.nearest(name) if self.parent else [])

    def value(self, name: str, default: str) -> str:
        """The first word after `name` where it holds here, else `default`."""
        found = self.nearest(name)
        return found[-1].args[0] if found and found[-1].args else default

    def walk(self) -> Iterator["Block"]:
        """This block and all inside it."""
        yield self
        for block in self.blocks:
            yield from block.walk()

    def named(self, name: str) -> list["Block"]:
        """All blocks called `name`, at any depth."""
        return [block for block in self.walk() if block.head.name == name]

    def label(self) -> str:
        """How a person finds it: `location /v1/`, `server`."""
        return " ".join((self.head.name, *self.head.args))


class Unreadable(ValueError):
    """The text is no nginx configuration; `line` says where reading ended."""

    def __init__(self, message: str, line: int) -> None:
        self.line = line
        super().__init__(message)


def parse_conf(conf: str) -> Block:
    """Return the tree of one file; includes are not followed.

    Raises Unreadable where the text has no such structure.
    """
    with tempfile.TemporaryDirectory(prefix="kome-lint-") as folder:
        path = Path(folder) / "nginx.conf"
        path.write_text(conf, encoding="utf-8", errors="replace")
        parsed = crossplane.parse(
            str(path), single=True, check_ctx=False, check_args=False, comments=False
        )
    for error in parsed["errors"]:
        # crossplane ends its sentence with the path of our temporary file
        said = str(error["error"]).partition(" in /")[0]
        raise Unreadable(said, error.get("line") or 1)
    file = Block(Directive("file", (), 1), None)
    _fill(file, cast(list[dict[str, Any]], parsed["config"][0]["parsed"]))
    return file


def serving(server: Block, path: str) -> Block:
    """Return the location of `server` that answers `path`, or the server itself."""
    exact = prefix = None
    for location in (block for block in server.blocks if block.head.name == "location"):
        modifier, uri = _matched(location)
        if modifier == "=" and uri == path:
            exact = location
        longest = len(_matched(prefix)[1]) if prefix else -1
        if modifier in ("", "^~") and path.startswith(uri) and len(uri) > longest:
            prefix = location
    if exact:
        return exact
    if prefix is None or _matched(prefix)[0] != "^~":
        for location in (block for block in server.blocks if block.head.name == "location"):
            modifier, uri = _matched(location)
            if modifier.startswith("~") and _searched(uri, path, modifier):
                return location
    return serving(prefix, path) if prefix else server


def _matched(location: Block) -> tuple[str, str]:
    match location.head.args:
        case (modifier, uri, *_):
            return modifier, uri
        case (uri,):
            return "", uri
        case _:
            return "?", ""  # no location nginx would take: answers nothing


def _searched(pattern: str, path: str, modifier: str) -> bool:
    with suppress(re.error):  # PCRE has more than Python: what we can't read matches nothing
        return bool(re.search(pattern, path, re.IGNORECASE if modifier == "~*" else 0))
    return False


def _fill(block: Block, parsed: list[dict[str, Any]]) -> None:
    for item in parsed:
        directive = Directive(item["directive"], tuple(item["args"]), item["line"])
        if "block" in item:
            inner = Block(directive, block)
            block.blocks.append(inner)
            _fill(inner, item["block"])
        else:
            block.own.append(directive)
