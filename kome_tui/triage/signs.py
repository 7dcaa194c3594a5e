"""What single readings say. Missing says nothing: every question below is about what was seen.

A careless `not answers(x)` in place of `silent(x)` would turn "not measured" into "down".
"""

from kome_tui.fleet.answers import NodeFacts
from kome_tui.reading import Missing, Reading
from kome_tui.signals.readings import Check
from kome_tui.topology.model import UpstreamName
from kome_tui.triage.model import OPERATOR, Evidence, NodeEvidence

FACTS_FRESH_S = 10.0
"""Facts come every 2 s; older ones say nothing about now."""
SAME_LOOK_S = 3.0
"""Checks of one round lie at most a check's time limit apart."""
PROBE_FRESH_S = 60.0
"""A broken stream says little about later: by then the cause may be gone."""
PROBE_BEFORE_S = 600.0
"""A probe before that one still counts as a repeat of it."""

_NOT_LOOKED: Reading[Check] = Reading(Missing("nobody looked from there"), 0.0)
_BAD = frozenset(
    {"down", "unreachable", "error", "failed", "fail", "timeout", "unhealthy", "false"}
)
_GOOD = frozenset({"up", "ok", "healthy", "true", "connected", "pass"})


def answers(reading: Reading[Check]) -> bool:
    """Something answered, be it an error."""
    check = reading.or_none()
    return check is not None and check.state in ("up", "degraded")


def healthy(reading: Reading[Check]) -> bool:
    """It answered, and well."""
    check = reading.or_none()
    return check is not None and check.state == "up"


def server_error(reading: Reading[Check]) -> bool:
    """It answered with a 5xx."""
    check = reading.or_none()
    return check is not None and (check.status or 0) >= 500


def bad_gateway(reading: Reading[Check]) -> bool:
    """nginx answered that it did not get through: 502 or 504."""
    check = reading.or_none()
    return check is not None and check.status in (502, 504)


def not_found(reading: Reading[Check]) -> bool:
    """It answered that there is no such page."""
    check = reading.or_none()
    return check is not None and check.status == 404


def silent(reading: Reading[Check]) -> bool:
    """It was asked, and nothing answered."""
    check = reading.or_none()
    return check is not None and check.state == "down"


def fails(reading: Reading[Check]) -> bool:
    """It was asked, and the answer was a 5xx or none."""
    return silent(reading) or server_error(reading)


def refused(reading: Reading[Check]) -> bool:
    """The machine is there and says that nothing listens on the port."""
    check = reading.or_none()
    return silent(reading) and check is not None and "refused" in (check.reason or "")


def hangs(reading: Reading[Check]) -> bool:
    """The connection was taken, and then nothing came."""
    check = reading.or_none()
    return silent(reading) and check is not None and "no answer" in (check.reason or "")


def at_the_door(reading: Reading[Check]) -> bool:
    """Nothing took the connection: whatever stands behind that door is not to blame."""
    return silent(reading) and not hangs(reading)


def component(reading: Reading[Check], name: UpstreamName) -> bool | None:
    """What OKOME's own /health says of a service behind it; None where it says nothing."""
    check = reading.or_none()
    said = check.detail.get(name.value, "").strip().lower() if check is not None else ""
    word = said.split()[0].rstrip(":;,") if said else ""
    if word in _GOOD:
        return True
    return False if word in _BAD else None


def ssh_answers(node: NodeEvidence) -> bool:
    """There is an SSH server, whether it lets us in or not."""
    ssh = node.ssh.or_none()
    return ssh is not None and ssh != "unreachable"


def ssh_silent(node: NodeEvidence) -> bool:
    """SSH was tried and nothing answered."""
    return node.ssh.or_none() == "unreachable"


def off_the_network(node: NodeEvidence) -> bool:
    """Neither SSH nor HTTP answers, and both were tried."""
    return ssh_silent(node) and silent(node.health)


def refuses(node: NodeEvidence) -> bool:
    """It refuses a connection: the machine is there, whatever does not run on it."""
    return refused(node.health) or (ssh_silent(node) and "refused" in (node.ssh_reason or ""))


def has_no_key(node: NodeEvidence) -> bool:
    """It was not our key that the node did not take: there was none to offer."""
    return node.ssh.or_none() == "auth-failed" and "we have no key" in (node.ssh_reason or "")


def ssh_of_ours_failed(node: NodeEvidence) -> bool:
    """It was to be asked over SSH, and our own `ssh` ended before it connected."""
    return node.ssh.or_none() is None and node.ssh.taken_at > 0 and node.ssh_reason is not None


def nothing_known(evidence: Evidence) -> bool:
    """No node was heard of over SSH, so that nothing can be called healthy."""
    nodes = evidence.nodes.values()
    return all(node.ssh.or_none() is None and node.facts.or_none() is None for node in nodes)


def fresh_facts(node: NodeEvidence, now: float) -> NodeFacts | None:
    """The node's own account, if it is recent."""
    return node.facts.or_none() if node.facts.age_s(now) <= FACTS_FRESH_S else None


def same_look(one: Reading[Check], other: Reading[Check]) -> bool:
    """Both readings are of the same moment, so that comparing them says something."""
    return abs(one.taken_at - other.taken_at) <= SAME_LOOK_S


def view(evidence: Evidence, upstream: UpstreamName, vantage: str = OPERATOR) -> Reading[Check]:
    """How `upstream` looks from `vantage`; missing where nobody looked."""
    from_there = evidence.upstreams.get(upstream, {}).get(vantage)
    return from_there if from_there is not None else _NOT_LOOKED


def views(evidence: Evidence, upstream: UpstreamName) -> dict[str, Reading[Check]]:
    """Both views that matter to people: the frontend's and the operator's."""
    frontend = evidence.topology.frontend
    return {name: view(evidence, upstream, name) for name in (frontend, OPERATOR)}


def anything_answers(evidence: Evidence) -> bool:
    """Some machine answered this laptop, if only with a refusal, or a node answered for it."""
    nodes = evidence.nodes.values()
    checks = [reading for seen in evidence.upstreams.values() for reading in seen.values()]
    services = (evidence.page, evidence.api, evidence.way_around)
    return (
        any(ssh_answers(node) or answers(node.health) or refuses(node) for node in nodes)
        or any(answers(check) or refused(check) for check in checks)
        or any(answers(check) or refused(check) for check in services)
    )
