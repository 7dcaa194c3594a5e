"""lint: judges nginx configurations, ours or not. Imports nothing that only the fleet needs."""

from collections.abc import Iterable
from pathlib import Path

from kome_tui.cli.output import show, write_json
from kome_tui.errors import UsageError
from kome_tui.nginx.lint import LintFinding, lint_file


def lint(files: list[Path], as_json: bool) -> int:
    """Lint files and all they include; exit 1 when there are findings.

    Raises UsageError for a file that can't be read, and for a folder.
    """
    found: dict[LintFinding, None] = {}
    for path in files:
        if path.is_dir():
            raise UsageError(f"{path} is a folder: name files, such as {path}/*.conf")
        try:
            found |= dict.fromkeys(lint_file(path))
        except OSError as error:
            raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    if as_json:
        write_json(
            {
                "findings": [
                    {
                        "file": finding.file,
                        "line": finding.line,
                        "rule": finding.rule,
                        "severity": finding.severity,
                        "message": finding.message,
                        "fix": finding.fix,
                    }
                    for finding in found
                ]
            }
        )
    else:
        show_findings(found)
        show(f"findings: {len(found)}, files: {len(files)}")
    return 1 if found else 0


def show_findings(findings: Iterable[LintFinding]) -> None:
    """One line each: where, how bad, which rule, what is there and why it matters, the fix."""
    for finding in findings:
        where = f"{finding.file}:{finding.line}"
        show(f"{where}: {finding.severity} {finding.rule}: {finding.message}; {finding.fix}")
