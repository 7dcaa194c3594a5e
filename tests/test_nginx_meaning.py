"""Differences by meaning: what people feel, wherever the line stands."""

from typing import Any

import pytest

from kome_tui.nginx.meaning import changes, effects
from kome_tui.nginx.render import render_release
from kome_tui.release.plan import plan
from tests.builders_topology import topology, topology_values
from tests.release_fleet import scripted_fleet

PLAIN = """
events {}
http {
    server {
        listen 80;
        location / {
            proxy_pass http://192.168.86.25:8000;
        }
    }
}
"""


def conf(name: str = "kome", **over: Any) -> str:
    return render_release(topology(**over), name).conf


def test_a_shorter_timeout_of_streams_is_said_in_words() -> None:
    said = changes(conf(timeouts={"read": "60s"}), conf(timeouts={"read": "3600s"}))

    assert "streams timeout: 60 s -> 3600 s" in said
    assert not any("files timeout" in one for one in said)


def test_what_only_moves_to_another_level_changes_nothing() -> None:
    moved = PLAIN.replace("listen 80;", "listen 80; proxy_read_timeout 600s;")
    there = PLAIN.replace("proxy_pass", "proxy_read_timeout 600s; proxy_pass")

    assert changes(moved, there) == ()


def test_defaults_of_nginx_count() -> None:
    explicit = PLAIN.replace("proxy_pass", "proxy_buffering on; proxy_read_timeout 60s; proxy_pass")

    assert changes(PLAIN, explicit) == ()
    assert "streams buffering: on -> off" in changes(PLAIN, conf())


def test_same_release_has_no_changes_and_a_comment_is_none() -> None:
    assert changes(conf(), conf()) == ()
    assert changes(conf(), conf() + "# a remark\n") == ()


def test_where_streams_go_limits_and_cache_are_said() -> None:
    said = changes(conf(), conf(stream_path="gpu"))
    assert "streams go to: 192.168.86.25:8000 -> 192.168.86.30:8000" in said

    limits = changes(conf(), conf(limits={"rate": 20, "burst": 80}))
    assert "streams limit per client: 10 requests/s, burst 40 -> 20 requests/s, burst 80" in limits

    kept = changes(conf(), conf(cache={"size": "2g", "ttl": "1h"}))
    assert "cache size: 1 GB -> 2 GB" in kept
    assert "files kept for: 24 h -> 1 h" in kept


def test_an_ingress_names_the_nodes_behind_it() -> None:
    nodes = topology_values()["nodes"]
    nodes["node-03"]["address"] = "192.168.86.99"

    said = changes(conf("node-01"), conf("node-01", nodes=nodes))

    assert any(one.startswith("streams go to:") and "192.168.86.99:80" in one for one in said)
    assert "as a backup" in effects(conf("node-01"))["streams go to"]


def test_what_is_kept_who_reads_and_how_long_connections_stay_is_said() -> None:
    kept = changes(conf(), conf(cache={"paths": ["/assets/", "/models/"]}))
    assert any(one.startswith("kept paths: ") and "/models/" in one for one in kept)

    lan = changes(conf(), conf(lan=["192.168.0.0/16"]))
    assert any(one.startswith("may read /.kome/: ") for one in lan)

    idle = changes(conf(), conf(timeouts={"upstream_keepalive": "60s"}))
    assert "idle upstream connections kept for: 4 s -> 60 s" in idle


def test_a_draft_model_that_goes_away_is_said() -> None:
    nodes = topology_values()["nodes"]
    nodes["node-07"]["draft"] = {"address": "192.168.86.31", "port": 8000}

    said = changes(conf("node-07", nodes=nodes), conf("node-07"))

    assert any("/draft" in one and "192.168.86.31:8000 -> " in one for one in said), said


def test_a_location_that_answers_itself_is_said() -> None:
    local = PLAIN.replace("location / {", "location /health { return 200 ok; } location / {")

    said = changes(PLAIN, local)

    assert "health answered by: not there -> nginx itself (200)" in said


def test_what_is_no_configuration_is_one_sentence() -> None:
    said = changes("http { server {\x1b[2J", conf())

    assert len(said) == 1
    assert said[0].startswith("not comparable: line")
    assert said[0].isprintable()


def test_plan_says_what_a_change_means(monkeypatch: pytest.MonkeyPatch) -> None:
    with scripted_fleet() as fleet:
        shorter = fleet.topology.timeouts.model_copy(update={"read": "60s"})
        served = render_release(fleet.topology.model_copy(update={"timeouts": shorter}), "kome")
        monkeypatch.setattr(fleet.nodes["kome"], "live_conf", served.conf.encode)

        plans = plan(fleet.topology, fleet, ("kome",))

    assert "streams timeout: 60 s -> 3600 s" in plans["kome"].meaning
