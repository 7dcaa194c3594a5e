"""lab: start the practice fleet, and break or heal the running one."""

import shlex
from pathlib import Path

from kome_tui.cli import console
from kome_tui.cli.options import Options
from kome_tui.cli.output import say, show
from kome_tui.errors import LabError, UsageError

EXTRA = "the practice fleet needs the extra: pip install 'kome-tui[lab]'"


def start(options: Options, headless: bool, directory: Path | None, nodes: int) -> int:
    """Run the lab alone, or with the console on top."""
    if not headless:
        return console.open_on_lab(options, directory, nodes)
    try:
        from kome_tui.lab.run import run_headless
    except ModuleNotFoundError as error:
        raise LabError(EXTRA) from error
    if directory is None:
        directory = console.new_folder()
    say(f"once it is ready: {console_command(directory)}")
    return run_headless(directory, nodes)


def console_command(directory: Path) -> str:
    """The command that opens the console on the lab of `directory`, for a shell."""
    files = (directory / "topology.yaml", directory / "ssh_config")
    return shlex.join(["kome-tui", "-t", str(files[0]), "--ssh-config", str(files[1])])


def break_(fault: str, directory: Path | None) -> int:
    """Make a failure."""
    from kome_tui.lab.control import send
    from kome_tui.lab.faults import FAULTS

    if fault not in FAULTS:
        raise UsageError(f"no fault is called {fault!r}", hint=f"there are: {', '.join(FAULTS)}")
    show(send(_running(directory), "break", fault))
    return 0


def heal(directory: Path | None) -> int:
    """Undo every failure."""
    from kome_tui.lab.control import send

    show(send(_running(directory), "heal"))
    return 0


def faults() -> int:
    """List the failures."""
    from kome_tui.lab.faults import FAULTS

    for code, fault in FAULTS.items():
        show(f"{code:<26} {fault.description}")
    return 0


def _running(directory: Path | None) -> Path:
    from kome_tui.lab.control import latest_lab

    found = directory or latest_lab()
    if found is None:
        raise LabError("no lab is running", hint="start one with `kome-tui lab`")
    return found
