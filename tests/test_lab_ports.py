"""Ports of a lab are its own, also while nothing listens on them."""

import socket

import pytest

from kome_tui.errors import LabError
from kome_tui.lab import ports


def test_reserved_port_refuses_connections_and_is_given_to_nobody_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with ports.reserve() as bound:
        port = ports.port_of(bound)
        assert not ports.answers(port)
        monkeypatch.setattr(ports._random, "randrange", lambda low, high: port)
        with pytest.raises(LabError, match="no free port"):
            ports.reserve()


def test_port_that_was_closed_is_still_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    with ports.reserve() as first:
        port = ports.port_of(first)
    with ports.reserve(port):
        monkeypatch.setattr(ports._random, "randrange", lambda low, high: port)
        with pytest.raises(LabError, match="no free port"):
            ports.reserve()


def test_ports_lie_below_the_range_of_outgoing_connections() -> None:
    with ports.reserve() as bound, socket.socket() as outgoing:
        outgoing.bind((ports.LOOPBACK, 0))
        assert ports.port_of(bound) < 32_000 < outgoing.getsockname()[1]
