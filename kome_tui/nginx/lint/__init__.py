"""Judges an nginx configuration, ours or a stranger's, by what goes wrong in front of an LLM.

A rule looks at the locations that would answer a sample request, with inheritance as nginx does it
and the defaults of nginx 1.22. Every rule owns a case that fires it and one that stays quiet:
tests/cases/lint/RULE/. docs/lint.md lists them all.
"""

from kome_tui.nginx.lint.judge import RULES, Judged, judge_file, lint_conf, lint_file
from kome_tui.nginx.lint.rule import LintFinding, Rule

__all__ = ["RULES", "Judged", "LintFinding", "Rule", "judge_file", "lint_conf", "lint_file"]
