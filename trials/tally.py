"""What a part of the trials found: how often it ran, what broke, what it measured."""

import statistics
from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Tally:
    """One line of the table."""

    name: str
    runs: int = 0
    violations: list[str] = field(default_factory=list)
    """Each says what was expected, what was seen, and by which seed it comes again."""
    counts: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    """A duration that this part promises something about."""
    control: bool = False
    """A harness made wrong on purpose: it has to find violations, or it could never find any."""

    @property
    def holds(self) -> bool:
        """Whether the promise was kept; of a control, whether it was seen to be broken."""
        return bool(self.violations) if self.control else not self.violations

    def took(self) -> str:
        """`p50 0.12 s, p99 0.80 s, max 0.81 s`, or nothing."""
        if not self.seconds:
            return ""
        ordered = sorted(self.seconds)
        p99 = ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)]
        return f"p50 {statistics.median(ordered):.2f} s, p99 {p99:.2f} s, max {ordered[-1]:.2f} s"

    def row(self) -> str:
        """The line, as the table shows it."""
        found = f"{len(self.violations)} violations"
        if self.control:
            found += " (wanted: some)"
        counted = ", ".join(f"{count} {what}" for what, count in sorted(self.counts.items()))
        rest = "; ".join(text for text in (counted, self.took()) if text)
        return f"{self.name:<28} {self.runs:>7} runs  {found:<32} {rest}"


def table(tallies: list[Tally]) -> str:
    """All lines, and every violation below them."""
    lines = [tally.row() for tally in tallies]
    for tally in tallies:
        if not tally.control:
            lines += [f"VIOLATION {tally.name}: {text}" for text in tally.violations[:20]]
    return "\n".join(lines)
