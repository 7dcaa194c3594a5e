"""What the cache never mixes up (users, codings, paths in disguise), and what is never kept."""

import pytest

from tests.nginx_fixture import RunSite, fresh
from tests.nginx_site import ASSET, CACHING, EVERY_ROLE, HOSTILE, OURS, Site, okome_says
from tests.upstreams import Answer, Asked, Gate, answer
from tests.waiting import wait_until

TWO_LINES = ("Cache-Control: public, max-age=60", "Cache-Control: private")


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
@pytest.mark.parametrize("key", ["Authorization", "X-Api-Key", "Api-Key"])
def test_an_answer_to_one_user_is_neither_kept_nor_taken_from_the_cache(
    fleet: Site, node: str, key: str
) -> None:
    path, user = fresh(), {key: "a"}

    assert fleet.ask(path, node, headers=user).cache == "NONE"
    assert fleet.ask(path, node).cache == "MISS"
    assert fleet.ask(path, node, headers=user).cache == "NONE"
    seen = [asked.headers.get(key.lower()) for asked in fleet.okome.asked]
    assert seen == ["a", None, "a"]


@pytest.mark.parametrize("node", CACHING)
def test_nothing_of_one_user_goes_into_a_copy_for_all(fleet: Site, node: str) -> None:
    path = fresh()

    first = fleet.ask(path, node, headers={"Cookie": "session=1"})

    assert (first.cache, fleet.ask(path, node).cache) == ("MISS", "HIT")
    assert "cookie" not in fleet.okome.asked[0].headers


def echo(asked: Asked) -> Answer:
    """What a careless OKOME does: it builds the answer from whatever it was sent."""
    return answer("\n".join(f"{name}: {value}" for name, value in asked.headers.items()))


@pytest.mark.parametrize("node", CACHING)
def test_nothing_but_its_path_shapes_a_copy_for_all(fleet: Site, node: str) -> None:
    path = fresh()
    fleet.okome.script = echo

    poisoned, plain = fleet.ask(path, node, headers=HOSTILE), fleet.ask(path, node)

    assert (poisoned.cache, plain.cache, plain.body) == ("MISS", "HIT", poisoned.body)
    assert b"evil" not in plain.body
    assert sorted(fleet.okome.asked[0].headers) == OURS
    assert fleet.okome.asked[0].headers["host"] == f"127.0.0.1:{fleet.okome.port}"


@pytest.mark.parametrize("node", CACHING)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE"])
@pytest.mark.parametrize("coding", ["Content-Length", "Transfer-Encoding"])
def test_what_has_a_body_is_passed_on_whole_and_not_kept(
    fleet: Site, node: str, method: str, coding: str
) -> None:
    path = fresh()
    headers = {"Cookie": "a=1", "Host": "kome.home"}
    framed = {"body": b"evil"} if coding == "Content-Length" else {"body": iter([b"evil"])}

    answers = [fleet.ask(path, node, method=method, headers=headers, **framed) for _ in range(2)]

    assert {(got.status, got.cache) for got in answers} == {(200, "NONE")}
    first = fleet.okome.asked[0]
    assert (first.method, first.body) == (method, b"evil")
    assert headers.items() <= {n.title(): v for n, v in first.headers.items()}.items()
    assert fleet.ask(path, node).cache == "MISS"


@pytest.mark.parametrize("node", CACHING)
@pytest.mark.parametrize("way", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_only_a_look_is_answered_from_the_cache(fleet: Site, node: str, way: str) -> None:
    path = fresh()
    fleet.ask(path, node)

    assert fleet.ask(path, node, method=way, headers={"Origin": "http://a"}).cache == "NONE"
    assert fleet.okome.asked[1].method == way
    assert fleet.okome.asked[1].headers["origin"] == "http://a"


@pytest.mark.parametrize("node", CACHING)
@pytest.mark.parametrize(
    "headers",
    [("Cache-Control: private, max-age=60",), ("Cache-Control: No-Store",), TWO_LINES],
    ids=["private", "no-store", "two lines"],
)
def test_what_okome_says_is_for_one_user_is_not_kept(
    fleet: Site, node: str, headers: tuple[str, ...]
) -> None:
    path = fresh()
    fleet.okome.script = lambda _: answer(ASSET, "200 OK", *headers)

    assert [fleet.ask(path, node).cache for _ in range(2)] == ["MISS", "MISS"]


@pytest.mark.parametrize("node", CACHING)
def test_an_update_that_is_for_one_user_does_not_replace_the_copy_for_all(
    fleet: Site, node: str
) -> None:
    path = fresh()
    fleet.ask(path, node)
    fleet.age(path, node)
    fleet.okome.script = lambda _: answer("for one", "200 OK", "Cache-Control: private")

    for asked in (2, 3):
        assert fleet.ask(path, node).body == ASSET
        assert wait_until(lambda asked=asked: fleet.okome.asked_for(path) >= asked)


@pytest.mark.parametrize("node", CACHING)
def test_okomes_times_do_not_keep_a_file_from_the_cache(fleet: Site, node: str) -> None:
    path = fresh()
    times = ("Cache-Control: no-cache, max-age=0", "Expires: Thu, 01 Jan 1970 00:00:00 GMT")
    fleet.okome.script = lambda _: answer(ASSET, "200 OK", *times, "X-Accel-Expires: 0")

    assert [fleet.ask(path, node).cache for _ in range(2)] == ["MISS", "HIT"]


@pytest.mark.parametrize("node", CACHING)
def test_a_copy_that_ran_out_is_fresh_again_when_okome_says_it_did_not_change(
    fleet: Site, node: str
) -> None:
    path, tags = fresh(), []

    def tagged(asked: Asked) -> Answer:
        tags.append(asked.headers.get("if-none-match"))
        if tags[-1]:
            return b'HTTP/1.1 304 Not Modified\r\nETag: "1"\r\n\r\n'
        return answer(ASSET, "200 OK", 'ETag: "1"')

    fleet.okome.script = tagged
    fleet.ask(path, node, headers={"If-None-Match": '"evil"'})
    fleet.age(path, node)

    assert fleet.ask(path, node).cache == "STALE"
    assert wait_until(lambda: fleet.ask(path, node).cache == "HIT")
    assert tags == [None, '"1"']


@pytest.mark.parametrize("node", CACHING)
def test_a_redirect_to_okomes_own_address_stays_on_the_edge(fleet: Site, node: str) -> None:
    def to_itself(asked: Asked) -> Answer:
        return answer("", "307 Go", f"Location: http://{asked.headers['host']}/assets/?a=1")

    fleet.okome.script = to_itself

    assert fleet.ask("/assets", node).headers["location"] == "/assets/?a=1"


@pytest.mark.parametrize("node", CACHING)
def test_a_part_of_a_file_is_cut_from_the_kept_one(fleet: Site, node: str) -> None:
    path, first = fresh(), {"Range": "bytes=0-4"}
    fleet.okome.script = lambda _: answer(ASSET, "200 OK", "Accept-Ranges: bytes")

    parts = [fleet.ask(path, node, headers=first) for _ in range(2)]

    assert [(got.status, got.body, got.cache) for got in parts] == [
        (206, b"body{", "MISS"),
        (206, b"body{", "HIT"),
    ]
    assert fleet.ask(path, node).body == ASSET


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

    assert {got.cache for got in answers} == {"NONE"}
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
