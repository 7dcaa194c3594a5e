"""Texts of findings of the stream probe."""

from kome_tui.triage.entry import OPEN_OKOME, PROBE_AGAIN, Entry

STREAM_ENTRIES = (
    Entry(
        "stream-buffered",
        "warning",
        "{hop} holds tokens back and passes them on in clumps",
        (
            "{way_around}",
            "{cure}",
            "Probe again: the burst of {hop} must be back near 1.",
        ),
        (("{redeploy}", "{redeploy_command}"), PROBE_AGAIN, OPEN_OKOME),
        frozenset({"stream-slow", "stream-stalled"}),
        per_node=True,
    ),
    Entry(
        "stream-refused",
        "warning",
        "No stream begins through {hop}",
        (
            "{way_around}",
            "The hop before {hop} delivered the same stream whole, and {hop} did not let it begin:"
            " {error}.",
            "{differs}",
            "Probe again; if it stays, read the error log of {hop}.",
        ),
        (PROBE_AGAIN, OPEN_OKOME),
        per_node=True,
        adds_nothing=True,
    ),
    Entry(
        "stream-broken",
        "warning",
        "A stream through {hop} broke off",
        (
            "{way_around}",
            "The hop before {hop} delivered the same stream whole, so the fault is at {hop} or"
            " right before it.",
            "Probe again; if it stays, read the error log of {hop}.",
        ),
        (PROBE_AGAIN, OPEN_OKOME),
        per_node=True,
        adds_nothing=True,
    ),
    Entry(
        "stream-stalled",
        "warning",
        "A stream through {hop} stood still for {longest}",
        (
            "{way_around}",
            "What lies before {hop} did not stand still. Look at load, memory and network of"
            " {hop}: a cable that loses packets does this.",
            "Probe again: a stall that does not come back was a moment's.",
        ),
        (PROBE_AGAIN, OPEN_OKOME),
        frozenset({"stream-slow"}),
        per_node=True,
        adds_nothing=True,
    ),
    Entry(
        "stream-slow",
        "warning",
        "{hop} makes streams slower: {slower}",
        (
            "The hop before {hop} delivers the same stream faster. Look at its load and network.",
            "Probe again in a minute: it must be faster then, or the cause is still there.",
        ),
        (PROBE_AGAIN,),
        per_node=True,
        adds_nothing=True,
    ),
)
