"""The fleet table: one row of cells per node, and the line that explains the row."""

from collections.abc import Collection

from kome_tui.fleet.answers import NodeFacts
from kome_tui.reading import Missing, Reading
from kome_tui.signals.readings import HitCounts, Traffic
from kome_tui.state import ConsoleState, NodeState
from kome_tui.triage.model import SshState
from kome_tui.ui.ink import Cell, Line, Span, missing
from kome_tui.ui.present import words
from kome_tui.ui.present.push import progress_cell

SSH_WORDS: dict[SshState, Cell] = {
    "ok": Cell("ok", "good"),
    "unreachable": Cell("unreachable", "bad"),
    "auth-failed": Cell("auth failed", "bad"),
    "host-key-changed": Cell("key changed", "bad"),
    "host-key-unknown": Cell("key unknown", "warn"),
    "not-set-up": Cell("not set up", "warn"),
}


def nodes_matching(state: ConsoleState, wanted: str) -> tuple[str, ...]:
    """Nodes whose name or role contains every word, in the topology's order."""
    parts = wanted.lower().split()
    return tuple(
        name
        for name, node in state.nodes.items()
        if all(part in name or part in node.role.value for part in parts)
    )


def hidden(state: ConsoleState, marked: Collection[str], wanted: str) -> int:
    """How many marked nodes do not match."""
    return len(set(marked) & set(state.nodes) - set(nodes_matching(state, wanted)))


def row(node: NodeState, marked: bool, now: float) -> dict[str, Cell]:
    """The cells of one node by column."""
    return {
        "mark": Cell("●", "accent") if marked else Cell(" "),
        "node": Cell(node.name, "strong"),
        "role": Cell(node.role.value, "dim"),
        "ssh": _ssh(node),
        "nginx": _nginx(node),
        "release": release_cell(node),
        "live": _live(node),
        "wanted": _wanted(node),
        "hit": _hit_rate(node.traffic),
        "age": _age(node, now),
        "rps": _requests(node.traffic),
        "5xx": _errors(node.traffic),
        "conn": _connections(node.facts),
        "progress": progress_cell(node.progress),
    }


def release_cell(node: NodeState) -> Cell:
    """What the node serves against what the topology asks for, in one word."""
    facts = node.facts.value
    if isinstance(facts, Missing):
        return missing(facts.reason)
    if facts.drift:
        return Cell("drifted", "warn", "what it serves was changed outside of kome-tui")
    if node.wanted is None:
        return Cell("no plan", "warn", "the topology does not render for this node")
    if facts.live == node.wanted:
        return Cell("in sync", "good")
    if facts.live is None:
        return Cell("not ours", "warn", "it serves a configuration of its own")
    if facts.live == "original":
        return Cell("original", "warn", "it serves what it had before the first push")
    return Cell("behind", "warn", f"it serves {facts.live}; the topology asks for {node.wanted}")


def detail(node: NodeState, now: float, seen: tuple[str, ...] = ()) -> tuple[Line, ...]:
    """What the row cannot hold: reasons, readings with their ages, the push so far.

    `seen`: what is wrong as seen from this node, such as an upstream that it cannot reach.
    """
    head = (
        Span(node.name, "strong"),
        Span(f"  {node.role.value}, {node.address}", "dim"),
        *_measured(node),
    )
    return (head, _reasons(node, now, seen))


def _ssh(node: NodeState) -> Cell:
    value = node.ssh.value
    if isinstance(value, Missing):
        return missing(value.reason)
    known = SSH_WORDS[value]
    return Cell(known.text, known.tone, node.ssh_reason)


def _nginx(node: NodeState) -> Cell:
    facts = node.facts.value
    if not isinstance(facts, Missing) and facts.nginx != "unknown":
        return Cell(facts.nginx, "good" if facts.nginx == "serving" else "bad")
    health = node.health.value
    if not isinstance(health, Missing) and health.state == "up":
        return Cell("serving", "good")
    if not isinstance(health, Missing) and health.state == "down":
        return Cell("silent", "bad", health.reason)
    return missing(facts.reason if isinstance(facts, Missing) else "the node could not tell")


def _live(node: NodeState) -> Cell:
    facts = node.facts.value
    if isinstance(facts, Missing):
        return missing(facts.reason)
    return Cell(facts.live) if facts.live else missing("it serves a configuration of its own")


def _wanted(node: NodeState) -> Cell:
    if node.wanted is None:
        return missing("the topology does not render for this node")
    return Cell(node.wanted, "dim")


def _hit_rate(reading: Reading[Traffic]) -> Cell:
    if isinstance(reading.value, Missing):
        return missing(reading.value.reason)
    return hit_cell(reading.value.last_minute)


def hit_cell(counts: HitCounts) -> Cell:
    """`92 % of 340`, or a dash: no request is not 0 %."""
    if counts.rate is None:
        window = f"in {counts.window_s:.0f} s" if counts.window_s else "since the start"
        return missing(f"no cacheable request {window}")
    percent = round(100 * counts.rate)
    if counts.hits and counts.misses:
        percent = min(99, max(1, percent))  # neither all nor nothing
    return Cell(f"{percent} % of {counts.hits + counts.misses}")


def _age(node: NodeState, now: float) -> Cell:
    taken = [reading for reading in (node.facts, node.traffic, node.ssh) if reading.taken_at > 0]
    if not taken:
        return missing("nothing was measured yet")
    oldest = max(reading.age_s(now) for reading in taken)
    if oldest <= words.STALE_S:
        return Cell("fresh", "dim")
    return Cell(words.age(oldest), "warn", f"the oldest reading is {words.age(oldest)} old")


def _requests(reading: Reading[Traffic]) -> Cell:
    if isinstance(reading.value, Missing):
        return missing(reading.value.reason)
    return Cell(f"{reading.value.requests_per_s:.1f}")


def _errors(reading: Reading[Traffic]) -> Cell:
    if isinstance(reading.value, Missing):
        return missing(reading.value.reason)
    count = reading.value.errors_5xx
    return Cell(str(count), "warn" if count else "dim")


def _connections(reading: Reading[NodeFacts]) -> Cell:
    if isinstance(reading.value, Missing):
        return missing(reading.value.reason)
    if reading.value.connections is None:
        return missing("this nginx does not count its connections")
    return Cell(str(reading.value.connections))


def _measured(node: NodeState) -> Line:
    facts = node.facts.value
    if isinstance(facts, Missing):
        return ()
    parts = []
    if facts.cpu_percent is not None:
        parts.append(f"nginx {facts.cpu_percent:.1f} % CPU")
    if facts.memory_bytes is not None:
        parts.append(words.size(facts.memory_bytes))
    if facts.cache_bytes is not None:
        parts.append(f"cache {words.size(facts.cache_bytes)}")
    if facts.disk_free_bytes is not None:
        parts.append(f"{words.size(facts.disk_free_bytes)} free")
    if facts.old_workers:
        parts.append(words.counted(facts.old_workers, "old worker"))
    return (Span("  " + " · ".join(parts)),) if parts else ()


def _reasons(node: NodeState, now: float, seen: tuple[str, ...]) -> Line:
    labels = {"ssh": "ssh", "nginx": "nginx", "release": "release", "hit": "hit rate, 1 min"}
    cells = row(node, False, now)
    told: dict[str, list[str]] = {}
    for key, label in labels.items():
        why = cells[key].why
        if why:
            told.setdefault(why, []).append(label)
    parts = [*seen, *(f"{', '.join(names)}: {why}" for why, names in told.items())]
    ages = (
        ("facts", words.age_if_old(node.facts, now)),
        ("traffic", words.age_if_old(node.traffic, now)),
        ("ssh", words.age_if_old(node.ssh, now)),
    )
    old = [f"{name} {ago}" for name, ago in ages if ago]
    if old:
        parts.append("measured: " + ", ".join(old))
    if node.progress is not None and node.progress.text:
        parts.append(f"push: {node.progress.text}")
    if not parts:
        return (Span("Nothing to remark.", "dim"),)
    return (Span(" · ".join(parts)),)


def no_match(wanted: str) -> tuple[Line, ...]:
    """Said where the filter leaves no node."""
    return ((Span(f"No node matches “{wanted}”.", "dim"),), ())
