"""Streams and small requests while nginx reloads again and again.

    .venv/bin/python -m bench.nginx.reload [--reloads 5] [--streams 50] [--rate 300] [--seed 1]

50 streams run through the frontend from before the first reload to after the last, and every token
is counted; beside them requests on kept connections, and requests that each make a connection. Then
the same with a worker_shutdown_timeout shorter than the streams, to see what that costs.
"""

import argparse
import os
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

from bench.nginx.fleet import child, chosen, fleet, heading, load, options, quantile, said
from tests.nginx_process import Build, Nginx
from tests.waiting import wait_until

EVERY_S = 2.0
EVERY_MS = 20.0
NEW_RATE = 100


def workers(nginx: Nginx) -> set[str]:
    """The master's children."""
    master = nginx.process.pid
    return set(Path(f"/proc/{master}/task/{master}/children").read_text().split())


def accepting(nginx: Nginx) -> set[str]:
    """The workers that are not shutting down."""
    found = set()
    for pid in workers(nginx):
        try:
            title = Path(f"/proc/{pid}/cmdline").read_bytes()
        except FileNotFoundError:
            continue  # ended meanwhile
        if b"shutting down" not in title and b"worker process" in title:
            found.add(pid)
    return found


def reload(nginx: Nginx) -> None:
    """Reload, and wait until only new workers accept."""
    before = accepting(nginx)
    os.kill(nginx.process.pid, signal.SIGHUP)
    wait_until(lambda: (now := accepting(nginx)) and not now & before, within_s=20)


def one_run(build: Build, args: argparse.Namespace, shutdown: str | None) -> dict[str, Any]:
    """Everything at once on one frontend; `shutdown` None is what the topology ships with."""
    over = {} if shutdown is None else {"timeouts": {"shutdown": shutdown}}
    seconds = args.reloads * EVERY_S + 4
    tokens = int(seconds * 1000 / EVERY_MS)
    with fleet(("kome",), build, args.seed, **over) as site:
        nginx, port = site.nodes["kome"], str(site.port("kome"))
        streams = child("streams", str(tokens), str(EVERY_MS), str(args.streams), port)
        assert streams.stdout is not None
        if streams.stdout.readline() != "open\n":
            raise SystemExit("the streams did not start")
        loads = {
            how: child(
                "load", port, "/small", str(rate), str(seconds - 1), "20", str(args.seed), how
            )
            for how, rate in (("keep", args.rate), ("new", NEW_RATE))
        }
        time.sleep(1.5)  # the rhythm of the bench itself: the loads have begun
        for _ in range(args.reloads):
            reload(nginx)
            time.sleep(EVERY_S)  # the rhythm of the bench itself
        old = len(workers(nginx)) - len(accepting(nginx))
        results = {how: said(process, seconds + 40) for how, process in loads.items()}
        results["streams"] = said(streams, seconds + 40)
        results["old workers"] = old
        results["tokens"] = tokens
        return results


def show(name: str, results: dict[str, Any]) -> None:
    """Print what became of streams and requests."""
    streams, tokens = results["streams"], results["tokens"]
    whole = [s for s in streams if s["ended"] and s["in_order"] and len(s["delays_us"]) == tokens]
    lost = sum(tokens - len(stream["delays_us"]) for stream in streams)
    print(
        f"{name}: {len(whole)} of {len(streams)} streams whole, {lost} of "
        f"{tokens * len(streams)} tokens lost, {sum(not s['in_order'] for s in streams)} out of "
        f"order; {results['old workers']} old workers at the end"
    )
    for how, what in (("keep", "kept connections"), ("new", "a connection each")):
        seen = results[how]
        counts = Counter(seen["outcomes"])
        answered = counts.pop("200", 0)
        dropped = ", ".join(f"{kind}: {count}" for kind, count in counts.items() if count) or "none"
        p50, p99 = (quantile(seen["latencies_us"], at) / 1000 for at in (50, 99))
        print(
            f"  {what:18} {answered:6} of {seen['requests']} answered, dropped {dropped}; "
            f"p50 {p50:.2f} ms, p99 {p99:.2f} ms"
        )


def main() -> None:
    """Run twice and print."""
    parser = options(__doc__)
    parser.add_argument("--reloads", type=int, default=5)
    parser.add_argument("--streams", type=int, default=50)
    parser.add_argument("--rate", type=int, default=300, help="requests per second, kept")
    args = parser.parse_args()
    build = chosen(args)
    what = (
        f"{args.reloads} reloads, {args.streams} streams of a token each {EVERY_MS:g} ms, "
        f"{args.rate} requests/s on kept connections and {NEW_RATE}/s with one each"
    )
    print(heading(what, build, args.seed))
    show("worker_shutdown_timeout as shipped", one_run(build, args, None))
    show("worker_shutdown_timeout 2s", one_run(build, args, "2s"))
    print(f"{load()} at the end")


if __name__ == "__main__":
    main()
