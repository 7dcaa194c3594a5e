"""plan, deploy, rollback on the command line."""

import threading
from collections.abc import Callable, Mapping

from kome_tui.cli.options import Options, chosen
from kome_tui.cli.output import ask, is_interactive, say, show, write_json
from kome_tui.errors import RefusedError, UsageError
from kome_tui.fleet.fleet import Fleet
from kome_tui.release import deploy as deploying
from kome_tui.release import plan as planning
from kome_tui.release import rollback as rolling
from kome_tui.release.fleet_api import Report
from kome_tui.release.outcome import Progress, PushReport
from kome_tui.topology.grammar import RELEASE_ID

EXIT = {"ok": 0, "failed": 1, "refused": 3}

Push = Callable[[Report, threading.Event], PushReport]


def plan(options: Options, nodes: list[str] | None, as_json: bool) -> int:
    """Show the plan; exit 3 when something would change, 1 when a node cannot be asked."""
    topology, _ = options.load(touches_network=True)
    names = chosen(topology, nodes)
    with Fleet(topology, options.ssh_config) as fleet:
        plans = planning.plan(topology, fleet, names)
    if as_json:
        write_json(
            {
                "nodes": {
                    name: {
                        "live": made.live,
                        "wanted": made.wanted,
                        "changed": made.changed,
                        "drift": made.drift,
                        "diff": made.diff,
                        "reason": made.reason,
                    }
                    for name, made in plans.items()
                }
            }
        )
    else:
        for name, made in plans.items():
            show(f"{name:<10} {_in_words(made)}")
        for made in plans.values():
            if made.diff:
                show()
                show(made.diff)
        _show_meanings(plans)
    if any(made.changed for made in plans.values()):
        return 3
    return 1 if any(made.reason for made in plans.values()) else 0


def _show_meanings(plans: Mapping[str, planning.NodePlan]) -> None:
    """What the diffs mean, last, where a terminal stops; nodes that mean the same together."""
    alike: dict[tuple[str, ...], list[str]] = {}
    for name, made in plans.items():
        if made.meaning:
            alike.setdefault(made.meaning, []).append(name)
    for meaning, names in alike.items():
        show(f"What changes on {', '.join(names)}:")
        for sentence in meaning:
            show(f"  {sentence}")


def deploy(options: Options, nodes: list[str] | None, as_json: bool, accept_drift: bool) -> int:
    """Push; asks about drift where there is a terminal."""
    options.refuse_if_read_only()
    topology, _ = options.load(touches_network=True)
    names = chosen(topology, nodes)
    with Fleet(topology, options.ssh_config) as fleet:

        def push(accept: bool) -> PushReport:
            return _run(
                lambda report, stop: deploying.deploy(
                    topology, fleet, names, accept_drift=accept, report=report, stop=stop
                )
            )

        report = push(accept_drift)
        drifted = [name for name, seen in report.nodes.items() if _is_drift(seen.reason)]
        if drifted and not accept_drift and not as_json and is_interactive():
            question = f"{', '.join(drifted)}: changed by hand. Replace that, and push?"
            if ask(question):
                report = push(True)
    return _show(report, as_json)


def rollback(
    options: Options, nodes: list[str] | None, to: str | None, yes: bool, as_json: bool
) -> int:
    """Go back; always asks, or wants --yes."""
    options.refuse_if_read_only()
    if to is not None and not RELEASE_ID.match(to):
        raise UsageError(f"{to!r} is no release id", hint="12 hex digits, or original")
    topology, _ = options.load(touches_network=True)
    names = chosen(topology, nodes)
    if not yes:
        question = f"Roll back {', '.join(names)} to {to or 'the previous release'}?"
        if not is_interactive():
            raise RefusedError("refused: a rollback asks first", hint="add --yes")
        if not ask(question):
            raise RefusedError("nothing was changed")
    with Fleet(topology, options.ssh_config) as fleet:
        report = _run(
            lambda report, stop: rolling.rollback(
                topology, fleet, names, to=to, report=report, stop=stop
            )
        )
    return _show(report, as_json)


def _run(push: Push) -> PushReport:
    """Run a push in a thread, so that Ctrl-C stops its waves and takes trials back."""
    stop, done = threading.Event(), threading.Event()
    results: list[PushReport] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            results.append(push(_say_progress, stop))
        except BaseException as error:  # noqa: BLE001 - handed to the main thread below
            errors.append(error)
        finally:
            done.set()

    threading.Thread(target=work, name="push").start()
    # Not Thread.join: interrupted, it takes a running thread for a finished one.
    while not done.is_set():
        try:
            done.wait()
        except KeyboardInterrupt:
            say("stopping: trials are taken back, later nodes stay as they are")
            stop.set()
    if errors:
        raise errors[0]
    return results[0]


def _say_progress(progress: Progress) -> None:
    say(f"{progress.node:<10} {progress.step:<8} {progress.text}")


def _show(report: PushReport, as_json: bool) -> int:
    if as_json:
        write_json(
            {
                "result": report.result,
                "seconds": round(report.seconds, 3),
                "nodes": {
                    name: {
                        "outcome": seen.outcome,
                        "release": seen.release,
                        "previous": seen.previous,
                        "seconds": round(seen.seconds, 3),
                        "reason": seen.reason,
                    }
                    for name, seen in report.nodes.items()
                },
            }
        )
    else:
        for name, seen in report.nodes.items():
            release = seen.release or "unknown"
            show(f"{name:<10} {seen.outcome:<12} {release:<12} {seen.reason or ''}".rstrip())
        show(f"{report.result} in {report.seconds:.2f} s")
    return EXIT[report.result]


def _is_drift(reason: str | None) -> bool:
    return reason is not None and "--accept-drift" in reason


def _in_words(made: planning.NodePlan) -> str:
    if made.reason is not None:
        return f"not asked: {made.reason}"
    if not made.changed:
        return f"unchanged {made.live}"
    drift = ", changed by hand" if made.drift else ""
    return f"would change {made.live or 'what it serves now'} -> {made.wanted}{drift}"
