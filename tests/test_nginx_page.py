"""The frontend's `/` on real nginx: OKOME's page, the kept one when OKOME is down, the rest."""

import pytest

from tests.http_client import Wire, request
from tests.nginx_fixture import RunSite
from tests.nginx_site import HOSTILE, OURS, PAGE, Site, okome_says
from tests.upstreams import Answer, Asked, Gate, Tokens, answer, reset

USERS = ("Cookie", "Authorization", "X-Api-Key", "Api-Key")
"""Who sends one of these is known to OKOME."""


def test_the_page_comes_from_okome_while_it_answers(fleet: Site) -> None:
    assert [fleet.ask("/").body for _ in range(2)] == [PAGE, PAGE]
    assert fleet.okome.paths() == ["/", "/"]


@pytest.mark.parametrize("status", ["500 Error", "503 Busy", "404 Not Found"])
def test_okomes_own_errors_are_shown_as_they_are(fleet: Site, status: str) -> None:
    fleet.ask("/")
    fleet.okome.script = lambda _: answer("OKOME says no", status)

    got = fleet.ask("/")

    assert (f"{got.status}", got.body) == (status.partition(" ")[0], b"OKOME says no")


def test_the_kept_page_is_served_when_okome_is_down(run_site: RunSite) -> None:
    with run_site() as frontend:
        frontend.ask("/")
        frontend.okome.stop()

        served = frontend.stale("/")

        assert (served.status, served.body) == (200, PAGE)
        head = frontend.ask("/", method="HEAD")
        assert (head.status, head.cache, head.body) == (200, "STALE", b"")
        frontend.okome.start()
        assert frontend.ask("/").cache == "BYPASS"


@pytest.mark.parametrize("breaks", ["hangs", "resets", "closes"])
def test_the_kept_page_is_served_when_okome_hangs_or_drops(run_site: RunSite, breaks: str) -> None:
    gate = Gate()

    def fails(_: Asked) -> Answer:
        if breaks == "hangs":
            gate.wait()
        return reset if breaks == "resets" else None

    with run_site(timeouts={"cached_read": "1s"}) as frontend:
        frontend.ask("/")
        frontend.okome.script = fails

        # as fresh as it is, nginx calls it HIT for a second
        got = frontend.ask("/")

        assert (got.status, got.body) == (200, PAGE)
        assert got.cache in ("HIT", "STALE")
        gate.open(10)


@pytest.mark.parametrize(
    "headers",
    [{name: "x", **more} for name in USERS for more in ({}, HOSTILE)],
    ids=[f"{name}{more}" for name in USERS for more in ("", " and more")],
)
def test_a_page_made_for_one_user_is_not_kept(run_site: RunSite, headers: dict[str, str]) -> None:
    with run_site() as frontend:
        frontend.ask("/", headers=headers)
        seen = frontend.okome.asked[0].headers
        frontend.okome.stop()

        assert frontend.ask("/").status == 503
        assert {name.lower(): value for name, value in headers.items()}.items() <= seen.items()


@pytest.mark.parametrize("more", [{}, {"Cookie": "session=1"}], ids=["visitor", "user"])
def test_nobody_shapes_the_page_that_is_kept_for_all(
    run_site: RunSite, more: dict[str, str]
) -> None:
    def echo(asked: Asked) -> Answer:
        return answer(repr(asked.headers))

    with run_site(script=echo) as frontend:
        frontend.ask("/", headers={**HOSTILE, **more})
        clean = frontend.ask("/")
        frontend.ask("/", headers={**HOSTILE, **more})
        frontend.okome.stop()
        kept = frontend.stale("/")

        assert b"evil" not in clean.body + kept.body
        assert sorted(frontend.okome.asked[1].headers) == OURS
        assert frontend.okome.asked[1].headers["host"] == f"127.0.0.1:{frontend.okome.port}"


def test_a_look_with_a_body_is_passed_on_and_not_kept(run_site: RunSite) -> None:
    with run_site(script=lambda asked: answer(asked.body)) as frontend:
        got = frontend.ask("/", body=b"evil")
        frontend.okome.stop()

        assert (got.body, got.cache) == (b"evil", "NONE")
        assert frontend.ask("/").status == 503


def test_a_page_at_a_path_in_disguise_is_not_kept(run_site: RunSite) -> None:
    path = "/v1/models/%2e%2e/.."
    with run_site(script=lambda _: answer("for one")) as frontend:
        assert frontend.ask(path).cache == "NONE"
        frontend.okome.stop()

        assert frontend.ask(path).status == 502


@pytest.mark.parametrize("breaks", ["closed", "hangs", "resets"])
def test_a_user_gets_the_kept_page_too_when_okome_fails(run_site: RunSite, breaks: str) -> None:
    user, gate = {"Cookie": "session=1"}, Gate()

    def fails(_: Asked) -> Answer:
        if breaks == "hangs":
            gate.wait()
        return reset

    with run_site(timeouts={"cached_read": "1s"}) as frontend:
        frontend.ask("/")
        frontend.okome.script = fails
        if breaks == "closed":
            frontend.okome.stop()

        got = frontend.ask("/", headers=user)

        assert (got.status, got.body) == (200, PAGE)
        assert got.cache in ("HIT", "STALE")
        frontend.okome.script = okome_says
        gate.open(10)


def test_a_user_gets_the_maintenance_page_when_nothing_is_kept(run_site: RunSite) -> None:
    with run_site(okome_up=False) as frontend:
        page = frontend.ask("/", headers={"Cookie": "session=1"})

        assert (page.status, page.headers["retry-after"]) == (503, "10")


def test_a_redirect_of_the_page_stays_on_the_edge(fleet: Site) -> None:
    def to_itself(asked: Asked) -> Answer:
        return answer("", "302 Found", f"Location: http://{asked.headers['host']}/ui/")

    fleet.okome.script = to_itself

    assert fleet.ask("/").headers["location"] == "/ui/"
    user = fleet.ask("/", headers={"Cookie": "a=1", "Host": "kome.home"})
    assert user.headers["location"] == "http://kome.home/ui/"


@pytest.mark.parametrize(
    "header", ["Set-Cookie: a=1", "Cache-Control: private", "Cache-Control: no-store", "Vary: *"]
)
def test_a_page_that_okome_marks_as_private_is_not_kept(run_site: RunSite, header: str) -> None:
    with run_site(script=lambda _: answer(PAGE, "200 OK", header)) as frontend:
        got = frontend.ask("/")
        frontend.okome.stop()

        assert got.headers[header.partition(":")[0].lower()] == header.partition(": ")[2]
        assert frontend.ask("/").status == 503


def test_an_error_page_is_not_kept(run_site: RunSite) -> None:
    with run_site(script=lambda _: answer("no", "500 Error")) as frontend:
        frontend.ask("/")
        frontend.okome.stop()

        assert frontend.ask("/").status == 503


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_with_nothing_kept_there_is_a_maintenance_page(run_site: RunSite, method: str) -> None:
    with run_site(okome_up=False) as frontend:
        page = frontend.ask("/", method=method)

        assert page.status == 503
        assert page.headers["retry-after"] == "10"
        assert page.headers["cache-control"] == "no-store"
        assert page.headers["content-type"] == "text/plain"
        assert "content-encoding" not in page.headers
        if method == "GET":
            assert f"127.0.0.1:{frontend.okome.port}".encode() in page.body


# --- anything else on / is passed on like the rest ---


@pytest.mark.parametrize("breaks", [None, reset], ids=["closed", "reset"])
@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_what_was_sent_to_the_page_is_sent_once(fleet: Site, method: str, breaks: Answer) -> None:
    fleet.ask("/")
    fleet.okome.asked.clear()
    fleet.okome.script = lambda _: breaks

    got = fleet.ask("/", method=method, body=b"x")

    assert (got.status, got.cache) == (502, "NONE")
    assert "retry-after" not in got.headers
    assert len(fleet.okome.asked) == 1


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_only_a_look_is_answered_by_the_kept_or_the_maintenance_page(
    fleet: Site, method: str
) -> None:
    fleet.ask("/")
    fleet.okome.stop()

    got = fleet.ask("/", method=method)

    assert (got.status, got.cache) == (502, "NONE")
    assert "retry-after" not in got.headers


def test_a_stream_asked_for_at_the_page_flows(fleet: Site) -> None:
    tokens = Tokens(5)
    fleet.okome.script = tokens.script
    with Wire(fleet.port()) as wire:
        wire.send(request("POST", "/", {"Connection": "close"}, b"{}"))
        for number in range(tokens.count):
            tokens.open()
            wire.until(b'"%d "' % number)
        assert b"X-Cache: NONE" in wire.rest()


def test_a_post_to_the_page_reaches_okome_whole(fleet: Site) -> None:
    fleet.okome.script = lambda asked: answer(asked.body)

    got = fleet.ask("/?a=1", method="POST", body=b"prompt", headers={"Cookie": "a=1"})

    assert (got.status, got.body) == (200, b"prompt")
    assert fleet.okome.paths() == ["/?a=1"]
    assert fleet.okome.asked[0].headers["cookie"] == "a=1"


@pytest.mark.parametrize("node", ["node-01", "node-03", "node-07", "node-09"])
def test_elsewhere_the_page_is_passed_through(fleet: Site, node: str) -> None:
    answers = [fleet.ask("/", node) for _ in range(2)]
    fleet.okome.stop()

    assert [(got.status, got.cache) for got in answers] == [(200, "NONE")] * 2
    assert len(fleet.okome.asked) == 2
    assert fleet.ask("/", node).status == 502
