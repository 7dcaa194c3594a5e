"""What the cache never mixes up (users, codings, paths in disguise), and what is never kept."""

import pytest

from tests.nginx_fixture import RunSite, fresh
from tests.nginx_site import ASSET, CACHING, EVERY_ROLE, Site, okome_says
from tests.upstreams import Answer, Asked, Gate, answer
from tests.waiting import wait_until


def test_one_kept_copy_serves_clients_with_and_without_gzip(fleet: Site) -> None:
    path = fresh()

    zipped = fleet.ask(path, headers={"Accept-Encoding": "gzip"})
    plain = fleet.ask(path)

    assert (zipped.cache, zipped.headers.get("content-encoding")) == ("MISS", "gzip")
    assert (plain.cache, plain.headers.get("content-encoding"), plain.body) == ("HIT", None, ASSET)
    assert "accept-encoding" not in fleet.okome.asked[0].headers


@pytest.mark.parametrize("type_", ["image/png", "font/woff2", "text/event-stream"])
def test_only_text_is_compressed(fleet: Site, type_: str) -> None:
    fleet.okome.script = lambda _: answer(ASSET, type_=type_)

    got = fleet.ask(fresh(), headers={"Accept-Encoding": "gzip"})

    assert (got.headers.get("content-encoding"), got.body) == (None, ASSET)


@pytest.mark.parametrize("node", CACHING)
def test_an_answer_to_one_user_is_neither_kept_nor_taken_from_the_cache(
    fleet: Site, node: str
) -> None:
    path, user = fresh(), {"Authorization": "Bearer a"}

    assert fleet.ask(path, node, headers=user).cache == "BYPASS"
    assert fleet.ask(path, node).cache == "MISS"
    assert fleet.ask(path, node, headers=user).cache == "BYPASS"
    assert [asked.headers.get("authorization") for asked in fleet.okome.asked] == [
        "Bearer a",
        None,
        "Bearer a",
    ]


@pytest.mark.parametrize("node", CACHING)
def test_nothing_of_one_user_goes_into_a_copy_for_all(fleet: Site, node: str) -> None:
    path = fresh()

    first = fleet.ask(path, node, headers={"Cookie": "session=1"})

    assert (first.cache, fleet.ask(path, node).cache) == ("MISS", "HIT")
    assert "cookie" not in fleet.okome.asked[0].headers


@pytest.mark.parametrize("node", CACHING)
@pytest.mark.parametrize(
    "path",
    [
        "/v1/models/../../assets/a",
        "/v1/models/%2e%2e/%2E%2e/assets/b",
        "/api/me/..%2f..%2Fassets/c",
        "/assets/d/..%2f..%2fv1/models",
        "/assets/../v1/models",
    ],
)
def test_a_path_that_okome_may_read_as_another_is_not_kept(
    fleet: Site, node: str, path: str
) -> None:
    answers = [fleet.ask(path, node) for _ in range(2)]

    assert {got.cache for got in answers} <= {"BYPASS", "NONE"}
    assert fleet.okome.paths() == [path, path]


def test_dots_and_slashes_in_a_name_or_a_query_do_no_harm(fleet: Site) -> None:
    for path in (f"{fresh('.min.js')}?v=1%2e2%2f3/../x", "/assets/a..b.css"):
        assert [fleet.ask(path).cache for _ in range(2)] == ["MISS", "HIT"]


@pytest.mark.parametrize("node", EVERY_ROLE)
@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("path", ["/v1/models", "/v1/embeddings", "/api/tags", "/runtime.js"])
def test_api_answers_are_never_cached(fleet: Site, node: str, path: str, method: str) -> None:
    public = "Cache-Control: public, max-age=3600"
    fleet.okome.script = lambda asked: answer(f"{asked.length}", "200 OK", public)

    answers = [fleet.ask(path, node, method=method) for _ in range(3)]

    assert [(got.status, got.cache) for got in answers] == [(200, "NONE")] * 3
    assert fleet.okome.asked_for(path) == 3


@pytest.mark.parametrize("node", EVERY_ROLE)
def test_health_is_asked_each_time_and_red_in_one_probe(fleet: Site, node: str) -> None:
    healthy = [fleet.ask("/health", node) for _ in range(2)]
    fleet.okome.stop()
    dead = fleet.ask("/health", node)

    assert [got.headers["cache-control"] for got in healthy] == ["no-store"] * 2
    assert fleet.okome.asked_for("/health") == 2
    assert (dead.status, dead.headers["cache-control"]) == (502, "no-store")
    fleet.okome.start()
    assert fleet.ask("/health", node).status == 200


def test_a_health_check_that_hangs_is_red_after_its_time(run_site: RunSite) -> None:
    gate = Gate()

    def hung(asked: Asked) -> Answer:
        gate.wait()
        return okome_says(asked)

    with run_site(timeouts={"health": "500ms"}, script=hung) as frontend:
        assert frontend.ask("/health").status == 504
        wait_until(lambda: gate.waiting)
        assert frontend.okome.asked_for("/health") == 1
        gate.open()
