"""What nginx costs that has nothing to do: CPU and memory of one node of every role.

    .venv/bin/python -m bench.nginx.idle [--seconds 30]

All run at once, each with as many workers as the machine has cores. CPU is from the ticks of master
and workers in /proc/PID/stat (proc(5): utime and stime), memory the sum of their RSS, and of their
PSS, in which a page that n processes share counts 1/n each. Wanted of a node: below 1 % and 30 MB.
It takes a minute more: it waits until the cache loader has ended.
"""

import os
import time
from pathlib import Path

from bench.nginx.fleet import chosen, fleet, heading, load, options
from tests.builders_topology import ROLES
from tests.nginx_process import Nginx
from tests.waiting import wait_until

NODES = ("kome", "node-01", "node-03", "node-07", "node-09")
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def processes(master: int) -> list[int]:
    """The master and its children: workers, and the cache's manager and loader."""
    children = Path(f"/proc/{master}/task/{master}/children").read_text().split()
    return [master, *map(int, children)]


def is_loading(nginx: Nginx) -> bool:
    """Whether the cache loader has still to run, or runs."""
    titles = (Path(f"/proc/{pid}/cmdline") for pid in processes(nginx.process.pid))
    return any(b"cache loader" in title.read_bytes() for title in titles if title.exists())


def cpu_s(pids: list[int]) -> float:
    """CPU seconds that these processes have used since they started."""
    total = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICKS_PER_S


def memory_mb(pids: list[int]) -> tuple[float, float]:
    """Resident, and proportional, memory of these processes together."""
    rss = pss = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            name, _, value = line.partition(":")
            if name == "Rss":
                rss += int(value.split()[0])
            elif name == "Pss":
                pss += int(value.split()[0])
    return rss / 1024, pss / 1024


def main() -> None:
    """Wait, and print what was used."""
    parser = options(__doc__)
    parser.add_argument("--seconds", type=float, default=30)
    args = parser.parse_args()
    build = chosen(args)
    with fleet(NODES, build, seed=args.seed) as site:
        print(heading("idle nginx, one node of every role", build, args.seed))
        # nginx looks through its cache once, a minute after it started
        wait_until(lambda: not any(map(is_loading, site.nodes.values())), within_s=120, every_s=1)
        found = {name: processes(nginx.process.pid) for name, nginx in site.nodes.items()}
        before = {name: cpu_s(pids) for name, pids in found.items()}
        started = time.monotonic()
        time.sleep(args.seconds)  # what is measured: nothing happens
        took_s = time.monotonic() - started
        print(f"{'':18}{'processes':>10}{'CPU %':>8}{'RSS MB':>8}{'PSS MB':>8}")
        for name, pids in found.items():
            used = 100 * (cpu_s(pids) - before[name]) / took_s
            rss, pss = memory_mb(pids)
            print(f"{ROLES[name][0]:18}{len(pids):10}{used:8.2f}{rss:8.1f}{pss:8.1f}")
    print(f"over {took_s:.0f} s; a tick is {100 / TICKS_PER_S / took_s:.3f} %; {load()} at the end")


if __name__ == "__main__":
    main()
