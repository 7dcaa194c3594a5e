"""Regular expressions of a stranger's file, tried on short samples without ever hanging.

PCRE has more than Python's re: what cannot be read, or could take long, matches nothing.
"""

import re
from functools import lru_cache

_MAX_STEPS = 1_000_000
_SAMPLE = 32
_MAX_WORDS = 64
_ENDINGS = (".*$", ".*", ".+$", ".+")


@lru_cache(maxsize=32768)
def compiled(pattern: str, ignore_case: bool = False) -> re.Pattern[str] | None:
    """The expression, or None where it cannot be read or may be slow."""
    if not _is_quick(pattern):
        return None
    try:
        return re.compile(
            re.sub(r"\(\?<(?=\w)", "(?P<", pattern), re.IGNORECASE if ignore_case else 0
        )
    except (re.error, OverflowError, RecursionError):
        return None


def _is_quick(pattern: str) -> bool:
    """Whether a sample takes at most about _MAX_STEPS: choices multiply, and so do repeats.

    An upper bound: the product of the groups' choices is largest where they are equal.
    """
    if len(pattern) > 2000 or re.search(
        r"[*+}?]\??\)[*+{]|\)[*+{].*\)[*+{]|\)[*+{].*\\\d", pattern
    ):
        return False
    groups = pattern.count("(") + 1
    choices = (pattern.count("|") + groups) / groups
    repeats = len(re.findall(r"[*+}]", pattern))
    optional = pattern.count("?")
    if groups > 100 or repeats > 10 or optional > 30:
        return False
    return bool(choices**groups * _SAMPLE**repeats * 2**optional <= _MAX_STEPS)


def without_boundary(pattern: str) -> str | None:
    """A path that `^/(v1|run)` matches and was hardly meant, `/v1abc`; None where there is none.

    Only expressions that start at `^/` and spell all their words out are judged.
    """
    for ending in _ENDINGS:
        if pattern.endswith(ending) and not pattern.endswith(f"\\{ending}"):
            pattern = pattern.removesuffix(ending)
            break
    expression = compiled(pattern)
    if expression is None or not pattern.startswith("^/"):
        return None
    for path in _spelled(pattern[1:]) or ():
        longer = f"{path}abc"
        if path[-1:].isalnum() and expression.search(path) and expression.search(longer):
            return longer
    return None


def _spelled(pattern: str) -> list[str] | None:
    """Every text that a pattern of words, groups and `?` stands for, or None for any other."""
    found, rest = _alternatives(pattern)
    return found if found is not None and not rest else None


def _alternatives(pattern: str) -> tuple[list[str] | None, str]:
    every: list[str] = []
    current = [""]
    while pattern and pattern[0] != ")":
        char, pattern = pattern[0], pattern[1:]
        piece: list[str] | None
        if char == "|":
            every, current = every + current, [""]
            continue
        if char == "(":
            pattern = pattern.removeprefix("?:")
            if pattern.startswith("?"):
                return None, ""
            piece, pattern = _alternatives(pattern)
            if piece is None or not pattern:
                return None, ""
            pattern = pattern[1:]
        elif char == "\\":
            if not pattern or pattern[0].isalnum():
                return None, ""
            piece, pattern = [pattern[0]], pattern[1:]
        elif char in ".[]{}*+?^$":
            return None, ""
        else:
            piece = [char]
        if pattern.startswith("?"):
            piece, pattern = [*piece, ""], pattern[1:]
        current = [text + more for text in current for more in piece]
        if len(current) + len(every) > _MAX_WORDS:
            return None, ""
    return every + current, pattern
