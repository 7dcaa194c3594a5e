"""All commands and their options. What a command does stands in the module it imports when run.

Imports are inside the commands on purpose: SSH, HTTP and Textual cost half a second that
`kome-tui check` does not need.
"""

from pathlib import Path
from typing import Annotated

import typer

from kome_tui import __version__
from kome_tui.cli.options import Asked, Options, options_of
from kome_tui.errors import UsageError

app = typer.Typer(
    add_completion=False,
    no_args_is_help=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="The operator's console of KOME. Without a command it opens the console.",
)
lab_app = typer.Typer(
    add_completion=False, rich_markup_mode=None, help="The practice fleet on this machine."
)
app.add_typer(lab_app, name="lab")

Nodes = Annotated[list[str] | None, typer.Argument(metavar="[NODE]...", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="Answer with one JSON object.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
Drift = Annotated[bool, typer.Option("--accept-drift", help="Replace what was changed by hand.")]
LabDir = Annotated[Path | None, typer.Option("--dir", metavar="DIR", help="The lab's folder.")]
LAB_DIR = "kome_tui.lab_dir"
"""Where `lab --dir D break F` leaves its D for the command behind it."""


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"kome-tui {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def kome_tui(
    context: typer.Context,
    topology: Annotated[
        Path | None, typer.Option("-t", "--topology", metavar="FILE", help="The fleet's file.")
    ] = None,
    ssh_config: Annotated[
        Path | None, typer.Option("--ssh-config", metavar="FILE", help="As `ssh -F`.")
    ] = None,
    read_only: Annotated[bool, typer.Option("--read-only", help="Refuse every change.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True)
    ] = False,
) -> int:
    """The operator's console of KOME. Without a command it opens the console."""
    options = Options(topology, ssh_config, read_only)
    context.ensure_object(Asked).options = options
    if context.invoked_subcommand is not None:
        return 0
    from kome_tui.cli import console

    return console.open_console(options)


@app.command()
def check(context: typer.Context, json: Json = False) -> int:
    """Load the topology, render and lint every node. Touches no network."""
    from kome_tui.cli import config

    return config.check(options_of(context), json)


@app.command()
def example() -> int:
    """Print the example topology, to start your own from."""
    from kome_tui.cli import config

    return config.example()


@app.command()
def render(
    context: typer.Context,
    nodes: Nodes = None,
    out: Annotated[Path, typer.Option("-o", metavar="DIR", help="Where to write.")] = Path("out"),
) -> int:
    """Write DIR/NODE/nginx.conf, byte for byte what a push would stage."""
    from kome_tui.cli import config

    return config.render(options_of(context), nodes, out)


@app.command()
def lint(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...")], json: Json = False
) -> int:
    """Lint nginx configurations, ours or not. Exit 1 when there are findings."""
    from kome_tui.cli import linting

    return linting.lint(files, json)


@app.command()
def plan(context: typer.Context, nodes: Nodes = None, json: Json = False) -> int:
    """Show what a push would change. Exit 3 when something would change."""
    from kome_tui.cli import push

    return push.plan(options_of(context), nodes, json)


@app.command()
def deploy(
    context: typer.Context,
    nodes: Nodes = None,
    json: Json = False,
    accept_drift: Drift = False,
) -> int:
    """Push what the topology asks for. Progress on standard error."""
    from kome_tui.cli import push

    return push.deploy(options_of(context), nodes, json, accept_drift)


@app.command()
def rollback(
    context: typer.Context,
    nodes: Nodes = None,
    to: Annotated[
        str | None, typer.Option("--to", metavar="ID", help="A kept release; else the previous.")
    ] = None,
    yes: Yes = False,
    json: Json = False,
    accept_drift: Drift = False,
) -> int:
    """Go to the release each node served before the last switch, or to another that it keeps."""
    from kome_tui.cli import push

    return push.rollback(options_of(context), nodes, to, yes, json, accept_drift)


@app.command()
def rebuild(
    context: typer.Context,
    nodes: Annotated[list[str], typer.Argument(metavar="NODE...")],
    bootstrap_user: Annotated[
        str | None,
        typer.Option("--bootstrap-user", metavar="USER", help="Somebody with sudo on the host."),
    ] = None,
    packages: Annotated[
        Path | None,
        typer.Option("--packages", metavar="DIR", help=".deb files, for a host without a way out."),
    ] = None,
    key: Annotated[
        list[Path] | None,
        typer.Option("--key", metavar="FILE.pub", help="Who may log in later; else your own keys."),
    ] = None,
    yes: Yes = False,
    json: Json = False,
) -> int:
    """Make a serving node of a host with only sshd and sudo. Repeat it if it was cut short."""
    from kome_tui.cli import rebuild as rebuilding

    return rebuilding.rebuild(
        options_of(context), nodes, bootstrap_user, packages, key or [], yes, json
    )


@app.command()
def purge(
    context: typer.Context,
    node: Annotated[str, typer.Argument(metavar="NODE")],
    path: Annotated[
        str | None, typer.Argument(metavar="[PATH]", help="As requested, with its query.")
    ] = None,
    yes: Yes = False,
) -> int:
    """Empty a node's cache, or take one path out of it."""
    from kome_tui.cli import purge as purging

    return purging.purge(options_of(context), node, path, yes)


@app.command()
def trust(
    context: typer.Context,
    nodes: Annotated[list[str], typer.Argument(metavar="NODE...")],
    fingerprint: Annotated[
        str | None, typer.Option("--fingerprint", metavar="SHA256:...", help="Do not ask.")
    ] = None,
) -> int:
    """Show a node's host key, and record it once you have compared it."""
    from kome_tui.cli import trusting

    return trusting.trust(options_of(context), nodes, fingerprint)


@app.command()
def status(context: typer.Context, json: Json = False) -> int:
    """One sample of every panel."""
    from kome_tui.cli import watch

    return watch.status(options_of(context), json)


@app.command()
def probe(
    context: typer.Context,
    paths: Annotated[
        list[str] | None,
        typer.Argument(metavar="[PATH]...", help="frontend, okome, gpu, a node, or a URL."),
    ] = None,
    tokens: Annotated[int, typer.Option(min=2, max=4096, help="Length of each stream.")] = 96,
    json: Json = False,
) -> int:
    """Measure a token stream through each path, with and without gzip offered."""
    from kome_tui.cli import watch

    return watch.probe(options_of(context), paths, tokens, json)


@app.command()
def triage(
    context: typer.Context,
    no_probe: Annotated[bool, typer.Option("--no-probe", help="No stream probe.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Go on until interrupted.")] = False,
    json: Json = False,
) -> int:
    """Find what is wrong, the cause first, and what to do. Exit 1 when not healthy."""
    from kome_tui.cli import watch as watching

    return watching.triage(options_of(context), not no_probe, watch, json)


@lab_app.callback(invoke_without_command=True)
def lab(
    context: typer.Context,
    headless: Annotated[
        bool, typer.Option("--headless", help="No console: print `ready`, run until interrupted.")
    ] = False,
    directory: LabDir = None,
    nodes: Annotated[int, typer.Option("--nodes", min=1, max=60, metavar="N")] = 11,
) -> int:
    """Start the practice fleet and open the console on it."""
    if context.invoked_subcommand is not None:
        context.meta[LAB_DIR] = directory
        return 0
    from kome_tui.cli import practice

    return practice.start(options_of(context), headless, directory, nodes)


@lab_app.command("break")
def lab_break(
    context: typer.Context,
    fault: Annotated[str, typer.Argument(metavar="FAULT", help="See `kome-tui lab faults`.")],
    directory: LabDir = None,
) -> int:
    """Make a failure in the running lab."""
    from kome_tui.cli import practice

    return practice.break_(fault, directory or context.meta[LAB_DIR])


@lab_app.command("heal")
def lab_heal(context: typer.Context, directory: LabDir = None) -> int:
    """Undo every failure made in the running lab."""
    from kome_tui.cli import practice

    return practice.heal(directory or context.meta[LAB_DIR])


@lab_app.command("faults")
def lab_faults() -> int:
    """List the failures that can be made."""
    from kome_tui.cli import practice

    return practice.faults()


_PLANNED = {
    "report": "writes an incident report",
    "replay": "opens a recorded session",
    "serve": "shows the console in a browser",
    "export": "hands over to Ansible or Prometheus",
}


def _not_there_yet(name: str, does: str) -> None:
    def command(
        rest: Annotated[list[str] | None, typer.Argument(hidden=True)] = None,
    ) -> int:
        raise UsageError(f"`kome-tui {name}` ({does}) is not there yet in {__version__}")

    command.__doc__ = f"Not there yet: {does}."
    settings = {"ignore_unknown_options": True}
    app.command(name, context_settings=settings)(command)


for _name, _does in _PLANNED.items():
    _not_there_yet(_name, _does)
