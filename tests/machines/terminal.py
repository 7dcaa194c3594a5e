"""The console in a terminal of the operator's laptop: tmux with a socket of its own."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.machines.operator import Operator
from tests.waiting import wait_until

SEEN_S = 60.0


class Terminal:
    """Made by console()."""

    def __init__(self, operator: Operator) -> None:
        self._operator = operator
        self._tmux = ["tmux", "-u", "-S", str(operator.folder / "tmux"), "-f", "/dev/null"]

    def open(self, command: list[str]) -> None:
        """Run a command in it."""
        size = ["-x", "150", "-y", "50"]
        ran = self._operator.run(*self._tmux, "new-session", "-d", *size, *command)
        assert ran.code == 0, ran.err

    def press(self, key: str) -> None:
        """Press one key."""
        ran = self._operator.run(*self._tmux, "send-keys", key)
        assert ran.code == 0, ran.err

    @property
    def lines(self) -> list[str]:
        """What it shows."""
        return self._operator.run(*self._tmux, "capture-pane", "-p").out.splitlines()

    def wait_for(self, seen: Callable[[list[str]], bool]) -> None:
        """Wait until what it shows is as wanted; fails with what it shows instead."""
        with suppress(AssertionError):
            wait_until(lambda: seen(self.lines), SEEN_S, every_s=0.2)
            return
        raise AssertionError("the terminal shows:\n" + "\n".join(self.lines))

    def close(self) -> None:
        """End it and what runs in it. Harmless where it has ended."""
        self._operator.run(*self._tmux, "kill-server")


@contextmanager
def console(operator: Operator) -> Iterator[Terminal]:
    """kome-tui without a command."""
    terminal = Terminal(operator)
    terminal.open(operator.kome_tui_command())
    try:
        yield terminal
    finally:
        terminal.close()


def processes(operator: Operator) -> list[str]:
    """The command lines of all that runs on the operator's laptop."""
    network = operator.run("readlink", "/proc/self/ns/net").out.strip()
    assert network.startswith("net:[")
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended meanwhile
            if str((process / "ns/net").readlink()) == network:
                found.append((process / "cmdline").read_text().replace("\0", " "))
    return found
