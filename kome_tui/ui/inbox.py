"""Where the session's threads leave their events for the app."""

from collections import deque
from collections.abc import Callable

from kome_tui.state import Event


class Inbox:
    """Keeps events in order, and rings once for all that came since they were last taken."""

    def __init__(self, ring: Callable[[], object]) -> None:
        self._ring = ring
        self._events: deque[Event] = deque()
        self._rung = False

    def put(self, event: Event) -> None:
        """Add an event. Any thread."""
        self._events.append(event)
        if not self._rung:
            self._rung = True
            self._ring()

    def take(self) -> list[Event]:
        """All events that wait, oldest first. The app's thread only."""
        self._rung = False  # before taking: what comes from here on rings again
        taken: list[Event] = []
        while self._events:
            taken.append(self._events.popleft())
        return taken
