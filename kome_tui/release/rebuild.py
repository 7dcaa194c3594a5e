"""rebuild: a host with only sshd and sudo becomes a serving, verified node.

Every step may be repeated, so a run that was cut short is finished by the next one. What could lock
the operator out is on trial until a login as the node's own user has confirmed it.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import TracebackType

from kome_tui.errors import (
    FleetError,
    HostKeyChanged,
    HostKeyUnknown,
    NodeBusy,
    NodeRefused,
    RefusedError,
)
from kome_tui.fleet.answers import NodeStatus
from kome_tui.fleet.bootstrap import Bootstrap, HostState, SudoDenied
from kome_tui.fleet.fleet import Fleet
from kome_tui.release import set_up
from kome_tui.release.deploy import deploy
from kome_tui.release.engine import at_once, ended
from kome_tui.release.fleet_api import Report
from kome_tui.release.outcome import NodeOutcome, Outcome, Progress, PushReport, PushResult
from kome_tui.release.set_up import Choices, Stopped
from kome_tui.release.way_back import prove_way_back
from kome_tui.signals.checks import check_http
from kome_tui.signals.dial import direct
from kome_tui.topology.model import Topology

PASSWORD_TRIES = 3
HEALTH = "/.kome/health"
PORT_S = 2.0

OpenFleet = Callable[[Topology], Fleet]
AskPassword = Callable[[tuple[str, ...], bool], str]
"""(nodes, again) -> the password that sudo wants there; `again`: it does not take the one before.
Raises RefusedError where nobody can be asked."""


@dataclass(frozen=True, slots=True)
class Found:
    """A host before anything is changed."""

    node: str
    status: NodeStatus | None
    """None: it is no node yet, or its user cannot log in."""
    bootstrap: Bootstrap | None
    """None: what is there is enough, and no root by sudo is needed."""
    host: HostState | None

    @property
    def serves_something_else(self) -> bool:
        """Its port answers, and not from a release of ours."""
        return self.host is not None and self.host.page is not None and self.host.live is None


class Rebuild:
    """One run. A context manager: look() at the hosts, ask the operator, then run()."""

    def __init__(self, topology: Topology, open_fleet: OpenFleet, choices: Choices) -> None:
        self._topology = topology
        self._open_fleet = open_fleet
        self._choices = choices
        self._fleet = open_fleet(topology)
        user = choices.bootstrap_user
        self._boot_fleet = open_fleet(as_user(topology, user)) if user else None
        self._found: dict[str, Found] = {}
        self._outcomes: dict[str, NodeOutcome] = {}
        self._names: tuple[str, ...] = ()
        self._locked: list[str] = []
        """Hosts whose sudo wants a password that we do not have yet."""
        self._began = time.monotonic()

    def __enter__(self) -> "Rebuild":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for fleet in (self._fleet, self._boot_fleet):
            if fleet is not None:
                fleet.close()

    def look(self, names: Sequence[str], ask_password: AskPassword) -> Mapping[str, Found]:
        """Find out what is there; changes nothing. Hosts that cannot be rebuilt are not in it.

        Raises RefusedError where sudo wants a password and nobody can be asked.
        """
        self._names = tuple(names)
        settled = at_once(names, self._guarded(self._ask_the_node))
        self._take(settled)
        others = [name for name in names if name not in self._outcomes and name not in self._found]
        self._take(at_once(others, self._guarded(self._way_to_root)))
        self._unlock(ask_password)
        waiting = [name for name, found in self._found.items() if found.bootstrap is not None]
        self._take(at_once(waiting, self._guarded(self._look_around)))
        return dict(self._found)

    def run(self, report: Report, stop: threading.Event) -> PushReport:
        """Make nodes of what look() has found. Every name gets an outcome."""
        for name, seen in self._outcomes.items():
            report(Progress(name, "done", seen.reason or seen.outcome, seen.outcome))
        failed = self._set_up(report, stop)
        ready = [name for name in self._found if name not in self._outcomes]
        foreign = [name for name in ready if self._found[name].serves_something_else]
        for name, seen in prove_way_back(
            self._topology, self._fleet, foreign, report=report, stop=stop
        ).items():
            self._outcomes[name] = seen
            failed = True
        ready = [name for name in ready if name not in self._outcomes]
        result: PushResult = "ok"
        if ready:
            pushed = deploy(self._topology, self._fleet, ready, report=report, stop=stop)
            result = pushed.result
            self._outcomes |= {
                name: replace(seen, seconds=time.monotonic() - self._began)
                if seen.outcome == "committed"
                else seen
                for name, seen in pushed.nodes.items()
            }
            self._name_closed_ports(report)
        ordered = {name: self._outcomes[name] for name in self._names}
        return PushReport(self._result(result, failed), time.monotonic() - self._began, ordered)

    def _name_closed_ports(self, report: Report) -> None:
        """A host may have a firewall of its own, and a release may be proved through SSH."""

        def look(name: str) -> None:
            endpoint = self._topology.http_of(name)
            check = check_http(endpoint, HEALTH, direct, PORT_S)
            if check.state == "down":
                why = f"note: {endpoint} answers to the host itself and not to us ({check.reason})"
                report(Progress(name, "prove", f"{why}: has it a firewall of its own?"))

        new = [
            name
            for name, found in self._found.items()
            if found.bootstrap is not None
            and self._fleet.target(name).proxy is None  # else we may stand elsewhere
            and self._outcomes[name].outcome in ("committed", "unchanged")
        ]
        at_once(new, look)

    def _result(self, pushed: PushResult, failed: bool) -> PushResult:
        kinds = {seen.outcome for seen in self._outcomes.values()}
        if kinds <= {"committed", "unchanged"}:
            return "ok"
        changed = failed or pushed == "failed" or "committed" in kinds
        return "refused" if "refused" in kinds and not changed else "failed"

    # --- what is there

    def _ask_the_node(self, name: str) -> Found | NodeOutcome | None:
        """A node that answers needs no root by sudo, unless the operator named somebody for it."""
        if self._boot_fleet is not None and self._topology.layout_of(name).service != "systemd":
            why = "its layout is not for systemd, and rebuild sets up no other host"
            return ended("refused", None, why)
        try:
            status = self._fleet.node(name).status()
        except (HostKeyUnknown, HostKeyChanged):
            raise
        except FleetError:
            if self._boot_fleet is None:
                raise
            return None
        return None if self._boot_fleet is not None else Found(name, status, None, None)

    def _way_to_root(self, name: str) -> Found:
        assert self._boot_fleet is not None
        bootstrap = self._boot_fleet.bootstrap(name)
        if bootstrap.find_sudo() == "password":
            self._locked.append(name)
        return Found(name, None, bootstrap, None)

    def _unlock(self, ask_password: AskPassword) -> None:
        """One password for all hosts; those that do not take it are asked for again."""
        for attempt in range(PASSWORD_TRIES):
            locked = tuple(name for name in self._names if name in self._locked)
            if not locked:
                return
            password = ask_password(locked, attempt > 0)
            last = attempt == PASSWORD_TRIES - 1
            for name, wrong in at_once(locked, partial(self._try, password)).items():
                ended_here = wrong is None or last or not wrong.may_be_mistyped
                if ended_here:
                    self._locked.remove(name)
                if wrong is not None and ended_here:
                    del self._found[name]
                    self._outcomes[name] = ended("refused", None, str(wrong))

    def _try(self, password: str, name: str) -> SudoDenied | None:
        """What is wrong with the password; a host that cannot be asked is told by look() later."""
        bootstrap = self._found[name].bootstrap
        assert bootstrap is not None
        try:
            bootstrap.use_password(password)
        except SudoDenied as error:
            return error
        except FleetError:
            return None
        return None

    def _look_around(self, name: str) -> Found | NodeOutcome:
        found = self._found[name]
        assert found.bootstrap is not None
        host = found.bootstrap.look(*self._account(name))
        why = set_up.obstacle(self._topology, name, host, self._choices)
        if why is not None:
            return ended("refused", host.live, why)
        return replace(found, host=host)

    def _account(self, name: str) -> tuple[str, str]:
        return self._topology.ssh_of(name).user, self._topology.layout_of(name).script

    def _guarded(
        self, work: Callable[[str], "Found | NodeOutcome | None"]
    ) -> Callable[[str], "Found | NodeOutcome | None"]:
        """`work`, with its errors as the host's outcome."""

        def guarded(name: str) -> Found | NodeOutcome | None:
            try:
                return work(name)
            except (NodeBusy, NodeRefused, SudoDenied, set_up.NoWay) as error:
                return ended("refused", None, str(error))
            except FleetError as error:
                return ended("unreachable", None, _with_hint(error, self._boot_fleet is None))

        return guarded

    def _take(self, seen: Mapping[str, Found | NodeOutcome | None]) -> None:
        for name, what in seen.items():
            if isinstance(what, NodeOutcome):
                self._outcomes[name] = what
                self._found.pop(name, None)
            elif what is not None:
                self._found[name] = what

    # --- making it a node

    def _set_up(self, report: Report, stop: threading.Event) -> bool:
        """Set hosts up, all at once. Whether one failed; its outcome is among the others then."""

        def one(name: str) -> NodeOutcome | None:
            found = self._found[name]
            began = time.monotonic()
            steps = set_up.SetUp(
                self._topology, name, self._fleet, self._open_fleet, self._choices, report, stop
            )
            outcome: Outcome = "refused"
            try:
                if found.bootstrap is not None and found.host is not None:
                    steps.as_bootstrap_user(found.bootstrap, found.host)
                elif found.status is not None:
                    steps.as_node(found.status)
                return None
            except Stopped as error:
                outcome, why = "untouched", str(error)
            except (RefusedError, NodeBusy, NodeRefused, SudoDenied, set_up.NoWay) as error:
                why = str(error)
            except FleetError as error:
                outcome, why = "unreachable", str(error)
            report(Progress(name, "done", why, outcome))
            live = found.host.live if found.host else found.status.live if found.status else None
            return NodeOutcome(outcome, live, live, time.monotonic() - began, why)

        seen = {name: how for name, how in at_once(self._found, one).items() if how is not None}
        self._outcomes |= seen
        return bool(seen)


def as_user(topology: Topology, user: str) -> Topology:
    """The same LAN, logged in to as somebody else."""
    nodes = {
        name: node.model_copy(
            update={"ssh": topology.ssh_of(name).model_copy(update={"user": user})}
        )
        for name, node in topology.nodes.items()
    }
    return topology.model_copy(update={"nodes": nodes})


def _with_hint(error: FleetError, no_bootstrap_user: bool) -> str:
    if no_bootstrap_user and not isinstance(error, HostKeyUnknown | HostKeyChanged):
        return f"{error}; name a user with sudo: --bootstrap-user USER"
    return str(error)
