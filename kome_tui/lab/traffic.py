"""People at their browsers: a trickle of requests, so that the panels have something to show.

Bounded on every side (rate, open requests, bytes, seconds); a node that is down is passed over.
"""

import asyncio
import contextlib
import json
import random
from collections.abc import Sequence

from kome_tui.lab.http import ask
from kome_tui.lab.models import MODEL
from kome_tui.lab.okome import ASSETS, SCHEMAS

REQUESTS_PER_S = 15
STREAM_EVERY_S = 7.0
STREAM_TOKENS = 24
OPEN_LIMIT = 12
PATIENCE_S = 5.0
FRONTEND_SHARE = 0.4

_KINDS: Sequence[tuple[Sequence[str], int]] = (
    (tuple(ASSETS), 60),
    (tuple(SCHEMAS), 12),
    (("/",), 12),
    (("/version/",), 6),
    (("/health",), 5),
    (("/v1/models",), 5),
)


class Traffic:
    """Sends requests to the nginx of each node; the frontend gets the largest share."""

    def __init__(self, frontend_port: int, edge_ports: Sequence[int]) -> None:
        self._frontend = frontend_port
        self._edge = tuple(edge_ports)
        self._random = random.Random(86)  # the same trickle in every lab
        self._open: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Go on until cancelled."""
        loop = asyncio.get_running_loop()
        next_stream = loop.time() + STREAM_EVERY_S
        try:
            while True:
                await asyncio.sleep(self._random.expovariate(REQUESTS_PER_S))
                if len(self._open) >= OPEN_LIMIT:
                    continue
                if loop.time() >= next_stream:
                    next_stream = loop.time() + STREAM_EVERY_S
                    self._begin(self._frontend, "POST", "/v1/chat/completions", _prompt())
                else:
                    self._begin(self._some_node(), "GET", self._some_path())
        finally:
            for task in self._open:
                task.cancel()
            await asyncio.gather(*self._open, return_exceptions=True)

    def _some_node(self) -> int:
        if not self._edge or self._random.random() < FRONTEND_SHARE:
            return self._frontend
        return self._random.choice(self._edge)

    def _some_path(self) -> str:
        paths, weights = zip(*_KINDS, strict=True)
        kind: Sequence[str] = self._random.choices(paths, weights)[0]
        return self._random.choice(kind)

    def _begin(self, port: int, method: str, path: str, body: bytes = b"") -> None:
        task = asyncio.ensure_future(_request(port, method, path, body))
        self._open.add(task)
        task.add_done_callback(self._open.discard)


async def _request(port: int, method: str, path: str, body: bytes) -> None:
    # A node that is down, or answers nonsense, is what the operator rehearses: not our failure.
    with contextlib.suppress(OSError, EOFError, ValueError):
        answer = await ask(port, method, path, body, PATIENCE_S)
        async with contextlib.aclosing(answer.parts):  # type: ignore[type-var]
            await answer.body()


def _prompt() -> bytes:
    message = {"role": "user", "content": "How is the edge today?"}
    asked = {"model": MODEL, "messages": [message], "max_tokens": STREAM_TOKENS, "stream": True}
    return json.dumps(asked).encode()
