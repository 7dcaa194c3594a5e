"""Releases, each rendered once: panels, plan and push ask for the same ones of the same topology.

A topology never changes, so what was rendered from it stays true; that of the last one is kept.
"""

import threading

from kome_tui.nginx.render import Release, render_release
from kome_tui.topology.model import Topology

_lock = threading.Lock()
_last: tuple[Topology, dict[str, Release]] | None = None


def release_of(topology: Topology, name: str) -> Release:
    """As render_release(), from memory where this very topology was asked before."""
    global _last
    with _lock:
        if _last is None or _last[0] is not topology:
            _last = (topology, {})
        known = _last[1]
    release = known.get(name)
    if release is None:
        release = known[name] = render_release(topology, name)
    return release
