"""The failures that can be rehearsed: a finding code, what is done, and how it is undone.

Every undo may run at any time, in any order, and twice: `heal` runs them all.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kome_tui.lab.fleet import Lab

Step = Callable[["Lab"], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Fault:
    """One failure. `description` is one line, for a list."""

    description: str
    make: Step
    undo: Step


async def _frontend_off(lab: "Lab") -> None:
    await lab.frontend.ssh.close()
    await lab.frontend.stop_nginx()


async def _frontend_on(lab: "Lab") -> None:
    await lab.frontend.start_nginx()
    await lab.frontend.ssh.open()


async def _nginx_off(lab: "Lab") -> None:
    await lab.frontend.stop_nginx()


async def _nginx_on(lab: "Lab") -> None:
    await lab.frontend.start_nginx()


async def _okome_off(lab: "Lab") -> None:
    await lab.set_okome(up=False)


async def _okome_on(lab: "Lab") -> None:
    await lab.set_okome(up=True)


async def _cut(lab: "Lab") -> None:
    await lab.set_relay("cut")


async def _clump(lab: "Lab") -> None:
    await lab.set_relay("clump")


async def _pass(lab: "Lab") -> None:
    await lab.set_relay("pass")


async def _redis_off(lab: "Lab") -> None:
    await lab.redis.stop()


async def _redis_on(lab: "Lab") -> None:
    await lab.redis.start()


async def _vllm_off(lab: "Lab") -> None:
    await lab.vllm.close()


async def _vllm_on(lab: "Lab") -> None:
    await lab.vllm.open()


async def _drift(lab: "Lab") -> None:
    lab.frontend.edit_by_hand()


async def _drift_undone(lab: "Lab") -> None:
    lab.frontend.undo_edit()


FAULTS: Mapping[str, Fault] = {
    "frontend-unreachable": Fault(
        "the frontend's SSH and nginx both stop answering", _frontend_off, _frontend_on
    ),
    "nginx-down": Fault("the frontend's nginx is stopped", _nginx_off, _nginx_on),
    "okome-down": Fault("OKOME stops listening, for everyone", _okome_off, _okome_on),
    "partition-frontend-okome": Fault(
        "the frontend cannot reach OKOME, everyone else can", _cut, _pass
    ),
    "redis-down": Fault("Redis is stopped", _redis_off, _redis_on),
    "vllm-down": Fault("vLLM stops listening", _vllm_off, _vllm_on),
    "stream-buffered": Fault(
        "what OKOME sends to the frontend arrives in clumps of 400 ms", _clump, _pass
    ),
    "config-drift": Fault(
        "a line is added by hand to the frontend's live nginx.conf", _drift, _drift_undone
    ),
}
