"""Questions that several readers ask of a state: what an upstream is, all looks together."""

from kome_tui.reading import Reading
from kome_tui.signals.readings import Check, UpstreamState
from kome_tui.state.model import ConsoleState
from kome_tui.topology.model import UpstreamName
from kome_tui.triage import signs
from kome_tui.triage.model import OPERATOR


def deciding_vantage(state: ConsoleState, upstream: UpstreamName) -> str:
    """Whose look counts: the frontend's, else the operator's."""
    frontend = state.topology.frontend
    check = _look(state, upstream, frontend)
    return frontend if check is not None and check.state != "unknown" else OPERATOR


def upstream_state(state: ConsoleState, upstream: UpstreamName) -> UpstreamState:
    """One word for an upstream.

    The deciding look; but a silence (not a refusal: that is an answer of the machine) counts as
    unknown where OKOME, which alone need reach it, is well and does not complain of it.
    """
    check = _look(state, upstream, deciding_vantage(state, upstream))
    if check is None:
        return "unknown"
    if check.state == "down" and _okome_does_without_us(state, upstream):
        return "unknown"
    return check.state


def _okome_does_without_us(state: ConsoleState, upstream: UpstreamName) -> bool:
    if upstream in (UpstreamName.OKOME, state.topology.stream_upstream()):
        return False
    looks = state.upstreams.get(upstream, {}).values()
    if any(signs.answers(look) or signs.refused(look) for look in looks):
        return False  # somebody may look, so the silence is no firewall
    okome: list[Reading[Check]] = list(state.upstreams.get(UpstreamName.OKOME, {}).values())
    said = {signs.component(look, upstream) for look in okome}
    return False not in said and any(signs.healthy(look) for look in okome)


def _look(state: ConsoleState, upstream: UpstreamName, vantage: str) -> Check | None:
    reading = state.upstreams.get(upstream, {}).get(vantage)
    return None if reading is None else reading.or_none()
