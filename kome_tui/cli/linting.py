"""lint: judges nginx configurations, ours or not. Imports nothing that only the fleet needs."""

from collections.abc import Iterable
from pathlib import Path

from kome_tui.cli.output import show, write_json
from kome_tui.errors import UsageError
from kome_tui.nginx.lint import LintFinding, judge_file


def lint(files: list[Path], as_json: bool) -> int:
    """Lint files and all they include; exit 1 when there are findings.

    Raises UsageError for a folder, and for a file that can't be read or is no regular one.
    """
    found: dict[LintFinding, None] = {}
    included: set[str] = set()
    for path in files:
        if path.is_dir():
            raise UsageError(f"{path} is a folder: name files, such as {path}/*.conf")
        try:
            judged = judge_file(path)
        except OSError as error:
            raise UsageError(f"{path} cannot be read: {error.strerror}") from error
        found |= dict.fromkeys(judged.findings)
        included |= judged.included
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
        named = {str(path.resolve()) for path in files}
        show(f"findings: {len(found)}, in {_count(len(named), len(included - named))}")
    return 1 if found else 0


def _count(named: int, included: int) -> str:
    files = "1 file" if named == 1 else f"{named} files"
    return f"{files} and {included} included" if included else files


def show_findings(findings: Iterable[LintFinding]) -> None:
    """One line each: where, how bad, which rule, what is there and why it matters, the fix."""
    for finding in findings:
        where = f"{finding.file}:{finding.line}"
        show(f"{where}: {finding.severity} {finding.rule}: {finding.message}; {finding.fix}")
