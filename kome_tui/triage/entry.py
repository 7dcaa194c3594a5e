"""What is fixed about a finding code: how bad it is, what it explains, and its texts.

A careless cycle among `explains` would make the engine follow causes for ever: a code explains
only codes that stand below it in catalogue.ORDER.
"""

from dataclasses import dataclass

from kome_tui.triage.model import Severity


@dataclass(frozen=True, slots=True)
class Entry:
    """What is fixed about a code. Texts have named fields that the rule fills in."""

    code: str
    severity: Severity
    title: str
    guidance: tuple[str, ...]
    """In order. A line that comes out empty is left out."""
    actions: tuple[tuple[str, str], ...] = ()
    """Name and command; one whose command comes out empty is left out."""
    explains: frozenset[str] = frozenset()
    """Codes that are no fault of their own where this one is found."""
    per_node: bool = False
    """The subject is a node, and it explains findings about that node only."""
    adds_nothing: bool = False
    """Where something explains it, it is evidence of that and no finding of its own."""
    behind_edge: bool = False
    """A fault behind the edge: it explains an error that nginx passes on, never its silence."""


PAGE_AND_API = frozenset({"page-failing", "api-failing"})
STREAMS = frozenset({"stream-refused", "stream-broken", "stream-stalled", "stream-slow"})
OPEN_OKOME = ("Open OKOME directly", "{open_okome}")
SHOW_DIFFERENCE = ("Show the difference", "{kome} plan {names}")
REDEPLOY = ("Redeploy {who}", "{kome} deploy {names}")
PUSH = ("Push to {who}", "{kome} deploy {names}")
PROBE_AGAIN = ("Probe again", "{kome} probe")
TRIAGE_AGAIN = ("Look again", "{kome} triage")
READ_ERROR_LOG = "Read the end of the error log on {who}: {tail_errors}"
