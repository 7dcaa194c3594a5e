"""How to reach a node over SSH, in the words of the operator's own SSH configuration.

OpenSSH itself is asked (`ssh -G`), because Include, Match and tokens are its business: reading the
files ourselves would pick another user or key than the operator's `ssh` does.
"""

import getpass
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kome_tui.errors import NoSshClient, UsageError
from kome_tui.text import clean
from kome_tui.topology.grammar import seconds
from kome_tui.topology.model import Topology

RESOLVE_TIMEOUT_S = 10.0
DEFAULT_IDENTITIES = frozenset(
    {"id_rsa", "id_ecdsa", "id_ecdsa_sk", "id_ed25519", "id_ed25519_sk", "id_xmss", "id_dsa"}
)


@dataclass(frozen=True, slots=True)
class SshTarget:
    """Where and how to log in to one node."""

    host: str
    port: int
    user: str
    connect_timeout_s: float
    identities: tuple[Path, ...] = ()
    identities_only: bool = False
    known_hosts: tuple[Path, ...] = ()
    """The user's and the system's files; read, never written."""
    host_key_alias: str | None = None
    identity_agent: str | None = None
    """Socket of the agent; None: no agent."""
    proxy: tuple[str, ...] | None = None
    """Command whose standard input and output are the connection; None: TCP."""

    @property
    def known_as(self) -> str:
        """The name under which known_hosts files list its key."""
        if self.host_key_alias is not None:
            return self.host_key_alias
        return self.host if self.port == 22 else f"[{self.host}]:{self.port}"

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def resolve(topology: Topology, name: str, ssh_config: Path | None) -> SshTarget:
    """How to log in to the node `name`.

    The node's name is looked up first, so a `Host` entry for it counts; where the configuration
    knows nothing of it, the address of the topology is used. Raises NoSshClient, or UsageError
    where `ssh` refuses the configuration.
    """
    ssh = topology.ssh_of(name)
    port = ("-p", str(ssh.port)) if ssh.port is not None else ()
    own = _config_option(ssh_config)
    options = parse(_ask([*own, "-T", "-G", "-l", ssh.user, *port, name]))
    if options.get("hostname", [name]) == [name]:
        address = topology.nodes[name].address
        options = parse(_ask([*own, "-T", "-G", "-l", ssh.user, *port, address]))
    return target(options, name, own, seconds(ssh.connect_timeout))


def parse(text: str) -> dict[str, list[str]]:
    """The output of `ssh -G`: option in lower case -> its values, in order."""
    options: dict[str, list[str]] = {}
    for line in text.splitlines():
        key, _, value = line.strip().partition(" ")
        if key:
            options.setdefault(key.lower(), []).append(value.strip())
    return options


def target(
    options: dict[str, list[str]],
    name: str,
    own: tuple[str, ...],
    connect_timeout_s: float,
    exists: Callable[[Path], bool] = os.path.exists,
) -> SshTarget:
    """A target from parsed options. `own` are the arguments that name the configuration file."""

    def one(key: str, default: str = "") -> str:
        return options.get(key, [default])[0]

    host, port, user = one("hostname"), int(one("port", "22")), one("user")
    tokens = {"h": host, "p": str(port), "r": user, "n": name, "u": _login(), "%": "%"}
    tokens |= {"d": str(expanded(Path("~"))), "k": one("hostkeyalias", name)}
    files = [
        path
        for key in ("userknownhostsfile", "globalknownhostsfile")
        for path in _paths(_expand(one(key), tokens), exists)
    ]
    agent = one("identityagent", "SSH_AUTH_SOCK")
    return SshTarget(
        host=host,
        port=port,
        user=user,
        connect_timeout_s=connect_timeout_s,
        identities=tuple(
            expanded(Path(_expand(value, tokens)))
            for value in options.get("identityfile", [])
            if value != "none"
        ),
        identities_only=one("identitiesonly", "no") == "yes",
        known_hosts=tuple(files),
        host_key_alias=one("hostkeyalias") or None,
        identity_agent=_agent(_expand(agent, tokens)),
        proxy=_proxy(one("proxyjump"), one("proxycommand"), tokens, own),
    )


def expanded(path: Path) -> Path:
    """`path` with its ~ or ~user replaced; as it stands where there is no such home."""
    try:
        return path.expanduser()
    except RuntimeError:
        return path


def _ask(arguments: list[str]) -> str:
    program = shutil.which("ssh")
    if program is None:
        raise NoSshClient("there is no `ssh` program", hint="install the OpenSSH client")
    try:
        answer = subprocess.run(
            [program, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=RESOLVE_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise UsageError(
            f"`ssh -G` gave no answer in {RESOLVE_TIMEOUT_S:.0f} s",
            hint="a Match exec or a name lookup in your SSH configuration may hang",
        ) from error
    except OSError as error:
        raise NoSshClient(f"`ssh` cannot be run: {clean(str(error), 200)}") from error
    if answer.returncode != 0:
        said = clean(answer.stderr.strip().replace(b"\r", b"").replace(b"\n", b"; "), 400)
        raise UsageError(f"`ssh -G` refuses your SSH configuration: {said}")
    return answer.stdout.decode("utf-8", "surrogateescape")


def _config_option(ssh_config: Path | None) -> tuple[str, ...]:
    return ("-F", str(ssh_config)) if ssh_config is not None else ()


def _login() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # no entry in the password database
        return ""


def _expand(value: str, tokens: dict[str, str]) -> str:
    """`value` with %h and its like replaced; what is not a token we know stays."""
    out, rest = [], value
    while "%" in rest:
        before, _, after = rest.partition("%")
        out += [before, tokens.get(after[:1], f"%{after[:1]}")]
        rest = after[1:]
    return "".join(out) + rest


def _paths(value: str, exists: Callable[[Path], bool]) -> list[Path]:
    """Files of a list that `ssh -G` prints with bare spaces: the longest runs that exist."""
    words = value.split(" ")
    found: list[Path] = []
    while words:
        run = next((n for n in range(len(words), 1, -1) if exists(_path(words[:n]))), 1)
        found.append(_path(words[:run]))
        words = words[run:]
    return [path for path in found if str(path) not in ("none", ".")]


def _path(words: list[str]) -> Path:
    return expanded(Path(" ".join(words)))


def _agent(value: str) -> str | None:
    if value == "none":
        return None
    if value == "SSH_AUTH_SOCK":
        return os.environ.get("SSH_AUTH_SOCK") or None
    if value.startswith("$"):
        return os.environ.get(value[1:].strip("{}")) or None
    return str(expanded(Path(value)))


def _proxy(
    jump: str, command: str, tokens: dict[str, str], own: tuple[str, ...]
) -> tuple[str, ...] | None:
    """The command that carries the connection, run as OpenSSH itself would."""
    if jump and jump != "none":
        *before, last = jump.split(",")
        via = ("-J", ",".join(before)) if before else ()
        if "://" not in last and last.count(":") == 1:  # [user@]host:port
            last, _, port = last.partition(":")
            via = (*via, "-p", port)
        host = f"[{tokens['h']}]" if ":" in tokens["h"] else tokens["h"]
        batch = ("-o", "BatchMode=yes", "-T")
        return ("ssh", *own, *batch, *via, "-W", f"{host}:{tokens['p']}", "--", last)
    if command and command != "none":
        return ("/bin/sh", "-c", f"exec {_expand(command, tokens)}")
    return None
