"""What `ssh -G` says, as a target."""

import os
from pathlib import Path

import pytest

from kome_tui.errors import NoSshClient, UsageError
from kome_tui.fleet.sshconfig import SshTarget, parse, resolve, target
from tests.fleet_site import topology_at


def of(text: str, own: tuple[str, ...] = (), existing: tuple[str, ...] = ()) -> SshTarget:
    base = "host n\nhostname 127.0.0.1\nuser kome\nport 2201\n"
    return target(parse(base + text), "n", own, 5.0, lambda path: str(path) in existing)


def config(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "ssh_config"
    path.write_text(text)
    return path


def test_output_is_read_key_by_key_in_order() -> None:
    options = parse("HostName h\nidentityfile a b\nidentityfile c\n\nproxyusefdpass\n")
    assert options == {"hostname": ["h"], "identityfile": ["a b", "c"], "proxyusefdpass": [""]}


def test_the_plain_values() -> None:
    found = of("identitiesonly yes\nidentityfile /k/%h key\nhostkeyalias alias\n")
    assert (found.host, found.port, found.user) == ("127.0.0.1", 2201, "kome")
    assert found.identities == (Path("/k/127.0.0.1 key"),)
    assert found.identities_only
    assert found.known_as == "alias"
    assert str(found) == "127.0.0.1:2201"


@pytest.mark.parametrize(("port", "name"), [("22", "h"), ("2201", "[h]:2201")])
def test_the_name_in_known_hosts(port: str, name: str) -> None:
    found = target(parse(f"hostname h\nport {port}\n"), "n", (), 5.0)
    assert found.known_as == name


def test_home_and_tokens_are_expanded() -> None:
    found = of("identityfile ~/.ssh/a\nidentityfile %d/b%%c%x\n")
    assert found.identities == (Path.home() / ".ssh/a", Path.home() / "b%c%x")


def test_a_home_that_nobody_has_is_left_as_it_stands() -> None:
    """The key is then one that does not exist, and the login says so."""
    found = of("identityfile ~no-such-user/key\nidentityagent ~no-such-user/agent\n")
    assert found.identities == (Path("~no-such-user/key"),)
    assert found.identity_agent == "~no-such-user/agent"


def test_no_home_at_all_is_no_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere(_: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", nowhere)
    assert of("identityfile %d/key\n").identities == (Path("~/key"),)


def test_a_known_hosts_list_with_spaces_in_a_name_is_split_where_files_exist() -> None:
    found = of(
        "userknownhostsfile /a b/known /c\nglobalknownhostsfile /d /e\n", existing=("/a b/known",)
    )
    assert found.known_hosts == (Path("/a b/known"), Path("/c"), Path("/d"), Path("/e"))


def test_no_known_hosts_file_is_none() -> None:
    assert of("userknownhostsfile none\nglobalknownhostsfile none\n").known_hosts == ()


def test_the_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSH_AUTH_SOCK", "/agent")
    monkeypatch.setenv("OTHER", "/other")
    assert of("").identity_agent == "/agent"
    assert of("identityagent SSH_AUTH_SOCK\n").identity_agent == "/agent"
    assert of("identityagent $OTHER\n").identity_agent == "/other"
    assert of("identityagent ${OTHER}\n").identity_agent == "/other"
    assert of("identityagent none\n").identity_agent is None
    assert of("identityagent ~/a\n").identity_agent == str(Path.home() / "a")
    monkeypatch.delenv("SSH_AUTH_SOCK")
    assert of("").identity_agent is None


def test_a_jump_host_is_reached_by_the_ssh_program_with_the_same_configuration() -> None:
    assert of("proxyjump none\n").proxy is None
    batch = ("-o", "BatchMode=yes", "-T")
    end = ("-W", "127.0.0.1:2201", "--")
    assert of("proxyjump a\n", ("-F", "c")).proxy == ("ssh", "-F", "c", *batch, *end, "a")
    assert of("proxyjump u@a:33\n").proxy == ("ssh", *batch, "-p", "33", *end, "u@a")
    assert of("proxyjump a,b\n").proxy == ("ssh", *batch, "-J", "a", *end, "b")


def test_a_proxy_command_is_run_by_a_shell() -> None:
    found = of("proxycommand nc %h %p\n")
    assert found.proxy == ("/bin/sh", "-c", "exec nc 127.0.0.1 2201")
    assert of("proxycommand none\n").proxy is None


def test_a_host_entry_for_the_nodes_name_counts(tmp_path: Path) -> None:
    text = "Host front\n HostName 127.0.0.7\n Port 2209\n User other\n IdentityFile /k\n"
    found = resolve(topology_at({"front": 22}), "front", config(tmp_path, text))
    assert (found.host, found.identities) == ("127.0.0.7", (Path("/k"),))
    assert (found.user, found.port) == ("kome", 22)  # the topology's word comes first
    assert found.connect_timeout_s == 2.0


def test_a_name_the_configuration_does_not_know_is_reached_at_its_address(tmp_path: Path) -> None:
    text = "Host 127.0.0.1\n IdentityFile /by-address\nHost *\n IdentityFile /any\n"
    found = resolve(topology_at({"front": 2201}), "front", config(tmp_path, text))
    assert found.host == "127.0.0.1"
    assert found.identities == (Path("/by-address"), Path("/any"))


def test_include_and_match_are_openssh_s_business(tmp_path: Path) -> None:
    (tmp_path / "more").write_text("Match originalhost front\n HostName 127.0.0.3\n")
    found = resolve(
        topology_at({"front": 2201}), "front", config(tmp_path, f"Include {tmp_path}/more\n")
    )
    assert found.host == "127.0.0.3"


def test_a_port_the_topology_leaves_open_comes_from_the_configuration(tmp_path: Path) -> None:
    topology = topology_at({"front": 1}, port=None)
    found = resolve(topology, "front", config(tmp_path, "Host *\n Port 2233\n"))
    assert found.port == 2233


def test_a_configuration_ssh_refuses_is_told_with_its_words(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="bogus"):
        resolve(topology_at({"front": 1}), "front", config(tmp_path, "Bogus yes\n"))


def test_no_ssh_program(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(os.environ, "PATH", str(tmp_path))
    with pytest.raises(NoSshClient, match="install the OpenSSH client") as caught:
        resolve(topology_at({"front": 1}), "front", None)
    assert "\n" not in str(caught.value)
