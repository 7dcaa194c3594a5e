"""One SSH connection to one node: open it, run the node's command, reach TCP ports from there.

Every wait has a deadline, and paramiko's exceptions end here: what leaves is a FleetError. After
an error of a running command its outcome is not known; the caller has to ask the node.
"""

import logging
import socket
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

import paramiko

from kome_tui.errors import (
    ForwardFailed,
    ForwardForbidden,
    HostKeyChanged,
    HostKeyUnknown,
    NodeRefused,
    NodeTimeout,
    ProtocolError,
    SshAuthFailed,
    SshUnreachable,
)
from kome_tui.fleet.hostkeys import KnownHosts, fingerprint
from kome_tui.fleet.login import Candidates, agent_keys, candidates, tilde
from kome_tui.fleet.proxy import Proxy
from kome_tui.fleet.remote import RemoteCommand
from kome_tui.fleet.sshconfig import SshTarget
from kome_tui.fleet.transport import (
    ChannelRefused,
    ChannelTimeout,
    NodeTransport,
    PromptSocket,
)
from kome_tui.text import clean
from kome_tui.topology.model import Endpoint

SESSION_OPEN_S = 10.0
_FORBIDDEN_CODES = frozenset({1, 3})
"""RFC 4254: administratively prohibited, unknown channel type."""

logging.getLogger("paramiko").addHandler(logging.NullHandler())  # else warnings reach the screen


@dataclass(frozen=True, slots=True)
class HostKey:
    """The key a node has shown, and the name known_hosts files list it under."""

    known_as: str
    key_type: str
    blob: bytes

    @property
    def fingerprint(self) -> str:
        """`SHA256:...`"""
        return fingerprint(self.blob)


@dataclass(frozen=True, slots=True)
class Completed:
    """A command that has ended. `exit_status` None: killed by a signal, or not told."""

    stdout: bytes
    stderr: bytes
    exit_status: int | None


class Connection:
    """A connection that open() makes and close() ends; both from any thread, each once."""

    def __init__(self, node: str, target: SshTarget, known: KnownHosts) -> None:
        self.node = node
        self.target = target
        self._known = known
        self._transport: NodeTransport | None = None
        self._proxy: Proxy | None = None
        self._closed = threading.Event()

    @property
    def alive(self) -> bool:
        """Whether it is open, as far as known."""
        transport = self._transport
        return transport is not None and transport.is_active() and transport.is_authenticated()

    def open(self) -> None:
        """Connect, check the host key, log in.

        Takes at most about four times the target's connect timeout. Raises SshUnreachable,
        HostKeyUnknown, HostKeyChanged or SshAuthFailed, and leaves nothing open then.
        """
        try:
            transport = self._handshake()
            self._check(_shown(transport, self.target))
            self._log_in(transport)
            transport.watch()
            if self._closed.is_set():
                raise SshUnreachable(self.node, "the connection was closed")
        except BaseException:  # Ctrl-C too leaves nothing open
            self.close()
            raise

    def host_key(self) -> HostKey:
        """The key the node shows, unchecked, for the operator to compare; then closes."""
        try:
            return _shown(self._handshake(), self.target)
        finally:
            self.close()

    def start(self, command: str, stdin: bytes, *, keep_stdin: bool = False) -> "RemoteCommand":
        """Start `command`. SshUnreachable means that nothing has been started.

        `keep_stdin` leaves its standard input open after `stdin`; closing the command ends it.
        """
        transport = self._ready()
        try:
            channel = transport.open_within("session", self.session_open_s)
        except ChannelRefused as error:
            raise NodeRefused(self.node, "session", error.text or "no reason given") from error
        except ChannelTimeout as error:
            raise NodeTimeout(self.node, f"opens no session: {error}") from error
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise self._lost(error) from error
        remote = RemoteCommand(self.node, channel, stdin, keep_stdin)
        try:
            transport.request_exec(channel, command)
        except (paramiko.SSHException, EOFError, OSError) as error:
            remote.close()
            raise NodeTimeout(self.node, f"took no command: {clean(str(error), 200)}") from error
        return remote

    def run(
        self, command: str, stdin: bytes = b"", *, timeout_s: float, limit: int = 1 << 20
    ) -> Completed:
        """Run `command` to its end. stdout of more than `limit` bytes is a ProtocolError."""
        deadline = time.monotonic() + timeout_s
        with self.start(command, stdin) as remote:
            stdout = bytearray()
            while received := remote.read(deadline):
                stdout += received
                if len(stdout) > limit:
                    raise ProtocolError(self.node, f"answers more than {limit} bytes")
            status = remote.finish(deadline)
            return Completed(bytes(stdout), remote.stderr, status)

    def open_tcp(self, endpoint: Endpoint, timeout_s: float) -> paramiko.Channel:
        """A TCP connection made by the node; its reads and writes time out after `timeout_s`.

        Raises ForwardForbidden, ForwardFailed (refused, unreachable, or no answer although the
        node itself answers), NodeTimeout or SshUnreachable.
        """
        transport = self._ready()
        started = time.monotonic()
        try:
            transport.ask_for_life()
            target = (endpoint.address, endpoint.port)
            channel = transport.open_within("direct-tcpip", timeout_s, target)
        except ChannelRefused as error:
            if error.code in _FORBIDDEN_CODES:
                raise ForwardForbidden(
                    self.node,
                    f"its SSH server forbids a connection to {endpoint} ({error.text})",
                    hint="allow it with AllowTcpForwarding local and PermitOpen in sshd_config",
                ) from error
            raise ForwardFailed(self.node, str(endpoint), error.text or "refused") from error
        except ChannelTimeout as error:
            if transport.heard_since(started):
                raise ForwardFailed(self.node, str(endpoint), str(error)) from error
            raise NodeTimeout(self.node, f"does not answer: {error}") from error
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise self._lost(error) from error
        channel.settimeout(timeout_s)
        return channel

    def close(self) -> None:
        """End the connection, its commands and its thread. Harmless when repeated."""
        self._closed.set()
        if self._transport is not None:
            self._transport.close()
        if self._proxy is not None:
            self._proxy.close()

    @property
    def session_open_s(self) -> float:
        """What a node gets for a sign of life: one that hangs costs a push no more on an open
        connection than on a new one.
        """
        return min(SESSION_OPEN_S, self.target.connect_timeout_s)

    def _ready(self) -> NodeTransport:
        transport = self._transport
        if transport is None or not self.alive:
            raise SshUnreachable(self.node, "the connection is not open")
        return transport

    def _lost(self, error: BaseException) -> SshUnreachable:
        if isinstance(error, EOFError) and self._transport is not None:
            self._transport.close()  # a write has found it first: its reader believes it is open
        return SshUnreachable(self.node, f"the connection was lost ({_reason(error)})")

    def _handshake(self) -> NodeTransport:
        limit_s = self.target.connect_timeout_s
        transport = NodeTransport(self._dial(limit_s))
        self._transport = transport
        if self._closed.is_set():
            transport.close()
        transport.banner_timeout = transport.handshake_timeout = limit_s
        transport.channel_timeout = self.session_open_s
        options = transport.get_security_options()
        options.key_types = _known_first(
            options.key_types, self._known.types_for(self.target.known_as)
        )
        decided = threading.Event()
        try:
            transport.start_client(event=decided)
            in_time = decided.wait(limit_s)
        except (paramiko.SSHException, RuntimeError) as error:
            raise self._no_ssh(error) from error
        if self._closed.is_set():
            raise SshUnreachable(self.node, "the connection was closed")
        if not in_time:
            raise SshUnreachable(
                self.node, f"{self.target} took the connection but spoke no SSH in {limit_s:.0f} s"
            )
        if not transport.is_active():
            failure = transport.get_exception()
            raise self._no_ssh(failure) from failure
        return transport

    def _dial(self, limit_s: float) -> PromptSocket:
        if self.target.proxy is not None:
            try:
                self._proxy = Proxy(self.target.proxy)
            except OSError as error:
                raise SshUnreachable(
                    self.node, f"the proxy command cannot be run: {_reason(error)}"
                ) from error
            return PromptSocket(self._proxy.end)
        try:
            address = (self.target.host, self.target.port)
            return PromptSocket(socket.create_connection(address, limit_s))
        except TimeoutError as error:
            raise SshUnreachable(
                self.node, f"{self.target} does not answer in {limit_s:.0f} s"
            ) from error
        except OSError as error:
            raise SshUnreachable(self.node, f"{self.target}: {_reason(error)}") from error

    def _no_ssh(self, error: BaseException | None) -> SshUnreachable:
        said = self._proxy.said() if self._proxy is not None else ""
        why = said or (self._transport and self._transport.goodbye) or _reason(error)
        return SshUnreachable(self.node, f"no SSH connection to {self.target}: {why}")

    def _check(self, key: HostKey) -> None:
        verdict = self._known.judge(key.known_as, key.key_type, key.blob)
        shown = f"{key.key_type} {key.fingerprint}"
        first = verdict.recorded[0] if verdict.recorded else None
        match verdict.state:
            case "known":
                return
            case "unknown":
                raise HostKeyUnknown(
                    self.node,
                    key.key_type,
                    key.fingerprint,
                    hint=f"compare it on the node, then `kome-tui trust {self.node}`",
                )
            case "revoked":
                assert first is not None
                raise HostKeyChanged(
                    self.node, f"as @revoked in {first.source}", shown, hint="do not connect to it"
                )
            case "changed":
                assert first is not None
                raise HostKeyChanged(
                    self.node,
                    f"{first.key_type} {fingerprint(first.blob)} in {first.source}",
                    shown,
                    hint="if the machine was set up anew, compare the new key on its own screen"
                    f" and remove the old one: ssh-keygen -R '{key.known_as}'",
                )

    def _log_in(self, transport: NodeTransport) -> None:
        deadline = time.monotonic() + 2 * self.target.connect_timeout_s
        with agent_keys(self.target.identity_agent) as agent:
            keys = candidates(self.target, agent)
            for number, candidate in enumerate(keys.offers, 1):
                transport.auth_timeout = max(0.1, deadline - time.monotonic())
                try:
                    transport.auth_publickey(self.target.user, candidate.key)
                except paramiko.BadAuthenticationType as error:
                    raise SshAuthFailed(
                        self.node,
                        "it does not accept keys, only "
                        + clean(", ".join(error.allowed_types), 100),
                    ) from error
                except (paramiko.SSHException, EOFError, OSError) as error:
                    if time.monotonic() >= deadline:
                        raise SshUnreachable(self.node, "the login took too long") from error
                    if not transport.is_active():
                        raise self._shown_out(transport, number, error) from error
                    continue  # this key was refused, or its agent: the next one
                if transport.is_authenticated():
                    return
                raise SshAuthFailed(self.node, "it wants more than a key to let us in")
        what, hint = _no_key_fits(self.target, keys)
        raise SshAuthFailed(self.node, what, hint=hint)

    def _shown_out(
        self, transport: NodeTransport, tried: int, error: BaseException
    ) -> SshAuthFailed | SshUnreachable:
        if transport.goodbye is None:
            return self._lost(error)
        return SshAuthFailed(
            self.node,
            f"it ended the login after {tried} of our keys ({transport.goodbye})",
            hint="name the right key with IdentityFile and IdentitiesOnly yes in your SSH config",
        )


def _shown(transport: NodeTransport, target: SshTarget) -> HostKey:
    key = transport.get_remote_server_key()
    return HostKey(target.known_as, clean(key.get_name(), 60), key.asbytes())


def _known_first(offered: Sequence[str], known: tuple[str, ...]) -> list[str]:
    """Host key algorithms with those on record first: another type would read as a change."""
    wanted = set(known) | ({"rsa-sha2-512", "rsa-sha2-256"} if "ssh-rsa" in known else set())
    return [a for a in offered if a in wanted] + [a for a in offered if a not in wanted]


def _no_key_fits(target: SshTarget, keys: Candidates) -> tuple[str, str]:
    user = f"for {clean(target.user, 40)}@{target}"
    tried = ", ".join(candidate.name for candidate in keys.offers)
    what = f"none of our keys fits {user} (tried {tried})" if tried else f"we have no key {user}"
    if keys.unusable:
        what += f"; {'; '.join(keys.unusable)}"
    if keys.locked:
        locked = tilde(keys.locked[0])
        return what, f"{locked} has a passphrase: run ssh-add {locked}"
    return what, "name a key with IdentityFile in your SSH config, or ssh-add it"


def _reason(error: BaseException | None) -> str:
    if isinstance(error, OSError) and error.strerror:
        return clean(error.strerror, 200).lower()
    if error is None or isinstance(error, EOFError) or not str(error):
        return "the other side closed it"
    return clean(str(error), 200)
