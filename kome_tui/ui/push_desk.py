"""Where the keys `r`, `u` and escape meet a running push.

A push is started once per press: not while one runs, not by a held or pasted key, and after a
dialog only to the nodes that the dialog named. A press that turns out to be the first letter of a
word is taken back.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Protocol

from kome_tui.state import ConsoleState
from kome_tui.ui.background import in_background
from kome_tui.ui.held_key import HeldKey
from kome_tui.ui.ink import Line
from kome_tui.ui.present import push, release
from kome_tui.ui.screens.question import Question
from kome_tui.ui.session_api import SessionApi

if TYPE_CHECKING:
    from kome_tui.release.plan import NodePlan

PLAN_DEADLINE_S = 30.0
WORD_S = 0.25
"""A letter that follows the push key sooner makes it the beginning of a word."""
RUNS_ALREADY = "A push is running."


class Console(Protocol):
    """What the desk needs of the app."""

    @property
    def folded(self) -> ConsoleState:
        """The newest state, frozen view or not."""

    def ask(self, question: Question, answered: Callable[[bool | None], None]) -> None:
        """Open a dialog."""

    def note(self, words: str, severity: str = "information") -> None:
        """Say something in passing."""


class PushDesk:
    """Starts pushes, and asks before the unusual ones."""

    def __init__(
        self,
        console: Console,
        session: SessionApi,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._console = console
        self._session = session
        self._key = HeldKey(clock)
        self._clock = clock
        self._begun_at: float | None = None
        """When the key began the push that runs."""

    def redeploy(self, marked: frozenset[str]) -> None:
        """Push to the marked nodes, or to all; ask only where something is unusual."""
        if not self._key.is_new_press() or not self._may_change():
            return
        if self._is_being_read():
            return
        state = self._console.folded
        nodes = push.chosen(state, marked)
        asked = push.question(state, nodes)
        if asked is None:
            self._begun_at = self._clock()
            self._started(self._session.deploy(nodes))
            return
        reader = partial(self._diffs, asked.drifted) if asked.drifted else None
        dialog = Question(asked.title, asked.text, asked.yes, read_diff=reader)
        self._console.ask(dialog, partial(self._deploy, asked))

    def roll_back(self, marked: frozenset[str]) -> None:
        """Go back to the release before; always asks."""
        if not self._may_change():
            return
        state = self._console.folded
        asked = push.rollback_question(state, push.chosen(state, marked))
        reader = partial(self._ways_back, asked.nodes)
        dialog = Question(asked.title, asked.text, asked.yes, read_diff=reader)
        self._console.ask(dialog, partial(self._roll_back, asked))

    def went_on(self, with_a_letter: bool) -> None:
        """Another key came. A letter right after the push key: take that push back."""
        begun, self._begun_at = self._begun_at, None
        if with_a_letter and begun is not None and self._clock() - begun < WORD_S:
            self._session.stop_push()
            self._console.note("Typed too fast to be a command: the push is taken back.", "warning")

    def stop(self) -> bool:
        """Stop the running push. False: none runs."""
        if not self._console.folded.pushing:
            return False
        self._session.stop_push()
        self._console.note("Stopping the push: trials are taken back.", "warning")
        return True

    async def plan(self, nodes: tuple[str, ...]) -> Mapping[str, NodePlan]:
        """What a push would change. Raises KomeError, TimeoutError."""
        return await in_background(lambda: self._session.plan(nodes), PLAN_DEADLINE_S)

    def _is_being_read(self) -> bool:
        """The topology file was saved a moment ago: what it says is not known here yet."""
        if self._session.file_stamp() == self._console.folded.file_stamp:
            return False
        words = "The topology was saved a moment ago and is being read: press r again."
        self._console.note(words, "warning")
        return True

    def _may_change(self) -> bool:
        if self._console.folded.read_only:
            self._console.note("Read-only: nothing is changed from here.", "warning")
            return False
        if self._console.folded.pushing:
            self._console.note(RUNS_ALREADY)
            return False
        return True

    def _deploy(self, asked: push.PushQuestion, yes: bool | None) -> None:
        if yes and asked.nodes and self._may_change() and not self._is_being_read():
            accept = bool(asked.drifted)
            self._started(self._session.deploy(asked.nodes, accept_drift=accept))

    def _roll_back(self, asked: push.PushQuestion, yes: bool | None) -> None:
        if yes and self._may_change():
            accept = bool(asked.drifted)
            self._started(self._session.rollback(asked.nodes, accept_drift=accept))

    def _started(self, started: bool) -> None:
        if not started:
            self._console.note(RUNS_ALREADY)

    async def _ways_back(self, nodes: tuple[str, ...]) -> tuple[Line, ...]:
        ways = await in_background(lambda: self._session.ways_back(nodes), PLAN_DEADLINE_S)
        return push.ways_back(ways)

    async def _diffs(self, nodes: tuple[str, ...]) -> tuple[Line, ...]:
        plans = await self.plan(nodes)
        shown = ((*release.diff(node, plans.get(node)), ()) for node in nodes)
        return tuple(one for lines in shown for one in lines)
