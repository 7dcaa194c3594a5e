"""The node script's `host`: files that come in whole, count, and go back unless confirmed anew.

The machine's root is a folder, and the programs that judge and load the files are stand-ins that
write down how they were called; the real ones are tried on real machines.
"""

import contextlib
import hashlib
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from kome_tui.fleet.node_admin import Upload, bundle
from tests.node_machine import Answer, Machine, Shell
from tests.waiting import wait_until

SUDOERS = "/etc/sudoers.d/kome"
SSHD = "/etc/ssh/sshd_config.d/10-kome.conf"
LOGROTATE = "/etc/logrotate.d/nginx"
RECOVER = "/etc/systemd/system/kome-recover.service"
TIMER = "/etc/systemd/system/kome-logs.timer"
UNIT = "[Unit]\nDescription=x\n[Install]\nWantedBy=multi-user.target\n"
PROGRAMS = ("visudo", "sshd", "nft", "systemctl", "systemd-tmpfiles", "dpkg-divert")
STAND_IN = """#!/bin/sh
echo "${0##*/} $*" >>CALLS
for word; do
    [ ! -f "$word" ] || ! grep -q broken "$word" || { echo "$word: it is broken"; exit 1; }
done
[ ! -e FAIL ] || ! grep -q -x -e "${0##*/} $*" FAIL || { echo "told to fail"; exit 1; }
[ "${0##*/} $1" != 'nft list' ]
"""


class Host(Machine):
    """A node whose /etc is a folder, and whose programs are stand-ins."""

    def __init__(self, root: Path, shell: Shell) -> None:
        super().__init__(root, shell)
        self.host = root / "host"
        self.calls_file = root / "calls"
        self.fail_file = root / "fail"
        tools = root / "tools"
        tools.mkdir()
        text = STAND_IN.replace("CALLS", str(self.calls_file)).replace("FAIL", str(self.fail_file))
        for name in PROGRAMS:
            (tools / name).write_text(text)
            (tools / name).chmod(0o755)
        self.env["PATH"] = f"{tools}:{self.env['PATH']}"
        script = self.script.read_text().replace("HOST=''\n", f"HOST={self.host}\n")
        self.script.write_text(script)

    @property
    def firewall(self) -> str:
        return f"{self.state}/firewall.nft"

    @property
    def manifest(self) -> str:
        return f"{self.state}/host-files"

    def at(self, path: str) -> Path:
        return Path(path) if path.startswith(str(self.state)) else Path(f"{self.host}{path}")

    def read(self, path: str) -> str | None:
        file = self.at(path)
        return file.read_text() if file.exists() else None

    def calls(self) -> list[str]:
        """How the programs were called since the last time."""
        if not self.calls_file.exists():
            return []
        text = self.calls_file.read_text()
        self.calls_file.unlink()
        return text.splitlines()

    def change(
        self,
        files: dict[str, str],
        *,
        version: str = "v1",
        token: str = "t1",
        trial: float = 30,
        fault: str = "",
        **changed: object,
    ) -> Answer:
        """Send files with their manifest."""
        lines = "".join(f"{'0' * 64} 0644 root:root {path}\n" for path in files)
        whole = {**files, self.manifest: f"kome-host 1 {version}\n{lines}"}
        content = bundle(
            version,
            tuple(
                Upload(path, 0o440 if path == SUDOERS else 0o644, text.encode())
                for path, text in whole.items()
            ),
        )
        return self.send(content, token=token, trial=trial, fault=fault, **changed)

    def send(self, content: bytes, *, token: str = "t1", **keys: object) -> Answer:
        named: dict[str, object] = {
            "size": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
            "token": token,
            "trial": 30,
            "by": "ops.laptop",
            **keys,
        }
        fault = str(named.pop("fault", ""))
        return self.run("host", content, fault=fault, **named)

    def settled(self) -> None:
        wait_until(lambda: not (self.state / "host.trial").exists())
        wait_until(lambda: not self.processes("hostrunner") and not self.processes("hostguard"))

    def version(self) -> str:
        return self.run("status")["host"]


@pytest.fixture(params=["dash", "busybox"])
def host(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Host]:
    made = Host(tmp_path, request.param)
    try:
        yield made
    finally:
        made.close()


def test_files_that_cannot_lock_us_out_need_no_trial(host: Host) -> None:
    answer = host.change({LOGROTATE: "a\n", RECOVER: UNIT, TIMER: UNIT})
    assert answer.end == "ok", answer
    assert answer.keys == {"version": "v1", "changed": "4", "trial": "-"}
    assert host.read(LOGROTATE) == "a\n"
    assert host.at(LOGROTATE).stat().st_mode & 0o777 == 0o644
    calls = host.calls()
    assert any(call.startswith("dpkg-divert") and LOGROTATE in call for call in calls)
    assert "systemctl daemon-reload" in calls
    assert "systemctl enable kome-recover.service" in calls
    assert "systemctl start kome-recover.service" not in calls
    assert "systemctl start kome-logs.timer" in calls
    assert host.version() == "v1"
    host.settled()


def test_the_same_version_again_changes_nothing(host: Host) -> None:
    files = {LOGROTATE: "a\n", TIMER: UNIT}
    host.change(files)
    host.settled()
    host.calls()
    answer = host.change(files, token="t2")
    assert answer.keys == {"version": "v1", "changed": "0", "trial": "-"}
    assert host.calls() == []


def test_firewall_and_ssh_rules_stay_once_confirmed(host: Host) -> None:
    answer = host.change(
        {SSHD: "Match all\n", SUDOERS: "# s\n", host.firewall: "table inet kome {}\n"}
    )
    assert (answer.end, answer["trial"]) == ("ok", "v1")
    calls = host.calls()
    order = [
        next(number for number, call in enumerate(calls) if re.match(pattern, call))
        for pattern in (
            r"sshd -t -f .*/new/1",
            r"visudo -c -q -f",
            r"nft -c -f",
            "nft -f",
            "systemctl reload ssh",
        )
    ]
    assert order == sorted(order)
    assert host.at(SUDOERS).stat().st_mode & 0o777 == 0o440
    decided = host.run("confirm", token="t1")
    assert (decided["decision"], decided["degraded"]) == ("confirmed", "no")
    host.settled()
    assert host.read(SSHD) == "Match all\n"
    assert host.version() == "v1"


def test_not_confirmed_in_time_it_goes_back(host: Host) -> None:
    host.change({SSHD: "one\n", host.firewall: "1\n"})
    host.run("confirm", token="t1")
    host.settled()
    answer = host.change({SSHD: "two\n", host.firewall: "2\n"}, version="v2", token="t2", trial=0.5)
    assert answer["trial"] == "v2"
    host.settled()
    assert (host.read(SSHD), host.read(host.firewall)) == ("one\n", "1\n")
    assert host.version() == "v1"
    assert "not confirmed" in host.run("confirm", token="t2")["reason"]
    assert host.run("confirm", token="t2")["decision"] == "rolled-back"


def test_cancelled_it_goes_back_to_nothing(host: Host) -> None:
    host.change({SSHD: "one\n", RECOVER: UNIT, host.firewall: "1\n"})
    host.calls()
    assert host.run("cancel", token="t1")["decision"] == "rolled-back"
    host.settled()
    assert host.read(SSHD) is host.read(RECOVER) is host.read(host.firewall) is None
    calls = host.calls()
    assert "systemctl disable --now kome-recover.service" in calls
    assert "systemctl reload ssh.service" in calls
    assert host.version() == "-"


@pytest.mark.parametrize("who", ["runner", "guard", "both"])
def test_the_death_of_those_that_watch_brings_it_back(host: Host, who: str) -> None:
    host.change({SSHD: "one\n"})
    kinds = {"runner": ["hostrunner"], "guard": ["hostguard"], "both": ["hostguard", "hostrunner"]}
    for kind in kinds[who]:
        for pid in host.processes(kind):
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda kind=kind: not host.processes(kind))
    if who == "guard":
        assert host.run("confirm", token="t1")["decision"] == "confirmed"
        assert host.read(SSHD) == "one\n"
        return
    if who == "both":
        host.run("status")  # the next contact
    host.settled()
    assert host.read(SSHD) is None


@pytest.mark.parametrize(
    "step", ["verb.journaled", "hostrunner.start", "hostrunner.placed", "hostrunner.counts"]
)
def test_killed_at_any_step_the_host_is_as_it_was(host: Host, step: str) -> None:
    host.at(SSHD).parent.mkdir(parents=True)
    host.at(SSHD).write_text("before\n")
    host.change({SSHD: "after\n", LOGROTATE: "a\n"}, fault=step)
    host.settled()
    assert (host.read(SSHD), host.read(LOGROTATE)) == ("before\n", None)
    answer = host.change({SSHD: "after\n", LOGROTATE: "a\n"}, token="t2")
    assert answer["trial"] == "v1"
    assert host.run("confirm", token="t2")["decision"] == "confirmed"


def test_a_change_without_a_guard_is_refused(host: Host) -> None:
    call = 'hostguard) host_guard "$2" ;;'
    text = host.script.read_text()
    assert call in text
    host.script.write_text(text.replace(call, "hostguard) exit 0 ;;"))
    answer = host.change({SSHD: "one\n"})
    assert (answer.end, answer.stderr) == ("failed the guard does not start", "")
    assert host.read(SSHD) is None


def test_a_power_cut_during_the_trial_is_undone_at_boot(host: Host) -> None:
    host.change({SSHD: "one\n", host.firewall: "1\n"})
    for pid in host.processes():
        with contextlib.suppress(ProcessLookupError):  # a step that has just ended
            os.kill(pid, signal.SIGKILL)
    for left in (host.root / "run").iterdir():
        left.unlink()
    assert host.run("recover", at="boot").end == "ok"
    assert host.read(SSHD) is host.read(host.firewall) is None
    assert host.run("confirm", token="t1")["decision"] == "rolled-back"


@pytest.mark.parametrize(
    ("path", "program"), [(SUDOERS, "visudo"), (SSHD, "sshd"), ("firewall", "nft")]
)
def test_a_file_that_its_program_refuses_changes_nothing(
    host: Host, path: str, program: str
) -> None:
    path = host.firewall if path == "firewall" else path
    answer = host.change({LOGROTATE: "a\n", path: "broken\n"})
    assert answer.end.startswith(f"refused {path} is not accepted by {program}: {Path(path).name}")
    assert host.read(LOGROTATE) is host.read(path) is None
    assert not (host.state / "host.trial").exists()


def test_a_change_that_does_not_take_goes_back_at_once(host: Host) -> None:
    host.fail_file.write_text("systemctl reload ssh.service\n")
    answer = host.change({SSHD: "one\n", LOGROTATE: "a\n"})
    assert answer.end.startswith("rolled-back systemctl reload: told to fail")
    assert host.read(SSHD) is host.read(LOGROTATE) is None
    host.settled()


def test_a_firewall_that_flushes_other_tables_is_refused(host: Host) -> None:
    answer = host.change({host.firewall: "flush ruleset\n"})
    assert "flush other people's tables" in answer.end


def test_a_file_that_the_new_version_lacks_is_taken_away(host: Host) -> None:
    host.change({LOGROTATE: "a\n", TIMER: UNIT})
    host.settled()
    host.calls()
    answer = host.change({LOGROTATE: "a\n"}, version="v2", token="t2")
    assert (answer.end, answer["changed"]) == ("ok", "2")
    assert host.read(TIMER) is None
    assert "systemctl disable --now kome-logs.timer" in host.calls()
    assert host.version() == "v2"


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "/etc/sudoers.d/kome2",
        "/etc/sudoers.d/../passwd",
        "/etc/systemd/system/other.mount",
        "/etc/sudoers.d/kome /etc/passwd",
        "/etc/logrotate.d/nginx/x",
        "relative",
        "/etc/kome/firewall.d/$(id).nft",
    ],
)
def test_no_other_path_is_written(host: Host, path: str) -> None:
    answer = host.send(b"kome-host 1 v1\n" + f"file 644 2 {path}\nx\n\nend\n".encode())
    assert answer.end.startswith("refused")
    assert answer.end.endswith("is no host file of ours")
    assert not host.host.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"kome-host 2 v1\nend\n",
        b"kome-host 1 v1\nend\n",
        b"kome-host 1 v1\nfile 644 3 /etc/logrotate.d/nginx\nab\n",
        b"kome-host 1 v1\nfile 644 2 /etc/logrotate.d/nginx\na\n\n",
        b"kome-host 1 v1\nfile 4755 2 /etc/logrotate.d/nginx\na\n\nend\n",
        b"kome-host 1 v1\nfile 644 999999 /etc/logrotate.d/nginx\na\n\nend\n",
        b"kome-host 1 v1\nfile 644 -1 /etc/logrotate.d/nginx\na\n\nend\n",
        b"kome-host 1 v1\n" + 2 * b"file 644 2 /etc/logrotate.d/nginx\na\n\n" + b"end\n",
        b"kome-host 1 *\nend\n",
        b"\xff\x00\n",
    ],
)
def test_a_damaged_bundle_is_refused(host: Host, content: bytes) -> None:
    answer = host.send(content)
    assert answer.end.startswith(("refused", "usage")), answer
    assert not host.host.exists()


def test_bytes_arrive_as_they_are(host: Host) -> None:
    text = "# a file\n\n  kome $(id) `x` \\n 'q' \"\\\n\n" + "end\nfile 644 1 /x\n" + "é\n\n\n"
    host.change({LOGROTATE: text})
    assert host.read(LOGROTATE) == text


def test_extra_ports_are_ports_and_nothing_else(host: Host) -> None:
    ports = f"{host.state}/firewall.d/operator.nft"
    answer = host.change({ports: "add element inet kome tcp_ports { 22 }\nflush table inet x\n"})
    assert answer.end.endswith("says more than ports")
    assert host.change({ports: "add element inet kome tcp_ports { 22, 2222 }\n"})["trial"] == "v1"
    host.run("cancel", token="t1")


def test_nobody_pushes_during_a_trial_of_the_host(host: Host) -> None:
    host.start_nginx()
    one = host.release("one")
    host.change({SSHD: "one\n"})
    host.stage(one)
    busy = host.apply(one, "t2").end
    assert busy.startswith("busy ops.laptop since ")
    assert busy.endswith(", who changes host files")
    assert host.run("status")["busy"] == busy.removeprefix("busy ")
    assert host.change({SSHD: "two\n"}, token="t3").end.startswith("busy")
    host.run("cancel", token="t1")
    host.settled()
    host.push(one, "t4")


def test_the_token_belongs_to_one_change(host: Host) -> None:
    host.change({SSHD: "one\n"})
    assert host.run("confirm", token="other").end.startswith("refused")
    assert host.run("confirm", token="t1")["decision"] == "confirmed"
    assert host.run("confirm", token="t1")["decision"] == "confirmed"
    assert host.run("cancel", token="t1")["decision"] == "confirmed"
