"""The shipped topology.yaml, and what the loader promises about any other."""

import gc
import re
import shlex
import time
from pathlib import Path
from typing import Any

import pytest

from kome_tui.errors import KomeError, TopologyError
from kome_tui.topology import load as loading
from kome_tui.topology.document import read
from kome_tui.topology.load import load, packaged_file, parse
from kome_tui.topology.model import Frozen, Node, Role, Topology, UpstreamName
from kome_tui.topology.schema import json_schema

SHIPPED = packaged_file("topology.yaml")
SECTIONS = ("ssh", "layout", "cache", "limits", "timeouts", "push")


def edited(old: str, new: str) -> bytes:
    text = SHIPPED.read_text()
    assert old in text
    return text.replace(old, new, 1).encode()


def problems_of(text: bytes) -> list[str]:
    with pytest.raises(TopologyError) as caught:
        parse(text, "topology.yaml")
    return [str(problem) for problem in caught.value.problems]


def test_the_shipped_file_is_the_lan() -> None:
    topology = load(SHIPPED)
    assert topology.frontend == "kome"
    assert [(name, str(topology.http_of(name))) for name in topology.nodes] == [
        ("kome", "192.168.86.20:80"),
        *((f"node-{number:02}", f"192.168.86.{40 + number}:80") for number in range(1, 11)),
    ]
    assert {role: len(topology.with_role(role)) for role in Role} == {
        Role.FRONTEND: 1,
        Role.INGRESS: 2,
        Role.CACHE_STREAM: 4,
        Role.SPECULATIVE_GPU: 2,
        Role.OBSERVABILITY: 2,
    }
    assert {name.value: str(topology.endpoint(name)) for name in UpstreamName} == {
        "okome": "192.168.86.25:8000",
        "vllm": "192.168.86.30:8000",
        "ollama": "192.168.86.30:11434",
        "tf-rest": "192.168.86.30:8501",
        "tf-grpc": "192.168.86.30:8500",
        "redis": "192.168.86.19:6379",
    }


def test_no_default_is_hidden_in_the_code() -> None:
    topology = load(SHIPPED)
    assert topology.model_fields_set == set(Topology.model_fields)
    for name in SECTIONS:
        section: Frozen = getattr(topology, name)
        assert section.model_fields_set == set(type(section).model_fields), name
        assert section == type(section)(), name


def test_the_overrides_of_a_node_in_the_comments_are_all_there_are_and_accepted() -> None:
    text = SHIPPED.read_text()
    overrides = dict(re.findall(r"^#    (\w+): (.*)$", text, re.MULTILINE))
    assert {"role", "address", *overrides} == set(Node.model_fields)
    for role in (Role.SPECULATIVE_GPU, Role.OBSERVABILITY):
        left_out = "services" if role is Role.SPECULATIVE_GPU else "draft"
        lines = (f"    {key}: {value}\n" for key, value in overrides.items() if key != left_out)
        node = f"  extra:\n    role: {role}\n    address: 192.168.86.60\n{''.join(lines)}"
        topology = parse((text + node).encode(), "t")
        assert topology.nodes["extra"].model_fields_set == set(Node.model_fields) - {left_out}


@pytest.mark.parametrize(
    "written",
    shlex.split(
        "22:22 190:20:30 12:34:56:12:34:56 010 0777 09 0x1F 0b1 0o10 1_000 1e3 1.0e+3 -0 +1 1.10 "
        "no on off Yes true 2001-01-01 .inf .nan ~ null None ="
    ),
)
def test_plain_scalars_stay_the_text_they_are(written: str) -> None:
    found = read(f"{written}: {written}\nlist: [{written}]\n".encode(), "t")
    assert found.value == {written: written, "list": [written]}


@pytest.mark.parametrize(
    "trap", ["22:22", "010", "0777", "09", "0x1F", "0b1", "1_000", "1e3", "80.0", "+80", "٨٠", "on"]
)
def test_a_port_is_only_ever_written_in_plain_digits(trap: str) -> None:
    line = SHIPPED.read_text().split("  port: 80\n")[0].count("\n") + 1
    (problem,) = problems_of(edited("  port: 80\n", f"  port: {trap}\n"))
    assert problem.startswith(
        f'topology.yaml:{line}:9: layout.port is "{trap}"; allowed is a whole'
    )


@pytest.mark.parametrize(
    "written",
    shlex.split(
        "127.1 0177.0.0.1 2130706433 0.0.0.0 :: 224.0.0.1 ff02::1 fe80::1%eth0 192.168.86.020 "
        "192.168.86.20/32 0:0:0:0:0:0:0:1 [::1] localhost １.2.3.4"
    ),
)
def test_an_address_is_one_machine_in_its_usual_spelling(written: str) -> None:
    (problem,) = problems_of(edited("{address: 192.168.86.25,", f'{{address: "{written}",'))
    assert "allowed is the IPv4 or IPv6 address of one machine" in problem


def test_an_ipv6_address_is_kept_in_small_letters() -> None:
    topology = parse(edited("{address: 192.168.86.25,", '{address: "FD00::A",'), "t")
    assert str(topology.endpoint(UpstreamName.OKOME)) == "[fd00::a]:8000"


@pytest.mark.parametrize(
    ("written", "value"), [("yes", True), ("true", True), ("no", False), ("false", False)]
)
def test_yes_and_no(written: str, value: bool) -> None:
    topology = parse(edited("ipv6: yes", f"ipv6: {written}"), "t")
    assert topology.layout.ipv6 is value


def test_a_node_takes_from_the_fleet_what_it_does_not_say() -> None:
    node = "  kome: {role: frontend, address: 192.168.86.20"
    text = edited(node, f"{node}, ssh: {{port: 2222}}, layout: {{user: none, port: 81}}")
    topology = parse(text.replace(b"user: kome ", b"user: adm").replace(b"www-data", b"web"), "t")
    assert topology.ssh_of("kome").port == 2222
    assert topology.ssh_of("kome").user == topology.ssh.user
    assert (topology.layout_of("kome").user, topology.layout_of("node-01").user) == (None, "web")
    assert str(topology.http_of("kome")) == "192.168.86.20:81"
    assert topology.layout_of("kome").etc == topology.layout.etc


def test_a_dump_loads_as_the_same_topology() -> None:
    node = "  node-03: {role: cache-stream, address: 192.168.86.43"
    text = edited(node, f"{node}, layout: {{port: 81}}").replace(b"pid: /run", b"pid: /srv")
    topology = parse(text, "t")
    again = Topology.model_validate(topology.model_dump(by_alias=True))
    assert again == topology
    assert again.layout_of("node-03").pid == "/srv/nginx.pid"


def test_where_a_node_finds_an_upstream() -> None:
    node = "  node-03: {role: cache-stream, address: 192.168.86.43"
    own = f"{node}, upstreams: {{okome: {{address: 192.168.86.26, port: 1}}}}"
    topology = parse(edited(node, own), "t")
    assert str(topology.endpoint(UpstreamName.OKOME, "node-03")) == "192.168.86.26:1"
    assert str(topology.endpoint(UpstreamName.OKOME, "node-04")) == "192.168.86.25:8000"
    assert str(topology.endpoint(UpstreamName.OKOME)) == "192.168.86.25:8000"


def test_a_problem_carries_file_line_column_and_path() -> None:
    with pytest.raises(TopologyError) as caught:
        parse(edited("keep: 5", "keep: x"), "some/topology.yaml")
    (problem,) = caught.value.problems
    line = SHIPPED.read_text().split("keep: 5")[0].count("\n") + 1
    assert (problem.file, problem.line, problem.column, problem.path) == (
        "some/topology.yaml",
        line,
        9,
        "push.keep",
    )
    assert caught.value.exit_code == 2


def test_many_problems_are_counted_and_the_first_hundred_shown() -> None:
    found = problems_of("".join(f"key{number}: x\n" for number in range(5000)).encode())
    assert len(found) == 101
    assert found[-1].endswith("and 4903 more problems; mend the ones above first")


@pytest.mark.parametrize(
    ("path", "said"),
    [
        (Path("/nowhere/topology.yaml"), "cannot be read: No such file or directory"),
        (Path("/"), "cannot be read: Is a directory"),
        (Path("a\0b"), "cannot be read: this is not the name of a file"),
        (Path("/dev/zero"), "the file is too large; allowed are 262144 bytes (256 KiB)"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_line(path: Path, said: str) -> None:
    with pytest.raises(TopologyError) as caught:
        load(path)
    assert str(caught.value).endswith(f":1:1: {said}")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("error", [RecursionError, MemoryError, ValueError, OSError])
def test_nothing_but_topology_errors_comes_out(
    error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> Any:
        raise error("foreign words")

    monkeypatch.setattr(loading, "read", fail)
    (problem,) = problems_of(b"fleet: kome\n")
    assert "foreign" not in problem


HUGE = 256 * 1024


@pytest.mark.parametrize(
    "text",
    {
        "brackets": b"[" * HUGE,
        "dashes": b"- " * (HUGE // 2),
        "questions": b"? " * (HUGE // 2),
        "braces": b"{a: " * (HUGE // 4),
        "keys": b"".join(b"k%d: 1\n" % number for number in range(19_000)),
        "long-keys": b"".join(b"%0900d: 1\n" % number for number in range(280)),
        "same-key": b"a: 1\n" * (HUGE // 6),
        "items": b"lan: [" + b"a," * 100_000 + b"]",
        "one-line": b"a" * HUGE,
        "one-quoted": b'"' + b"\\n" * (HUGE // 2 - 2) + b'"',
        "digits": b"schema: " + b"1" * 4000,
        "nodes": b"nodes:\n" + b"".join(b"  n%d: {role: x}\n" % n for n in range(6000)),
        "good-nodes": b"nodes:\n"
        + b"".join(b'  n%d: {role: ingress, address: "::1"}\n' % n for n in range(3300)),
        "half-bad-nodes": b"lan: []\nnodes:\n"
        + b"".join(
            b"  n%d: {role: observability, address: 10.0.0.%d}\n" % (n, n) for n in range(3300)
        ),
        "networks": b"lan: ["
        + b",".join(b"10.%d.%d.0/24" % divmod(n, 250) for n in range(18_000))
        + b"]",
        "anchors": b"&a " * (HUGE // 3),
        "bomb": b"a: &a [x]\n"
        + b"".join(b"%c: &%c [%s]\n" % (c, c, b"*%c," % (c - 1) * 9) for c in range(98, 108)),
        "spaces": b" " * HUGE,
        "breaks": b"\n" * HUGE,
        "comments": b"#\n" * (HUGE // 2),
        "controls": b"\x01" * HUGE,
        "bidi": "\u202e".encode() * (HUGE // 3),
        "not-utf-8": b"a" * (HUGE - 1) + b"\xff",
    }.items(),
    ids=lambda case: case[0],
)
def test_a_hostile_file_is_refused_quickly(text: tuple[str, bytes]) -> None:
    gc.collect()
    start = time.process_time()
    problems = problems_of(text[1])
    assert time.process_time() - start < 2.0  # about 0.3 s at most on an idle machine
    assert 1 <= len(problems) <= 101
    assert all(len(problem) < 500 for problem in problems)


def test_files_come_from_the_checkout_or_from_the_package(tmp_path: Path) -> None:
    assert packaged_file("topology.yaml") == Path(loading.__file__).parents[2] / "topology.yaml"
    package = tmp_path / "kome_tui"
    (package / "data" / "templates").mkdir(parents=True)
    (tmp_path / "topology.yaml").write_text("of another program")
    (package / "data" / "topology.yaml").write_text("fleet: kome\n")
    assert loading._packaged("topology.yaml", package) == package / "data" / "topology.yaml"
    assert loading._packaged("templates", package).is_dir()
    with pytest.raises(KomeError, match="install it again"):
        loading._packaged("templates/none", package)


def test_the_json_schema_knows_none_and_explains_fields() -> None:
    schema = json_schema()
    port = schema["$defs"]["Ssh"]["properties"]["port"]
    assert {"const": "none"} in port["anyOf"]
    assert port["default"] == "none"
    assert "SSH configuration" in port["description"]
    assert "schema" in schema["properties"]
    assert "tf-rest" in schema["$defs"]["Upstreams"]["properties"]
