"""What nginx adds to each token of a stream: read directly, through one hop, and through two.

    .venv/bin/python -m bench.nginx.hop [--seconds 10] [--rounds 3] [--streams 4] [--seed 1]

All paths are read at the same time, several streams each. A token's delay is from the server's own
stamp to the kernel's receive stamp at the client. Wanted: one hop adds at most 0.5 ms at p99.
"""

import argparse
from statistics import median

from bench.nginx.fleet import child, chosen, fleet, heading, load, options, quantile, said

EVERY_MS = 20.0
DIRECT = "OKOME itself"
ONE_HOP = "frontend > OKOME"
TWO_HOPS = "ingress > cache-stream > OKOME"

Delays = dict[str, list[float]]


def one_round(ports: dict[str, int], args: argparse.Namespace) -> tuple[Delays, int, int]:
    """Every token's delay in microseconds by path, and how many reads brought more than one token,
    and how many came without the kernel's stamp."""
    tokens = int(args.seconds * 1000 / EVERY_MS)
    numbers = (tokens, EVERY_MS, args.streams, *ports.values())
    streams = said(child("streams", *map(str, numbers)), args.seconds + 30)
    delays: Delays = {name: [] for name in ports}
    names = {port: name for name, port in ports.items()}
    for stream in streams:
        if len(stream["delays_us"]) != tokens or not stream["in_order"]:
            raise SystemExit(f"{names[stream['port']]} lost tokens: {len(stream['delays_us'])}")
        delays[names[stream["port"]]] += stream["delays_us"]
    merged, unstamped = (sum(s[what] for s in streams) for what in ("merged", "unstamped"))
    return delays, merged, unstamped


def main() -> None:
    """Measure every path in every round and print the medians."""
    parser = options(__doc__)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--streams", type=int, default=4, help="on each path")
    args = parser.parse_args()
    build = chosen(args)
    with fleet(("kome", "node-01", "node-03"), build, args.seed) as site:
        ports = {
            DIRECT: site.okome,
            ONE_HOP: site.port("kome"),
            TWO_HOPS: site.port("node-01"),
        }
        print(heading(f"token streams, one token each {EVERY_MS:g} ms", build, args.seed))
        rounds = [one_round(ports, args) for _ in range(args.rounds)]
    each = f"{args.streams} streams of {args.seconds} s on each path"
    print(f"median of {args.rounds} rounds, {each}; microseconds from server to client")
    print(f"{'':32}{'p50':>8}{'p99':>8}{'added p50':>11}{'added p99':>11}{'tokens':>8}")
    for name in ports:
        p50, p99 = (median(quantile(seen[name], at) for seen, *_ in rounds) for at in (50, 99))
        added = [
            median(quantile(seen[name], at) - quantile(seen[DIRECT], at) for seen, *_ in rounds)
            for at in (50, 99)
        ]
        count = sum(len(seen[name]) for seen, *_ in rounds)
        print(f"{name:32}{p50:8.0f}{p99:8.0f}{added[0]:11.0f}{added[1]:11.0f}{count:8}")
    merged, unstamped = (sum(counts) for counts in zip(*(more for _, *more in rounds), strict=True))
    print(f"reads with more than one token: {merged}, tokens without a kernel stamp: {unstamped}")
    print(f"{load()} at the end")


if __name__ == "__main__":
    main()
