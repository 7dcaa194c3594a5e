"""trust: record a node's host key once the operator has compared its fingerprint.

A changed key is never replaced here: that line must be taken out of the file by hand, on purpose.
"""

import sys

from kome_tui.cli.options import Options, chosen
from kome_tui.cli.output import is_interactive, say, show
from kome_tui.errors import HostKeyChanged, HostKeyUnknown, KomeError, RefusedError
from kome_tui.fleet.connection import HostKey
from kome_tui.fleet.fleet import Fleet

COMPARE = "ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub"


def trust(options: Options, nodes: list[str], fingerprint: str | None) -> int:
    """Show each node's key, and record it once confirmed. Exit 1 when a node does not answer."""
    options.refuse_if_read_only()
    topology, _ = options.load(touches_network=True)
    failed = 0
    with Fleet(topology, options.ssh_config) as fleet:
        for name in chosen(topology, nodes):
            try:
                fleet.connect(name)
                show(f"{name}: its key is on record already")
                continue
            except HostKeyChanged:
                raise
            except HostKeyUnknown:
                key = fleet.host_key(name)
            except KomeError as error:
                say(str(error))
                failed += 1
                continue
            _confirm(name, str(topology.nodes[name].address), key, fingerprint)
            show(f"{name}: recorded in {fleet.trust(key)}")
    return 1 if failed else 0


def _confirm(name: str, address: str, key: HostKey, fingerprint: str | None) -> None:
    """Return when the key is the right one; raises RefusedError when it is not, or nobody says."""
    if fingerprint is not None:
        if fingerprint != key.fingerprint:
            raise RefusedError(
                f"{name} shows {key.fingerprint}, not {fingerprint}: not recorded", where=address
            )
        return
    say(f"{name} at {address} shows this {key.key_type} key: {key.fingerprint}")
    say(f"compare it with what the node itself says, at its own keyboard: {COMPARE}")
    if not is_interactive():
        hint = f"add --fingerprint {key.fingerprint} once you have compared it"
        raise RefusedError("refused: nobody is here to confirm", hint=hint)
    print("type the node's name to record the key: ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip() != name:
        raise RefusedError(f"{name}: not recorded")
