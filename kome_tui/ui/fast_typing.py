"""Tells a command key from a letter of somebody's words.

Words typed where no input line is open run as commands, and `please try` must not push. So a key
that changes the fleet or ends the console does not count within TYPING_S of another letter. One
deliberate press still acts at once: waiting for what follows it would be felt.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

TYPING_S = 0.4
"""Letters of a word follow each other faster; two commands that were thought about do not."""
GUARDED = frozenset({"r", "u", "o", "q"})


@dataclass(frozen=True, slots=True)
class _Press:
    key: str
    at: float
    counted: bool


class FastTyping:
    """Follows every key that is pressed."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._last: _Press | None = None

    def counts(self, key: str, character: str | None, is_input: bool) -> bool:
        """Whether the press may run its command. `is_input`: it is written somewhere, or answers.

        Digits and space go with commands (`2` `r`, `space` `r`): they begin no typing, and only go
        on with it. Enter, arrows and the like end it. A key that is held down is no typing either:
        see held_key.py.
        """
        now, last = self._clock(), self._last
        is_typing = last is not None and now - last.at < TYPING_S
        if not is_letter(character):
            goes_on = is_typing and character is not None and _goes_with_commands(character)
            self._last = replace(last, at=now) if goes_on and last is not None else None
            return True
        is_held = last is not None and last.key == key and last.counted
        counted = is_input or key not in GUARDED or not is_typing or is_held
        self._last = _Press(key, now, counted)
        return counted


def is_letter(character: str | None) -> bool:
    """Whether a key writes something that could belong to a word or a command like `/q`."""
    return character is not None and character.isprintable() and not _goes_with_commands(character)


def _goes_with_commands(character: str) -> bool:
    return character.isdigit() or character == " "
