"""Turns what pydantic says about a value into a plain sentence at the right place of the file.

A kind of error that is not known here still becomes a sentence: no type name, no foreign wording.
"""

import difflib
import re
from collections.abc import Iterable

from pydantic_core import ErrorDetails

from kome_tui.text import clean
from kome_tui.topology.document import Document, Keys, Place, path_text
from kome_tui.topology.schema import allowed_keys, may_be_none

_KEY = "[key]"
_GROUPS = frozenset({"model_type", "model_attributes_type", "mapping_type", "dict_type"})
_LISTS = frozenset({"tuple_type", "list_type"})
_CHOICES = frozenset({"enum", "literal_error"})


def explain(error: ErrorDetails, document: Document) -> tuple[Place, Keys, str]:
    """Where `error` stands, the path of the value, and the sentence."""
    path: Keys = error["loc"]
    kind = error["type"]
    if kind == "missing":
        return document.at_key(path[:-1]), path, _missing(path)
    if kind == "extra_forbidden":
        return document.at_key(path), path, _unknown(path)
    if path and path[-1] == _KEY:
        return document.at_key(path[:-1]), path[:-1], _bad_name(path[:-1], error)
    return document.at_value(path), path, _bad_value(path, error)


def nearest(word: str, allowed: Iterable[str]) -> str:
    """`did you mean X; `, or nothing where no allowed word is near."""
    near = difflib.get_close_matches(word[:64].lower(), list(allowed), 1)
    return f"did you mean {near[0]}; " if near else ""


def _missing(path: Keys) -> str:
    return f"{_place_name(path[:-1])} has no {path[-1]}; it must be given"


def _unknown(path: Keys) -> str:
    allowed = allowed_keys(path[:-1])
    where = f" in {path_text(path[:-1])}" if path[1:] else ""
    near = nearest(str(path[-1]), allowed)
    return f"unknown key {_shown(path[-1])}{where}; {near}allowed are {', '.join(allowed)}"


def _bad_name(path: Keys, error: ErrorDetails) -> str:
    where = path_text(path[:-1])
    return f"the name {_shown(path[-1])} in {where}: {_allowed(path[:-1], error)}"


def _bad_value(path: Keys, error: ErrorDetails) -> str:
    none = ", or none" if may_be_none(path) else ""
    return f"{_place_name(path)} is {_shown(error['input'])}; {_allowed(path, error)}{none}"


def _allowed(path: Keys, error: ErrorDetails) -> str:
    kind = error["type"]
    context = error.get("ctx", {})
    if kind == "value_error":
        return str(context["error"])
    if kind in _CHOICES:
        words = re.findall(r"'([^']*)'", context["expected"])
        choice = f"{', '.join(words[:-1])} or {words[-1]}"
        return f"{nearest(str(error['input']), words)}allowed is {choice}"
    if kind in _GROUPS:
        keys = allowed_keys(path)
        return f"allowed are keys with values: {', '.join(keys) or 'name: value'}"
    if kind in _LISTS:
        return "allowed is a list, such as [a, b]"
    return "that is not allowed here"


def _place_name(path: Keys) -> str:
    return path_text(path) or "the file"


def _shown(value: object) -> str:
    match value:
        case "":
            return "empty"
        case str():
            return f'"{clean(value, 60)}"'
        case dict():
            return "a group of keys"
        case list():
            return "a list"
        case _:
            return clean(str(value), 60)
