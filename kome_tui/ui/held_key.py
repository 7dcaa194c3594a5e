"""Tells a new press of a key from one that is held down or pasted."""

from collections.abc import Callable

QUIET_S = 1.5
"""Longer than the slowest usual delay before a held key repeats."""


class HeldKey:
    """Lets a press through only after a quiet time; every press starts the time again."""

    def __init__(self, clock: Callable[[], float], quiet_s: float = QUIET_S) -> None:
        self._clock = clock
        self._quiet_s = quiet_s
        self._last: float | None = None

    def is_new_press(self) -> bool:
        """True for the first press, False for those that follow closely."""
        now = self._clock()
        last, self._last = self._last, now
        return last is None or now - last >= self._quiet_s
