"""The way out of the console: it asks while a push runs, and ends the session first.

The question goes away by itself when the push has ended: what it says is not true any more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kome_tui.ui.background import in_background
from kome_tui.ui.present import push
from kome_tui.ui.screens.question import Question

if TYPE_CHECKING:
    from kome_tui.ui.app import KomeApp

STOP_DEADLINE_S = 10.0
"""The session takes its trials back and ends its threads in this time."""


class Leaving:
    """Leaves once."""

    def __init__(self, app: KomeApp) -> None:
        self._app = app
        self._question: Question | None = None
        self._begun = False

    def wanted(self) -> None:
        """Leave; ask while a push runs. A dialog that is open takes the key."""
        if self._begun or isinstance(self._app.screen, Question):
            return
        if not self._app.folded.pushing:
            self._answered(True)
            return
        asked = push.leave_question()
        self._question = Question(asked.title, asked.text, asked.yes, "Stay")
        self._app.ask(self._question, self._answered)

    def push_ended(self) -> None:
        """Take the question away, if it is open."""
        if self._question is not None and self._app.screen is self._question:
            self._question.answer(False)
        self._question = None

    def _answered(self, yes: bool | None) -> None:
        if yes and not self._begun:
            self._begun = True
            self._app.run_worker(self._stop_and_exit(), group="leave", exit_on_error=False)

    async def _stop_and_exit(self) -> None:
        try:
            await in_background(self._app.session.stop, STOP_DEADLINE_S)
        except TimeoutError:
            self._app.log.warning("the session did not stop in time")
        finally:
            self._app.exit()
