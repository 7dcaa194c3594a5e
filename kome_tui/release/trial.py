"""One node's way from staged to committed: switch, prove from outside, confirm, or go back.

After the switch nothing may be assumed: whatever fails, the node is asked how it decided, and its
word is the outcome. A node that cannot be asked any more goes back by itself at its deadline.
"""

import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from kome_tui.errors import KomeError, NodeBusy, NodeRefused
from kome_tui.fleet.answers import Applied, Decided
from kome_tui.release.fleet_api import FleetApi, NodeApi, Report
from kome_tui.release.outcome import NodeOutcome, Outcome, Progress, Step
from kome_tui.signals.checks import check_http
from kome_tui.signals.dial import direct
from kome_tui.topology.grammar import seconds
from kome_tui.topology.model import Topology

MARKER = "/.kome/release"
ORIGINAL = "original"
"""What a node served before its first push; a node that was never pushed to has no live id."""
NO_MARKER = "-"
PROOF_TIMEOUT_S = 3.0
ASK_AGAIN_S = 0.5
STOPPED = "stopped by the operator"

Ending = tuple[Outcome, str | None, str | None]
"""Outcome, the release live at the end, and the reason."""

Switch = Callable[[NodeApi, str, float], Applied]
"""Starts a trial with a token and a time limit in seconds."""


@dataclass(frozen=True, slots=True)
class Trial:
    """A node about to be switched. `target` None: whatever the switch makes live."""

    node: str
    previous: str | None
    target: str | None
    switch: Switch
    drifted: bool = False
    """What it serves was changed by hand: the node keeps that under an id of its own."""


class Push:
    """What the trials of one push share."""

    def __init__(
        self, topology: Topology, fleet: FleetApi, report: Report, stop: threading.Event
    ) -> None:
        self.topology = topology
        self.fleet = fleet
        self.report = report
        self.stop = stop
        self.trial_s = seconds(topology.push.trial)

    def say(self, node: str, step: Step, text: str, outcome: Outcome | None = None) -> None:
        """Report one step of one node."""
        self.report(Progress(node, step, text, outcome))

    def run(self, trial: Trial) -> NodeOutcome:
        """Switch one node and see it through to an outcome. Never raises KomeError."""
        started = time.monotonic()
        token = secrets.token_hex(8)
        try:
            outcome, live, reason = self._attempt(trial, token)
        except (NodeBusy, NodeRefused) as error:
            outcome, live, reason = self._refused(trial, token, error)
        except KomeError as error:
            outcome, live, reason = self._ask_how_it_ended(trial, token, str(error))
        except Exception as error:  # noqa: BLE001 - a node under trial must be taken back, and reported
            said = f"internal error: {type(error).__name__}: {error}"
            outcome, live, reason = self._ask_how_it_ended(trial, token, said)
        self.say(trial.node, "done", reason or outcome, outcome)
        took = time.monotonic() - started
        return NodeOutcome(outcome, live, trial.previous, took, reason)

    def _attempt(self, trial: Trial, token: str) -> Ending:
        client = self.fleet.node(trial.node)
        self.say(trial.node, "switch", "switching, then proving from inside")
        applied = trial.switch(client, token, self.trial_s)
        if not applied.on_trial:
            why = applied.reason or "no reason given"
            return _taken_back(trial, applied.live, applied.degraded, why)
        self.say(trial.node, "prove", "proving from outside")
        wrong = STOPPED if self.stop.is_set() else self._proof(trial, applied)
        try:
            if wrong is not None:
                self.say(trial.node, "rollback", wrong)
                return _decided(trial, client.cancel(token), wrong)
            self.say(trial.node, "confirm", "confirming")
            return _decided(trial, client.confirm(token), None)
        except (NodeBusy, NodeRefused) as error:
            # It was on trial, so this is no refusal of the push: the node has gone back already.
            return self._ask_how_it_ended(trial, token, str(error))

    def _proof(self, trial: Trial, applied: Applied) -> str | None:
        """Why the node does not serve its release as seen from here; None: it does."""
        target = applied.shows or trial.target or applied.live
        if target in (None, ORIGINAL, NO_MARKER):
            return None  # it has no marker; the node itself compared its answer with the one before
        endpoint = self.topology.http_of(trial.node)
        check = check_http(endpoint, MARKER, direct, PROOF_TIMEOUT_S)
        if check.state == "down":
            check = check_http(
                endpoint,
                MARKER,
                lambda at, timeout_s: self.fleet.open_tcp(trial.node, at, timeout_s),
                PROOF_TIMEOUT_S,
            )
        if check.status is None:
            return f"{endpoint} does not answer from outside: {check.reason}"
        seen = check.detail.get("body", "").strip()
        if check.status != 200 or seen != target:
            return f"{endpoint}{MARKER} answers {check.status} {seen!r}, expected {target}"
        return None

    def _refused(self, trial: Trial, token: str, error: NodeBusy | NodeRefused) -> Ending:
        """Nothing was begun; after a failure the node is asked, for a trial may be open there."""
        if isinstance(error, NodeRefused) and error.failed:
            try:
                return _decided(trial, self.fleet.node(trial.node).cancel(token), str(error))
            except KomeError as answer:
                if not _knows_no_trial(answer):
                    return self._ask_how_it_ended(trial, token, str(error))
        return "refused", trial.previous, str(error)

    def _ask_how_it_ended(self, trial: Trial, token: str, why: str) -> Ending:
        """Ask a node that we lost how it decided, until its own deadline has passed.

        `cancel` takes a trial back, and tells the decision where one was made already.
        """
        self.say(trial.node, "rollback", f"{why}; asking the node how it stands")
        deadline = time.monotonic() + self.trial_s + 5.0
        while True:
            try:
                return _decided(trial, self.fleet.node(trial.node).cancel(token), why)
            except KomeError as error:  # not only the node: our own ssh may have stopped to work
                if _knows_no_trial(error):
                    return self._as_it_stands(trial, why)
                if time.monotonic() > deadline:
                    lost = f"{why}; it cannot be asked ({error.what}) and goes back by itself"
                    return "unreachable", None, lost
            time.sleep(ASK_AGAIN_S)

    def _as_it_stands(self, trial: Trial, why: str) -> Ending:
        """The node does not know our token: the switch never began there."""
        try:
            live = self.fleet.node(trial.node).status().live
        except KomeError as error:
            return "unreachable", None, f"{why}; {error.what}"
        return _taken_back(trial, live, False, why)


def _knows_no_trial(error: KomeError) -> bool:
    """The node's own word on `cancel`; where it failed, or its sshd refused, a trial may run."""
    return isinstance(error, NodeRefused) and error.verb == "cancel" and not error.failed


def _decided(trial: Trial, decided: Decided, why: str | None) -> Ending:
    if decided.decision == "confirmed" and not decided.degraded:
        return "committed", decided.live, None
    reason = why or decided.reason or "the trial ran out"
    return _taken_back(trial, decided.live, decided.degraded, reason)


def _taken_back(trial: Trial, live: str | None, degraded: bool, reason: str) -> Ending:
    as_before = (
        live == trial.previous
        or (trial.previous is None and live == ORIGINAL)
        or trial.drifted  # the node kept it under an id of its own, which may be the target's
    )
    return ("rolled-back" if as_before and not degraded else "degraded"), live, reason
