"""An nginx configuration as a tree that knows which setting holds where.

nginx inherits a directive from the nearest level that has it, and then all of it: one `add_header`
in a location drops every one of its server. `nearest` follows exactly that. crossplane reads the
words, so that quotes, escapes, comments and Lua blocks are its work.
"""

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import crossplane
from crossplane.errors import NgxParserBaseException

from kome_tui.nginx.regex import compiled

MAX_DEPTH = 64
"""Blocks in blocks; people's files have five."""


@dataclass(frozen=True, slots=True)
class Directive:
    """One line: its name, what follows it, where it stands."""

    name: str
    args: tuple[str, ...]
    line: int
    file: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """A block with what stands in it; `parent` is None for the file itself."""

    head: Directive
    parent: "Block | None"
    own: list[Directive] = field(default_factory=list)
    blocks: list["Block"] = field(default_factory=list)
    _by_name: dict[str, list[Directive]] = field(default_factory=dict)

    def add(self, directive: Directive) -> None:
        """Let it stand here, after the others."""
        self.own.append(directive)
        self._by_name.setdefault(directive.name, []).append(directive)

    def all(self, name: str) -> list[Directive]:
        """The directives called `name` that stand right here."""
        return self._by_name.get(name, [])

    def nearest(self, name: str) -> list[Directive]:
        """The directives called `name` that hold here, inherited ones too."""
        return self.all(name) or (self.parent.nearest(name) if self.parent else [])

    def value(self, name: str, default: str) -> str:
        """The first word after `name` where it holds here, else `default`."""
        found = self.nearest(name)
        return found[-1].args[0] if found and found[-1].args else default

    def inner(self, name: str) -> list["Block"]:
        """The blocks called `name` that stand right here."""
        return [block for block in self.blocks if block.head.name == name]

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


def parse_conf(conf: str, file: str = "") -> Block:
    """Return the tree of one file, which directives will name as `file`; includes are not followed.

    Raises Unreadable where the text has no such structure.
    """
    tree = Block(Directive("file", (), 1, file), None)
    fill(tree, conf, file)
    return tree


def fill(
    block: Block, conf: str, file: str, include: Callable[[Block, Directive], None] | None = None
) -> None:
    """Add what stands in `conf`; `include` is called for each include, where it stands.

    Raises Unreadable where the text has no such structure.
    """
    level, words, first = block, list[str](), 1
    depth = top = _depth(block)
    try:
        for token, line, quoted in _tokens(conf):
            if quoted or token not in ("{", "}", ";"):
                if quoted or not token.startswith("#"):
                    first = first if words else line
                    words.append(token)
                continue
            if token == "}":
                if words:
                    raise Unreadable(f'"{words[0]}" is not ended by ";"', first)
                if depth == top or level.parent is None:
                    raise Unreadable('unexpected "}"', line)
                level, depth = level.parent, depth - 1
                continue
            if not words:
                raise Unreadable(f'unexpected "{token}"', line)
            made, words = Directive(words[0], tuple(words[1:]), first, file), []
            if token == "{":
                depth += 1
                if depth > MAX_DEPTH:
                    raise Unreadable(f"blocks are nested deeper than {MAX_DEPTH}", line)
                inside = Block(made, level)
                level.blocks.append(inside)
                level = inside
            elif include is not None and made.name == "include":
                include(level, made)
            else:
                level.add(made)
    except NgxParserBaseException as error:
        if depth == top:  # else a block was left open, and we know which
            raise Unreadable(str(error.strerror), error.lineno or first) from error
    if words:
        raise Unreadable(f'"{words[0]}" is not ended by ";"', first)
    if depth > top:
        raise Unreadable(f'the block "{level.label()}" is not closed by "}}"', level.head.line)


def matched(location: Block) -> tuple[str, str]:
    """Modifier (`=`, `^~`, `~`, `~*`, `@` or nothing) and what follows it."""
    match location.head.args:
        case (modifier, uri):
            return modifier, uri
        case (word,):
            for modifier in ("=", "^~", "~*", "~", "@"):
                if word.startswith(modifier):
                    return modifier, word[len(modifier) :]
            return "", word
        case _:
            return "?", ""  # no location nginx would take: answers nothing


def serving(server: Block, path: str) -> Block:
    """Return the location of `server` that answers `path`, or the server itself."""
    return _search(server, path)[0] or server


def _search(level: Block, path: str) -> tuple[Block | None, bool]:
    """The best location, and whether the search ends with it (ngx_http_core_find_location)."""
    longest, best, ends = -1, None, False
    expressions: list[tuple[Block, str, bool]] = []
    for location in level.inner("location"):
        modifier, uri = matched(location)
        if modifier == "=" and uri == path:
            return location, True
        if modifier in ("", "^~") and path.startswith(uri) and len(uri) > longest:
            longest, best, ends = len(uri), location, modifier == "^~"
        elif modifier in ("~", "~*"):
            expressions.append((location, uri, modifier == "~*"))
    if best is not None:
        nested, decided = _search(best, path)
        if decided:
            return nested, True
        best = nested or best
    if not ends:
        for location, pattern, ignore_case in expressions:
            expression = compiled(pattern, ignore_case)
            if expression is not None and expression.search(path):
                return _search(location, path)[0] or location, True
    return best, False


def _depth(block: Block) -> int:
    return 0 if block.parent is None else 1 + _depth(block.parent)


def _tokens(conf: str) -> Iterator[tuple[str, int, bool]]:
    # crossplane reads files only
    with tempfile.NamedTemporaryFile(
        "w", encoding="utf-8", errors="replace", prefix="kome-lint-", newline=""
    ) as copy:
        copy.write(conf)
        copy.flush()
        yield from crossplane.lex(copy.name)
