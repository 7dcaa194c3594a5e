"""Rendering: the same bytes every time, ids of content, zones of definition, nothing unchecked."""

import hashlib
import re
import socket
import subprocess
import sys
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest

from kome_tui.errors import RenderError
from kome_tui.nginx import render as render_module
from kome_tui.nginx.diff import unified
from kome_tui.nginx.render import release_id, render_all, render_release
from kome_tui.topology.model import Topology
from tests.builders_topology import ROLES, local_values, topology, topology_values
from tests.nginx_process import Build, builds, check_conf, make_folders
from tests.ports import free_port


def conf(name: str, **over: Any) -> str:
    return render_release(topology(**over), name).conf


def zones(text: str) -> set[str]:
    words = (word for line in text.splitlines() for word in line.replace("=", ":").split())
    return {word.split(":")[1] for word in words if word.startswith(("keys_zone:", "zone:kome"))}


def with_node(name: str, **more: Any) -> dict[str, Any]:
    nodes: dict[str, Any] = topology_values()["nodes"]
    return {**nodes, name: {**nodes[name], **more}}


@pytest.mark.parametrize("name", ROLES)
def test_first_line_names_release_and_template(name: str) -> None:
    release = render_release(topology(), name)

    assert release.conf.splitlines()[0] == (
        f"# kome release {release.id}, template {ROLES[name][0]}"
    )
    assert f'return 200 "{release.id}";' in release.conf


@pytest.mark.parametrize("name", ROLES)
def test_id_is_the_digest_of_the_file_with_its_place_marked(name: str) -> None:
    release = render_release(topology(), name)

    marked = release.conf.replace(release.id, "@ID@")
    assert release.id == release_id(marked) == hashlib.sha256(marked.encode()).hexdigest()[:12]


def test_rendered_twice_and_by_another_process_are_the_same_bytes() -> None:
    program = (
        "from tests.builders_topology import topology\n"
        "from kome_tui.nginx.render import render_all\n"
        "print({name: release.id for name, release in render_all(topology()).items()})"
    )
    top = Path(__file__).parent.parent
    other = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=top, timeout=60
    )

    ids = {name: release.id for name, release in render_all(topology()).items()}
    assert render_all(topology()) == render_all(topology())
    assert other.stdout.strip() == str(ids), other.stderr


def test_every_node_has_an_id_of_its_own() -> None:
    releases = render_all(topology())

    assert list(releases) == list(ROLES)
    assert len({release.id for release in releases.values()}) == len(ROLES)


def test_only_mime_types_is_included() -> None:
    for release in render_all(topology()).values():
        included = [line for line in release.conf.splitlines() if "include" in line]
        assert included == ["    include /etc/nginx/mime.types;"]


def test_user_stands_only_where_the_layout_has_one() -> None:
    assert "\nuser www-data;\n" in conf("kome")
    assert "\nuser " not in conf("kome", layout={"user": None})


def test_listens_where_the_layout_says() -> None:
    assert "listen 80 default_server;\n        listen [::]:80 default_server;" in conf("kome")
    assert "[::]" not in conf("kome", layout={"ipv6": False})
    assert "listen 127.0.0.1:8081 default_server;" in conf(
        "kome", layout={"listen": "127.0.0.1", "ipv6": False, "port": 8081}
    )


def test_a_node_finds_its_upstream_where_the_topology_says_it_does() -> None:
    over = {"okome": {"address": "127.0.0.1", "port": 18000}}

    text = conf("node-03", nodes=with_node("node-03", upstreams=over))

    assert "server 127.0.0.1:18000 max_fails=0;" in text
    assert "192.168.86.25" not in text


def test_v1_goes_to_the_gpu_on_the_frontend_only_where_the_topology_asks() -> None:
    gpu = conf("kome", stream_path="gpu")

    assert "server 192.168.86.30:8000 max_fails=0;" in gpu
    assert "proxy_pass http://vllm;" in gpu
    assert "vllm" not in conf("kome")
    assert "vllm" not in conf("node-01", stream_path="gpu")


def test_the_one_upstream_stands_twice_and_is_never_marked_down() -> None:
    assert conf("kome").count("server 192.168.86.25:8000 max_fails=0;") == 2


def test_zone_names_change_with_what_a_reload_cannot_change() -> None:
    before = zones(conf("node-03"))

    assert len(before) == 3
    assert zones(conf("node-03", cache={"size": "2g", "ttl": "1h"})) == before
    assert len(zones(conf("node-03", layout={"cache": "/srv/cache"})) - before) == 1
    no_realip = zones(conf("node-03", layout={"modules": ["stub_status"]}))
    assert len(no_realip - before) == 2


def test_a_cache_in_memory_leaves_room_in_it() -> None:
    text = conf("node-03", cache={"tmpfs": "256m", "size": "250m"})

    assert f"max_size={192 * 1024}k min_free={32 * 1024}k" in text


def test_an_old_nginx_gets_no_directive_it_lacks() -> None:
    assert "min_free" in conf("kome", layout={"nginx_version": "1.19.1"})
    assert "min_free" not in conf("kome", layout={"nginx_version": "1.18"})


def test_stub_status_and_realip_stand_only_where_nginx_has_them() -> None:
    text = conf("node-03", layout={"modules": []})

    assert "stub_status;" not in text
    assert "set_real_ip_from" not in text
    assert "map $kome_fleet $kome_limit_key" in text


@pytest.mark.parametrize("name", ROLES)
def test_a_forwarded_address_is_believed_of_the_fleets_nodes_and_of_nobody_else(name: str) -> None:
    lines = [line.split() for line in conf(name).splitlines() if "set_real_ip_from" in line]

    trusted = [ip_network(words[1].rstrip(";")) for words in lines]
    addresses = [ip_address(at) for _, at in ROLES.values()]
    assert sum(network.num_addresses for network in trusted) == len(addresses)
    assert all(any(at in network for network in trusted) for at in addresses)


def test_an_ingress_without_peers_goes_straight_to_okome() -> None:
    only = {
        "kome": topology_values()["nodes"]["kome"],
        "node-01": {**with_node("node-01")["node-01"]},
    }

    text = conf("node-01", nodes=only)

    assert "split_clients" not in text
    assert "$kome_by" not in text


def test_service_paths_that_take_each_others_place_are_refused() -> None:
    at = {"address": "127.0.0.1", "port": 3000}
    same = {"one": {**at, "path": "/grafana"}, "two": {**at, "path": "/grafana/"}}
    own = {"one": {**at, "path": "/.kome/release"}}

    for services, word in ((same, "taken by one"), (own, "edge itself")):
        with pytest.raises(RenderError, match=word):
            conf("node-09", nodes=with_node("node-09", services=services))


@pytest.mark.parametrize(
    "value", ["a; } server {", "a b", "a\n", "$host", "", 'a"', "a#b", "é", True, None, 1.5, b"a"]
)
def test_a_value_that_is_more_than_a_word_gets_into_no_file(value: object) -> None:
    template = render_module.environment("nginx").from_string("x {{ value }};")

    with pytest.raises(RenderError):
        template.render(value=value)


def test_the_default_topology_renders() -> None:
    from kome_tui.topology.load import load, packaged_file

    releases = render_all(load(packaged_file("topology.yaml")))

    assert len(releases) == 11


def test_diff_shows_only_what_changes() -> None:
    assert unified("a\n", "a\n", "live", "wanted") == ""
    assert unified("a\nb\n", "a\nc\n", "live", "wanted") == (
        "--- live\n+++ wanted\n@@ -1,2 +1,2 @@\n a\n-b\n+c\n"
    )


@pytest.mark.parametrize("stream_path", ["okome", "gpu"])
@pytest.mark.parametrize("build", builds(), ids=str)
def test_nginx_takes_every_role_without_a_warning(
    build: Build, stream_path: str, tmp_path: Path
) -> None:
    ports = {name: free_port() for name in ROLES}
    values = local_values(tmp_path, ports, 9, build.layout, stream_path=stream_path)
    values["nodes"]["node-07"]["draft"] = {"address": "127.0.0.1", "port": 9}
    service = {"address": "127.0.0.1", "port": 9}
    values["nodes"]["node-09"]["services"] = {
        "grafana": {**service, "path": "/grafana/"},
        "loki": {**service, "path": "/loki"},
    }
    local = Topology.model_validate(values)

    for name, release in render_all(local).items():
        code, said = check_conf(release.conf, make_folders(local.layout_of(name)), build)
        assert (code, "[warn]" in said) == (0, False), said
        assert "test is successful" in said


@pytest.mark.parametrize("build", builds(), ids=str)
def test_nginx_takes_a_fleet_without_modules_draft_or_peers(build: Build, tmp_path: Path) -> None:
    ports = {name: free_port() for name in ("kome", "node-01", "node-07")}
    layout = {**build.layout, "modules": []}
    local = Topology.model_validate(local_values(tmp_path, ports, 9, layout))

    for name, release in render_all(local).items():
        code, said = check_conf(release.conf, make_folders(local.layout_of(name)), build)
        assert (code, "[warn]" in said) == (0, False), said


@pytest.mark.skipif(not socket.has_ipv6, reason="this machine has no IPv6")
@pytest.mark.parametrize("build", builds(), ids=str)
def test_nginx_takes_a_node_that_listens_on_all_addresses(build: Build, tmp_path: Path) -> None:
    layout = {**build.layout, "listen": None, "ipv6": True}
    local = Topology.model_validate(local_values(tmp_path, {"kome": free_port()}, 9, layout))
    conf = render_release(local, "kome").conf
    assert "listen [::]:" in conf

    code, said = check_conf(conf, make_folders(local.layout_of("kome")), build)

    assert (code, "[warn]" in said) == (0, False), said


def test_patience_on_kept_paths_and_health_is_the_topologys() -> None:
    text = conf("kome", timeouts={"cached_read": "7s", "health": "6s", "read": "500s"})

    for wanted, times in (("7s", 9), ("6s", 1), ("500s", 1)):
        assert text.count(f"proxy_read_timeout {wanted};") == times


def test_okome_gives_no_orders_to_nginx_but_that_a_file_is_not_to_be_kept() -> None:
    orders = {f"X-Accel-{word}" for word in ("Redirect", "Expires", "Limit-Rate", "Charset")}
    for release in render_all(topology()).values():
        lines = re.findall(r"proxy_ignore_headers (.*);", release.conf)
        assert lines
        for words in map(str.split, lines):
            # where nothing is buffered, X-Accel-Buffering could only switch that on
            buffers = "Cache-Control" in words
            assert orders | (set() if buffers else {"X-Accel-Buffering"}) <= set(words)
            assert buffers != ("X-Accel-Buffering" in words)


@pytest.mark.parametrize(("read", "wait"), [("10s", "5000ms"), ("500ms", "250ms"), ("1ms", "1ms")])
def test_who_waits_for_anothers_fetch_waits_half_as_long_again(read: str, wait: str) -> None:
    assert conf("node-03", timeouts={"cached_read": read}).count(
        f"proxy_cache_lock_timeout {wait};"
    ) == len(("/assets/", "/ui-schema/", "/version/")) * len(("prefix", "exact"))


@pytest.mark.parametrize(
    ("cache", "kept"),
    [
        ({}, "24h"),
        ({"ttl": "1h"}, "24h"),
        ({"ttl": "30s", "keep": "10m"}, "10m"),
        ({"ttl": "3d"}, "3d"),
        ({"ttl": "3d", "keep": "7d"}, "7d"),
        ({"ttl": "3d", "keep": "80h"}, "80h"),
    ],
)
def test_a_copy_outlives_its_freshness(cache: dict[str, str], kept: str) -> None:
    # it is for the day when OKOME is down, which may follow a quiet one
    for name in ("kome", "node-03"):
        assert f" inactive={kept} " in conf(name, cache=cache)


def test_connections_to_an_upstream_are_given_up_before_okome_does() -> None:
    # uvicorn and vLLM close theirs after 5 s
    for release in render_all(topology()).values():
        groups = release.conf.split("    upstream ")[1:]
        live = [group for group in groups if not group.startswith("kept_only")]
        assert live
        assert all("keepalive_timeout 4s;" in group.partition("}")[0] for group in live)
