"""status, probe, triage on the command line."""

import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from kome_tui.cli.options import Options
from kome_tui.cli.output import show, write_json
from kome_tui.errors import UsageError
from kome_tui.fleet.fleet import Fleet
from kome_tui.reading import Reading, not_yet
from kome_tui.session import sample_once, status_json
from kome_tui.signals import probe as probing
from kome_tui.signals.readings import PathProbe, ProbeResult
from kome_tui.state import ConsoleState, evidence_of
from kome_tui.triage.engine import diagnose, to_json
from kome_tui.triage.model import Diagnosis

TRIAGE_TOKENS = 48
WATCH_S = 5.0
PROBE_TIMEOUT_S = 60.0
DEFAULT_PATHS = ("frontend", "okome", "gpu")


def status(options: Options, as_json: bool) -> int:
    """One sample; exit 1 when the fleet is not healthy."""
    topology, path = options.load(touches_network=True)
    with Fleet(topology, options.ssh_config) as fleet:
        state = sample_once(topology, str(path), fleet, probe_tokens=None, command=options.command)
    answer = status_json(state)
    if as_json:
        write_json(answer)
    else:
        _show_status(answer)
    return 0 if diagnose(evidence_of(state)).verdict == "healthy" else 1


def probe(options: Options, paths: list[str] | None, tokens: int, as_json: bool) -> int:
    """Measure streams; exit 1 when a path failed or buffers."""
    topology, _ = options.load(touches_network=True)
    targets = probing.targets_for(topology, tuple(paths or DEFAULT_PATHS))
    result = probing.run_probe(targets, tokens, PROBE_TIMEOUT_S)
    if as_json:
        write_json(probing.to_json(result))
    else:
        for path in result.paths:
            stats = path.plain
            if stats.error is not None:
                show(f"{path.path:<12} failed: {stats.error}")
                continue
            gaps = stats.gap_ms
            show(
                f"{path.path:<12} first token {_ms(stats.ttft_ms)}  gaps p50 {_ms(gaps.p50)}"
                f" p99 {_ms(gaps.p99)} max {_ms(gaps.max)}  {stats.tokens} tokens"
                f"  stalls {stats.stalls}  burst {_number(stats.burst)}"
                f"{'  BUFFERED' if stats.buffered else ''}"
                f"{'  buffers for clients that offer gzip' if _gzip_only(path) else ''}"
            )
        if any(path.plain.error is None for path in result.paths):
            show(result.verdict.text)  # else it repeats the errors
    good = all(path.plain.ok and not path.plain.buffered for path in result.paths)
    return 0 if good and result.verdict.buffering_hop is None else 1


def triage(options: Options, with_probe: bool, watch: bool, as_json: bool) -> int:
    """Diagnose; exit 0 healthy, 1 not."""
    if watch and as_json:
        raise UsageError("--watch and --json do not go together: --json is one object")
    topology, path = options.load(touches_network=True)
    before: Reading[ProbeResult] = not_yet()
    with Fleet(topology, options.ssh_config) as fleet:
        while True:
            started = time.monotonic()
            tokens = TRIAGE_TOKENS if with_probe else None
            state = sample_once(
                topology, str(path), fleet, probe_tokens=tokens, command=options.command
            )
            diagnosis = diagnose(replace(evidence_of(state), probe_before=before))
            before = state.probe
            took = time.monotonic() - started
            if as_json:
                write_json(to_json(diagnosis, took))
            else:
                _show_diagnosis(diagnosis, took, state)
            if not watch:
                return 0 if diagnosis.verdict == "healthy" else 1
            sys.stdout.flush()  # whoever reads it through a pipe wants it now
            time.sleep(WATCH_S)  # Ctrl-C ends it


def _show_diagnosis(diagnosis: Diagnosis, took_s: float, state: ConsoleState) -> None:
    count = len(diagnosis.findings)
    show(f"{diagnosis.verdict}, {count} finding{'s' * (count != 1)} in {took_s:.1f} s")
    for finding in diagnosis.findings:
        show()
        show(f"{finding.severity.upper()} {finding.code} ({finding.subject}): {finding.title}")
        for seen in finding.evidence:
            age = max(0.0, state.now - seen.at)
            show(f"  seen  {seen.source}: {seen.seen} ({age:.0f} s ago)")
        for number, step in enumerate(finding.guidance, 1):
            show(f"  {number}. {step}")
        for action in finding.actions:
            show(f"  run   {action.command}")


def _show_status(answer: Mapping[str, Any]) -> None:
    for name, node in answer["nodes"].items():
        reached = f"ssh {node['ssh']}, nginx {node['nginx']}"
        told = f"{reached}, {_release(node)}, {_hits(node['cache'])}"
        show(f"{name:<10} {node['role']:<16} {told}")
    for name, upstream in answer["upstreams"].items():
        views = ", ".join(
            f"from {vantage} {seen['state']}" + (f" ({seen['reason']})" if seen["reason"] else "")
            for vantage, seen in upstream["from"].items()
        )
        show(f"{name:<10} {upstream['state']:<16} {views}")


def _release(node: Mapping[str, Any]) -> str:
    """A node that was not asked may well serve a release of ours."""
    if node["release"]["drift"] is None:
        return f"release unknown: {node['missing']['release.drift']}"
    drift = ", changed by hand" if node["release"]["drift"] else ""
    return f"{node['release']['live'] or 'no release of ours'}{drift}"


def _hits(cache: Mapping[str, Any]) -> str:
    if cache["hit_rate"] is None:
        return f"no hit rate: {cache['why']}"
    return f"{cache['hit_rate']:.0%} hits in {cache['window_s'] // 60} min"


def _gzip_only(path: PathProbe) -> bool:
    return path.gzip is not None and path.gzip.buffered and not path.plain.buffered


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} ms"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
