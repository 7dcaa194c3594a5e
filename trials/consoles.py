"""Two consoles push to one node at the same moment: one wins whole, the other is told so."""

import random
import time
from pathlib import Path

from tests.node_machine import Machine
from trials.push import Push, broken, release, settle
from trials.tally import Tally


def two_consoles(folder: Path, count: int, seed: int) -> Tally:
    """`count` rounds of two pushes that begin within 50 ms of each other."""
    tally = Tally("two consoles at once")
    chance = random.Random(seed)
    folder.mkdir(parents=True)
    machine = Machine(folder)
    try:
        machine.start_nginx()
        old = release(machine, "page-0")
        machine.push(old, "first")
        for number in range(count):
            pair = [
                Push(machine, release(machine, f"page-{number}{who}"), f"two{seed}-{number}-{who}")
                for who in (1, 2)
            ]
            threads = []
            for push in pair:
                push.hold_s = chance.uniform(0, 0.1)
                threads.append(push.start())
                time.sleep(chance.uniform(0, 0.05))
            for thread in threads:
                thread.join()
            settle(machine)
            tally.runs += 1
            won = [push for push in pair if push.told == "confirmed"]
            tally.counts[f"won by {len(won)}"] += 1
            # both may win, one wholly after the other: then the later one is live
            last = max(won, key=lambda push: push.told_at, default=None)
            new = last.built if last is not None else pair[0].built
            found = broken(machine, old, new, "confirmed" if last is not None else "not asked")
            for push in pair:
                ends = [answer.end for answer in push.answers.values() if answer.end != "ok"]
                if push not in won and not any(end.startswith("busy") for end in ends):
                    found.append(f"the loser was told {ends}")
            tally.violations += [f"run {number}: {one}" for one in found]
            if last is not None:
                old = last.built
    finally:
        machine.close()
    return tally
