"""The host files as values: what is in them, their version, what they can never hold."""

import hashlib
import subprocess
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from kome_tui.nginx.host import HostFile, host_files, unit_name
from kome_tui.nginx.render import render_all
from kome_tui.topology.load import load, packaged_file
from kome_tui.topology.model import UpstreamName
from tests.builders_topology import topology, topology_values
from tests.command_line import kome_tui
from tests.host_programs import file_at, needs, program

NODE = "node-03"


def nodes_with(**over: Any) -> dict[str, Any]:
    """The nodes of the usual topology, NODE with more values."""
    nodes: dict[str, Any] = topology_values()["nodes"]
    nodes[NODE] |= over
    return nodes


def paths(**over: Any) -> set[str]:
    """Where NODE's files go."""
    return {file.path for file in host_files(topology(**over), NODE).files}


def test_the_same_topology_gives_the_same_files() -> None:
    assert host_files(topology(), NODE) == host_files(topology(), NODE)


def test_a_change_of_one_file_changes_the_version_and_no_release() -> None:
    before, after = topology(), topology(disk={"log": "10m"})
    assert host_files(before, NODE).version != host_files(after, NODE).version
    assert render_all(before) == render_all(after)


def test_every_node_of_the_shipped_fleet_has_its_files() -> None:
    fleet = load(packaged_file("topology.yaml"))
    found = {name: host_files(fleet, name) for name in fleet.nodes}
    assert len({host.version for host in found.values()}) == len(fleet.nodes)
    for name, host in found.items():
        for file in host.files:
            first = file.text.splitlines()[0]
            assert first.startswith(f"# Node {name}, from kome-tui's templates/host/")
            template = first.split("templates/host/")[1].split()[0].removesuffix(".")
            assert packaged_file(f"templates/host/{template}").is_file()
            assert file.text.endswith("\n")
            assert "\n\n\n" not in file.text


def test_the_manifest_names_every_file_with_its_digest() -> None:
    host = host_files(topology(), NODE)
    head, *rows = host.manifest.text.splitlines()
    assert head == f"kome-host 1 {host.version}"
    assert rows == [
        f"{hashlib.sha256(file.text.encode()).hexdigest()} {file.mode:04o} root:root {file.path}"
        for file in host.files
    ]
    assert host.version == hashlib.sha256("".join(f"{r}\n" for r in rows).encode()).hexdigest()[:12]


def test_only_the_script_is_allowed_to_become_root_and_its_file_is_read() -> None:
    sudoers = file_at(host_files(topology(), NODE), "sudoers.d/kome")
    assert sudoers.mode == 0o440
    assert "." not in Path(sudoers.path).name
    rules = [row for row in sudoers.text.splitlines() if "NOPASSWD" in row]
    assert rules == ['kome ALL=(root) NOPASSWD: /usr/local/sbin/kome-node ""']


def test_nothing_of_systemd_goes_to_a_host_without_it() -> None:
    without = paths(layout={"service": "direct", "root": "none"})
    assert without == {"/etc/logrotate.d/nginx", "/etc/ssh/sshd_config.d/10-kome.conf"}


def test_a_cache_in_memory_has_a_mount_and_another_node_has_none() -> None:
    mount = "/etc/systemd/system/var-cache-nginx-kome.mount"
    fleet = topology(cache={"size": "200m", "tmpfs": "256m"})
    host = host_files(fleet, NODE)
    assert f"size={256 * 1024 * 1024}," in file_at(host, "kome.mount").text
    assert "var-cache-nginx-kome.mount" in host.units
    assert mount not in {file.path for file in host_files(fleet, "node-01").files}
    assert mount not in paths()


def test_sshd_lets_through_what_the_node_is_checked_by_and_nothing_else() -> None:
    fleet = topology(
        nodes=nodes_with(
            port=8080,
            upstreams={"okome": {"address": "fd00::25", "port": 9000}},
            ssh={"user": "pi"},
        )
    )
    text = file_at(host_files(fleet, NODE), "10-kome.conf").text
    [allowed] = [row.split()[1:] for row in text.splitlines() if "PermitOpen" in row]
    upstreams = {str(fleet.endpoint(each, seen_from=NODE)) for each in UpstreamName}
    assert set(allowed) == upstreams | {"192.168.86.43:8080", "127.0.0.1:8080", "[::1]:8080"}
    assert "[fd00::25]:9000" in allowed
    assert "Match User pi\n" in text
    assert text.endswith("Match all\n")


HOSTILE = (
    "a b", "a\n", "a;b", "a$(id)", "a`id`", "%h", "a{b", 'a"b', "a'b", "a\\b", "../a", "", "#",
    "*", "a,b", "!a", "é",
)  # fmt: skip


@pytest.mark.parametrize("value", HOSTILE)
@pytest.mark.parametrize(
    "place",
    [
        ("ssh", "user"),
        ("layout", "user"),
        *(
            ("layout", key)
            for key in ("script", "log", "state", "cache", "temp", "pid", "firewall")
        ),
        ("disk", "log"),
        ("cache", "tmpfs"),
    ],
    ids="-".join,
)
def test_the_grammar_refuses_what_could_change_a_host_file(
    place: tuple[str, str], value: str
) -> None:
    section, key = place
    for hostile in (value, f"/{value}"):
        with pytest.raises(ValidationError):
            topology(**{section: {key: hostile}})


@pytest.mark.parametrize("user", ["ALL", "%sudo", "#0", "+group", "Defaults", "a=b", "*"])
def test_no_user_means_something_else_to_sudo_or_sshd(user: str) -> None:
    with pytest.raises(ValidationError):
        topology(ssh={"user": user})


@needs("systemd-escape", root=False)
@pytest.mark.parametrize(
    "path", ["/var/cache/nginx/kome", "/srv/nginx-cache/a_b.c", "/.hidden/x", "/a/.b", "/a--b"]
)
def test_a_unit_is_named_as_systemd_names_it(path: str) -> None:
    command = [program("systemd-escape"), "--path", "--suffix=mount", path]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert unit_name(path, "mount") == ran.stdout.strip()


def test_render_writes_every_host_file_at_its_path(tmp_path: Path) -> None:
    ran = kome_tui("render", NODE, "-o", "out", cwd=tmp_path)
    assert ran.code == 0
    host = host_files(load(packaged_file("topology.yaml")), NODE)
    below = tmp_path / "out" / NODE / "host"
    expected = {f"{below}{file.path}": file.text for file in (*host.files, host.manifest)}
    written = {str(path): path.read_text() for path in below.rglob("*") if path.is_file()}
    assert written == expected
    assert host.version in ran.err
    assert kome_tui("render", NODE, "-o", "out", cwd=tmp_path).code == 0


def test_the_digest_of_a_file_is_over_its_bytes() -> None:
    file = HostFile("/a", "é\n")
    assert file.digest == hashlib.sha256("é\n".encode()).hexdigest()
