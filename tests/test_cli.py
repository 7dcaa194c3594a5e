"""The command line without a fleet: usage, first run, wrong files. One clear line each."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kome_tui import __version__
from kome_tui.topology.load import packaged_file
from tests.command_line import Ran, kome_tui
from tests.contract import CheckAnswer, LintAnswer

NETWORK_COMMANDS = ("plan", "deploy", "rollback", "status", "probe", "triage", "trust")
NOT_THERE_YET = ("report", "replay", "serve", "export")


def one_line(ran: Ran) -> str:
    lines = ran.err.strip().splitlines()
    assert len(lines) == 1, ran.err
    return lines[0]


def test_version(tmp_path: Path) -> None:
    ran = kome_tui("--version", cwd=tmp_path)
    assert (ran.code, ran.out.strip()) == (0, f"kome-tui {__version__}")


def test_help_lists_every_command(tmp_path: Path) -> None:
    ran = kome_tui("--help", cwd=tmp_path)
    assert ran.code == 0
    for name in ("check", "render", "lint", *NETWORK_COMMANDS, *NOT_THERE_YET, "lab"):
        assert re.search(rf"^  {name}\b", ran.out, re.MULTILINE), name


@pytest.mark.parametrize("command", NETWORK_COMMANDS)
def test_a_network_command_without_a_topology_names_the_next_step(
    tmp_path: Path, command: str
) -> None:
    arguments = [command, *(["node-01"] if command == "trust" else [])]
    arguments += ["--yes"] if command == "rollback" else []
    ran = kome_tui(*arguments, cwd=tmp_path)
    assert ran.code == 2
    assert "kome-tui lab" in one_line(ran)
    assert "-t FILE" in one_line(ran)


def test_the_console_without_a_topology_and_a_terminal_says_so(tmp_path: Path) -> None:
    ran = kome_tui(cwd=tmp_path)
    assert ran.code == 2
    assert "kome-tui lab" in one_line(ran)


def test_the_console_needs_a_terminal(tmp_path: Path) -> None:
    (tmp_path / "topology.yaml").write_bytes(packaged_file("topology.yaml").read_bytes())
    for arguments in ((), ("lab",)):
        ran = kome_tui(*arguments, cwd=tmp_path)
        assert (ran.code, ran.out) == (2, "")
        assert "needs a terminal" in one_line(ran)


@pytest.mark.parametrize("command", NOT_THERE_YET)
def test_what_is_not_there_yet_says_so(tmp_path: Path, command: str) -> None:
    ran = kome_tui(command, "x", "--yes", cwd=tmp_path)
    assert ran.code == 2
    assert "not there yet" in one_line(ran)


def test_the_example_is_a_good_topology(tmp_path: Path) -> None:
    example = kome_tui("example", cwd=tmp_path)
    (tmp_path / "topology.yaml").write_text(example.out)
    ran = kome_tui("check", "--json", cwd=tmp_path)
    answer = CheckAnswer.model_validate_json(ran.out)
    assert ran.code == 0
    assert answer.ok
    assert len(answer.releases) == 11


def test_check_of_the_packaged_topology_says_that_it_is_the_example(tmp_path: Path) -> None:
    ran = kome_tui("check", cwd=tmp_path)
    assert ran.code == 0
    assert "the example" in one_line(ran)
    assert str(packaged_file("topology.yaml")) in one_line(ran)
    (tmp_path / "topology.yaml").write_bytes(packaged_file("topology.yaml").read_bytes())
    assert kome_tui("check", cwd=tmp_path).err == ""


def test_check_shows_every_problem_with_its_place(tmp_path: Path) -> None:
    text = packaged_file("topology.yaml").read_text()
    text = text.replace("address: 192.168.86.20", "address: 192.168.86.2O")
    text = text.replace("stream_path: okome", "stream_path: sideways")
    (tmp_path / "topology.yaml").write_text(text)
    ran = kome_tui("check", cwd=tmp_path)
    assert ran.code == 2
    lines = ran.err.strip().splitlines()
    assert len(lines) == 2
    assert all(re.match(r"topology\.yaml:\d+:\d+: ", line) for line in lines)
    ran = kome_tui("check", "--json", cwd=tmp_path)
    answer = CheckAnswer.model_validate_json(ran.out)
    assert (ran.code, answer.ok, len(answer.problems)) == (2, False, 2)


def test_a_topology_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    ran = kome_tui("-t", "nowhere.yaml", "check", cwd=tmp_path)
    assert ran.code == 2
    assert "nowhere.yaml" in one_line(ran)


def test_an_error_under_json_is_one_object_too(tmp_path: Path) -> None:
    ran = kome_tui("deploy", "--json", cwd=tmp_path)
    assert ran.code == 2
    assert json.loads(ran.out)["schema"] == 1
    assert "topology" in json.loads(ran.out)["error"]


def test_the_topology_is_taken_from_the_environment(tmp_path: Path) -> None:
    shutil.copy(packaged_file("topology.yaml"), tmp_path / "other.yaml")
    named = {"KOME_TOPOLOGY": str(tmp_path / "gone.yaml")}
    assert kome_tui("check", cwd=tmp_path, environment=named).code == 2
    named = {"KOME_TOPOLOGY": str(tmp_path / "other.yaml")}
    ran = kome_tui("check", cwd=tmp_path, environment=named)
    assert ran.code == 0
    assert "other.yaml" in ran.out


def test_render_writes_what_a_push_would_stage(tmp_path: Path) -> None:
    from kome_tui.nginx.render import render_release
    from kome_tui.topology.load import load

    ran = kome_tui("render", "kome", "node-03", "-o", "out", cwd=tmp_path)
    assert ran.code == 0
    release = render_release(load(packaged_file("topology.yaml")), "node-03")
    assert (tmp_path / "out" / "node-03" / "nginx.conf").read_bytes() == release.conf.encode()
    assert sorted(made.name for made in (tmp_path / "out").iterdir()) == ["kome", "node-03"]


def test_an_unknown_node_is_refused_with_the_nearest_name(tmp_path: Path) -> None:
    (tmp_path / "topology.yaml").write_bytes(packaged_file("topology.yaml").read_bytes())
    ran = kome_tui("render", "node-3", cwd=tmp_path)
    assert ran.code == 2
    assert "node-03" in one_line(ran)


def test_lint_of_our_own_output_finds_nothing(tmp_path: Path) -> None:
    kome_tui("render", "kome", "-o", "out", cwd=tmp_path)
    ran = kome_tui("lint", "out/kome/nginx.conf", "--json", cwd=tmp_path)
    assert ran.code == 0
    assert LintAnswer.model_validate_json(ran.out).findings == []


def test_lint_of_a_buffering_proxy_finds_it(tmp_path: Path) -> None:
    (tmp_path / "nginx.conf").write_text(
        "events {}\nhttp { server { location /v1/ { proxy_pass http://127.0.0.1:1; } } }\n"
    )
    ran = kome_tui("lint", "nginx.conf", "--json", cwd=tmp_path)
    findings = LintAnswer.model_validate_json(ran.out).findings
    assert ran.code == 1
    assert "stream-buffered" in {finding.rule for finding in findings}


def test_without_an_ssh_program_one_line_says_what_to_install(tmp_path: Path) -> None:
    topology = tmp_path / "topology.yaml"
    text = packaged_file("topology.yaml").read_text()
    topology.write_text(re.sub(r"192\.168\.86\.(\d+)\b(?!/)", r"127.0.86.\1", text))
    empty = tmp_path / "bin"
    empty.mkdir()
    ran = kome_tui("plan", "node-01", cwd=tmp_path, environment={"PATH": str(empty)})
    assert ran.code != 0
    said = ran.err + ran.out
    assert "openssh-client" in said or "no `ssh`" in said


def test_the_lab_that_is_not_running_is_one_line(tmp_path: Path) -> None:
    nowhere = {"HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path)}
    ran = kome_tui("lab", "heal", cwd=tmp_path, environment=nowhere)
    assert ran.code == 1
    assert "kome-tui lab" in one_line(ran)


def test_an_unknown_fault_names_those_there_are(tmp_path: Path) -> None:
    ran = kome_tui("lab", "break", "gremlins", cwd=tmp_path)
    assert ran.code == 2
    assert "okome-down" in one_line(ran)


@pytest.mark.parametrize("arguments", [("example",), ("check", "--json"), ("lint", "x", "--json")])
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_an_answer_for_a_full_disk_is_an_error_in_one_line(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    (tmp_path / "topology.yaml").write_bytes(packaged_file("topology.yaml").read_bytes())
    (tmp_path / "x").write_text("events {}\n")
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "kome_tui", *arguments],
            cwd=tmp_path,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr == "the answer cannot be written: No space left on device\n"


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_started_without_a_stream_the_exit_code_says_it(tmp_path: Path, closed: str) -> None:
    words = f"exec {shlex.quote(sys.executable)} -m kome_tui -t nowhere.yaml check {closed}"
    assert (
        subprocess.run(["sh", "-c", words], cwd=tmp_path, timeout=60, check=False).returncode == 2
    )
