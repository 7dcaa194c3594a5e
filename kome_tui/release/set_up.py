"""The steps that make one host a node, before its first release.

Packages, the node's user, its script, the files of the host, and a login as that user, which
confirms them. Each finds out for itself whether it has been done already.
"""

import re
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from kome_tui.errors import FleetError, KomeError, NodeBusy, NodeRefused
from kome_tui.fleet.answers import NodeStatus
from kome_tui.fleet.bootstrap import OTHER_NGINX, WAITING, Bootstrap, HostState
from kome_tui.fleet.fleet import Fleet
from kome_tui.fleet.node_admin import HostChange, Upload
from kome_tui.fleet.operator_keys import PublicKey, of_operator
from kome_tui.fleet.script import script_digest, script_of
from kome_tui.nginx.host import HostFile, host_files, ports_in_use
from kome_tui.release.fleet_api import Report
from kome_tui.release.outcome import Progress
from kome_tui.release.outdated import host_version
from kome_tui.topology.grammar import seconds
from kome_tui.topology.model import Topology

NEEDED_BYTES = 200 * 1024 * 1024
"""nginx with what it needs, and room for apt to unpack it."""
LEAST_BYTES = 4 * 1024 * 1024
"""An account, the script, the host files and their journal, and a first release."""
LOGIN_AGAIN_S = 1.0
SSHD_RULE = "/etc/ssh/sshd_config.d/10-kome.conf"
INCLUDE_IT = (
    "SSH forwards to anywhere until sshd_config begins with Include /etc/ssh/sshd_config.d/*.conf"
)
_SSH_PORT = 22
_ARCHITECTURE = re.compile(r"_([a-z0-9]+)\.deb\Z")


class NoWay(KomeError):
    """A step cannot be done; the steps before it stay done."""


class Stopped(KomeError):
    """The operator has stopped the run between two steps."""


@dataclass(frozen=True, slots=True)
class Choices:
    """What the operator has asked for."""

    bootstrap_user: str | None = None
    """Somebody with sudo on the hosts; None: they are nodes already."""
    packages: tuple[Path, ...] = ()
    """.deb files for hosts without a way out; empty: their own package sources."""
    keys: tuple[PublicKey, ...] = ()
    """Who may log in as the nodes' user; empty: with the keys that will be offered to each."""


def obstacle(topology: Topology, name: str, host: HostState, choices: Choices) -> str | None:
    """Why this host cannot be made a node, in words; None: nothing stands in the way."""
    user = topology.ssh_of(name).user
    port = topology.http_of(name).port
    others = [holder for holder in host.holders if holder != "nginx"]
    if OTHER_NGINX in others:
        held = f"port {port} is held by an nginx that {topology.layout_of(name).pid} does not name"
        return f"{held} (a container's, or one started by hand): stop it, then try again"
    if others:
        held = f"port {port} is held by {', '.join(others)}"
        return f"{held}: only an nginx can be taken over; stop it, then try again"
    if not host.has_systemd:
        return "it does not run systemd, and rebuild sets up no other host"
    if host.missing and not host.has_apt:
        return f"it has no apt-get, and lacks {', '.join(host.missing)}"
    needed = NEEDED_BYTES if host.missing else LEAST_BYTES
    if host.disk_free_bytes is not None and host.disk_free_bytes < needed:
        free_mb = host.disk_free_bytes // 1024 // 1024
        return f"the disk is full: {free_mb} MB free, {needed // 1024 // 1024} MB needed"
    rules = host.sshd_rules or ""
    return shut_out(user, rules) or (None if host.has_account else keys_elsewhere(rules))


def keys_elsewhere(rules: str) -> str | None:
    """Where sshd looks for keys, if not where ours are written; of an account that has none yet."""
    files = rules_of(rules).get("authorizedkeysfile", [".ssh/authorized_keys"])
    if any(file.endswith(".ssh/authorized_keys") for file in files):
        return None
    return f"its sshd looks for keys in {', '.join(files)} (AuthorizedKeysFile), not in ~/.ssh"


def rules_of(lines: str) -> dict[str, list[str]]:
    """Keyword and values of what `sshd -T` has printed, lines divided by semicolons."""
    rules: dict[str, list[str]] = {}
    for line in lines.split(";"):
        key, _, value = line.strip().partition(" ")
        rules.setdefault(key, []).extend(value.split())
    return rules


def shut_out(user: str, rules: str) -> str | None:
    """Why sshd's rules, as `sshd -T` prints them, would not let `user` in; None: they do."""
    lists = rules_of(rules)

    def named(key: str) -> bool:
        return any(fnmatchcase(user, pattern.partition("@")[0]) for pattern in lists[key])

    if lists.get("pubkeyauthentication") == ["no"]:
        return "its sshd takes no keys (PubkeyAuthentication no)"
    if "allowusers" in lists and not named("allowusers"):
        allowed = ", ".join(lists["allowusers"])
        return f"its sshd lets in only {allowed} (AllowUsers): add {user} there"
    if "denyusers" in lists and named("denyusers"):
        return f"its sshd does not let {user} in (DenyUsers)"
    if "allowgroups" in lists and not named("allowgroups"):
        allowed = ", ".join(lists["allowgroups"])
        return f"its sshd lets in only the groups {allowed} (AllowGroups): add {user} there"
    return None


def keys_for(fleet: Fleet, name: str, choices: Choices) -> tuple[PublicKey, ...]:
    """Who will be let in as the node's user. Raises NoWay where there is no key at all."""
    keys = choices.keys or of_operator(fleet.target(name))
    if not keys:
        raise NoWay(
            "there is no public key to let in",
            where=name,
            hint="name one with --key FILE.pub, or IdentityFile in your SSH config, or ssh-add it",
        )
    return keys


class SetUp:
    """Sets one host up. Raises Stopped, NoWay, RefusedError or FleetError, each with its reason."""

    def __init__(
        self,
        topology: Topology,
        name: str,
        fleet: Fleet,
        open_fleet: Callable[[Topology], Fleet],
        choices: Choices,
        report: Report,
        stop: threading.Event,
    ) -> None:
        self._topology = topology
        self._name = name
        self._fleet = fleet
        self._open_fleet = open_fleet
        self._choices = choices
        self._report = report
        self._stop = stop
        self._layout = topology.layout_of(name)
        self._script = script_of(topology, name)
        self._wanted = script_digest(topology, name), host_version(topology, name)

    def as_bootstrap_user(self, bootstrap: Bootstrap, host: HostState) -> None:
        """All steps, as root by the bootstrap user's sudo."""
        user = self._topology.ssh_of(self._name).user
        if host.wider_sudo is not None:
            self._say(f"note: {user} may also run as root there: {host.wider_sudo}")
        self._step("1/4 packages: " + (", ".join(host.missing) or "all there"))
        sent = self._send_packages(bootstrap, host) if host.missing else 0
        # also where all are there: a power cut may have left something of ours to take away
        bootstrap.install_packages(sent, self._about_packages)
        keys = keys_for(self._fleet, self._name, self._choices)
        self._step(f"2/4 user {user}, who logs in with {', '.join(map(str, keys))}")
        bootstrap.make_account(user, tuple(key.line for key in keys))
        self._step(f"3/4 script {self._layout.script}")
        bootstrap.install_script(self._layout.script, self._script)
        self._step("4/4 host files, and a login with the rules they make")
        script = self._layout.script
        self._host(
            lambda *change: bootstrap.host(script, *change),
            lambda token: bootstrap.cancel(script, token),
        )
        if bootstrap.enable_nginx():
            self._say("note: nginx was not started at boot there; from now on it is")
        if rules_of(bootstrap.look(user, script).sshd_rules or "").get("permitopen") == ["any"]:
            self._say(f"note: its sshd does not read {SSHD_RULE}: {INCLUDE_IT}")
        self._check()

    def _about_packages(self, line: str) -> None:
        if self._stop.is_set():
            raise Stopped("stopped by the operator; apt goes on there: run it again to go on")
        if line != WAITING:
            self._say(f"1/4 packages: {line}")

    def as_node(self, status: NodeStatus) -> None:
        """A node that has been set up: its script and its host files, where they are old."""
        admin = self._fleet.admin(self._name)
        script, host = self._wanted
        if status.script_digest != script:
            self._step(f"1/2 script {self._layout.script}")
            admin.upgrade(self._script)
        if status.host_version != host:
            self._step("2/2 host files, and a login with the rules they make")
            self._host(admin.host, admin.cancel)
        self._check()

    def _step(self, text: str) -> None:
        if self._stop.is_set():
            raise Stopped("stopped by the operator; run it again to go on from here")
        self._say(text)

    def _say(self, text: str) -> None:
        self._report(Progress(self._name, "set-up", text))

    def _send_packages(self, bootstrap: Bootstrap, host: HostState) -> int:
        wanted = [
            file
            for file in self._choices.packages
            if not (found := _ARCHITECTURE.search(file.name))
            or found[1] in ("all", host.architecture)
        ]
        if self._choices.packages and not wanted:
            raise NoWay(f"no package for {host.architecture}", where=self._name)
        for number, file in enumerate(wanted, 1):
            self._step(f"1/4 packages: sending {number} of {len(wanted)}, {file.name}")
            bootstrap.send_package(number, file)
        return len(wanted)

    def _host(
        self,
        send: Callable[[str, tuple[Upload, ...], str, float], HostChange],
        cancel: Callable[[str], object],
    ) -> None:
        wanted = host_files(self._topology, self._name)
        files = (*wanted.files, *self._operators_port(), wanted.manifest)
        uploads = tuple(Upload(file.path, file.mode, file.text.encode()) for file in files)
        token, trial_s = secrets.token_hex(8), seconds(self._topology.push.trial)
        deadline = time.monotonic() + trial_s
        change = send(wanted.version, uploads, token, trial_s)
        if not change.on_trial:
            return
        wrong = self._confirmed(token, deadline)
        if wrong is not None:
            try:
                cancel(token)
            except FleetError:
                wrong += "; it goes back by itself"
            raise NoWay(f"host files: {wrong}", where=self._name)

    def _operators_port(self) -> tuple[HostFile, ...]:
        """The firewall has to let in what we came through, where that is not the node's own."""
        port = self._fleet.target(self._name).port
        known = self._topology.ssh_of(self._name).port or _SSH_PORT
        if self._layout.firewall != "nftables" or port == known:
            return ()
        return (ports_in_use(self._topology, self._name, [port]),)

    def _confirmed(self, token: str, deadline: float) -> str | None:
        """Confirm as the node's own user over a connection made now; why not, in words."""
        while True:
            try:
                with self._open_fleet(self._topology) as fresh:
                    decided = fresh.node(self._name).confirm(token)
                if decided.decision == "confirmed":
                    return None
                return decided.reason or "it went back"
            except (NodeRefused, NodeBusy) as error:
                return error.what
            except FleetError as error:
                if time.monotonic() + LOGIN_AGAIN_S > deadline or self._stop.is_set():
                    return f"a login with the new rules fails ({error.what})"
            time.sleep(LOGIN_AGAIN_S)

    def _check(self) -> None:
        """The node's own word, as its own user, that all of it is there."""
        status = self._fleet.node(self._name).status()
        seen = (status.script_digest, status.host_version)
        if seen != self._wanted:
            script, host = self._wanted
            raise NoWay(
                f"after all steps it has script {seen[0]} and host files {seen[1]},"
                f" wanted {script} and {host}",
                where=self._name,
            )
