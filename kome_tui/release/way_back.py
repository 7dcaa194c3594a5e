"""Proves the way back on hosts that serve something else, before anything is kept.

The first release is switched on for a trial and taken back; the node itself proves that it then
answers as before. Wave by wave, as a push: the first failure leaves the later hosts alone.
"""

import secrets
import threading
import time
from collections.abc import Sequence

from kome_tui.errors import KomeError, NodeBusy, NodeRefused
from kome_tui.nginx.render import render_release
from kome_tui.release.engine import at_once, ended
from kome_tui.release.fleet_api import FleetApi, Report
from kome_tui.release.outcome import NodeOutcome, Outcome, Progress
from kome_tui.release.trial import ORIGINAL
from kome_tui.release.waves import waves
from kome_tui.topology.grammar import seconds
from kome_tui.topology.model import Topology


def prove_way_back(
    topology: Topology,
    fleet: FleetApi,
    names: Sequence[str],
    *,
    report: Report,
    stop: threading.Event,
) -> dict[str, NodeOutcome]:
    """Rehearse on each of `names`; the outcomes of those that it was not proved on."""
    outcomes: dict[str, NodeOutcome] = {}
    halted: str | None = None
    for wave in waves(topology, names):
        if stop.is_set():
            halted = halted or "stopped by the operator"
        if halted is not None:
            outcomes |= {name: ended("untouched", None, halted) for name in wave}
            continue
        seen = at_once(wave, lambda name: _rehearse(topology, fleet, name, report))
        bad = {name: how for name, how in seen.items() if how is not None}
        outcomes |= bad
        if bad:
            halted = f"the way back was not proved on {', '.join(bad)}"
    for name, how in outcomes.items():
        report(Progress(name, "done", how.reason or how.outcome, how.outcome))
    return outcomes


def _rehearse(topology: Topology, fleet: FleetApi, name: str, report: Report) -> NodeOutcome | None:
    """None: proved. A host that cannot be asked in the middle goes back by itself."""
    began = time.monotonic()
    report(Progress(name, "prove", "trying the way back to what it serves now"))
    release = render_release(topology, name)
    client = fleet.node(name)
    token = secrets.token_hex(8)
    try:
        staged = client.stage(release.id, release.conf.encode())
        if staged.live not in (None, ORIGINAL):
            return None
        applied = client.apply(release.id, token, seconds(topology.push.trial))
        if not applied.on_trial:
            outcome: Outcome = "degraded" if applied.degraded else "rolled-back"
            how = ended(outcome, applied.live, applied.reason)
        else:
            decided = client.cancel(token)
            if decided.decision == "rolled-back" and not decided.degraded:
                report(Progress(name, "prove", "the way back is proved: it answers as before"))
                return None
            how = ended("degraded", decided.live, decided.reason or "it did not go back")
    except (NodeBusy, NodeRefused) as error:
        how = ended("refused", None, str(error))
    except KomeError as error:  # of the host, or of our own ssh, which then reaches no host
        how = ended("unreachable", None, f"{error}; it goes back by itself")
    finally:
        client.hang_up()
    return NodeOutcome(how.outcome, how.release, None, time.monotonic() - began, how.reason)
