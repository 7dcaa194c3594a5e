"""Which locations may answer a request: nginx's own search, and where it hands requests on.

A location hands on by `rewrite`, `try_files` and `error_page`; a stream that arrives somewhere that
way is buffered there like any other.
"""

from collections.abc import Callable, Iterator

from kome_tui.nginx.conf_tree import Block, Directive, matched, serving
from kome_tui.nginx.regex import compiled

_MAX_REDIRECTS = 10
"""nginx's own limit of internal redirects."""

WaysOn = Callable[[Block, Directive], Iterator[Block]]
"""The locations of a server that an error_page may lead to."""


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
            moved, ended = _rewritten(server, path)
            if ended:
                continue
            path = moved
            block = serving(server, path)
        found[block] = None
        places += _handed_on(server, block, path, ways_on)
    return list(found)


def _handed_on(
    server: Block, block: Block, path: str, ways_on: WaysOn
) -> Iterator[tuple[Block | None, str]]:
    if block is not server:
        moved, _ = _rewritten(block, path)
        if moved != path:
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


def _rewritten(level: Block, path: str) -> tuple[str, bool]:
    """Where the rewrites of one level lead, and whether the request ends there."""
    for line in level.own:
        if line.name == "return":
            return path, True
        if line.name == "break":
            break
        if line.name != "rewrite" or len(line.args) < 2:
            continue
        pattern, target, flag = line.args[0], line.args[1], line.args[2:3]
        expression = compiled(pattern)
        match = expression.search(path) if expression is not None else None
        if match is None:
            continue
        if flag in (("redirect",), ("permanent",)) or target.startswith(
            ("http://", "https://", "$scheme")
        ):
            return path, True
        for number in range(1, min(9, len(match.groups())) + 1):
            target = target.replace(f"${number}", match[number] or "")
        target = target.replace("$request_uri", path).replace("$uri", path)
        moved = target.partition("?")[0]
        if flag == ("break",):
            break  # it stays in this location, whatever it is called upstream
        path = moved
        if flag == ("last",):
            break
    return path, False
