"""Opens the console: on the operator's fleet, or on a practice fleet of its own."""

import secrets
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kome_tui.cli import interrupt
from kome_tui.cli.options import LAB_FLEET, NO_TOPOLOGY, Options
from kome_tui.cli.output import is_interactive, say
from kome_tui.errors import LabError, RefusedError, UsageError
from kome_tui.fleet.sshconfig import expanded
from kome_tui.text import clean
from kome_tui.topology.load import packaged_file

LAB_READY_S = 30.0
LAB_STOP_S = 15.0


def open_console(options: Options) -> int:
    """Open the console on the operator's topology, or offer what to do without one."""
    if options.find_topology() is None:
        if not is_interactive():
            raise UsageError(NO_TOPOLOGY)
        return _offer(options)
    _need_a_terminal()
    topology, path = options.load(touches_network=True)

    from kome_tui.fleet.fleet import Fleet
    from kome_tui.session import Session
    from kome_tui.ui.app import KomeApp

    session = Session(
        topology,
        str(path),
        Fleet(topology, options.ssh_config),
        is_lab=topology.fleet == LAB_FLEET,
        read_only=options.read_only,
        file=path,
        command=options.command,
    )
    app = KomeApp(session)
    with interrupt.raised():  # Textual gives the terminal back on the way out
        app.run()
    return app.return_code or 0


def _need_a_terminal() -> None:
    """Raises UsageError where nobody could see or leave the console."""
    if not is_interactive():
        hint = "`kome-tui --help` lists the commands for scripts"
        raise UsageError("the console needs a terminal to read from and to draw on", hint=hint)


def open_on_lab(options: Options, directory: Path | None, nodes: int) -> int:
    """Start a practice fleet, open the console on it, and end the fleet with the console."""
    _need_a_terminal()
    folder = directory or new_folder()
    with interrupt.raised(), _lab(folder, nodes):  # Ctrl-C waits until the lab has ended
        return open_console(
            Options(folder / "topology.yaml", folder / "ssh_config", options.read_only)
        )


def new_folder() -> Path:
    """A name for a lab's folder. The lab makes it, and so removes it, even after a kill -9."""
    return Path(tempfile.gettempdir()).resolve() / f"kome-lab-{secrets.token_hex(8)}"


@contextmanager
def _lab(folder: Path, nodes: int) -> Iterator[None]:
    """A lab in a process of its own; ended, and waited for, whatever happens in between."""
    command = [sys.executable, "-m", "kome_tui.lab", "--dir", str(folder), "--nodes", str(nodes)]
    command.append("--leash")  # its standard input ends with us, however we end
    say("starting the practice fleet")
    with tempfile.TemporaryFile("w+") as errors:
        lab = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            # Ctrl-C in the terminal is the console's: the lab ends when the console does.
            start_new_session=True,
        )
        try:
            assert lab.stdout is not None
            if lab.stdout.readline().strip() != "ready":
                lab.wait(LAB_STOP_S)
                errors.seek(0)
                last = errors.read().strip().splitlines()[-1:] or ["it said nothing"]
                raise LabError(f"the practice fleet did not start: {last[0]}")
            yield
        finally:
            lab.send_signal(signal.SIGTERM)
            lab.wait(LAB_STOP_S)
            for pipe in (lab.stdin, lab.stdout):
                if pipe is not None:
                    pipe.close()


def _offer(options: Options) -> int:
    """Without a topology: the lab, a copy of the example, or a file."""
    say("There is no topology.yaml yet. What now?")
    say("  1  try the practice fleet on this machine")
    say("  2  write a copy of the example to ./topology.yaml, to edit")
    say("  3  open a file")
    while True:
        match _typed("1, 2, 3, or enter to leave: "):
            case "1":
                return open_on_lab(options, None, 11)
            case "2":
                return _copy_example(Path("topology.yaml"))
            case "3":
                named = _typed("file, or enter to leave: ")
                if not named:
                    return 0
                file = expanded(Path(named))
                return open_console(Options(file, options.ssh_config, options.read_only))
            case "":
                return 0
            case other:
                say(f"{clean(other, 40)!r} is none of these")


def _typed(question: str) -> str:
    """What was typed; empty at the end of the input."""
    print(question, end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip()


def _copy_example(target: Path) -> int:
    """Write the example, and never over a file or through a link that is there."""
    text = packaged_file("topology.yaml").read_bytes()
    try:
        with target.open("xb") as file:
            file.write(text)
    except FileExistsError as error:
        raise RefusedError(f"{target} is there already: it was left as it is") from error
    except OSError as error:
        raise RefusedError(f"{target} cannot be written: {error.strerror}") from error
    say(f"{target} is written: put in your own addresses, then `kome-tui check`")
    return 0
