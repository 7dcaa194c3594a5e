"""Pushes to the machines as an operator makes them, and what a node serves and says afterwards."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from kome_tui.nginx.render import Release, render_release
from kome_tui.topology.load import load
from tests.command_line import Ran
from tests.contract import PushAnswer
from tests.machines.lan import Lan
from tests.machines.operator import TOPOLOGY

SCRIPT = "/usr/local/sbin/kome-node"
EXIT = {"ok": 0, "failed": 1, "refused": 3}


@dataclass(frozen=True)
class Pushed:
    """What one `deploy --json` told: every node was reported, and exit code and result agree."""

    answer: PushAnswer
    progress: str
    """Its standard error: a line for each step of each node."""

    @property
    def result(self) -> str:
        return self.answer.result

    @property
    def outcomes(self) -> dict[str, str]:
        return self.answer.outcomes()

    @property
    def releases(self) -> dict[str, str | None]:
        """What each node serves, by the answer."""
        return {name: node.release for name, node in self.answer.nodes.items()}

    def reason(self, name: str) -> str:
        return self.answer.nodes[name].reason or ""

    def switched(self) -> list[str]:
        """The nodes that were switched, in the order of the waves."""
        lines = (line.split() for line in self.progress.splitlines())
        return [words[0] for words in lines if words[1:2] == ["switch"]]


def pushed(ran: Ran, names: Iterable[str]) -> Pushed:
    """Read the answer of a push to `names`, and check what is true of every one."""
    answer = PushAnswer.model_validate_json(ran.out)
    assert set(answer.nodes) == set(names)
    assert ran.code == EXIT[answer.result]
    return Pushed(answer, ran.err)


def push(lan: Lan, *options: str) -> Pushed:
    """Push the operator's topology to all machines, or to those named in `options`."""
    ran = lan.operator.kome_tui("deploy", "--json", *options)
    return pushed(ran, [name for name in options if name in lan.machines] or lan.machines)


def want(lan: Lan, number: int, **replaced: str) -> dict[str, str]:
    """Give the operator a topology of its own for each `number`; the ids that it asks for.

    `replaced` are further changes of the shipped text, new for old, named for the reader.
    """
    text = TOPOLOGY.read_text()
    for old, new in ("  rate: 10 ", f"  rate: {number} "), *_pairs(replaced):
        assert old in text
        text = text.replace(old, new)
    path = lan.folder / f"topology-{number}.yaml"
    path.write_text(text)
    lan.operator.topology = path
    topology = load(path)
    return {name: render_release(topology, name).id for name in lan.machines}


def _pairs(replaced: Mapping[str, str]) -> list[tuple[str, str]]:
    halves = (change.partition(" => ") for change in replaced.values())
    return [(old, new) for old, _, new in halves]


def wanted_release(lan: Lan, name: str) -> Release:
    """What the operator's topology asks of a node."""
    return render_release(load(Path(lan.operator.topology)), name)


def served(lan: Lan, name: str) -> str:
    """The release that a node names when it is asked through port 80; empty for none."""
    ran = lan.operator.http(lan.address(name), "/.kome/release")
    head, _, body = ran.out.partition("\n\n")
    return body.strip() if " 200 " in head.split("\n")[0] else ""


def all_served(lan: Lan, names: Iterable[str] | None = None) -> dict[str, str]:
    """The same of several nodes, all of them by default."""
    return {name: served(lan, name) for name in (lan.machines if names is None else names)}


def ask(lan: Lan, name: str, header: str, upload: str = "") -> dict[str, str]:
    """Ask the node script as the console does, through OpenSSH; its answer's lines."""
    request = f"kome/1 {header}\n{upload}"
    ran = lan.operator.ssh(lan.address(name), f"sudo -n {SCRIPT}", typed=request)
    lines = (line.partition(" ") for line in ran.out.splitlines())
    return {key: value for key, _, value in lines}


def begin_trial(lan: Lan, name: str, seconds: int, token: str = "test-1") -> Release:
    """Put what the topology asks for on a node and leave it unconfirmed, with nobody connected."""
    release = wanted_release(lan, name)
    size, sha256 = len(release.conf.encode()), hashlib.sha256(release.conf.encode()).hexdigest()
    header = f"stage id={release.id} size={size} sha256={sha256}"
    assert ask(lan, name, header, release.conf)["end"] == "ok"
    told = ask(lan, name, f"apply id={release.id} token={token} trial={seconds} by=test")
    assert (told["end"], told["trial"]) == ("ok", release.id)
    return release
