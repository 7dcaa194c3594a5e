"""check, render, example: what can be said without a network."""

from pathlib import Path

from kome_tui.cli.linting import show_findings
from kome_tui.cli.options import Options, chosen
from kome_tui.cli.output import say, show, write_json
from kome_tui.errors import RefusedError, TopologyError
from kome_tui.nginx.host import host_files
from kome_tui.nginx.lint import lint_conf
from kome_tui.nginx.render import render_all, render_release
from kome_tui.topology.budget import DiskBudget, disk_budget
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
        answer = {"ok": False, "problems": problems, "lint": [], "releases": {}}
        write_json(answer | {"host_files": {}, "disk": {}})
        return error.exit_code
    releases = render_all(topology)
    found = {name: lint_conf(made.conf, f"{name}/nginx.conf") for name, made in releases.items()}
    count = sum(len(findings) for findings in found.values())
    hosts = {name: host_files(topology, name).version for name in topology.nodes}
    budgets = {name: disk_budget(topology, name) for name in topology.nodes}
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
                "host_files": hosts,
                "disk": {name: _budget_json(budget) for name, budget in budgets.items()},
            }
        )
        return 1 if count else 0
    for findings in found.values():
        show_findings(findings)
    for name, release in releases.items():
        role = topology.nodes[name].role
        show(f"{name:<10} {role:<16} {release.id}  host files {hosts[name]}")
    for budget in dict.fromkeys(budgets.values()):
        names = ", ".join(name for name, of_node in budgets.items() if of_node == budget)
        show(f"disk at most {budget} ({names})")
    show(f"{path}: {'good' if not count else f'{count} lint findings'}, {len(releases)} nodes")
    return 1 if count else 0


def example() -> int:
    """Print the example topology."""
    show(packaged_file("topology.yaml").read_text().removesuffix("\n"))
    return 0


def render(options: Options, nodes: list[str] | None, out: Path) -> int:
    """Write each node's configuration below `out`, and its host files below `host` beside that."""
    topology, _ = options.load(touches_network=False)
    for name in chosen(topology, nodes):
        release, host = render_release(topology, name), host_files(topology, name)
        _write(out / name / "nginx.conf", release.conf)
        say(f"{out / name / 'nginx.conf'} {release.id}")
        for file in (*host.files, host.manifest):
            _write(out / name / "host" / file.path.lstrip("/"), file.text)
        say(f"{out / name / 'host'} {host.version}")
    return 0


def _write(target: Path, text: str) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        raise RefusedError(f"{target} cannot be written: {error.strerror}") from error


def _budget_json(budget: DiskBudget) -> dict[str, int]:
    return {
        "total_bytes": budget.total,
        "allowed_bytes": budget.allowed,
        "cache_bytes": budget.cache,
        "logs_bytes": budget.logs,
        "releases_bytes": budget.releases,
        "system_bytes": budget.system,
    }
