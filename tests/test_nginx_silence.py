"""A prefill as long as they get, in earnest: a minute and more without a byte, through two hops.

That every place which passes on has such patience is proven from the files
(tests/test_nginx_streams.py); this shows that the patience written there is the one nginx has.
"""

import time
from pathlib import Path

import pytest

from tests.http_client import Wire, request
from tests.nginx_process import builds
from tests.nginx_site import site
from tests.upstreams import Tokens
from tests.waiting import wait_until

SILENCE_S = 70.0


@pytest.mark.slow
def test_70_s_of_silence_before_the_first_token_cut_nothing(tmp_path: Path) -> None:
    tokens = Tokens(3, patience_s=SILENCE_S + 30)
    oldest, *_ = builds()
    with site(tmp_path, oldest, ("kome", "node-01", "node-03"), script=tokens.script) as edge:
        with Wire(edge.port("kome"), 30) as one, Wire(edge.port("node-01"), 30) as two:
            for wire in (one, two):
                wire.send(request("POST", "/v1/completions", {"Connection": "close"}, b"{}"))
            wait_until(lambda: tokens.waiting == 2)
            began = time.monotonic()
            wait_until(lambda: time.monotonic() - began > SILENCE_S, SILENCE_S + 30, every_s=1)
            tokens.open(2 * tokens.count)
            for wire in (one, two):
                assert wire.rest().count(b"data:") == tokens.count
        assert len(edge.okome.asked) == 2
