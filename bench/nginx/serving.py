"""Cached 20 KB answers at a steady rate, through the frontend's real configuration.

    .venv/bin/python -m bench.nginx.serving [--rate 500] [--seconds 20] [--rounds 3] [--seed 1]

Beside them a plain nginx that serves the same bytes from a file, and the upstream itself: all in
one run, round after round. Latency counts from when a request was due. Wanted: p99 below 10 ms.
"""

import argparse
import os
from collections import Counter
from pathlib import Path
from typing import Any

from bench.nginx.fleet import child, chosen, fleet, heading, load, options, over_rounds, said
from bench.nginx.okome import asset
from tests.http_client import ask
from tests.nginx_process import running
from tests.ports import free_port

LANES = 32
PATH = "/assets/app.css"

PLAIN = """
{user}
worker_processes auto;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 2048; }}
http {{
    access_log off;
    sendfile on;
    client_body_temp_path {folder}/t1;
    proxy_temp_path {folder}/t2;
    fastcgi_temp_path {folder}/t3;
    uwsgi_temp_path {folder}/t4;
    scgi_temp_path {folder}/t5;
    server {{
        listen 127.0.0.1:{port};
        root {folder}/www;
    }}
}}
"""


def plain_conf(folder: Path, port: int, seed: int) -> str:
    """The least that serves the file, and the file."""
    file = folder / "www" / PATH[1:]
    file.parent.mkdir(parents=True)
    file.write_bytes(asset(seed))
    user = "user root;" if os.geteuid() == 0 else ""
    return PLAIN.format(folder=folder, port=port, user=user)


def one_load(port: int, args: argparse.Namespace, seed: int, *how: str) -> Any:
    """One load on one target."""
    numbers = (args.rate, args.seconds, LANES, seed)
    process = child("load", str(port), PATH, *map(str, numbers), "keep", *how)
    return said(process, args.seconds + 30)


def main() -> None:
    """Measure every target in every round and print the medians."""
    parser = options(__doc__)
    parser.add_argument("--rate", type=int, default=500, help="requests per second")
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    build = chosen(args)
    with fleet(("kome",), build, args.seed) as site:
        plain_port, folder = free_port(), site.folder / "plain"
        folder.mkdir()
        with running(plain_conf(folder, plain_port, args.seed), folder, build, plain_port):
            frontend = site.port("kome")
            ask(frontend, PATH)
            if (seen := ask(frontend, PATH).cache) != "HIT":
                raise SystemExit(f"the frontend does not answer from its cache: {seen}")
            targets: dict[str, tuple[int, tuple[str, ...]]] = {
                "frontend, from its cache": (frontend, ()),
                "frontend, from its cache, gzip": (frontend, ("gzip",)),
                "plain nginx, a file": (plain_port, ()),
                "the upstream itself": (site.okome, ()),
            }
            results: dict[str, list[Any]] = {name: [] for name in targets}
            print(heading(f"cached answers, {args.rate} requests/s", build, args.seed))
            for number in range(args.rounds):
                for name, (port, how) in targets.items():
                    results[name].append(one_load(port, args, args.seed + number, *how))
    show(results, args)


def show(results: dict[str, list[Any]], args: argparse.Namespace) -> None:
    """Print the table; ratios are to the plain nginx of the same run."""
    print(f"median of {args.rounds} rounds of {args.seconds} s; ms from when a request was due")
    print(f"{'':32}{'p50':>8}{'p99':>8}{'max':>9}{'ratio':>7}{'KB':>6}  outcomes")
    plain = over_rounds([one["latencies_us"] for one in results["plain nginx, a file"]], 50)
    for name, rounds in results.items():
        latencies = [one["latencies_us"] for one in rounds]
        p50, p99, most = (over_rounds(latencies, at) for at in (50, 99, 100))
        outcomes = sum((Counter(one["outcomes"]) for one in rounds), Counter[str]())
        seen = ", ".join(f"{kind}: {count}" for kind, count in outcomes.items() if count)
        size = sum(one["bytes"] for one in rounds) / sum(map(len, latencies)) / 1000
        print(
            f"{name:32}{p50 / 1000:8.2f}{p99 / 1000:8.2f}{most / 1000:9.2f}{p50 / plain:7.2f}"
            f"{size:6.1f}  {seen}"
        )
    late = [one["late_us"] for rounds in results.values() for one in rounds]
    print(
        f"of that the generator itself was late by p50 {over_rounds(late, 50) / 1000:.2f} ms, "
        f"p99 {over_rounds(late, 99) / 1000:.2f} ms; {load()} at the end"
    )


if __name__ == "__main__":
    main()
