"""What SAFETY.md promises about access: no password, no forwarded agent, no weak algorithm."""

from collections.abc import Iterator
from pathlib import Path

import paramiko
import pytest

from kome_tui.errors import SshAuthFailed, SshUnreachable
from tests.fleet_site import Site, keygen
from tests.ssh_server import SshServer

WEAK = [
    {"encryption_algs": ["aes128-cbc"]},
    {"encryption_algs": ["aes128-ctr"], "mac_algs": ["hmac-sha1"]},
    {"encryption_algs": ["aes128-ctr"], "mac_algs": ["hmac-md5"]},
]


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with key pairs: host, user, stranger; only user may log in."""
    folder = tmp_path_factory.mktemp("keys")
    for name in ("host", "user", "stranger"):
        keygen(folder / name)
    (folder / "authorized").write_text((folder / "user.pub").read_text())
    return folder


@pytest.fixture
def site(keys: Path, tmp_path: Path) -> Iterator[Site]:
    server = SshServer([keys / "host"], keys / "authorized")
    made = Site(tmp_path, server, keys / "user", keys / "host")
    made.know()
    yield made
    server.close()


@pytest.mark.parametrize("offer", WEAK, ids=["cbc", "hmac-sha1", "hmac-md5"])
def test_a_server_with_weak_algorithms_only_is_refused(
    keys: Path, tmp_path: Path, offer: dict[str, list[str]]
) -> None:
    server = SshServer([keys / "host"], keys / "authorized", **offer)
    try:
        weak = Site(tmp_path, server, keys / "user", keys / "host")
        weak.know()
        connection = weak.connection()
        with pytest.raises(SshUnreachable):
            connection.open()
        connection.close()
        assert server.logins == 0
    finally:
        server.close()


def test_no_password_is_offered_where_the_server_would_take_one(site: Site, keys: Path) -> None:
    site.server.offers_passwords = True
    site.identity = keys / "stranger"
    connection = site.connection()
    with pytest.raises(SshAuthFailed):
        connection.open()
    connection.close()
    assert site.server.passwords == []


def test_the_agent_is_not_forwarded(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing on the node may use the operator's keys: no request for it is ever sent."""
    asked: list[str] = []
    request = paramiko.Channel.request_forward_agent
    monkeypatch.setattr(
        paramiko.Channel,
        "request_forward_agent",
        lambda channel, handler: asked.append("agent") or request(channel, handler),
    )
    site.server.environment.clear()
    connection = site.connection()
    connection.open()
    done = connection.run("echo ${SSH_AUTH_SOCK:-none}", timeout_s=10)
    connection.close()
    assert done.stdout == b"none\n"
    assert asked == []


def test_every_wait_of_a_connection_has_a_limit(site: Site) -> None:
    """paramiko's own defaults wait for ever for a banner, a login, a channel or an answer."""
    connection = site.connection()
    connection.open()
    transport = connection._transport
    assert transport is not None
    for name in ("banner_timeout", "handshake_timeout", "auth_timeout", "channel_timeout"):
        limit = getattr(transport, name)
        assert isinstance(limit, int | float), name
        assert 0 < limit <= 60, name
    connection.close()
