"""The probe's own process: an Order as JSON in, Runs as JSON out, every path in a thread.

It must stay apart from the console: garbage collection or repainting there would shift the stamps
by up to 100 ms. It imports little, for it is started anew for every probe.
"""

import gc
import json
import sys
import threading
import time

from kome_tui.signals.probe_path import Order, Path, Runs, failed
from kome_tui.text import CELL_LIMIT, clean

WARM_UP_WAIT_S = 0.5
"""How long a ready path waits for the others, so that all are asked at the same time."""
LATE_S = 0.25
"""How long after the deadline a path may still come to its end."""


def main() -> None:
    """Read an Order from standard input, write one Runs per target to standard output."""
    gc.disable()  # a collection takes longer than a token
    order: Order = json.load(sys.stdin)
    json.dump(probe_all(order), sys.stdout)


def probe_all(order: Order) -> list[Runs]:
    """Probe all targets at the same time, until the deadline at most."""
    paths = [Path(target, order) for target in order["targets"]]
    gate = Gate(len(paths))

    def work(path: Path) -> None:
        try:
            path.probe(gate.pass_together)
        except Exception as error:  # noqa: BLE001 - one path's fault must not cost the others
            text = clean(f"internal error: {type(error).__name__}: {error}", CELL_LIMIT)
            path.runs = {"plain": failed(text), "gzip": None}
        finally:
            gate.arrive()

    threads = [threading.Thread(target=work, args=(path,), daemon=True) for path in paths]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, order["deadline"] + LATE_S - time.monotonic()))
    return [path.runs for path in paths]


class Gate:
    """Opens when every path is ready or has ended."""

    def __init__(self, paths: int) -> None:
        self._missing = paths
        self._lock = threading.Lock()
        self._open = threading.Event()

    def arrive(self) -> None:
        """Count one path as ready. One that ends later counts again, which does no harm."""
        with self._lock:
            self._missing -= 1
            if self._missing <= 0:
                self._open.set()

    def pass_together(self) -> None:
        """Arrive, and wait for the others, but not for ever."""
        self.arrive()
        self._open.wait(WARM_UP_WAIT_S)


if __name__ == "__main__":
    main()
