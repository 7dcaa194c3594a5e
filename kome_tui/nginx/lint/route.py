"""Which locations may answer a request: nginx's own search, and where it hands requests on.

A location hands on by `rewrite`, `try_files` and `error_page`; a stream that arrives somewhere that
way is buffered there like any other.
"""

from collections.abc import Callable, Iterator
from typing import Literal

from kome_tui.nginx.conf_tree import Block, Directive, matched, serving
from kome_tui.nginx.regex import compiled

_MAX_REDIRECTS = 10
"""nginx's own limit of internal redirects."""

WaysOn = Callable[[Block, Directive], Iterator[Block]]
"""The locations of a server that an error_page may lead to."""


Way = Literal["stays", "moves", "ends"]
"""After the rewrites of a level: it goes on here, is looked up again, or was answered."""


def answering(server: Block, path: str, ways_on: WaysOn) -> list[Block]:
    """Every location (or `if` in one) that may answer a request for `path` of `server`."""
    found: dict[Block, None] = {}
    places: list[tuple[Block | None, str]] = [(None, path)]
    seen: set[tuple[Block | None, str]] = set()
    while places and len(seen) <= _MAX_REDIRECTS * 4:
        place = places.pop()
        if place in seen:
            continue
        seen.add(place)
        block, path = place
        if block is None:
            moved, way = rewritten(server, path)
            if way == "ends":
                continue
            path = moved
            block = serving(server, path)
        found[block] = None
        places += _handed_on(server, block, path, ways_on)
    return list(found)


class Rivals:
    """The locations of a server as a table: with thousands, a search for each takes too long."""

    def __init__(self, server: Block) -> None:
        places = [matched(one) for one in server.walk() if one.head.name == "location"]
        self._server = server
        self._uris = {uri for modifier, uri in places if modifier in ("", "=", "^~")}
        self._expressions = [
            compiled(uri, modifier == "~*") for modifier, uri in places if modifier in ("~", "~*")
        ]
        self._moves = any(server.all(name) for name in ("rewrite", "return", "break"))

    def leave(self, location: Block, path: str) -> bool:
        """Whether `path`, which begins as `location` does, is plainly answered by it."""
        modifier, uri = matched(location)
        if modifier not in ("", "^~") or location.parent is not self._server or self._moves:
            return False
        longer = (path[:end] for end in range(len(uri) + 1, len(path) + 1))
        found = any(expression and expression.search(path) for expression in self._expressions)
        return path.startswith(uri) and not found and not any(one in self._uris for one in longer)


def _handed_on(
    server: Block, block: Block, path: str, ways_on: WaysOn
) -> Iterator[tuple[Block | None, str]]:
    if block is not server:
        moved, way = rewritten(block, path)
        if way == "moves":
            yield None, moved
    for branch in (*block.inner("if"), *block.inner("limit_except")):
        yield branch, path
    for line in block.nearest("error_page"):
        yield from ((location, path) for location in ways_on(server, line))
    for line in block.all("try_files")[-1:]:
        last = line.args[-1] if line.args else ""
        if last.startswith("@"):
            yield from ((location, path) for location in named(server, last))
        elif last.startswith("/"):
            yield None, last.partition("?")[0]


def named(server: Block, name: str) -> list[Block]:
    """The location called `name` (`@page`) of a server."""
    return [one for one in server.inner("location") if "".join(matched(one)) == name]


def rewritten(level: Block, path: str) -> tuple[str, Way]:
    """Where the rewrites of one level lead, and how it goes on from there."""
    came = path
    for line in level.own:
        if line.name == "return":
            return path, "ends"
        if line.name == "break":
            return path, "stays"
        if line.name != "rewrite" or len(line.args) < 2:
            continue
        expression = compiled(line.args[0])
        match = expression.search(path) if expression is not None else None
        if match is None:
            continue
        if redirects(line):
            return path, "ends"
        target, flag = line.args[1], line.args[2:3]
        for number in range(1, min(9, len(match.groups())) + 1):
            target = target.replace(f"${number}", match[number] or "")
        target = target.replace("$request_uri", path).replace("$uri", path)
        path = target.partition("?")[0]
        if flag == ("break",):
            return path, "stays"
        if flag == ("last",):
            break
    return path, "stays" if path == came else "moves"


def redirects(rewrite: Directive) -> bool:
    """Whether a rewrite that matches answers with a redirect."""
    abroad = rewrite.args[1:2] and rewrite.args[1].startswith(("http://", "https://", "$scheme"))
    return bool(abroad) or rewrite.args[2:3] in (("redirect",), ("permanent",))
