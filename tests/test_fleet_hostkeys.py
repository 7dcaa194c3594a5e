"""known_hosts files: strict, tolerant of single bad lines, and read as OpenSSH reads them."""

import base64
import subprocess
from pathlib import Path

import pytest

from kome_tui.fleet.hostkeys import KnownHosts, fingerprint, load, parse, record

ED = "AAAAC3NzaC1lZDI1NTE5AAAAIEbgqJKS0Vq1sQSJ9M3sWGk7N0Zkzr2oY6Vx5QdNHk0i"
OTHER = "AAAAC3NzaC1lZDI1NTE5AAAAIHq0Jq4oM0JmOGqkq4qfTMWg1Pp4zH2V4wqxJH0bQeLk"


def known(text: str) -> KnownHosts:
    keys, notes = parse(text.encode(), "known_hosts")
    return KnownHosts(tuple(keys), tuple(notes))


def blob(text: str) -> bytes:
    return base64.b64decode(text)


def state(text: str, host: str, key: str = ED) -> str:
    return known(text).judge(host, "ssh-ed25519", blob(key)).state


@pytest.mark.parametrize(
    ("patterns", "host", "expected"),
    [
        ("10.0.0.1", "10.0.0.1", "known"),
        ("10.0.0.1", "[10.0.0.1]:2222", "unknown"),
        ("[10.0.0.1]:2222", "[10.0.0.1]:2222", "known"),
        ("[10.0.0.1]:2222", "10.0.0.1", "unknown"),
        ("a,b,c", "b", "known"),
        ("Node-01", "node-01", "known"),
        ("10.0.0.*", "10.0.0.9", "known"),
        ("10.0.0.?", "10.0.0.19", "unknown"),
        ("10.0.0.*,!10.0.0.9", "10.0.0.9", "unknown"),
        ("[10.0.0.*]:22??", "[10.0.0.9]:2201", "known"),
        ("[12].0.0.1", "1.0.0.1", "unknown"),
    ],
)
def test_patterns(patterns: str, host: str, expected: str) -> None:
    assert state(f"{patterns} ssh-ed25519 {ED} comment\n", host) == expected


def test_another_key_for_a_host_on_record_is_changed_also_of_another_type() -> None:
    text = f"h ssh-ed25519 {ED}\n"
    assert state(text, "h", OTHER) == "changed"
    assert known(text).judge("h", "ssh-rsa", b"x").state == "changed"


def test_one_of_several_keys_is_enough() -> None:
    assert state(f"h ssh-ed25519 {OTHER}\nh ssh-ed25519 {ED}\n", "h") == "known"


def test_revoked_wins_over_a_plain_line_whatever_the_order() -> None:
    text = f"h ssh-ed25519 {ED}\n@revoked * ssh-ed25519 {ED}\n"
    assert state(text, "h") == "revoked"
    assert state(text, "h", OTHER) == "changed"


def test_a_bad_line_costs_itself_only() -> None:
    text = (
        "# comment\n\n"
        f"@cert-authority *.lan ssh-ed25519 {OTHER}\n"
        "h ssh-ed25519\n"
        "h ssh-ed25519 !!!notbase64\n"
        "@strange h ssh-ed25519 x\n"
        "\x1b[2J\udc80 x y\n"
        f"  h   ssh-ed25519\t{ED}  \n"
    )
    keys, notes = parse(text.encode("utf-8", "surrogateescape"), "known_hosts")
    assert [key.patterns for key in keys] == [("h",)]
    assert keys[0].source == "known_hosts:8"
    assert len(notes) == 5
    assert "@cert-authority is not supported" in notes[0]


def test_a_certificate_authority_vouches_for_nobody() -> None:
    assert state(f"@cert-authority h ssh-ed25519 {ED}\n", "h") == "unknown"


def test_names_hashed_by_ssh_keygen(tmp_path: Path) -> None:
    path = tmp_path / "known_hosts"
    path.write_text(f"[127.0.0.1]:2201 ssh-ed25519 {ED}\nnode-01 ssh-ed25519 {ED}\n")
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", path], check=True, timeout=10)
    assert "node-01" not in path.read_text()
    files = load([path])
    for host in ("[127.0.0.1]:2201", "node-01"):
        assert files.judge(host, "ssh-ed25519", blob(ED)).state == "known"
    assert files.judge("node-02", "ssh-ed25519", blob(ED)).state == "unknown"


def test_the_fingerprint_is_the_one_ssh_keygen_prints(tmp_path: Path) -> None:
    path = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-N", "", "-f", path], check=True, timeout=10)
    said = subprocess.run(
        ["ssh-keygen", "-lf", path], check=True, timeout=10, capture_output=True, text=True
    ).stdout
    assert fingerprint(blob(Path(f"{path}.pub").read_text().split()[1])) in said


def test_files_that_are_missing_or_unreadable_take_nothing_from_the_others(tmp_path: Path) -> None:
    good = tmp_path / "good"
    good.write_text(f"h ssh-ed25519 {ED}\n")
    folder = tmp_path / "folder"
    folder.mkdir()
    files = load([tmp_path / "none", folder, good])
    assert files.judge("h", "ssh-ed25519", blob(ED)).state == "known"
    assert len(files.notes) == 1


def test_recording_makes_a_file_of_the_users_own_and_appends(tmp_path: Path) -> None:
    path = tmp_path / "kome" / "known_hosts"
    record(path, "[127.0.0.1]:2201", "ssh-ed25519", blob(ED))
    record(path, "node-01", "ssh-ed25519", blob(OTHER))
    assert path.stat().st_mode & 0o777 == 0o600
    files = load([path])
    assert files.judge("[127.0.0.1]:2201", "ssh-ed25519", blob(ED)).state == "known"
    assert files.judge("node-01", "ssh-ed25519", blob(OTHER)).state == "known"
    assert files.types_for("node-01") == ("ssh-ed25519",)


def test_recording_does_not_follow_a_link(tmp_path: Path) -> None:
    path = tmp_path / "known_hosts"
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic"):
        record(path, "h", "ssh-ed25519", b"x")
