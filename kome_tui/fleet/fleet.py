"""All nodes of a topology over SSH: one warm connection each, opened on first use.

Safe for many threads: a node's lock is held while it is being connected, never while it works, so
a slow node makes nobody wait but those who want that node.
"""

import threading
from pathlib import Path

import paramiko

from kome_tui.errors import KomeError, SshUnreachable
from kome_tui.fleet import hostkeys
from kome_tui.fleet.bootstrap import Bootstrap
from kome_tui.fleet.client import NodeClient
from kome_tui.fleet.connection import Connection, HostKey
from kome_tui.fleet.node_admin import NodeAdmin
from kome_tui.fleet.ready import Ready, Waiting
from kome_tui.fleet.script import bootstrap_script
from kome_tui.fleet.sshconfig import SshTarget, resolve
from kome_tui.topology.model import Endpoint, Topology


class Fleet:
    """The nodes of `topology`. A context manager; close() leaves no thread and no connection.

    `ssh_config` is an OpenSSH configuration used instead of the user's, as `ssh -F`.
    """

    def __init__(self, topology: Topology, ssh_config: Path | None = None) -> None:
        self._topology = topology
        self._ssh_config = ssh_config
        self._closed = threading.Event()
        self._slots = {name: _Slot() for name in topology.nodes}
        self._nodes: dict[str, NodeClient] = {}

    def node(self, name: str) -> NodeClient:
        """The verbs of one node. Connects when the first of them is called."""
        made = self._nodes.get(name)
        if made is None:  # kept: a push asks for each node many times
            layout, port = self._topology.layout_of(name), self._topology.http_of(name).port
            slot = self._slots[name]
            made = NodeClient(
                name, layout, lambda: self._connected(name), slot.waiting, port, slot.ready
            )
            self._nodes[name] = made
        return made

    def admin(self, name: str) -> NodeAdmin:
        """The verbs of one node that are no push. Connects when the first of them is called."""
        layout = self._topology.layout_of(name)
        ready = self._slots[name].ready
        return NodeAdmin(name, layout, lambda: self._connected(name), ready=ready)

    def bootstrap(self, name: str) -> Bootstrap:
        """A host that is no node yet, as the user of this topology, who needs sudo."""
        program = bootstrap_script(self._topology, name)
        return Bootstrap(name, program, lambda: self._connected(name))

    def target(self, name: str) -> SshTarget:
        """Where and how the node is logged in to."""
        return resolve(self._topology, name, self._ssh_config)

    def connect(self, name: str) -> None:
        """Connect now; nothing where a connection is open. Raises FleetError, NoSshClient."""
        self._connected(name)

    def open_tcp(self, name: str, endpoint: Endpoint, timeout_s: float) -> paramiko.Channel:
        """A TCP connection from the node to `endpoint`, like a connected socket.

        Raises ForwardFailed (the node tried), ForwardForbidden (its sshd does not try), and what
        connecting raises.
        """
        connection = self._connected(name)
        try:
            return connection.open_tcp(endpoint, timeout_s)
        except SshUnreachable:
            if connection.alive:
                raise
        return self._connected(name).open_tcp(endpoint, timeout_s)

    def host_key(self, name: str) -> HostKey:
        """The key the node shows now, unchecked, for the operator to compare."""
        target = resolve(self._topology, name, self._ssh_config)
        return Connection(name, target, self._known(target.known_hosts)).host_key()

    def trust(self, key: HostKey) -> Path:
        """Record a key that the operator has compared; returns the file. Raises OSError."""
        path = hostkeys.own_file()
        hostkeys.record(path, key.known_as, key.key_type, key.blob)
        return path

    def close(self) -> None:
        """Close every connection, and wait for their threads. Harmless when repeated."""
        self._closed.set()
        for slot in self._slots.values():
            connection = slot.connection
            if connection is not None:
                connection.close()

    def __enter__(self) -> "Fleet":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _connected(self, name: str) -> Connection:
        """The node's open connection. Threads that waited for an attempt share its failure."""
        slot = self._slots[name]
        attempt = slot.attempts
        with slot.lock:
            self._refuse_if_closed(name)
            if slot.connection is not None and slot.connection.alive:
                return slot.connection
            if slot.attempts != attempt and slot.error is not None:
                raise slot.error
            try:
                self._connect(name, slot)
            except KomeError as error:
                slot.error = error
                raise
            finally:
                slot.attempts += 1
            assert slot.connection is not None
            return slot.connection

    def _connect(self, name: str, slot: "_Slot") -> None:
        slot.error = None
        if slot.connection is not None:
            slot.connection.close()
        target = resolve(self._topology, name, self._ssh_config)
        slot.connection = Connection(name, target, self._known(target.known_hosts))
        self._refuse_if_closed(name)  # close() sees the connection, or we see close()
        slot.connection.open()

    def _refuse_if_closed(self, name: str) -> None:
        if self._closed.is_set():
            raise SshUnreachable(name, "the fleet's connections were closed")

    def _known(self, files: tuple[Path, ...]) -> hostkeys.KnownHosts:
        return hostkeys.load((*files, hostkeys.own_file()))


class _Slot:
    """A node's connection, and how the last attempt to open it went."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.connection: Connection | None = None
        self.waiting = Waiting()
        self.ready = Ready()
        self.attempts = 0
        self.error: KomeError | None = None
