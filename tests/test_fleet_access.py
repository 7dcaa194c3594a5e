"""Ways in: a real jump host, keys with a passphrase, and a node whose sshd forbids to look."""

import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kome_tui.errors import ForwardForbidden, SshUnreachable
from kome_tui.fleet import login, passphrase
from kome_tui.fleet.script import script_of
from kome_tui.fleet.sshconfig import resolve
from kome_tui.session.looks import dial_from
from kome_tui.signals.checks import check_http
from kome_tui.signals.dial import Dial
from kome_tui.topology.model import Endpoint, Topology, UpstreamName
from tests.fleet_site import Site, keygen
from tests.signals_servers import answering, closed_port, http, scripted
from tests.ssh_server import SshServer
from tests.waiting import wait_until

PASSPHRASE = "secret word"


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys")
    for name in ("host", "jump_host", "user"):
        keygen(folder / name)
    keygen(folder / "locked", passphrase=PASSPHRASE)
    keygen(folder / "locked_rsa", "rsa", passphrase=PASSPHRASE)
    subprocess.run(
        [
            *("ssh-keygen", "-q", "-p", "-m", "PEM", "-f", folder / "locked_rsa"),
            *("-P", PASSPHRASE, "-N", PASSPHRASE),
        ],
        check=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    names = ("user", "locked", "locked_rsa")
    public = [(folder / f"{name}.pub").read_text() for name in names]
    (folder / "authorized").write_text("".join(public))
    (folder / "restricted").write_text(f"no-port-forwarding {public[0]}")
    return folder


@pytest.fixture
def site(keys: Path, tmp_path: Path) -> Iterator[Site]:
    server = SshServer([keys / "host"], keys / "authorized")
    found = Site(tmp_path, server, keys / "user", keys / "host")
    found.know()
    yield found
    server.close()


@pytest.fixture(autouse=True)
def _nothing_unlocked() -> Iterator[None]:
    yield
    login._UNLOCKED.clear()


# ---------------------------------------------------------------- ProxyJump


@pytest.fixture
def jump(keys: Path, site: Site) -> Iterator[SshServer]:
    """A second SSH server, through which the node is reached."""
    server = SshServer([keys / "jump_host"], keys / "authorized")
    site.lines += [
        f"Host front\n  HostName 127.0.0.1\n  Port {site.server.port}\n  ProxyJump jump",
        f"Host jump\n  HostName 127.0.0.1\n  Port {server.port}\n  User kome",
    ]
    yield server
    server.close()


def know_jump(site: Site, jump: SshServer, keys: Path) -> None:
    with site.known_hosts.open("a") as file:
        file.write(f"[127.0.0.1]:{jump.port} {site.public(keys / 'jump_host')}\n")


def test_a_node_behind_a_jump_host_is_reached(site: Site, jump: SshServer, keys: Path) -> None:
    know_jump(site, jump, keys)
    opened = site.connection()
    opened.open()
    assert opened.run("echo through", timeout_s=10).stdout == b"through\n"
    assert (jump.logins, site.server.logins) == (1, 1)
    opened.close()
    wait_until(lambda: jump.connections() == 0 and site.server.connections() == 0)


def test_an_unknown_jump_host_stops_the_connection(site: Site, jump: SshServer) -> None:
    with pytest.raises(SshUnreachable, match="Host key verification failed"):
        site.connection().open()
    assert site.server.logins == 0


# ---------------------------------------------------------------- passphrases


@pytest.mark.parametrize("name", ["locked", "locked_rsa"])
def test_an_unlocked_key_logs_in(site: Site, keys: Path, name: str) -> None:
    site.identity = keys / name
    target = resolve(site.topology(), "front", site.config())
    assert passphrase.needed(target) == (keys / name,)
    assert not passphrase.unlock(keys / name, "wrong")
    assert passphrase.unlock(keys / name, PASSPHRASE)
    opened = site.connection()
    opened.open()
    assert opened.run("echo hi", timeout_s=10).stdout == b"hi\n"
    opened.close()


def test_no_passphrase_is_wanted_where_another_key_can_log_in(
    site: Site, keys: Path, agent: str
) -> None:
    target = resolve(site.topology(), "front", site.config())
    assert passphrase.needed(target) == ()
    site.lines.append(f"  IdentityFile {keys / 'locked'}")
    assert passphrase.needed(resolve(site.topology(), "front", site.config())) == ()
    site.lines.clear()
    site.identity = keys / "locked"
    site.lines.append(f"  IdentityAgent {agent}")
    assert passphrase.needed(resolve(site.topology(), "front", site.config())) == ()


def test_an_agent_without_the_named_key_does_not_spare_the_question(
    site: Site, keys: Path, agent: str
) -> None:
    site.identity = keys / "locked_rsa"
    site.lines.append(f"  IdentityAgent {agent}")
    target = resolve(site.topology(), "front", site.config())
    assert passphrase.needed(target) == (keys / "locked_rsa",)


@pytest.fixture
def agent(keys: Path, tmp_path: Path) -> Iterator[str]:
    """The socket of an agent of our own, with the key `locked`."""
    path = str(tmp_path / "agent")
    process = subprocess.Popen(["ssh-agent", "-D", "-a", path], stdout=subprocess.DEVNULL)
    wait_until(lambda: Path(path).exists())
    answer = tmp_path / "askpass"
    answer.write_text(f"#!/bin/sh\necho {PASSPHRASE}\n")
    answer.chmod(0o700)
    env = {**os.environ, "SSH_AUTH_SOCK": path, "SSH_ASKPASS": str(answer)}
    env |= {"SSH_ASKPASS_REQUIRE": "force"}
    subprocess.run(["ssh-add", "-q", keys / "locked"], env=env, check=True, timeout=10)
    yield path
    process.terminate()
    process.wait(5)


ASK = """
import sys
from pathlib import Path
from kome_tui.cli.passphrase import ask_for_passphrase
from kome_tui.fleet import login
from kome_tui.topology.load import load
ask_for_passphrase(load(Path(sys.argv[1])), Path(sys.argv[2]))
print("unlocked", len(login._UNLOCKED))
"""


def test_the_passphrase_is_asked_for_on_the_terminal(site: Site, keys: Path) -> None:
    site.identity = keys / "locked"
    topology = site.folder / "topology.yaml"
    topology.write_text(TOPOLOGY.format(port=site.server.port))
    ours, theirs = pty.openpty()
    command = [sys.executable, "-c", ASK, str(topology), str(site.config())]
    with subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    ) as process:
        os.close(theirs)
        said, answers = "", ["wrong", PASSPHRASE]
        while True:
            try:
                part = os.read(ours, 4096)
            except OSError:
                break
            if not part:
                break
            said += part.decode()
            if said.count("passphrase of ") > 2 - len(answers) and said.endswith(": "):
                os.write(ours, answers.pop(0).encode() + b"\n")
        process.wait(20)
    os.close(ours)
    assert "that is not its passphrase" in said
    assert said.rstrip().endswith("unlocked 1")
    assert PASSPHRASE not in said


TOPOLOGY = """
schema: 1
lan: [127.0.0.0/8]
upstreams:
  okome: {{address: 127.0.0.1, port: 9}}
  vllm: {{address: 127.0.0.1, port: 9}}
  ollama: {{address: 127.0.0.1, port: 9}}
  tf-rest: {{address: 127.0.0.1, port: 9}}
  tf-grpc: {{address: 127.0.0.1, port: 9}}
  redis: {{address: 127.0.0.1, port: 9}}
nodes:
  front: {{role: frontend, address: 127.0.0.1, ssh: {{user: kome, port: {port}}}}}
"""


# ---------------------------------------------------------------- no forwarding


@pytest.fixture
def restricted(keys: Path, tmp_path: Path) -> Iterator[Site]:
    server = SshServer([keys / "host"], keys / "restricted")
    found = Site(tmp_path, server, keys / "user", keys / "host")
    found.know()
    yield found
    server.close()


def reaching(site: Site, *endpoints: Endpoint) -> Topology:
    """A topology whose node may try `endpoints`, with the node's script in place."""
    topology = site.topology()
    layout = topology.layout.model_copy(
        update={name: f"{site.folder}/{name}" for name in ("etc", "state", "run", "cache")}
        | {"service": "direct"}
    )
    names = dict(zip(UpstreamName, endpoints, strict=False))
    node = topology.nodes["front"].model_copy(update={"upstreams": names})
    made = topology.model_copy(update={"layout": layout, "nodes": {"front": node}})
    site.script.write_text(script_of(made, "front"))
    return made


def test_the_node_itself_tries_where_its_sshd_forbids_forwarding(restricted: Site) -> None:
    closed = closed_port()
    with scripted(answering(http(b"ok"))) as endpoint:
        reaching(restricted, endpoint, closed)
        with restricted.fleet() as fleet:
            dial: Dial = lambda at, timeout_s: dial_from(fleet, "front", at, timeout_s)  # noqa: E731
            up, down = (check_http(at, "/", dial, 5.0) for at in (endpoint, closed))
    assert (up.state, up.reason, up.status) == ("up", None, None)
    assert up.detail["body"] == "accepts connections"
    assert (down.state, down.reason) == ("down", "refused")


def test_where_the_script_does_not_try_either_it_is_unknown(restricted: Site) -> None:
    with scripted(answering(http(b"ok"))) as endpoint, restricted.fleet() as fleet:
        with pytest.raises(ForwardForbidden):  # no script at all
            dial_from(fleet, "front", endpoint, 5.0)
        reaching(restricted, closed_port())
        with pytest.raises(ForwardForbidden):  # not an upstream of the topology
            dial_from(fleet, "front", endpoint, 5.0)
