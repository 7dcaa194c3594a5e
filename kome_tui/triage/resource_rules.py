"""A node's disk, cache and workers, and what its clients feel: from its facts and its access log.

Counts of a few requests say nothing; each rule names how many it wants to have seen.
"""

from collections.abc import Callable, Iterable

from kome_tui.fleet.answers import NodeFacts
from kome_tui.signals.readings import Request, Traffic
from kome_tui.topology.model import UpstreamName
from kome_tui.triage import signs, words
from kome_tui.triage.findings import about_nodes
from kome_tui.triage.model import Evidence, Finding, Seen

MIB = 1024 * 1024
FULL_BELOW = 64 * MIB
"""A push, a day's log and nginx's temporary files want more."""
LOW_BELOW = 512 * MIB
INEFFECTIVE_FROM = 200
"""Cacheable requests in 15 minutes."""
INEFFECTIVE_BELOW = 0.2
NOTHING_KEPT_FROM = 20
"""Misses in 15 minutes without one file in the cache."""
OLD_WORKERS_FROM = 8
"""Two pushes on a machine with four cores."""
RECENT_S = 60.0
LIMITED_FROM = 3


def disk(evidence: Evidence) -> Iterable[Finding]:
    """Little room, or none."""

    def free(facts: NodeFacts, low: int, high: int) -> str | None:
        held = facts.disk_free_bytes
        return f"{held // MIB} MiB free" if held is not None and low <= held < high else None

    yield from _facts(evidence, "disk-full", lambda facts: free(facts, 0, FULL_BELOW))
    yield from _facts(evidence, "disk-low", lambda facts: free(facts, FULL_BELOW, LOW_BELOW))


def old_workers(evidence: Evidence) -> Iterable[Finding]:
    """Many workers of earlier configurations."""

    def many(facts: NodeFacts) -> str | None:
        count = facts.old_workers or 0
        return f"{count} old workers" if count >= OLD_WORKERS_FROM else None

    yield from _facts(evidence, "old-workers", many)


def cache_unwritable(evidence: Evidence) -> Iterable[Finding]:
    """Misses, and not one file kept."""
    yield from _cache(evidence, "cache-unwritable", _keeps_nothing)


def cache_ineffective(evidence: Evidence) -> Iterable[Finding]:
    """Many cacheable requests, and few of them answered from the cache."""
    yield from _cache(evidence, "cache-ineffective", lambda traffic, _: _helps_little(traffic))


def serving_stale(evidence: Evidence) -> Iterable[Finding]:
    """The last requests were answered with copies that are out of date, and OKOME is not well.

    Once it is well again, the log still tells of the minute before.
    """
    if any(map(signs.healthy, signs.views(evidence, UpstreamName.OKOME).values())):
        return

    def stale(traffic: Traffic) -> str | None:
        count = sum(request.cache == "STALE" for request in _last_minute(traffic))
        return f"{count} of the last {len(traffic.recent)} requests STALE" if count else None

    yield from _traffic(evidence, "serving-stale", stale)


def rate_limited(evidence: Evidence) -> Iterable[Finding]:
    """Some of the last requests were turned away with 429."""

    def limited(traffic: Traffic) -> str | None:
        away = [request for request in _last_minute(traffic) if request.status == 429]
        clients = ", ".join(dict.fromkeys(request.client for request in away))
        return f"{len(away)} answers 429 to {clients}" if len(away) >= LIMITED_FROM else None

    yield from _traffic(evidence, "rate-limited", limited)


def _last_minute(traffic: Traffic) -> list[Request]:
    """By the node's own clock, which may differ from ours."""
    newest = traffic.newest_line_at or 0.0
    return [request for request in traffic.recent if newest - request.at <= RECENT_S]


def _keeps_nothing(traffic: Traffic, facts: NodeFacts) -> str | None:
    counts = traffic.last_quarter
    if facts.cache_files != 0 or counts.hits or counts.misses < NOTHING_KEPT_FROM:
        return None
    return f"{counts.misses} misses in 15 min, and no file in the cache"


def _helps_little(traffic: Traffic) -> str | None:
    counts = traffic.last_quarter
    few = counts.hits + counts.misses < INEFFECTIVE_FROM
    if few or counts.rate is None or counts.rate >= INEFFECTIVE_BELOW:
        return None
    missed = "".join(f", {path} missed {count} times" for path, count in traffic.top_missed[:3])
    return f"{counts.rate:.0%} hits of {counts.hits + counts.misses} in 15 min{missed}"


def _facts(
    evidence: Evidence, code: str, said: Callable[[NodeFacts], str | None]
) -> Iterable[Finding]:
    found = {}
    for name, node in evidence.nodes.items():
        facts = signs.fresh_facts(node, evidence.now)
        text = said(facts) if facts is not None else None
        if text is not None:
            found[name] = Seen(f"{name} itself", text, node.facts.taken_at)
    yield from _about(evidence, code, found)


def _traffic(
    evidence: Evidence, code: str, said: Callable[[Traffic], str | None]
) -> Iterable[Finding]:
    found = {}
    for name, node in evidence.nodes.items():
        traffic = node.traffic.or_none()
        text = said(traffic) if traffic is not None else None
        if text is not None:
            found[name] = Seen(f"access log of {name}", text, node.traffic.taken_at)
    yield from _about(evidence, code, found)


def _cache(
    evidence: Evidence, code: str, said: Callable[[Traffic, NodeFacts], str | None]
) -> Iterable[Finding]:
    found = {}
    for name, node in evidence.nodes.items():
        traffic, facts = node.traffic.or_none(), signs.fresh_facts(node, evidence.now)
        if traffic is None or facts is None or not evidence.topology.has_cache(name):
            continue
        if (text := said(traffic, facts)) is not None:
            found[name] = Seen(f"access log of {name}", text, node.traffic.taken_at)
    yield from _about(evidence, code, found)


def _about(evidence: Evidence, code: str, found: dict[str, Seen]) -> Iterable[Finding]:
    for names in words.groups(list(found), evidence.topology.frontend):
        yield about_nodes(evidence, code, names, tuple(found[name] for name in names))
