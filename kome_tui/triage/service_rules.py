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
        _edges_part(evidence, "that is running but stuck" if hung else "that does not answer"),
    )


def _edges_part(evidence: Evidence, what: str) -> dict[str, str]:
    """The edge is cleared only where it was seen to do its work."""
    node = evidence.nodes[evidence.topology.frontend]
    if any(map(signs.answers, (node.health, evidence.page, evidence.api))):
        return {
            "edge": "The edge is not at fault, and a redeploy does not help: it is OKOME itself"
            f" {what}.",
            "meanwhile": "Until then the edge shows pages that it still has in its cache; requests"
            " to the API fail.",
        }
    return {
        "edge": f"A redeploy does not help: it is OKOME itself {what}. The edge was not seen to"
        " answer either: that is a fault of its own.",
        "meanwhile": "",
    }


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


def ollama_down(evidence: Evidence) -> Iterable[Finding]:
    """Ollama is down for OKOME, which is unwell."""
    yield from _missed_by_okome(evidence, "ollama-down", (UpstreamName.OLLAMA,))


def tf_serving_down(evidence: Evidence) -> Iterable[Finding]:
    """As for Ollama; REST and gRPC are one process."""
    names = (UpstreamName.TF_REST, UpstreamName.TF_GRPC)
    yield from _missed_by_okome(evidence, "tf-serving-down", names)


def _missed_by_okome(
    evidence: Evidence, code: str, upstreams: tuple[UpstreamName, ...]
) -> Iterable[Finding]:
    """A service that not every fleet runs: a closed port is no fault while OKOME is well."""
    okome = _okome(evidence)
    said = {signs.component(view, each) for view in okome for each in upstreams}
    looks = [look for each in upstreams for look in signs.views(evidence, each).values()]
    if True in said or any(map(signs.healthy, looks)):
        return
    unwell = any(
        signs.answers(view) and not signs.healthy(view) and not signs.server_error(view)
        for view in okome
    )
    others = {signs.component(view, each) for view in okome for each in UpstreamName}
    unnamed = unwell and others == {None} and any(map(signs.refused, looks))
    if False in said or unnamed:
        told = tuple(piece for each in upstreams for piece in words.upstream_seen(evidence, each))
        told += words.upstream_seen(evidence, OKOME)
        yield finding(evidence, code, upstreams[0].value, told)


def gpu_unreachable(evidence: Evidence) -> Iterable[Finding]:
    """No service on vLLM's machine answers or refuses, and OKOME misses it."""
    machine = evidence.topology.endpoint(UpstreamName.VLLM).address
    there = [each for each in UpstreamName if evidence.topology.endpoint(each).address == machine]
    looks = [look for each in there for look in signs.views(evidence, each).values()]
    seen = [look for look in looks if signs.answers(look) or signs.silent(look)]
    gone = [look for look in seen if signs.at_the_door(look) and not signs.refused(look)]
    if OKOME in there or len(there) < 2 or not seen or len(gone) < len(seen):
        return
    if any(signs.component(view, UpstreamName.VLLM) is True for view in _okome(evidence)):
        return
    if any(signs.component(view, UpstreamName.VLLM) is False for view in _okome(evidence)):
        told = tuple(piece for each in there for piece in words.upstream_seen(evidence, each))
        told += words.upstream_seen(evidence, OKOME)
        yield finding(evidence, "gpu-unreachable", UpstreamName.VLLM.value, told)


def _okome(evidence: Evidence) -> tuple[Reading[Check], ...]:
    return tuple(signs.views(evidence, OKOME).values())


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
    return about_nodes(evidence, code, (frontend,), told, {"clue": clue})
