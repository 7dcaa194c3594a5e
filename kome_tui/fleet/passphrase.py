"""Key files with a passphrase: which one login needs, and opening it for this process alone.

Asked for before anything is connected and before the console draws. The passphrase is not kept;
the opened key lives in memory (login.py) until the process ends. Importing this is cheap.
"""

import base64
import binascii
import os
import re
import subprocess
from pathlib import Path

from kome_tui.fleet.sshconfig import SshTarget

_MAGIC = b"openssh-key-v1\0"
_KEY_FILE_LIMIT = 64 * 1024
_AGENT_TIMEOUT_S = 5.0
_ARMOUR = re.compile(rb"-----BEGIN OPENSSH PRIVATE KEY-----(.*)-----END", re.DOTALL)


def needed(target: SshTarget) -> tuple[Path, ...]:
    """Key files to ask a passphrase for: those for `target`, where nothing else can log in.

    Empty where a key file is open, or the agent has a key that may be offered.
    """
    files = [path for path in target.identities if _is_file(path)]
    locked = tuple(path for path in files if is_locked(path))
    if not locked or len(locked) < len(files) or _agent_can(target):
        return ()
    return locked


def _is_file(path: Path) -> bool:
    """False too where we may not look; the login says so."""
    try:
        return path.is_file()
    except OSError:
        return False


def is_locked(path: Path) -> bool:
    """Whether a private key file wants a passphrase, by its head alone."""
    try:
        with path.open("rb") as file:
            content = file.read(_KEY_FILE_LIMIT)
    except OSError:
        return False
    found = _ARMOUR.search(content)
    if found is None:
        return b"BEGIN ENCRYPTED PRIVATE KEY" in content or b"Proc-Type: 4,ENCRYPTED" in content
    try:
        raw = base64.b64decode(b"".join(found[1].split()), validate=True)
    except binascii.Error:
        return False
    body = raw.removeprefix(_MAGIC)
    length = int.from_bytes(body[:4])
    return body != raw and body[4 : 4 + length] != b"none"


def unlock(path: Path, passphrase: str) -> bool:
    """Open a key file for the logins of this process; False where the passphrase is wrong."""
    from kome_tui.fleet import login  # paramiko: not before there is something to open

    return login.unlock(path, passphrase)


def _agent_can(target: SshTarget) -> bool:
    """Whether the agent holds a key that will be offered."""
    held = _agent_lines(target.identity_agent)
    if not held or not target.identities_only:
        return bool(held)
    from kome_tui.fleet.login import public_blob

    named = {public_blob(path) for path in target.identities}
    return any(blob in named for blob in held)


def _agent_lines(socket_path: str | None) -> list[bytes]:
    if socket_path is None:
        return []
    try:
        listed = subprocess.run(
            ["ssh-add", "-L"],
            env={**os.environ, "SSH_AUTH_SOCK": socket_path},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_AGENT_TIMEOUT_S,
            check=False,
        )
        words = [line.split() for line in listed.stdout.splitlines()]
        return [base64.b64decode(word[1], validate=True) for word in words if len(word) > 1]
    except (OSError, subprocess.TimeoutExpired, binascii.Error):
        return []
