"""Turns the commands that reasons name to the fleet of the state, where they come in.

An error of a node says `kome-tui rebuild node-01`, and does not know how this fleet is named on a
command line; whoever pasted that would change another fleet.
"""

from dataclasses import replace
from typing import TypeVar

from kome_tui.reading import Missing, Reading
from kome_tui.state.model import Event, FactsSeen, PushEnded, PushStep, SshSeen, TrafficSeen
from kome_tui.text import for_fleet

T = TypeVar("T")


def named(event: Event, command: str) -> Event:
    """The event with its reasons about the fleet of `command`; most carry none."""
    match event:
        case SshSeen():
            reason = for_fleet(event.reason, command) if event.reason is not None else None
            return replace(event, ssh=_reading(event.ssh, command), reason=reason)
        case FactsSeen():
            return replace(event, facts=_reading(event.facts, command))
        case TrafficSeen():
            return replace(event, traffic=_reading(event.traffic, command))
        case PushStep():
            text = for_fleet(event.progress.text, command)
            return replace(event, progress=replace(event.progress, text=text))
        case PushEnded():
            report = event.report.of_fleet(command) if event.report is not None else None
            error = for_fleet(event.error, command) if event.error is not None else None
            return replace(event, report=report, error=error)
        case _:
            return event


def _reading(reading: Reading[T], command: str) -> Reading[T]:
    if reading.why_missing is None:
        return reading
    return replace(reading, value=Missing(for_fleet(reading.why_missing, command)))
