"""Which keys are offered to a node, and in which order.

As OpenSSH does it: the agent's keys that the configuration names, the agent's other keys (not with
IdentitiesOnly), then key files. No passwords, no prompts: a passphrase is the agent's business, or
was asked for before anything is connected (passphrase.py).
"""

import base64
import binascii
import contextlib
import os
import socket
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paramiko
from paramiko.agent import AgentKey, AgentSSH

from kome_tui.fleet.hostkeys import fingerprint
from kome_tui.fleet.sshconfig import DEFAULT_IDENTITIES, SshTarget, expanded
from kome_tui.text import clean

AGENT_TIMEOUT_S = 20.0
"""Long enough to confirm on a hardware key."""
_OPENSSH_HEAD = b"openssh-key-v1\0"
_KEY_FILE_LIMIT = 64 * 1024
_UNLOCKED: dict[Path, paramiko.PKey] = {}
"""Key files that the operator has opened with a passphrase, for this process."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A key to offer, and how to call it."""

    key: paramiko.PKey
    name: str


@dataclass(frozen=True, slots=True)
class Candidates:
    """Keys to offer, in order, and the reason for each key file that cannot be."""

    offers: tuple[Candidate, ...]
    locked: tuple[Path, ...] = ()
    """Key files with a passphrase that the agent does not hold."""
    unusable: tuple[str, ...] = ()


@contextlib.contextmanager
def agent_keys(socket_path: str | None) -> Iterator[tuple[AgentKey, ...]]:
    """The agent's keys, usable inside the block. An agent that does not answer has none."""
    agent = AgentSSH()
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(AGENT_TIMEOUT_S)
    try:
        keys: tuple[AgentKey, ...] = ()
        if socket_path is not None:
            with contextlib.suppress(OSError, paramiko.SSHException):
                connection.connect(socket_path)
                agent._connect(connection)  # type: ignore[attr-defined] # its only way to a given socket
                keys = agent.get_keys()
        yield keys
    finally:
        connection.close()


def candidates(target: SshTarget, agent: tuple[AgentKey, ...]) -> Candidates:
    """What to offer for `target`."""
    held = {key.asbytes(): key for key in agent}
    public = {path: public_blob(path) for path in target.identities}
    named = [held[blob] for blob in public.values() if blob in held]
    others = [] if target.identities_only else [key for key in agent if key not in named]
    offers = [Candidate(key, f"agent key {_print(key)}") for key in (*named, *others)]
    locked: list[Path] = []
    unusable: list[str] = []
    for path in target.identities:
        is_there = _is_there(path)
        if public[path] in held or not is_there:
            if not is_there and path.name not in DEFAULT_IDENTITIES:
                unusable.append(f"{tilde(path)} does not exist")
            continue
        try:
            offers.append(Candidate(_from_file(path), tilde(path)))
        except paramiko.PasswordRequiredException:
            locked.append(path)
        except _Unusable as error:
            unusable.append(f"{tilde(path)} {error}")
    return Candidates(tuple(offers), tuple(locked), tuple(unusable))


def unlock(path: Path, passphrase: str) -> bool:
    """Open a key file for every later login; False where the passphrase is wrong."""
    open_key: Any = paramiko.PKey.from_path  # its stubs and its own hints disagree; it wants bytes
    try:
        key = open_key(path, passphrase.encode())
    except Exception:  # noqa: BLE001 - parsers of many key formats, each fails in its own way
        return False
    _UNLOCKED[path] = key
    return True


def public_blob(path: Path) -> bytes | None:
    """The public half of a key file: from FILE.pub, from FILE itself, or None."""
    with_pub = _read(path.with_name(f"{path.name}.pub"))
    own = _read(path)
    return _public_line(with_pub) or _public_line(own) or _openssh_public(own)


def tilde(path: Path) -> str:
    """The path as the operator writes it, clean."""
    home = expanded(Path("~"))
    inside = path.is_relative_to(home)
    return clean(f"~/{path.relative_to(home)}" if inside else str(path), 200)


class _Unusable(Exception):
    """A key file cannot be used; the text says why, as the rest of a sentence."""


def _from_file(path: Path) -> paramiko.PKey:
    try:
        if stat.S_IMODE(path.stat().st_mode) & 0o077 and path.stat().st_uid == os.getuid():
            raise _Unusable("can be read by others and is not used (chmod 600)")
        if path in _UNLOCKED:
            return _UNLOCKED[path]
        return paramiko.PKey.from_path(path)
    except (_Unusable, paramiko.PasswordRequiredException):
        raise
    except TypeError as error:  # the cryptography package's word for "needs a passphrase"
        raise paramiko.PasswordRequiredException("locked") from error
    except Exception as error:  # parsers of many key formats, each fails in its own way
        if "password" in str(error).lower() or "encrypted" in str(error).lower():
            raise paramiko.PasswordRequiredException("locked") from error
        raise _Unusable(f"is not a usable private key ({type(error).__name__})") from error


def _is_there(path: Path) -> bool:
    """True too where we may not look."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_KEY_FILE_LIMIT)
    except OSError:
        return b""


def _public_line(content: bytes) -> bytes | None:
    words = content.split(None, 2)
    if len(words) < 2 or not words[0].startswith((b"ssh-", b"ecdsa-", b"sk-")):
        return None
    try:
        return base64.b64decode(words[1], validate=True)
    except binascii.Error:
        return None


def _openssh_public(content: bytes) -> bytes | None:
    """The public key in an OpenSSH private key file, which stands there in the clear."""
    lines = content.strip().splitlines()
    if len(lines) < 3 or b"OPENSSH PRIVATE KEY" not in lines[0]:
        return None
    try:
        raw = base64.b64decode(b"".join(lines[1:-1]))
    except binascii.Error:
        return None
    if not raw.startswith(_OPENSSH_HEAD):
        return None
    message = paramiko.Message(raw[len(_OPENSSH_HEAD) :])
    for _ in range(3):  # cipher, key derivation and its options
        message.get_binary()
    return message.get_binary() if message.get_int() >= 1 else None


def _print(key: AgentKey) -> str:
    return clean(f"{key.get_name()} {fingerprint(key.asbytes())}", 120)
