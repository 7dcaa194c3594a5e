"""Runs every rule over one configuration."""

from dataclasses import dataclass
from pathlib import Path

from kome_tui.nginx.lint import (
    rules_cache,
    rules_files,
    rules_headers,
    rules_limits,
    rules_retries,
    rules_servers,
    rules_streams,
    rules_upstreams,
    rules_values,
)
from kome_tui.nginx.lint.conf import Conf
from kome_tui.nginx.lint.read import Reading, read_file, read_text
from kome_tui.nginx.lint.rule import LintFinding
from kome_tui.text import clean

RULES = (
    *rules_files.RULES,
    *rules_values.RULES,
    *rules_streams.RULES,
    *rules_retries.RULES,
    *rules_upstreams.RULES,
    *rules_cache.RULES,
    *rules_headers.RULES,
    *rules_limits.RULES,
    *rules_servers.RULES,
)


@dataclass(frozen=True, slots=True)
class Judged:
    """What one file and all that it includes gave."""

    findings: tuple[LintFinding, ...]
    included: frozenset[str]
    """The real paths of the included files that were read."""


def lint_conf(conf: str, name: str) -> tuple[LintFinding, ...]:
    """Return what is wrong in one text, called `name`, in the order of its lines.

    Nothing else is read: includes are not followed. A text that cannot be read as nginx
    configuration gives one finding, of rule `syntax`.
    """
    return _judge(read_text(conf, name), name)


def lint_file(path: Path) -> tuple[LintFinding, ...]:
    """Return what is wrong in one file and in all it includes, its own lines first.

    Raises OSError where the file itself cannot be read, or is no regular file.
    """
    return judge_file(path).findings


def judge_file(path: Path) -> Judged:
    """Lint one file, and say too which others were read for it. Raises as lint_file does."""
    reading = read_file(path)
    return Judged(_judge(reading, str(path)), reading.included)


def _judge(reading: Reading, name: str) -> tuple[LintFinding, ...]:
    conf = Conf(reading)
    # without its structure, settings that are there would be called missing
    rules = RULES if reading.is_whole else rules_files.RULES
    found = {
        LintFinding(
            clean(at.file),
            at.line,
            rule.code,
            rule.severity,
            clean(f"{what}: {rule.reason}"),
            rule.fix,
        ): None
        for rule in rules
        for at, what in rule.suspects(conf)
    }
    return tuple(sorted(found, key=lambda f: (f.file != clean(name), f.file, f.line, f.rule)))
