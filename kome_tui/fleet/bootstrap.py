"""A host before it is a node: what `rebuild` does there as a user with sudo.

A sudo password goes down standard input and nowhere else: never into an argument, an error or a
file. Every verb may be repeated; a host that was left half-way is finished by the next run.
"""

import shlex
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from kome_tui.errors import FleetError, NodeBusy, NodeRefused, ProtocolError, SshUnreachable
from kome_tui.fleet import parsing
from kome_tui.fleet.client import trial_fields
from kome_tui.fleet.connection import Connection
from kome_tui.fleet.framing import AnswerParser, Field, FramingError, Item, encode_request
from kome_tui.fleet.node_admin import HostChange, Upload, bundle, host_change, sized
from kome_tui.fleet.parsing import Answer, BadAnswer
from kome_tui.text import clean

T = TypeVar("T")

Sudo = Literal["root", "free", "password"]
"""How the bootstrap user gets root: it is root, sudo asks nothing, sudo asks for a password."""

OTHER_NGINX = "other-nginx"
NOT_THIS = "sudo does not take this password"
LINE_BREAK = "the password has a line break"
LOOK_S = 30.0
CHANGE_S = 60.0
WAITING = "-"
PACKAGES_S = 900.0
"""apt over a slow line; the mission's limit for the whole rebuild."""
_SUDO = "env LC_ALL=C sudo"  # its words tell a wrong password from a missing right
_LOADER = (
    'while IFS= read -r line; do case $line in "kome-program "*) umask 077;'
    ' file=$(mktemp "${TMPDIR:-/run}/kome.XXXXXX") && head -c "${line#* }" >"$file" &&'
    ' exec /bin/sh "$file"; exit 1 ;; esac; done; exit 1'
)
"""Skips what sudo has left unread (a password it did not ask for), then runs the program. It
lies in /run, in memory: a full or read-only disk is for the program to find."""


class SudoDenied(FleetError):
    """The bootstrap user gets no root, or not with this password."""

    @property
    def may_be_mistyped(self) -> bool:
        """Whether another password may help."""
        return self.what in (NOT_THIS, LINE_BREAK)


@dataclass(frozen=True, slots=True)
class HostState:
    """What `look` finds on a host. None: there is none, or it could not be told."""

    system: str
    architecture: str
    missing: tuple[str, ...]
    """Packages that a node needs and the host lacks."""
    has_apt: bool
    nginx_version: str | None
    has_systemd: bool
    holders: tuple[str, ...]
    """Programs that listen on the node's port; OTHER_NGINX: one that the layout does not know."""
    page: str | None
    """The status line that the port answers."""
    text: str | None
    """The first line of that page."""
    live: str | None
    has_account: bool
    sshd_rules: str | None
    """The lines of sshd's configuration that name who may log in, with which keys, and where its
    connections may lead (`permitopen`)."""
    wider_sudo: str | None
    """What the node's user may run as root besides the script."""
    disk_free_bytes: int | None
    script_sha256: str | None


class Bootstrap:
    """A host's verbs for the bootstrap user. `program` is script.bootstrap_script() of the node.

    Methods raise FleetError: what connecting raises, SudoDenied, NodeRefused, NodeBusy,
    NodeTimeout, ProtocolError.
    """

    def __init__(self, node: str, program: str, connect: Callable[[], Connection]) -> None:
        self.node = node
        self._program = program.encode()
        self._connect = connect
        self._sudo: Sudo = "root"
        self._password = ""

    def find_sudo(self) -> Sudo:
        """How root is reached; "password" means that use_password() has to come next."""
        limit_s = LOOK_S
        done = self._connect().run("id -u", timeout_s=limit_s)
        if done.stdout.strip() == b"0":
            self._sudo = "root"
            return self._sudo
        asked = self._connect().run(f"{_SUDO} -n -k true", timeout_s=limit_s)
        if asked.exit_status == 0:
            self._sudo = "free"
        elif asked.exit_status == 127 or b"not found" in asked.stderr:
            raise SudoDenied(self.node, "it has no sudo, and the bootstrap user is not root")
        else:
            self._sudo = "password"
        return self._sudo

    def use_password(self, password: str) -> None:
        """What sudo will be told, tried once: SudoDenied where sudo does not take it."""
        # a line break could not be typed at sudo's own prompt, and would pass for a second try
        if "\n" in password or "\r" in password:
            raise SudoDenied(self.node, LINE_BREAK)
        line = f"{password}\n".encode()
        tried = self._connect().run(f"exec {_SUDO} -k -S -p '' true", line, timeout_s=LOOK_S)
        if tried.exit_status != 0:
            raise self._denied(tried.stderr)
        self._password = password

    def look(self, user: str, script: str) -> HostState:
        """What is there. Changes nothing."""
        fields = {"user": user, "script": script}
        return self._ask(_host_state, "look", fields, b"", LOOK_S)

    def send_package(self, number: int, file: Path) -> None:
        """Put one .deb file beside the others. Raises OSError where it cannot be read."""
        content = file.read_bytes()
        fields = {"name": _deb(number), **sized(content)}
        self._ask(_done, "deb", fields, content, PACKAGES_S)

    def install_packages(self, sent: int, note: Callable[[str], None]) -> None:
        """Install what is missing: of the files 1 to `sent`; 0: from the host's own sources.

        `note` gets a line for each thing that happens, and WAITING every few seconds; whatever it
        raises ends the wait, and apt goes on by itself.
        """
        last = _deb(sent) if sent else "none"
        self._ask(_done, "packages", {"name": last}, b"", PACKAGES_S, note)

    def make_account(self, user: str, keys: tuple[str, ...]) -> None:
        """The node's user, who may log in with `keys` (type, base64 and comment of each)."""
        content = "".join(f"{key}\n" for key in keys).encode()
        self._ask(_done, "account", {"user": user, **sized(content)}, content, CHANGE_S)

    def install_script(self, path: str, text: str) -> None:
        """kome-node, owned by root."""
        content = text.encode()
        self._ask(_done, "install", {"script": path, **sized(content)}, content, CHANGE_S)

    def enable_nginx(self) -> bool:
        """See to it that nginx starts at boot; whether it did not so far. Starts nothing now."""
        return self._ask(_was_disabled, "enable", {}, b"", CHANGE_S)

    def host(
        self, script: str, version: str, uploads: tuple[Upload, ...], token: str, trial_s: float
    ) -> HostChange:
        """NodeAdmin.host() through kome-node, before its user may run it."""
        content = bundle(version, uploads)
        fields = {**sized(content), **trial_fields(token, trial_s)}
        command = self._as_root(f"/bin/sh {shlex.quote(script)}")
        request = encode_request("host", fields, content)
        return self._exchange(host_change, "host", command, request, CHANGE_S, None)

    def cancel(self, script: str, token: str) -> None:
        """Take a change of the host back before its time."""
        command = self._as_root(f"/bin/sh {shlex.quote(script)}")
        request = encode_request("cancel", {"token": token})
        self._exchange(_done, "cancel", command, request, CHANGE_S, None)

    def _ask(
        self,
        read: Callable[[Answer], T],
        verb: str,
        fields: Mapping[str, str | int],
        payload: bytes,
        limit_s: float,
        note: Callable[[str], None] | None = None,
    ) -> T:
        head = f"kome-program {len(self._program)}\n".encode()
        request = head + self._program + encode_request(verb, fields, payload)
        command = self._as_root(f"/bin/sh -c {shlex.quote(_LOADER)}")
        return self._exchange(read, verb, command, request, limit_s, note)

    def _as_root(self, command: str) -> str:
        match self._sudo:
            case "root":
                return f"exec {command}"
            case "free":
                return f"exec {_SUDO} -n {command}"
            case "password":
                return f"exec {_SUDO} -k -S -p '' {command}"

    def _exchange(
        self,
        read: Callable[[Answer], T],
        verb: str,
        command: str,
        request: bytes,
        limit_s: float,
        note: Callable[[str], None] | None,
    ) -> T:
        secret = f"{self._password}\n".encode() if self._sudo == "password" else b""
        deadline = time.monotonic() + limit_s
        parser = AnswerParser(verb)
        items: list[Item] = []
        with self._connect().start(command, secret + request) as remote:
            while not parser.ended:
                received = remote.read(deadline)
                if not received:
                    remote.finish(deadline)
                    raise self._cut_short(verb, parser, remote.lost, remote.stderr)
                try:
                    for item in parser.feed(received):
                        if isinstance(item, Field) and item.key == "note":
                            if note is not None:
                                note(item.value)
                        else:
                            items.append(item)
                except FramingError as error:
                    raise ProtocolError(self.node, f"{verb}: {error}") from error
        answer = parsing.collect(items)
        match answer.end.code:
            case "busy":
                raise NodeBusy(self.node, answer.end.text)
            case "ok":
                pass
            case _:
                raise NodeRefused(self.node, verb, answer.end.text or "no reason given")
        try:
            return read(answer)
        except BadAnswer as error:
            raise ProtocolError(self.node, f"{verb}: {error}") from error

    def _cut_short(self, verb: str, parser: AnswerParser, lost: bool, stderr: bytes) -> FleetError:
        if lost:
            return SshUnreachable(self.node, f"the connection was lost during {verb}")
        if parser.greeted:
            return ProtocolError(self.node, f"{verb} ended in the middle of its answer")
        if self._sudo == "root":
            return ProtocolError(self.node, f"{verb} did not start: {clean(stderr.strip(), 200)}")
        return self._denied(stderr)

    def _denied(self, stderr: bytes) -> SudoDenied:
        if b"password attempt" in stderr or b"password was provided" in stderr:
            return SudoDenied(self.node, NOT_THIS)
        last = stderr.strip().rpartition(b"\n")[2]
        return SudoDenied(self.node, f"sudo gives no root: {clean(last, 200) or 'no reason given'}")


def _done(answer: Answer) -> None:
    """The end has said it all."""


def _deb(number: int) -> str:
    return f"{number:03d}.deb"


def _was_disabled(answer: Answer) -> bool:
    if "was" not in answer.fields:
        raise BadAnswer("was is missing")
    return answer.fields["was"] == "disabled"


def _host_state(answer: Answer) -> HostState:
    fields = answer.fields

    def text(key: str) -> str | None:
        if key not in fields:
            raise BadAnswer(f"{key} is missing")
        return None if fields[key] in (parsing.NONE, "") else fields[key]

    free = text("disk_free")
    if free is not None and not (free.isascii() and free.isdigit()):
        raise BadAnswer(f"disk_free {free!r}")
    return HostState(
        system=text("os") or "an unknown system",
        architecture=text("arch") or "unknown",
        missing=tuple(word for word in fields.get("missing", "").split() if word != parsing.NONE),
        has_apt=text("apt") == "yes",
        nginx_version=text("nginx"),
        has_systemd=text("systemd") == "yes",
        holders=tuple(word for word in fields.get("holders", "").split() if word != parsing.NONE),
        page=text("page"),
        text=text("text"),
        live=text("live"),
        has_account=text("account") == "yes",
        sshd_rules=text("sshd"),
        wider_sudo=text("sudo"),
        disk_free_bytes=None if free is None else int(free) * 1024,
        script_sha256=text("script"),
    )
