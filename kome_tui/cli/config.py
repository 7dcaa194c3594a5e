"""check, render, lint, example: what can be said without a network."""

import sys
from pathlib import Path

from kome_tui.cli.options import Options, chosen
from kome_tui.cli.output import say, show, write_json
from kome_tui.errors import RefusedError, TopologyError, UsageError
from kome_tui.nginx.lint import LintFinding, lint_conf
from kome_tui.nginx.render import render_all, render_release
from kome_tui.topology.load import packaged_file


def check(options: Options, as_json: bool) -> int:
    """Load, render and lint; exit 2 for a wrong topology, 1 for lint findings."""
    try:
        topology, path = options.load(touches_network=False)
    except TopologyError as error:
        if not as_json:
            raise
        problems = [
            {
                "file": problem.file,
                "line": problem.line,
                "column": problem.column,
                "path": problem.path,
                "message": problem.message,
            }
            for problem in error.problems
        ]
        write_json({"ok": False, "problems": problems, "lint": [], "releases": {}})
        return error.exit_code
    releases = render_all(topology)
    found = {name: lint_conf(made.conf, f"{name}/nginx.conf") for name, made in releases.items()}
    count = sum(len(findings) for findings in found.values())
    if as_json:
        write_json(
            {
                "ok": count == 0,
                "problems": [],
                "lint": [
                    {
                        "node": node,
                        "file": finding.file,
                        "line": finding.line,
                        "rule": finding.rule,
                        "message": finding.message,
                    }
                    for node, findings in found.items()
                    for finding in findings
                ],
                "releases": {name: release.id for name, release in releases.items()},
            }
        )
        return 1 if count else 0
    for findings in found.values():
        _show_findings(findings)
    for name, release in releases.items():
        show(f"{name:<10} {topology.nodes[name].role:<16} {release.id}")
    show(f"{path}: {'good' if not count else f'{count} lint findings'}, {len(releases)} nodes")
    return 1 if count else 0


def example() -> int:
    """Print the example topology."""
    sys.stdout.write(packaged_file("topology.yaml").read_text())
    return 0


def render(options: Options, nodes: list[str] | None, out: Path) -> int:
    """Write each node's configuration below `out`."""
    topology, _ = options.load(touches_network=False)
    for name in chosen(topology, nodes):
        release = render_release(topology, name)
        target = out / name / "nginx.conf"
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(release.conf)
        except OSError as error:
            raise RefusedError(f"{target} cannot be written: {error.strerror}") from error
        say(f"{target} {release.id}")
    return 0


def lint(files: list[Path], as_json: bool) -> int:
    """Lint files; exit 1 when there are findings."""
    findings: list[LintFinding] = []
    for path in files:
        try:
            text = path.read_text("utf-8", "backslashreplace")
        except OSError as error:
            raise UsageError(f"{path} cannot be read: {error.strerror}") from error
        findings += lint_conf(text, str(path))
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
                    for finding in findings
                ]
            }
        )
    else:
        _show_findings(findings)
        show(f"{len(findings)} findings in {len(files)} files")
    return 1 if findings else 0


def _show_findings(findings: list[LintFinding] | tuple[LintFinding, ...]) -> None:
    for finding in findings:
        show(f"{finding.file}:{finding.line}: {finding.rule}: {finding.message}; {finding.fix}")
