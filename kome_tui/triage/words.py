"""The sentences that depend on what was seen: addresses, the way around, pieces of evidence.

Nothing here decides; a rule has decided already. The way around is named as open only where it
was tried and answered.
"""

import shlex
from collections.abc import Iterable, Sequence

from kome_tui.reading import Reading
from kome_tui.signals.readings import Check
from kome_tui.topology.model import Endpoint, UpstreamName
from kome_tui.triage import signs
from kome_tui.triage.model import OPERATOR, Evidence, NodeEvidence, Seen

GROUPED_FROM = 4
"""So many nodes with the same fault become one finding."""
NAMES_SHOWN = 3


def url(endpoint: Endpoint) -> str:
    """The address as a browser wants it."""
    return f"http://{endpoint}".removesuffix(":80")


def okome_url(evidence: Evidence) -> str:
    """OKOME itself, past the edge."""
    return url(evidence.topology.endpoint(UpstreamName.OKOME))


def groups(names: Sequence[str], frontend: str) -> list[tuple[str, ...]]:
    """Nodes to report together: the frontend alone, many others as one."""
    others = tuple(name for name in names if name != frontend)
    first = [(frontend,)] if frontend in names else []
    if len(others) >= GROUPED_FROM:
        return [*first, others]
    return [*first, *((name,) for name in others)]


def who(names: Sequence[str]) -> str:
    """Names as a sentence has them."""
    if len(names) == 1:
        return names[0]
    shown = ", ".join(names[:NAMES_SHOWN])
    return f"{len(names)} nodes ({shown}{', …' if len(names) > NAMES_SHOWN else ''})"


def node_words(evidence: Evidence, names: Sequence[str]) -> dict[str, str]:
    """The fields of texts about nodes."""
    topology = evidence.topology
    layout = topology.layout_of(names[0])
    one = len(names) == 1
    ssh = topology.ssh_of(names[0])
    sudo = "sudo " if layout.root == "sudo" else ""
    return {
        "who": who(names),
        "names": " ".join(names),
        "first": names[0],
        "host": ", ".join(topology.nodes[name].address for name in names[:NAMES_SHOWN]),
        "http_at": ", ".join(str(topology.http_of(name)) for name in names[:NAMES_SHOWN]),
        "sudo": sudo,
        "cache": shlex.quote(layout.cache),
        "tail_errors": f"{sudo}tail -n 20 {shlex.quote(f'{layout.log}/error.log')}",
        "start_nginx": _start_nginx(layout.service, layout.nginx, layout.state, sudo),
        "ssh_user": ssh.user,
        "ssh_port": str(ssh.port or 22),
        "is_are": "is" if one else "are",
        "does_do": "does" if one else "do",
        "serves_serve": "serves" if one else "serve",
        "turns_turn": "turns" if one else "turn",
        "has_have": "has" if one else "have",
    }


def _start_nginx(service: str, nginx: str, state: str, sudo: str) -> str:
    if service == "systemd":
        return f"{sudo}systemctl reset-failed nginx; {sudo}systemctl start nginx"
    return f"{sudo}{shlex.join([nginx, '-c', f'{state}/current/nginx.conf'])}"


def gone_words(names: Sequence[str], *, refuses: bool) -> dict[str, str]:
    """How nodes look that answer neither SSH nor HTTP. A refusal comes from a machine that runs."""
    one = len(names) == 1
    its = "its" if one else "their"
    if refuses:
        return {
            "gone": f"{'refuses' if one else 'refuse'} SSH and HTTP alike",
            "look": "A refusal is an answer, so power and network are fine: neither sshd nor nginx"
            f" listens there, or a firewall rejects both. Log in at {its} own screen and see both:"
            " systemctl status ssh nginx",
        }
    return {
        "gone": f"{'is' if one else 'are'} off the network",
        "look": "Other machines answer, so this laptop and the network are fine: go there and look"
        f" at {its} power, {its} network cable and the light of {its} switch port.",
    }


def fleet_words(evidence: Evidence) -> dict[str, str]:
    """The fields of texts about the fleet as a whole."""
    topology = evidence.topology
    okome = topology.endpoint(UpstreamName.OKOME)
    from_node = topology.endpoint(UpstreamName.OKOME, topology.frontend)
    vllm = topology.endpoint(UpstreamName.VLLM)
    return {
        "kome": evidence.command,
        "lan": " or ".join(topology.lan),
        "page_url": url(topology.http_of(topology.frontend)),
        "okome_at": str(okome),
        "okome_host": okome.address,
        "okome_from_node": f"{from_node.address}/{from_node.port}",
        "vllm_host": vllm.address,
        "gpu_host": topology.endpoint(UpstreamName.OLLAMA).address,
        "vllm_url": url(vllm),
        "redis_host": topology.endpoint(UpstreamName.REDIS).address,
        "way_around": way_around(evidence),
        "open_okome": _open_okome(evidence),
    }


def way_around(evidence: Evidence) -> str:
    """What people can do meanwhile, as far as it was tried."""
    target = okome_url(evidence)
    check = evidence.way_around.or_none()
    if check is None or check.state == "unknown":
        why = evidence.way_around.why_missing or (check.reason if check is not None else None)
        return f"The way around, {target}, could not be tried from this laptop: {why}."
    tried = f"tried {evidence.way_around.age_s(evidence.now):.0f} s ago from this laptop"
    if signs.fails(evidence.way_around):
        return (
            f"There is no way around now: {target} did not answer either ({tried}: {said(check)})."
        )
    return (
        f"People can work on meanwhile: open {target} in the browser, which is OKOME itself"
        f" ({tried}: {said(check)})."
    )


def _open_okome(evidence: Evidence) -> str:
    works = signs.answers(evidence.way_around) and not signs.fails(evidence.way_around)
    return f"open {okome_url(evidence)}" if works else ""


def said(check: Check) -> str:
    """A check as a few words."""
    took = "" if check.latency_ms is None else f" in {_ms(check.latency_ms)}"
    if check.state == "up":
        return f"{check.status or 'up'}{took}"
    return check.reason or f"{check.state}{took}"


def _ms(latency_ms: float) -> str:
    return f"{latency_ms:.0f} ms" if latency_ms >= 1 else "under 1 ms"


def from_where(vantage: str) -> str:
    """A vantage point in words."""
    return "this laptop" if vantage == OPERATOR else vantage


def seen(source: str, reading: Reading[Check]) -> tuple[Seen, ...]:
    """A check as evidence; nothing where nobody looked."""
    check = reading.or_none()
    if check is None or check.state == "unknown":
        return ()
    return (Seen(source, said(check), reading.taken_at),)


def page_seen(evidence: Evidence) -> tuple[Seen, ...]:
    """The page through the frontend."""
    return seen(f"web page through {evidence.topology.frontend}", evidence.page)


def api_seen(evidence: Evidence) -> tuple[Seen, ...]:
    """The API through the frontend."""
    return seen(f"API through {evidence.topology.frontend}", evidence.api)


def upstream_seen(evidence: Evidence, upstream: UpstreamName) -> tuple[Seen, ...]:
    """An upstream, from every vantage point that could look."""
    readings = evidence.upstreams.get(upstream, {})
    return _joined(
        seen(f"{upstream.value} from {from_where(vantage)}", reading)
        for vantage, reading in readings.items()
    )


def ssh_seen(name: str, node: NodeEvidence) -> tuple[Seen, ...]:
    """SSH to a node."""
    state = node.ssh.or_none()
    if state is None:
        return ()
    return (Seen(f"SSH to {name}", node.ssh_reason or state, node.ssh.taken_at),)


def both_seen(evidence: Evidence, names: Sequence[str]) -> tuple[Seen, ...]:
    """SSH and HTTP of nodes."""
    return _joined(
        ssh_seen(name, evidence.nodes[name]) + health_seen(name, evidence.nodes[name])
        for name in names
    )


def own_ssh_seen(nodes: Iterable[NodeEvidence]) -> tuple[Seen, ...]:
    """What our own `ssh` said, once for each thing that it said."""
    said = {node.ssh_reason: node.ssh.taken_at for node in nodes if node.ssh_reason is not None}
    return tuple(Seen("ssh of this laptop", reason, at) for reason, at in said.items())


def health_seen(name: str, node: NodeEvidence) -> tuple[Seen, ...]:
    """A node's own HTTP health answer."""
    return seen(f"HTTP of {name} from this laptop", node.health)


def _joined(parts: Iterable[tuple[Seen, ...]]) -> tuple[Seen, ...]:
    return tuple(piece for part in parts for piece in part)
