"""Texts of findings about a node's disk, its cache, its workers, and what its clients feel."""

from kome_tui.triage.entry import TRIAGE_AGAIN, Entry

RESOURCE_ENTRIES = (
    Entry(
        "disk-full",
        "critical",
        "The disk of {who} is full",
        (
            "Nothing is pushed there, logged or kept until there is room; pages and API are still"
            " served.",
            "At the machine, see what takes it: {sudo}du -xh / | sort -h | tail -n 20",
            "The cache may go at once: {kome} purge {first}",
        ),
        (("Empty its cache", "{kome} purge {first}"), TRIAGE_AGAIN),
        frozenset({"cache-unwritable", "cache-ineffective"}),
        per_node=True,
    ),
    Entry(
        "disk-low",
        "warning",
        "The disk of {who} is nearly full",
        (
            "At the machine, see what takes it: {sudo}du -xh / | sort -h | tail -n 20",
            "cache.size and disk.log of topology.yaml say how much cache and logs may take.",
        ),
        (TRIAGE_AGAIN,),
        per_node=True,
    ),
    Entry(
        "cache-unwritable",
        "warning",
        "{who} keeps nothing in its cache",
        (
            "Every page comes from OKOME: slower, and not there at all when OKOME is down.",
            "At the machine, see whether nginx may write there: {sudo}ls -ld {cache}, and read"
            " what it says: {tail_errors}",
        ),
        (TRIAGE_AGAIN,),
        frozenset({"cache-ineffective"}),
        per_node=True,
    ),
    Entry(
        "cache-ineffective",
        "info",
        "The cache of {who} helps little",
        (
            "Nothing is broken. Just after a push or a purge this is as it should be.",
            "If it stays, look at the paths that are missed most: a query string that changes with"
            " every request, or cookies, keep an answer from being found again.",
        ),
        (TRIAGE_AGAIN,),
        per_node=True,
        adds_nothing=True,
    ),
    Entry(
        "serving-stale",
        "info",
        "{who} shows kept copies that are out of date",
        (
            "People go on: the edge does this when OKOME is slow or fails, and ends it by itself.",
            "Look at OKOME first.",
        ),
        (TRIAGE_AGAIN,),
        per_node=True,
        adds_nothing=True,
    ),
    Entry(
        "rate-limited",
        "info",
        "{who} {turns_turn} requests away: too many from one address",
        (
            "Nothing is broken: limits.rate and limits.cached_rate of topology.yaml say how many"
            " requests a second one address may make.",
            "If it is somebody's honest work, raise the limit and push; else find the client.",
        ),
        (TRIAGE_AGAIN,),
        per_node=True,
    ),
    Entry(
        "old-workers",
        "info",
        "{who} still {has_have} many old workers, which finish their streams",
        (
            "Nothing is broken. Each push leaves workers that end with their last stream, or after"
            " timeouts.shutdown; until then they take memory.",
            "Wait with the next push until they are gone, if memory is short.",
        ),
        (TRIAGE_AGAIN,),
        per_node=True,
    ),
)
