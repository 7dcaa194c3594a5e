"""The checks of one round: what to ask, from where, and all of them at the same time.

A round's events are taken together. Told one by one, OKOME going down would look for a moment like
a partition: down from the frontend and still up from the laptop.
"""

import queue
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from kome_tui.errors import FleetError, ForwardFailed, ForwardForbidden
from kome_tui.reading import Missing, Reading
from kome_tui.session.fleet_api import FleetApi
from kome_tui.session.threads import spawn
from kome_tui.signals.checks import check_http, check_upstream
from kome_tui.signals.dial import Dial, OnlyReached, Socket, direct
from kome_tui.signals.readings import Check
from kome_tui.state import Event, HealthSeen, ServiceSeen, UpstreamSeen
from kome_tui.topology.model import Endpoint, Topology, UpstreamName
from kome_tui.triage.model import OPERATOR

CHECK_S = 2.0
HEALTH_PATH = "/.kome/health"
API_PATH = "/v1/models"


@dataclass(frozen=True, slots=True)
class Look:
    """One check: `ask` blocks for at most about CHECK_S; `event` tells how it went."""

    name: str
    ask: Callable[[], Check]
    event: Callable[[Reading[Check]], Event]


def operator_looks(topology: Topology) -> tuple[Look, ...]:
    """All that this laptop can see by itself."""
    return (
        *(_health(name, topology.http_of(name)) for name in topology.nodes),
        *(_upstream(topology, upstream, OPERATOR, direct) for upstream in UpstreamName),
        *_services(topology),
    )


def frontend_looks(topology: Topology, fleet: FleetApi) -> tuple[Look, ...]:
    """The upstreams as the frontend sees them, through its SSH connection."""
    name = topology.frontend

    def dial(endpoint: Endpoint, timeout_s: float) -> Socket:
        return dial_from(fleet, name, endpoint, timeout_s)

    return tuple(_upstream(topology, upstream, name, dial) for upstream in UpstreamName)


def dial_from(fleet: FleetApi, name: str, endpoint: Endpoint, timeout_s: float) -> Socket:
    """Connect from a node; where its sshd forbids that, let the node itself try.

    Raises what Dial says, and OnlyReached where the node could connect by itself. Where neither
    works it is ForwardForbidden: the vantage point cannot look, which says nothing of the service.
    """
    try:
        return fleet.open_tcp(name, endpoint, timeout_s)
    except ForwardForbidden as forbidden:
        try:
            reached = fleet.admin(name).reach(endpoint, timeout_s)
        except FleetError:
            raise forbidden from None
    if reached.result == "ok":
        raise OnlyReached(endpoint, reached.ms)
    raise ForwardFailed(name, str(endpoint), reached.result.replace("-", " "))


def no_frontend_looks(topology: Topology, why: str, at: float) -> tuple[Event, ...]:
    """What stands in for the frontend's looks while it cannot be asked."""
    gone: Reading[Check] = Reading(Missing(why), at)
    return tuple(UpstreamSeen(upstream, topology.frontend, gone) for upstream in UpstreamName)


def _health(node: str, endpoint: Endpoint) -> Look:
    return Look(
        f"health of {node}",
        lambda: check_http(endpoint, HEALTH_PATH, direct, CHECK_S),
        lambda reading: HealthSeen(node, reading),
    )


def _upstream(topology: Topology, upstream: UpstreamName, vantage: str, dial: Dial) -> Look:
    seen_from = None if vantage == OPERATOR else vantage
    return Look(
        f"{upstream.value} from {vantage}",
        lambda: check_upstream(topology, upstream, dial, seen_from, CHECK_S),
        lambda reading: UpstreamSeen(upstream, vantage, reading),
    )


def _services(topology: Topology) -> tuple[Look, ...]:
    frontend = topology.http_of(topology.frontend)
    okome = topology.endpoint(UpstreamName.OKOME)
    return (
        Look(
            "page",
            lambda: check_http(frontend, "/", direct, CHECK_S),
            lambda reading: ServiceSeen("page", reading),
        ),
        Look(
            "api",
            lambda: check_http(frontend, API_PATH, direct, CHECK_S),
            lambda reading: ServiceSeen("api", reading),
        ),
        Look(
            "way around",
            lambda: check_http(okome, "/", direct, CHECK_S),
            lambda reading: ServiceSeen("way_around", reading),
        ),
    )


class Round:
    """Runs looks at the same time, again and again, with at most one thread for each of them."""

    def __init__(self, clock: Callable[[], float], on_error: Callable[[str], None]) -> None:
        self._clock = clock
        self._on_error = on_error
        self._running: dict[str, threading.Thread] = {}

    @property
    def threads(self) -> tuple[threading.Thread, ...]:
        """Those of the last rounds that may still run."""
        return tuple(self._running.values())

    def run(self, looks: Iterable[Look], limit_s: float) -> tuple[Event, ...]:
        """The events of all looks, in their order, after `limit_s` seconds at most."""
        asked = {look.name: look for look in looks}
        answers: queue.SimpleQueue[tuple[str, Reading[Check]]] = queue.SimpleQueue()
        began = self._clock()
        fresh = [look for look in asked.values() if not self._still_runs(look.name)]
        for look in fresh:
            self._running[look.name] = self._start(look, answers)
        got = _gathered(answers, len(fresh), time.monotonic() + limit_s)
        late: Reading[Check] = Reading(Missing(f"no answer within {limit_s:g} s"), began)
        return tuple(look.event(got.get(name, late)) for name, look in asked.items())

    def _still_runs(self, name: str) -> bool:
        thread = self._running.get(name)
        return thread is not None and thread.is_alive()

    def _start(
        self, look: Look, answers: "queue.SimpleQueue[tuple[str, Reading[Check]]]"
    ) -> threading.Thread:
        at = self._clock()

        def work() -> None:
            answers.put((look.name, Reading(look.ask(), at)))

        def failed(words: str) -> None:
            self._on_error(words)
            answers.put((look.name, Reading(Missing(words), at)))

        return spawn(f"look-{look.name}", work, failed)


def _gathered(
    answers: "queue.SimpleQueue[tuple[str, Reading[Check]]]", expected: int, deadline: float
) -> Mapping[str, Reading[Check]]:
    got: dict[str, Reading[Check]] = {}
    while len(got) < expected:
        try:
            name, reading = answers.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            break
        got[name] = reading
    return got
