"""Host keys, strictly: a key is accepted only where a known_hosts file lists it for this host.

An unknown or changed key always stops the connection; nothing in here writes a file except
record(), which is called after the operator has compared the fingerprint.
"""

import base64
import binascii
import fnmatch
import hashlib
import hmac
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import platformdirs

from kome_tui.text import clean

Marker = Literal["", "@revoked", "@cert-authority"]
FILE_LIMIT = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class KnownKey:
    """One line of a known_hosts file."""

    marker: Marker
    patterns: tuple[str, ...]
    key_type: str
    blob: bytes
    source: str
    """file:line"""

    def covers(self, host: str) -> bool:
        """Whether the line speaks of `host` (`name`, or `[name]:port` for a port other than 22)."""
        wanted = host.lower()
        if any(p.startswith("!") and _matches(p[1:], wanted) for p in self.patterns):
            return False
        return any(_matches(pattern, wanted) for pattern in self.patterns)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the files say about a key that a host has shown."""

    state: Literal["known", "unknown", "changed", "revoked"]
    recorded: tuple[KnownKey, ...] = ()
    """Every plain line for this host; where revoked, the line that says so."""


@dataclass(frozen=True, slots=True)
class KnownHosts:
    """The lines of all files, and what could not be used."""

    keys: tuple[KnownKey, ...] = ()
    notes: tuple[str, ...] = ()

    def types_for(self, host: str) -> tuple[str, ...]:
        """Key types on record for `host`, so that the server is asked for these first."""
        return tuple(dict.fromkeys(key.key_type for key in self._plain(host)))

    def judge(self, host: str, key_type: str, blob: bytes) -> Verdict:
        """Whether `host` may show this key. A revoked key is revoked whatever else is on record."""
        for key in self.keys:
            if key.marker == "@revoked" and key.blob == blob and key.covers(host):
                return Verdict("revoked", (key,))
        recorded = self._plain(host)
        if not recorded:
            return Verdict("unknown")
        same = any(key.key_type == key_type and key.blob == blob for key in recorded)
        return Verdict("known" if same else "changed", recorded)

    def _plain(self, host: str) -> tuple[KnownKey, ...]:
        return tuple(key for key in self.keys if not key.marker and key.covers(host))


def own_file() -> Path:
    """The console's own known_hosts file, in the user's configuration folder."""
    return Path(platformdirs.user_config_dir("kome")) / "known_hosts"


def load(files: Iterable[Path]) -> KnownHosts:
    """Read `files` in order; one that does not exist is skipped, one that is unreadable noted."""
    keys: list[KnownKey] = []
    notes: list[str] = []
    for path in files:
        try:
            with path.open("rb") as file:
                content = file.read(FILE_LIMIT)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            notes.append(f"{clean(str(path), 200)}: cannot be read: {error.strerror}")
            continue
        found, said = parse(content, str(path))
        keys += found
        notes += said
    return KnownHosts(tuple(keys), tuple(notes))


def parse(content: bytes, name: str) -> tuple[list[KnownKey], list[str]]:
    """The lines of one file. A line that cannot be used costs itself, never the whole file."""
    keys: list[KnownKey] = []
    notes: list[str] = []
    for number, raw in enumerate(content.decode("utf-8", "replace").splitlines(), 1):
        words = raw.split()
        if not words or words[0].startswith("#"):
            continue
        where = f"{clean(name, 200)}:{number}"
        marker: Marker = ""
        if words[0] == "@cert-authority":
            notes.append(f"{where}: @cert-authority is not supported and was ignored")
            continue
        if words[0] == "@revoked":
            marker = "@revoked"
            words = words[1:]
        blob = _blob(words[2]) if len(words) >= 3 else None
        if blob is None:
            notes.append(f"{where}: not a host key line, ignored")
            continue
        keys.append(KnownKey(marker, tuple(words[0].split(",")), words[1], blob, where))
    return keys, notes


def fingerprint(blob: bytes) -> str:
    """The fingerprint as ssh-keygen prints it: `SHA256:` and base64 without padding."""
    digest = base64.b64encode(hashlib.sha256(blob).digest()).decode()
    return f"SHA256:{digest.rstrip('=')}"


def record(path: Path, host: str, key_type: str, blob: bytes) -> None:
    """Append one key, durably, to a file that only the user can read. Raises OSError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    line = f"{host} {key_type} {base64.b64encode(blob).decode()}\n"
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
    handle = os.open(path, flags, 0o600)
    try:
        os.write(handle, line.encode())
        os.fsync(handle)
    finally:
        os.close(handle)


def _blob(text: str) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True) or None
    except binascii.Error:
        return None


def _matches(pattern: str, host: str) -> bool:
    if pattern.startswith("|1|"):
        return _hashed(pattern, host)
    # only * and ? are wildcards here; the brackets of [host]:port are literal
    literal = re.sub(r"\[", "[[]", pattern.lower())
    return fnmatch.fnmatchcase(host, literal)


def _hashed(pattern: str, host: str) -> bool:
    parts = pattern.split("|")
    if len(parts) != 4:
        return False
    salt, wanted = _blob(parts[2]), _blob(parts[3])
    if salt is None or wanted is None:
        return False
    return hmac.compare_digest(hmac.new(salt, host.encode(), hashlib.sha1).digest(), wanted)
