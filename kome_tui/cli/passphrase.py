"""Asks for the passphrase of a key file, once, where no other key can log in.

Before anything is connected and before the console draws: later, a prompt would be drawn over.
"""

import getpass
from pathlib import Path

from kome_tui.cli.output import is_interactive, say
from kome_tui.errors import KomeError
from kome_tui.fleet import passphrase
from kome_tui.fleet.sshconfig import resolve
from kome_tui.text import clean
from kome_tui.topology.model import Topology

TRIES = 3


def ask_for_passphrase(topology: Topology, ssh_config: Path | None) -> None:
    """Open the key files that the fleet's login needs. Without a terminal, or after an empty
    answer, the login says what is missing by itself.
    """
    if not is_interactive():
        return
    try:
        target = resolve(topology, topology.frontend, ssh_config)
    except KomeError:
        return  # told by the command, of the node that it is about
    for path in passphrase.needed(target):
        if _open(path):
            return


def _open(path: Path) -> bool:
    for _ in range(TRIES):
        given = getpass.getpass(f"passphrase of {clean(str(path), 200)} (empty: do not use it): ")
        if not given:
            return False
        if passphrase.unlock(path, given):
            return True
        say("that is not its passphrase")
    return False
