"""What a rule is and what it finds."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from kome_tui.nginx.conf_tree import Directive
from kome_tui.nginx.lint.conf import Conf

Severity = Literal["error", "warning", "info"]
"""error: people feel it. warning: it waits for a bad day. info: worth knowing, nothing is wrong."""

Suspect = tuple[Directive, str]
"""Where it stands, and what is there."""


@dataclass(frozen=True, slots=True)
class LintFinding:
    """One thing to mend: where, by which rule, why it matters, and how."""

    file: str
    line: int
    rule: str
    severity: Severity
    message: str
    fix: str


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule: its code, why it matters, the fix, how we know, and the search for what breaks it."""

    code: str
    severity: Severity
    reason: str
    fix: str
    source: str
    suspects: Callable[[Conf], Iterator[Suspect]]
