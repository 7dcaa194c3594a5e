"""Runs a push: first what changes nothing on all nodes, then the switches in waves.

A refusal in the first part changes nothing anywhere. Every node is reported, whatever happens to
the others.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar

from kome_tui.errors import KomeError, NodeBusy, NodeRefused, NotSetUp
from kome_tui.release.outcome import NodeOutcome, Outcome, PushReport, PushResult
from kome_tui.release.trial import STOPPED, Push, Trial
from kome_tui.release.waves import waves

T = TypeVar("T")

MOST_AT_ONCE = 64
# Threads stay once they were needed: starting eleven took half of a push that changes nothing.
_workers = ThreadPoolExecutor(MOST_AT_ONCE, "push")

Prepare = Callable[[str], Trial | NodeOutcome]
"""Asks one node, changes nothing: a Trial to run, or how the node ended already.

May raise KomeError: NodeBusy, NodeRefused and NotSetUp refuse the push, any other skips the node.
"""


def run_push(push: Push, names: Sequence[str], prepare: Prepare) -> PushReport:
    """Prepare all of `names` at once, then switch those that need it in waves."""
    started = time.monotonic()
    try:
        outcomes = _outcomes(push, names, prepare)
    finally:
        for name in names:
            push.fleet.node(name).hang_up()
    ordered = {name: outcomes[name] for name in names}
    return PushReport(_result(ordered.values()), time.monotonic() - started, ordered)


def _outcomes(push: Push, names: Sequence[str], prepare: Prepare) -> dict[str, NodeOutcome]:
    prepared = at_once(names, lambda name: _prepared(push, name, prepare))
    outcomes = {name: seen for name, seen in prepared.items() if isinstance(seen, NodeOutcome)}
    trials = {name: seen for name, seen in prepared.items() if isinstance(seen, Trial)}
    refused = [name for name, seen in outcomes.items() if seen.outcome == "refused"]
    if refused:
        why = f"nothing was changed, since {', '.join(refused)} refused"
        outcomes |= {name: _untouched(push, trial, why) for name, trial in trials.items()}
    else:
        outcomes |= _run_waves(push, trials)
    return outcomes


def ended(outcome: Outcome, live: str | None, reason: str | None) -> NodeOutcome:
    """The outcome of a node that is not to be switched."""
    return NodeOutcome(outcome, live, live, 0.0, reason)


def at_once(names: Iterable[str], work: Callable[[str], T]) -> dict[str, T]:
    """Do `work` for all names at the same time; results in the order of the names.

    An error of one is raised once all have ended. `work` may not do work at once itself.
    """
    begun = [(name, _workers.submit(work, name)) for name in names]
    wait([job for _, job in begun])
    return {name: job.result() for name, job in begun}


def _prepared(push: Push, name: str, prepare: Prepare) -> Trial | NodeOutcome:
    started = time.monotonic()
    try:
        seen = prepare(name)
    except (NodeBusy, NodeRefused) as error:
        seen = ended("refused", _live(push, name), str(error))
    except NotSetUp as error:
        seen = ended("refused", None, str(error))
    except KomeError as error:  # of the node, or of our own ssh, which then reaches no node
        seen = ended("unreachable", None, str(error))
    if isinstance(seen, Trial):
        push.say(name, "wait", "ready, waits for its wave")
        return seen
    push.say(name, "done", seen.reason or seen.outcome, seen.outcome)
    took = time.monotonic() - started
    return NodeOutcome(seen.outcome, seen.release, seen.previous, took, seen.reason)


def _live(push: Push, name: str) -> str | None:
    """What a node that has refused goes on serving; None where it does not say."""
    try:
        return push.fleet.node(name).status().live
    except KomeError:
        return None


def _run_waves(push: Push, trials: Mapping[str, Trial]) -> dict[str, NodeOutcome]:
    """Switch wave by wave. The first failure, or the operator, stops the waves."""
    outcomes: dict[str, NodeOutcome] = {}
    halted: str | None = None
    for wave in waves(push.topology, trials):
        if halted is None and push.stop.is_set():
            halted = STOPPED
        if halted is not None:
            outcomes |= {name: _untouched(push, trials[name], halted) for name in wave}
            continue
        outcomes |= at_once(wave, lambda name: push.run(trials[name]))
        bad = [name for name in wave if outcomes[name].outcome != "committed"]
        if bad:
            halted = STOPPED if push.stop.is_set() else f"the push stopped after {', '.join(bad)}"
    return outcomes


def _untouched(push: Push, trial: Trial, why: str) -> NodeOutcome:
    push.say(trial.node, "done", why, "untouched")
    return ended("untouched", trial.previous, why)


def _result(outcomes: Iterable[NodeOutcome]) -> PushResult:
    kinds = {outcome.outcome for outcome in outcomes}
    if kinds <= {"committed", "unchanged"}:
        return "ok"
    if "refused" in kinds and kinds <= {"refused", "untouched", "unchanged", "unreachable"}:
        return "refused"
    return "failed"
