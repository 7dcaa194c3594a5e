"""trust: record a node's host key once the operator has compared its fingerprint.

A changed key is never replaced here: that line must be taken out of the file by hand, on purpose.
"""

import sys

from kome_tui.cli.options import Options, chosen
from kome_tui.cli.output import is_interactive, say, show
from kome_tui.errors import HostKeyChanged, HostKeyUnknown, KomeError, RefusedError
from kome_tui.fleet.connection import HostKey
from kome_tui.fleet.fleet import Fleet
from kome_tui.fleet.hostkeys import own_file
from kome_tui.text import clean

COMPARE = "ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub"


def trust(options: Options, nodes: list[str], fingerprint: str | None) -> int:
    """Show each node's key, and record it once confirmed. Exit 1 when a node does not answer.

    A fingerprint that is named is compared, also with a key that is on record already.
    """
    options.refuse_if_read_only()
    topology, _ = options.load(touches_network=True)
    failed = 0
    with Fleet(topology, options.ssh_config) as fleet:
        for name in chosen(topology, nodes):
            address = str(topology.nodes[name].address)
            try:
                fleet.connect(name)
                if fingerprint is not None:
                    _compare(name, address, fleet.host_key(name), fingerprint)
                show(f"{name}: its key is on record already")
                continue
            except (HostKeyChanged, RefusedError):
                raise
            except HostKeyUnknown:
                key = fleet.host_key(name)
            except KomeError as error:
                say(options.for_fleet(str(error)))
                failed += 1
                continue
            _confirm(name, address, key, fingerprint)
            show(f"{name}: recorded in {_recorded(fleet, key)}")
    return 1 if failed else 0


def _recorded(fleet: Fleet, key: HostKey) -> str:
    try:
        return str(fleet.trust(key))
    except OSError as error:
        why = f"{clean(str(own_file()), 200)} cannot be written: {error.strerror}"
        raise RefusedError(f"{why}: nothing was recorded") from error


def _confirm(name: str, address: str, key: HostKey, fingerprint: str | None) -> None:
    """Return when the key is the right one; raises RefusedError when it is not, or nobody says."""
    if fingerprint is not None:
        _compare(name, address, key, fingerprint)
        return
    say(f"{name} at {address} shows this {key.key_type} key: {key.fingerprint}")
    say(f"compare it with what the node itself says, at its own keyboard: {COMPARE}")
    if not is_interactive():
        hint = f"add --fingerprint {key.fingerprint} once you have compared it"
        raise RefusedError("refused: nobody is here to confirm", hint=hint)
    print("type the node's name to record the key: ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip() != name:
        raise RefusedError(f"{name}: not recorded")


def _compare(name: str, address: str, key: HostKey, fingerprint: str) -> None:
    """Raises RefusedError where the key is another one than the operator expects."""
    if fingerprint != key.fingerprint:
        shown = (
            f"{name} shows the {key.key_type} key {key.fingerprint}, not {clean(fingerprint, 100)}"
        )
        raise RefusedError(f"{shown}: nothing was recorded", where=address)
