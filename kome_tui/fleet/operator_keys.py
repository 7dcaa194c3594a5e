"""Which public keys `rebuild` lets in: those that the console will offer to the node later.

As an operator expects of `ssh-copy-id`: the key files that the SSH configuration names for the node
(or OpenSSH's default ones) of which there is a public half here. Where there is none, the agent's.
"""

import base64
import re
from pathlib import Path

import paramiko

from kome_tui.errors import UsageError
from kome_tui.fleet.hostkeys import fingerprint
from kome_tui.fleet.login import agent_keys, public_blob, tilde
from kome_tui.fleet.sshconfig import SshTarget
from kome_tui.text import clean

COMMENT = "kome-tui"
_TYPES = re.compile(
    r"(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(256|384|521)"
    r"|sk-(ssh-ed25519|ecdsa-sha2-nistp256)@openssh\.com)\Z"
)


class PublicKey:
    """A public key that may go into authorized_keys. Raises UsageError for what is none."""

    def __init__(self, blob: bytes, where: str) -> None:
        self.where = where
        self._blob = blob
        try:
            self._type = paramiko.Message(blob).get_text()
        except Exception as error:  # a parser of foreign bytes, which fails in its own ways
            raise UsageError(f"{where} is no public key") from error
        if not _TYPES.match(self._type):
            kind = clean(self._type, 60)
            raise UsageError(f"{where} is a key of type {kind}, which nodes do not take")

    @property
    def line(self) -> str:
        """Type, base64 and comment."""
        return f"{self._type} {base64.b64encode(self._blob).decode()} {COMMENT}"

    def __str__(self) -> str:
        return f"{self._type} {fingerprint(self._blob)} ({self.where})"


def from_file(path: Path) -> PublicKey:
    """The key of a .pub file, or the public half of a private one. Raises UsageError."""
    blob = public_blob(path)
    if blob is None:
        raise UsageError(f"{tilde(path)} has no public key that can be read")
    return PublicKey(blob, tilde(path))


def of_operator(target: SshTarget) -> tuple[PublicKey, ...]:
    """The keys that will be offered to `target`; empty where there are none."""
    found: dict[bytes, PublicKey] = {}
    for path in target.identities:
        blob = public_blob(path)
        if blob is not None:
            found.setdefault(blob, PublicKey(blob, tilde(path)))
    if not found and not target.identities_only:
        with agent_keys(target.identity_agent) as keys:
            for key in keys:
                if _TYPES.match(key.get_name()):
                    found.setdefault(key.asbytes(), PublicKey(key.asbytes(), "agent"))
    return tuple(found.values())
