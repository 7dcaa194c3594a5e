"""The SSH transport: paramiko's, with the gaps closed that hang, leak or lose an error.

Private methods of paramiko are overridden here and nowhere else. A channel that was refused keeps
its reason per channel: with paramiko's single slot, parallel opens lose each other's errors.
"""

import contextlib
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import paramiko
from paramiko.common import (
    cMSG_CHANNEL_CLOSE,
    cMSG_CHANNEL_REQUEST,
    cMSG_GLOBAL_REQUEST,
)

from kome_tui.text import clean

KEEPALIVE_S = 5.0
SILENCE_LIMIT_S = 15.0
"""Three unanswered keepalives: the link, or the server behind it, is dead."""
READ_WAKEUP_S = 1.0
"""How often the transport's thread looks at its keepalive; a close wakes it at once."""
JOIN_S = 2.0
WEAK_ALGORITHMS = {
    "ciphers": ["aes128-cbc", "aes192-cbc", "aes256-cbc", "3des-cbc"],
    "macs": ["hmac-sha1", "hmac-sha1-96", "hmac-md5", "hmac-md5-96"],
}
AUTHENTICATED = "-gcm@"
"""Ciphers preferred to others: paramiko compares a MAC, which they do without, byte by byte."""
_QUICKACK: int | None = getattr(socket, "TCP_QUICKACK", None) if sys.platform == "linux" else None
_USER_TIMEOUT: int | None = getattr(socket, "TCP_USER_TIMEOUT", None)


class PromptSocket(socket.socket):
    """A socket without Nagle's delay and, on Linux, without delayed ACKs.

    Takes over `connected`. Connect plus first exec took 116 ms without both, 24 ms with them.
    """

    def __init__(self, connected: socket.socket) -> None:
        super().__init__(fileno=connected.detach())
        self.heard_at = time.monotonic()
        """When the peer was last heard."""
        self._quickack = _QUICKACK if self.family in (socket.AF_INET, socket.AF_INET6) else None
        if self.family in (socket.AF_INET, socket.AF_INET6):
            self.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if _USER_TIMEOUT is not None:
                limit_ms = int(SILENCE_LIMIT_S * 1000)
                self.setsockopt(socket.IPPROTO_TCP, _USER_TIMEOUT, limit_ms)

    def recv(self, size: int, flags: int = 0) -> bytes:
        """As socket.recv."""
        received = super().recv(size, flags)
        self.heard_at = time.monotonic()
        if self._quickack is not None and received:
            self.setsockopt(socket.IPPROTO_TCP, self._quickack, 1)  # the kernel resets it
        return received


class ChannelRefused(paramiko.SSHException):
    """The server did not open a channel. `code` as in RFC 4254 5.1; `text` is clean."""

    def __init__(self, code: int, text: str) -> None:
        self.code = code
        self.text = text
        super().__init__(text)


class ChannelTimeout(paramiko.SSHException):
    """The server did not say in time whether it opens a channel."""


class NodeTransport(paramiko.Transport):
    """One SSH connection. start_client() and auth_publickey() as in paramiko."""

    _channels: Any
    _send_message: Callable[[paramiko.Message], None]
    _send_user_message: Callable[[paramiko.Message], None]

    def __init__(self, sock: PromptSocket) -> None:
        super().__init__(sock, disabled_algorithms=WEAK_ALGORITHMS)
        options = self.get_security_options()
        options.ciphers = sorted(options.ciphers, key=lambda name: AUTHENTICATED not in name)
        self.prompt_socket = sock
        self.goodbye: str | None = None
        """What the server said when it disconnected, clean."""
        self._opening = threading.local()
        self._refusals: dict[int, ChannelRefused] = {}
        self._abandoned: set[int] = set()
        sock.settimeout(READ_WAKEUP_S)

    def watch(self) -> None:
        """Ask for a sign of life every KEEPALIVE_S; end the connection without one."""
        self.packetizer.set_keepalive(KEEPALIVE_S, self._keep_alive)

    def heard_since(self, moment: float) -> bool:
        """Whether anything came from the server after `moment` (time.monotonic())."""
        return self.prompt_socket.heard_at > moment

    def ask_for_life(self) -> None:
        """Send a request that every server answers, if only by refusing it. Does not wait."""
        message = paramiko.Message()
        message.add_byte(cMSG_GLOBAL_REQUEST)
        message.add_string("keepalive@openssh.com")
        message.add_boolean(True)
        with self.clear_to_send_lock:
            if self.clear_to_send.is_set():  # in a key exchange the link shows life anyway
                self._send_message(message)

    def open_within(
        self, kind: str, timeout_s: float, target: tuple[str, int] | None = None
    ) -> paramiko.Channel:
        """Open a channel. Raises ChannelRefused, ChannelTimeout, SSHException or EOFError."""
        self._opening.chanid = None
        started = time.monotonic()
        try:
            return self.open_channel(kind, target, ("127.0.0.1", 0), timeout=timeout_s)
        except ChannelRefused:
            raise
        except paramiko.SSHException as error:
            chanid = self._opening.chanid
            if not self.is_active() or chanid is None:
                raise
            if self._abandon(chanid):
                waited = time.monotonic() - started
                raise ChannelTimeout(f"no answer in {waited:.1f} s") from error
            channel: paramiko.Channel | None = self._channels.get(chanid)  # decided just now
            if channel is None:
                raise self._refusals.pop(chanid, error) from error
            return channel

    def request_exec(self, channel: paramiko.Channel, command: str) -> None:
        """Send the exec request without waiting; a refusal closes the channel.

        paramiko's exec_command() waits without a limit, and costs one more round trip.
        """
        message = paramiko.Message()
        message.add_byte(cMSG_CHANNEL_REQUEST)
        message.add_int(channel.remote_chanid)
        message.add_string("exec")
        message.add_boolean(True)
        message.add_string(command)
        self._send_user_message(message)

    def close(self) -> None:
        """Close the connection, wake whoever waits for it, and wait for its thread."""
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)  # wakes a thread that waits in recv
        super().close()
        self.sock.close()
        if self.completion_event is not None:
            self.completion_event.set()  # paramiko leaves start_client() waiting
        if self.is_alive() and self is not threading.current_thread():
            self.join(JOIN_S)
        self.packetizer.complete_handshake()  # else its timer lives on

    def get_exception(self) -> Exception | None:
        """The error of this thread's last channel, else the connection's."""
        chanid = getattr(self._opening, "chanid", None)
        refusal = self._refusals.pop(chanid, None) if chanid is not None else None
        return refusal or super().get_exception()

    def _keep_alive(self) -> None:
        if not self.heard_since(time.monotonic() - SILENCE_LIMIT_S):
            raise paramiko.SSHException(f"nothing heard for {SILENCE_LIMIT_S:.0f} s")
        self.ask_for_life()

    def _abandon(self, chanid: int) -> bool:
        """Forget a channel that may still be opened; False: it was decided meanwhile."""
        with self.lock:
            if self.channel_events.pop(chanid, None) is None:
                return False
            self._abandoned.add(chanid)
            self._channels.delete(chanid)
            return True

    def _next_channel(self) -> int:
        chanid: int = super()._next_channel()  # type: ignore[misc] # not in its stubs
        self._opening.chanid = chanid
        return chanid

    def _parse_channel_open_success(self, message: paramiko.Message) -> None:
        chanid, server_chanid = message.get_int(), message.get_int()
        if chanid in self._abandoned:
            self._abandoned.discard(chanid)
            close = paramiko.Message()
            close.add_byte(cMSG_CHANNEL_CLOSE)
            close.add_int(server_chanid)
            self._send_message(close)
            return
        message.rewind()
        super()._parse_channel_open_success(message)  # type: ignore[misc] # nor this

    def _parse_channel_open_failure(self, message: paramiko.Message) -> None:
        chanid, code = message.get_int(), message.get_int()
        text = clean(message.get_binary(), 200)
        with self.lock:
            self._abandoned.discard(chanid)
            event = self.channel_events.pop(chanid, None)
            if event is None:
                return
            self._channels.delete(chanid)
            self._refusals[chanid] = ChannelRefused(code, text)
        event.set()

    def _parse_disconnect(self, message: paramiko.Message) -> None:
        message.get_int()
        self.goodbye = clean(message.get_binary(), 200)
