"""The draft-model server behind /draft/ sees the rest of the path, just as it was sent."""

import pytest

from tests.nginx_fixture import RunSite
from tests.upstreams import Upstream, answer


@pytest.mark.parametrize(
    ("sent", "seen"),
    [
        ("/draft/v1/models", "/v1/models"),
        ("/draft/v1/models/org%2Fmodel?a=b%20c&d=?", "/v1/models/org%2Fmodel?a=b%20c&d=?"),
        ("/draft/", "/"),
        ("/draft/?a=b", "/?a=b"),
    ],
)
def test_the_prefix_is_taken_off_and_nothing_else(run_site: RunSite, sent: str, seen: str) -> None:
    with Upstream(lambda asked: answer(asked.target)) as draft:
        at = {"draft": {"address": "127.0.0.1", "port": draft.port}}
        with run_site("node-07", nodes={"node-07": at}) as running:
            got = running.ask(sent, "node-07")

    assert (got.status, got.body) == (200, seen.encode())


@pytest.mark.parametrize("sent", ["/%64raft/v1/models", "/x/../draft/v1/models"])
def test_another_spelling_of_the_prefix_is_refused(run_site: RunSite, sent: str) -> None:
    with Upstream(lambda asked: answer(asked.target)) as draft:
        at = {"draft": {"address": "127.0.0.1", "port": draft.port}}
        with run_site("node-07", nodes={"node-07": at}) as running:
            got = running.ask(sent, "node-07")

        assert got.status == 400
        assert draft.paths() == []
