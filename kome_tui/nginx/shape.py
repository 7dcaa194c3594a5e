"""The last look at a rendered file: its tree must be the one its template makes of neutral values.

Grammar and finalizer have refused by then whatever is more than a word. This check does not depend
on them: it reads the finished file as nginx would, so a gap in either shows as a directive,
argument or block that the template does not have.
"""

import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from functools import lru_cache
from itertools import chain, zip_longest
from typing import Any

from kome_tui.errors import RenderError
from kome_tui.nginx.conf_tree import Block, Directive, Unreadable, parse_conf
from kome_tui.nginx.context import OUR_TEXTS, Context
from kome_tui.text import CELL_LIMIT, clean

NEUTRAL = "NEUTRAL"
"""Stands in for every text of a topology; no template has it."""

# What nginx reads as part of one word: nothing that ends a word, a quote, a block or a line.
_ONE_WORD = r"""[^\s;{}#"'\\$]+"""


def neutral(context: Context) -> Context:
    """The same node with neutral values: as many of everything, and every text a harmless word.

    Numbers, yes and no, and None stay: they hold no text, and templates choose by them.
    """
    made: Context = _neutral(context)
    return replace(made, role=context.role)


def check_shape(text: str, neutral_text: str, node: str) -> None:
    """Compare a rendered file with what its template makes of neutral values.

    Same directives, same nesting, same number of arguments, the template's own words unchanged, and
    no line more, not even of comments.
    Raises RenderError, which names node, line and directive, for the first that differs.
    """
    difference = _difference(text, neutral_text)
    if difference is not None:
        raise RenderError(
            f"the rendered file differs in structure from its template: {difference}",
            where=f"node {node}",
            hint="nothing was staged; please report this, with the topology",
        )


# A plan, the push after it and the console's wanted ids render the same files again.
@lru_cache(maxsize=64)
def _difference(text: str, neutral_text: str) -> str | None:
    try:
        found = parse_conf(text)
    except Unreadable as error:
        return f"line {error.line}: {clean(str(error), CELL_LIMIT)}"
    in_tree = _differences(found, _template_tree(neutral_text))
    return next(chain(in_tree, _other_lines(text, neutral_text)), None)


@lru_cache(maxsize=16)
def _template_tree(neutral_text: str) -> Block:
    return parse_conf(neutral_text)


def _neutral(value: Any) -> Any:
    match value:
        case str():
            return value if value in OUR_TEXTS else NEUTRAL
        case tuple():
            return tuple(map(_neutral, value))
        case _ if is_dataclass(value) and not isinstance(value, type):
            parts = {part.name: _neutral(getattr(value, part.name)) for part in fields(value)}
            return replace(value, **parts)
        case _:
            return value


def _differences(found: Block, wanted: Block) -> Iterator[str]:
    """What stands in `found` and not in `wanted`, or the other way round."""
    for mine, theirs in zip_longest(found.own, wanted.own):
        if mine is None or theirs is None or not _same(mine, theirs):
            yield _told(mine, theirs, found)
    for inner, its in zip_longest(found.blocks, wanted.blocks):
        if inner is None or its is None:
            yield _told(inner.head if inner else None, its.head if its else None, found)
            return
        if not _same(inner.head, its.head):
            yield _told(inner.head, its.head, found)
        yield from _differences(inner, its)


def _other_lines(text: str, neutral_text: str) -> Iterator[str]:
    lines = zip_longest(text.split("\n"), neutral_text.split("\n"))
    for number, (mine, theirs) in enumerate(lines, 1):
        if mine is None or theirs is None or not _fills(mine, theirs):
            yield f"line {number} is `{clean(mine or '', 100)}`, `{clean(theirs or '', 100)}` there"


def _same(mine: Directive, theirs: Directive) -> bool:
    if len(mine.args) != len(theirs.args):
        return False
    words = zip((mine.name, *mine.args), (theirs.name, *theirs.args), strict=True)
    return all(_fills(word, model) for word, model in words)


def _fills(text: str, model: str) -> bool:
    """Whether `text` is the template's own, but for one word in each neutral one's place."""
    return text == model or (NEUTRAL in model and _filled(model).fullmatch(text) is not None)


@lru_cache(maxsize=512)
def _filled(model: str) -> re.Pattern[str]:
    return re.compile(re.escape(model).replace(NEUTRAL, _ONE_WORD))


def _told(mine: Directive | None, theirs: Directive | None, where: Block) -> str:
    line = mine.line if mine else where.head.line
    seen = f"`{_shown(mine)}`" if mine else "nothing more"
    wanted = f"`{_shown(theirs)}`" if theirs else "nothing more"
    inside = clean(where.label(), 60)
    return f"line {line} has {seen} in {inside}, where the template has {wanted}"


def _shown(directive: Directive) -> str:
    return clean(" ".join((directive.name, *directive.args)), 100)
