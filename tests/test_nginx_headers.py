"""The headers that real nginx adds, on answers and errors of every kind, exactly once each."""

import pytest

from tests.http_client import Got, Wire
from tests.nginx_fixture import RunSite, fresh
from tests.nginx_site import EVERY_ROLE, Site, okome_says
from tests.upstreams import Answer, Asked, Gate, answer

OURS = ("x-cache", "x-kome-node", "x-request-id")
HOPS = pytest.mark.parametrize("node", EVERY_ROLE)


def ours_once(got: Got, node: str) -> None:
    assert [got.names.count(name) for name in OURS] == [1, 1, 1], got
    assert got.headers["x-kome-node"] == node
    assert got.cache in ("MISS", "HIT", "BYPASS", "NONE")


@HOPS
@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/assets/a.css", 200),
        ("/", 200),
        ("/health", 200),
        ("/v1/models", 200),
        ("/missing", 404),
        ("/assets", 404),
        ("/.kome/release", 200),
        ("/.kome/health", 200),
        ("/.kome/none", 404),
    ],
)
def test_our_headers_are_on_every_answer(fleet: Site, node: str, path: str, status: int) -> None:
    got = fleet.ask(path, node, headers={"X-Request-ID": "from-a-client-1"})

    assert got.status == status
    ours_once(got, node)
    assert got.headers["x-request-id"] == "from-a-client-1"
    assert got.headers["server"] == "nginx"


@HOPS
@pytest.mark.parametrize("path", ["/v1/models", "/assets/cold.css", "/health"])
def test_our_headers_are_on_our_own_errors(fleet: Site, node: str, path: str) -> None:
    path = fresh() if "cold" in path else path
    fleet.okome.stop()

    got = fleet.ask(path, node)

    assert got.status == 502
    ours_once(got, node)
    assert len(got.headers["x-request-id"]) == 32


@HOPS
@pytest.mark.parametrize("path", ["/v1/models", "/assets/a.css"])
def test_headers_of_the_same_name_from_okome_do_not_double_ours(
    fleet: Site, node: str, path: str
) -> None:
    theirs = ("X-Cache: HIT", "X-Kome-Node: okome", "X-Request-ID: okome-made-this")
    fleet.okome.script = lambda _: answer("x", "200 OK", *theirs)
    path = fresh() if path == "/assets/a.css" else path

    got = fleet.ask(path, node)

    ours_once(got, node)
    assert got.cache in ("MISS", "NONE") or node == "node-01"
    assert len(got.headers["x-request-id"]) == 32


@HOPS
@pytest.mark.parametrize(
    ("asking", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", b"400"),
        (b"GARBAGE\r\n\r\n", b"400"),
        (b"GET /x HTTP/1.1\r\nHost: a b\r\n\r\n", b"400"),
        (b"GET /x HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 40_000 + b"\r\n\r\n", b"400"),
        (b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", b"414"),
        (b"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", b"405"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: x\r\n\r\n", b"501"),
        (b"GET / HTTP/3.9\r\nHost: a\r\n\r\n", b"505"),
    ],
    ids=[
        "no host",
        "garbage",
        "bad host",
        "large header",
        "long uri",
        "trace",
        "coding",
        "version",
    ],
)
def test_our_headers_are_on_refusals_of_what_is_no_request(
    fleet: Site, node: str, asking: bytes, status: bytes
) -> None:
    with Wire(fleet.port(node)) as wire:
        wire.send(asking)
        head = wire.until(b"\r\n\r\n").partition(b"\r\n\r\n")[0].lower().split(b"\r\n")

    assert head[0].split()[1] == status
    names = [line.partition(b":")[0].decode() for line in head]
    assert [names.count(name) for name in OURS] == [1, 1, 1]
    assert fleet.okome.asked == []


def test_our_headers_are_on_a_timeout(run_site: RunSite) -> None:
    gate = Gate()

    def hung(asked: Asked) -> Answer:
        gate.wait()
        return okome_says(asked)

    with run_site(timeouts={"read": "200ms"}, script=hung) as frontend:
        got = frontend.ask("/v1/models")

        assert got.status == 504
        ours_once(got, "kome")
        gate.open(2)


def test_our_headers_are_on_the_maintenance_page(run_site: RunSite) -> None:
    with run_site(okome_up=False) as frontend:
        got = frontend.ask("/")

        assert got.status == 503
        ours_once(got, "kome")


def test_our_headers_are_on_a_redirect_that_nginx_makes(run_site: RunSite) -> None:
    service = {"address": "127.0.0.1", "port": 9, "path": "/grafana"}
    with run_site("node-09", nodes={"node-09": {"services": {"grafana": service}}}) as edge:
        got = edge.ask("/grafana", "node-09")

        assert (got.status, got.headers["location"]) == (301, "/grafana/")
        ours_once(got, "node-09")


@HOPS
@pytest.mark.parametrize("path", ["/v1/models", "/", "/assets/a.css", "/health"])
def test_okomes_answer_gives_no_orders_to_nginx(fleet: Site, node: str, path: str) -> None:
    path = fresh() if path == "/assets/a.css" else path
    body = b"OKOME's own"
    orders = ("Redirect: /.kome/status", "Charset: koi8-r", "Expires: 3600")
    fleet.okome.script = lambda _: answer(body, "200 OK", *(f"X-Accel-{word}" for word in orders))

    got = fleet.ask(path, node)

    assert (got.status, got.body, got.headers["content-type"]) == (200, body, "text/plain")
    assert not [name for name in got.names if name.startswith("x-accel")]


# --- the request's id ---


@pytest.mark.parametrize("sent", ["8-chars_", "a" * 64, "0123456789abcdef", "A.b-C_d.9"])
def test_a_request_id_that_is_one_is_passed_on(fleet: Site, sent: str) -> None:
    got = fleet.ask("/v1/models", headers={"X-Request-ID": sent})

    assert got.headers["x-request-id"] == sent
    assert fleet.okome.asked[0].headers["x-request-id"] == sent


@pytest.mark.parametrize(
    "sent",
    [
        "",
        "short",
        "a b c d e f g h",
        "x" * 65,
        "tab\there-and-there",
        "<script>alert(1)",
        "a;b,c=d'e",
        "$request_uri",
        "../../../etc",
        "\xe9" * 8,
        "12345678\x1b[31m",
    ],
)
def test_a_request_id_that_is_none_is_replaced(fleet: Site, sent: str) -> None:
    got = fleet.ask("/v1/models", headers={"X-Request-ID": sent})

    assert len(got.headers["x-request-id"]) == 32
    assert fleet.okome.asked[0].headers["x-request-id"] == got.headers["x-request-id"]


def test_a_request_keeps_its_id_through_ingress_and_cache_stream(fleet: Site) -> None:
    got = fleet.ask("/v1/models", "node-01")

    assert fleet.okome.asked[0].headers["x-request-id"] == got.headers["x-request-id"]


# --- what OKOME sees ---


@HOPS
def test_okome_sees_the_host_and_the_client(fleet: Site, node: str) -> None:
    fleet.ask("/v1/models?a=%2F&b", node, headers={"Host": "kome.home:8080", "Origin": "http://a"})

    seen = fleet.okome.asked[0]
    assert seen.target == "/v1/models?a=%2F&b"
    assert (seen.headers["host"], seen.headers["origin"]) == ("kome.home:8080", "http://a")
    assert seen.headers["x-forwarded-for"] == seen.headers["x-real-ip"] == "127.0.0.1"
    assert seen.headers["x-forwarded-proto"] == "http"
    assert "connection" not in seen.headers


@HOPS
def test_a_client_without_a_host_is_served(fleet: Site, node: str) -> None:
    with Wire(fleet.port(node)) as wire:
        wire.send(b"GET /v1/models HTTP/1.0\r\n\r\n")
        assert wire.rest().startswith(b"HTTP/1.1 200 ")

    assert fleet.okome.asked[0].headers["host"] == f"127.0.0.1:{fleet.okome.port}"


@HOPS
def test_credentials_reach_okome_on_what_is_passed_on(fleet: Site, node: str) -> None:
    sent = {"Authorization": "Bearer x", "Cookie": "session=1"}
    fleet.okome.script = lambda _: answer("x", "200 OK", "Set-Cookie: session=2")

    got = fleet.ask("/v1/models", node, headers=sent)

    seen = fleet.okome.asked[0].headers
    assert (seen["authorization"], seen["cookie"]) == ("Bearer x", "session=1")
    assert got.headers["set-cookie"] == "session=2"


def test_the_page_can_begin_a_session(fleet: Site) -> None:
    fleet.okome.script = lambda _: answer("x", "200 OK", "Set-Cookie: session=2")

    got = fleet.ask("/", headers={"Cookie": "session=1"})

    assert got.headers["set-cookie"] == "session=2"
    assert fleet.okome.asked[0].headers["cookie"] == "session=1"


def test_browsers_get_okomes_own_word_on_how_long_to_keep_a_file(fleet: Site) -> None:
    word = "Cache-Control: public, max-age=60"
    fleet.okome.script = lambda _: answer("x", "200 OK", word, 'ETag: "1"')
    path = fresh()

    answers = [fleet.ask(path) for _ in range(2)]

    assert {got.headers["cache-control"] for got in answers} == {"public, max-age=60"}
    assert "expires" not in answers[1].headers
