"""Every finding code, in the order of findings: causes stand before what they cause.

The texts are in *_texts.py. A code needs a case that fires it and one that stays quiet in
tests/cases/triage/, or the tests refuse it.
"""

from collections.abc import Mapping

from kome_tui.triage.entry import Entry
from kome_tui.triage.node_texts import NODE_ENTRIES
from kome_tui.triage.resource_texts import RESOURCE_ENTRIES
from kome_tui.triage.service_texts import SERVICE_ENTRIES
from kome_tui.triage.ssh_texts import SSH_ENTRIES
from kome_tui.triage.stream_texts import STREAM_ENTRIES

_ENTRIES = (*NODE_ENTRIES, *SSH_ENTRIES, *SERVICE_ENTRIES, *STREAM_ENTRIES, *RESOURCE_ENTRIES)

ORDER = (
    "operator-offline",
    "frontend-unreachable",
    "nginx-down",
    "frontend-port-blocked",
    "okome-down",
    "okome-hung",
    "partition-frontend-okome",
    "gpu-unreachable",
    "vllm-down",
    "ollama-down",
    "tf-serving-down",
    "redis-down",
    "okome-erroring",
    "disk-full",
    "config-drift",
    "not-set-up",
    "not-deployed",
    "stream-buffered",
    "edge-unreachable",
    "role-down",
    "ssh-client-failed",
    "ssh-no-key",
    "ssh-blocked",
    "host-key-changed",
    "ssh-auth-failed",
    "host-key-unknown",
    "ssh-unreachable",
    "stream-refused",
    "stream-broken",
    "stream-stalled",
    "stream-slow",
    "page-failing",
    "api-failing",
    "disk-low",
    "cache-unwritable",
    "cache-ineffective",
    "serving-stale",
    "rate-limited",
    "old-workers",
    "release-pending",
)

CATALOGUE: Mapping[str, Entry] = {entry.code: entry for entry in _ENTRIES}
RANK: Mapping[str, int] = {code: rank for rank, code in enumerate(ORDER)}
EVERYTHING = frozenset(CATALOGUE) - {"operator-offline"}


def explains(code: str) -> frozenset[str]:
    """Codes that `code` explains. Without a network of our own, it is all of them."""
    return EVERYTHING if code == "operator-offline" else CATALOGUE[code].explains
