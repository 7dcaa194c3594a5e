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
from tests.upstreams import Answer, Asked, Gate, Tokens
from tests.waiting import wait_until

SILENCE_S = 70.0


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_70_s_of_silence_before_the_first_token_cut_nothing(tmp_path: Path) -> None:
    patience_s = SILENCE_S + 30
    silent, tokens = Gate(patience_s), Tokens(3, patience_s=patience_s)

    def script(asked: Asked) -> Answer:
        if asked.target == "/v1/completions":  # no head either; the other one has its head
            silent.wait()
        return tokens.script(asked)

    oldest, *_ = builds()
    with site(tmp_path, oldest, ("kome", "node-01", "node-03"), script=script) as edge:
        with Wire(edge.port("kome"), 30) as one, Wire(edge.port("node-01"), 30) as two:
            headers = {"Connection": "close"}
            one.send(request("POST", "/v1/completions", headers, b"{}"))
            two.send(request("POST", "/v1/chat/completions", headers, b"{}"))
            wait_until(lambda: (silent.waiting, tokens.waiting) == (1, 1))
            began = time.monotonic()
            wait_until(lambda: time.monotonic() - began > SILENCE_S, patience_s, every_s=1)
            silent.open()
            tokens.open(2 * tokens.count)
            for wire in (one, two):
                assert wire.rest().count(b"data:") == tokens.count
        assert len(edge.okome.asked) == 2
