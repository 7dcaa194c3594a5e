"""What to_yaml writes, the loader reads as the same values."""

from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kome_tui.topology.document import read
from kome_tui.topology.load import load, packaged_file, parse
from kome_tui.topology.model import Role, UpstreamName
from kome_tui.topology.write import to_yaml

TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Zl", "Zp")), max_size=20)
VALUES = st.recursive(
    TEXTS,
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(TEXTS, inside, max_size=3),
    max_leaves=12,
)


def test_the_shipped_topology_survives_the_round_trip() -> None:
    topology = load(packaged_file("topology.yaml"))
    assert parse(to_yaml(topology.model_dump(by_alias=True)).encode(), "t") == topology


def test_python_values_are_written_in_the_form_that_is_read(tmp_path: Path) -> None:
    address = {"address": "127.0.0.1", "port": 8000}
    file = tmp_path / "topology.yaml"
    values = {
        "lan": ("127.0.0.0/8",),
        "upstreams": dict.fromkeys(UpstreamName, address),
        "ssh": {"user": "no", "port": None},
        "layout": {"etc": PurePosixPath("/srv/etc"), "nginx_version": "1.30", "ipv6": False},
        "nodes": {
            "kome": {"role": Role.FRONTEND, "address": "127.0.0.1", "layout": {"user": None}}
        },
    }
    file.write_text(to_yaml(values))
    topology = load(file)
    assert topology.ssh.user == "no"
    assert topology.ssh.port is None
    assert (topology.layout.etc, topology.layout.nginx_version) == ("/srv/etc", "1.30")
    assert topology.layout.ipv6 is False
    assert topology.layout_of("kome").user is None
    assert "&" not in file.read_text()


@given(st.dictionaries(TEXTS, VALUES, max_size=4))
def test_any_text_is_read_back_as_it_was(values: dict[str, object]) -> None:
    assert read(to_yaml(values).encode(), "t").value == values


@pytest.mark.parametrize("value", [1.5, b"a", {1}, object()])
def test_what_yaml_text_cannot_say_is_refused(value: object) -> None:
    with pytest.raises(TypeError, match="cannot be written"):
        to_yaml({"a": value})
