"""plan, deploy, rollback on the command line."""

import sys
import threading
from collections.abc import Callable, Mapping

from kome_tui.cli import interrupt
from kome_tui.cli.options import Options, chosen
from kome_tui.cli.output import ask, finish, is_interactive, nobody_reads, say, show, write_json
from kome_tui.errors import RefusedError, UsageError
from kome_tui.fleet.fleet import Fleet
from kome_tui.release import deploy as deploying
from kome_tui.release import plan as planning
from kome_tui.release import rollback as rolling
from kome_tui.release.fleet_api import Report
from kome_tui.release.outcome import Progress, PushReport
from kome_tui.text import for_fleet
from kome_tui.topology.grammar import RELEASE_ID

EXIT = {"ok": 0, "failed": 1, "refused": 3}
LOOK_S = 0.1
"""How soon the operator reads that Ctrl-C was heard. The push itself hears it at once."""

Push = Callable[[Report, threading.Event], PushReport]


def plan(options: Options, nodes: list[str] | None, as_json: bool) -> int:
    """Show the plan; exit 3 when something would change, 1 when a node cannot be asked."""
    topology, _ = options.load(touches_network=True)
    names = chosen(topology, nodes)
    with Fleet(topology, options.ssh_config) as fleet:
        plans = planning.of_fleet(planning.plan(topology, fleet, names), options.command)
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
        for name, made in plans.items():
            if made.outdated is not None:
                show(f"{name:<10} {made.outdated}")
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
            return run_push(
                lambda report, stop: deploying.deploy(
                    topology, fleet, names, accept_drift=accept, report=report, stop=stop
                ),
                options.command,
            )

        report = _again_if_drift_is_accepted(push, push(accept_drift), as_json)
    return show_report(report, as_json)


def rollback(
    options: Options,
    nodes: list[str] | None,
    to: str | None,
    yes: bool,
    as_json: bool,
    accept_drift: bool,
) -> int:
    """Go back; always asks, or wants --yes. Drift on top is asked as in deploy."""
    options.refuse_if_read_only()
    if to is not None and not RELEASE_ID.match(to):
        raise UsageError(f"{to!r} is no release id", hint="12 hex digits, or original")
    topology, _ = options.load(touches_network=True)
    names = chosen(topology, nodes)
    if not yes and not is_interactive():
        raise RefusedError("refused: a rollback asks first", hint="add --yes")
    with Fleet(topology, options.ssh_config) as fleet:
        if not yes:
            for name, way in rolling.ways_back(topology, fleet, names, to).items():
                say(f"{name:<10} {options.for_fleet(way)}")
            if not ask(f"Roll back {_counted(names)}?"):
                raise RefusedError("nothing was changed")

        def push(accept: bool) -> PushReport:
            return run_push(
                lambda report, stop: rolling.rollback(
                    topology,
                    fleet,
                    names,
                    to=to,
                    accept_drift=accept,
                    report=report,
                    stop=stop,
                ),
                options.command,
            )

        report = _again_if_drift_is_accepted(push, push(accept_drift), as_json)
    return show_report(report, as_json)


def _again_if_drift_is_accepted(
    push: Callable[[bool], PushReport], report: PushReport, as_json: bool
) -> PushReport:
    """The same push once more, where only drift was in its way and somebody says yes to that."""
    drifted = [name for name, seen in report.nodes.items() if _is_drift(seen.reason)]
    if not drifted or as_json or not is_interactive():
        return report
    interrupt.leave_at_once(as_json=as_json)  # nothing was changed yet
    question = f"{', '.join(drifted)}: changed by hand. Replace that, and push?"
    return push(True) if ask(question) else report


def _counted(names: tuple[str, ...]) -> str:
    return f"{len(names)} node{'s' * (len(names) != 1)}"


def run_push(push: Push, command: str) -> PushReport:
    """Run a push in a thread, so that Ctrl-C stops its waves and takes trials back.

    Its steps go to standard error; what these and the report name as `kome-tui` is `command`.
    From before the thread starts a signal only sets an event, so that none can get lost; and the
    wait has a limit, since a wait without one may put a signal off until it is over.
    """
    stop, done = threading.Event(), threading.Event()
    results: list[PushReport] = []
    errors: list[BaseException] = []

    def say_step(step: Progress) -> None:
        say(f"{step.node:<10} {step.step:<8} {for_fleet(step.text, command)}")

    def work() -> None:
        try:
            results.append(push(say_step, stop))
        except BaseException as error:  # noqa: BLE001 - handed to the main thread below
            errors.append(error)
        finally:
            done.set()

    interrupt.stop_instead(stop)
    threading.Thread(target=work, name="push").start()
    told = False
    while not done.wait(LOOK_S):
        if stop.is_set() and not told:
            say("stopping: trials are taken back, later nodes stay as they are")
            told = True
    if errors:
        raise errors[0]
    return results[0].of_fleet(command)


def show_report(report: PushReport, as_json: bool) -> int:
    """Show how a push went; the exit code, which is the push's own whoever reads the report."""
    try:
        _show_report(report, as_json)
        finish()
    except BrokenPipeError:
        nobody_reads(sys.stdout)
    return EXIT[report.result]


def _show_report(report: PushReport, as_json: bool) -> None:
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


def _is_drift(reason: str | None) -> bool:
    return reason is not None and "--accept-drift" in reason


def _in_words(made: planning.NodePlan) -> str:
    if made.reason is not None:
        return f"not asked: {made.reason}"
    if not made.changed:
        return f"unchanged {made.live}"
    drift = ", changed by hand" if made.drift else ""
    return f"would change {made.live or 'what it serves now'} -> {made.wanted}{drift}"
