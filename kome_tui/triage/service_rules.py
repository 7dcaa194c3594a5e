"""Faults of the services behind the edge, and of what people see through it.

Where two readings are compared they are of the same moment, else a service on its way up or down
would look like a broken network for one round.
"""

from collections.abc import Iterable

from kome_tui.reading import Reading
from kome_tui.signals.readings import Check
from kome_tui.topology.model import UpstreamName
from kome_tui.triage import signs, words
from kome_tui.triage.findings import about_nodes, finding
from kome_tui.triage.model import OPERATOR, Evidence, Finding, Seen

OKOME = UpstreamName.OKOME


def okome_silent(evidence: Evidence) -> Iterable[Finding]:
    """OKOME answers from nowhere: down, or hung where it still takes connections."""
    views = signs.views(evidence, OKOME)
    direct = views[OPERATOR]
    if any(signs.answers(view) for view in views.values()):
        return
    if not (signs.silent(direct) or _only_the_frontend_sees_it(evidence, views)):
        return
    nearest = direct if signs.silent(direct) else views[evidence.topology.frontend]
    hung = signs.hangs(nearest)
    yield finding(
        evidence,
        "okome-hung" if hung else "okome-down",
        OKOME.value,
        words.upstream_seen(evidence, OKOME),
    )


def _only_the_frontend_sees_it(evidence: Evidence, views: dict[str, Reading[Check]]) -> bool:
    return signs.silent(views[evidence.topology.frontend]) and signs.bad_gateway(evidence.api)


def partition(evidence: Evidence) -> Iterable[Finding]:
    """OKOME answers this laptop, and at the same moment not the frontend."""
    frontend = evidence.topology.frontend
    views = signs.views(evidence, OKOME)
    direct, from_node = views[OPERATOR], views[frontend]
    if not signs.answers(direct):
        return
    if signs.silent(from_node):
        cut = signs.same_look(direct, from_node)
    else:
        cut = not signs.answers(from_node) and _gateway_says_so(evidence, direct)
    if cut:
        yield about_nodes(
            evidence,
            "partition-frontend-okome",
            (frontend,),
            words.upstream_seen(evidence, OKOME),
        )


def _gateway_says_so(evidence: Evidence, direct: Reading[Check]) -> bool:
    """Without a look from the frontend: its nginx gives 502 for page and API alike."""
    return (
        signs.healthy(direct)
        and signs.bad_gateway(evidence.page)
        and signs.bad_gateway(evidence.api)
        and signs.same_look(direct, evidence.api)
    )


def okome_erroring(evidence: Evidence) -> Iterable[Finding]:
    """OKOME answers, and with a 5xx."""
    views = signs.views(evidence, OKOME).values()
    if signs.server_error(evidence.way_around) or any(signs.server_error(view) for view in views):
        yield finding(
            evidence,
            "okome-erroring",
            OKOME.value,
            words.upstream_seen(evidence, OKOME)
            + words.seen("page of OKOME itself from this laptop", evidence.way_around),
        )


def vllm_down(evidence: Evidence) -> Iterable[Finding]:
    """vLLM is down for OKOME, which needs it."""
    if _down_behind_okome(evidence, UpstreamName.VLLM):
        yield _behind_okome(evidence, "vllm-down", UpstreamName.VLLM)


def redis_down(evidence: Evidence) -> Iterable[Finding]:
    """Redis is down for OKOME, which needs it."""
    if _down_behind_okome(evidence, UpstreamName.REDIS):
        yield _behind_okome(evidence, "redis-down", UpstreamName.REDIS)


def _down_behind_okome(evidence: Evidence, upstream: UpstreamName) -> bool:
    """OKOME alone need reach it, so a firewall may keep everyone else out: OKOME's word counts."""
    looks = signs.views(evidence, upstream)
    if any(signs.healthy(look) for look in looks.values()):
        return False
    okome = signs.views(evidence, OKOME)
    words_of_okome = {signs.component(view, upstream) for view in okome.values()}
    if words_of_okome & {True, False}:
        return False in words_of_okome
    if not any(signs.fails(look) for look in looks.values()):
        return False
    if evidence.topology.stream_upstream() is upstream:
        return signs.fails(looks[evidence.topology.frontend])
    if any(signs.answers(view) and not signs.healthy(view) for view in okome.values()):
        return True
    return _api_misses_it(evidence, looks.values())


def _api_misses_it(evidence: Evidence, looks: Iterable[Reading[Check]]) -> bool:
    """The API fails, though the way to OKOME is open, and the machine says that nothing listens."""
    return (
        signs.server_error(evidence.api)
        and signs.answers(signs.view(evidence, OKOME, evidence.topology.frontend))
        and any(signs.refused(look) for look in looks)
    )


def _behind_okome(evidence: Evidence, code: str, upstream: UpstreamName) -> Finding:
    told = words.upstream_seen(evidence, upstream) + words.upstream_seen(evidence, OKOME)
    return finding(evidence, code, upstream.value, told)


def page_failing(evidence: Evidence) -> Iterable[Finding]:
    """The web page fails through the frontend, for whatever reason."""
    if signs.fails(evidence.page):
        yield _service(evidence, "page-failing", evidence.page, words.page_seen(evidence))


def api_failing(evidence: Evidence) -> Iterable[Finding]:
    """The API fails through the frontend, for whatever reason."""
    if signs.fails(evidence.api):
        yield _service(evidence, "api-failing", evidence.api, words.api_seen(evidence))


def _service(
    evidence: Evidence, code: str, reading: Reading[Check], told: tuple[Seen, ...]
) -> Finding:
    frontend = evidence.topology.frontend
    if signs.bad_gateway(reading):
        clue = f"nginx on {frontend} runs, and got no answer from what it asked."
    elif signs.server_error(reading):
        clue = "The answer is an error of its own: look at OKOME first, then at the edge."
    else:
        clue = f"Nothing answers at {words.fleet_words(evidence)['page_url']} from this laptop."
    return about_nodes(evidence, code, (frontend,), told, clue=clue)
