"""The lint rule `value` says of a line what nginx itself says: refused, or taken."""

from pathlib import Path

import pytest

from kome_tui.nginx.lint import lint_conf
from tests.nginx_process import Build, builds, check_conf

REFUSED = [
    *("proxy_read_timeout forever;", "proxy_read_timeout 1s1m;", "proxy_read_timeout 1M;"),
    *("proxy_read_timeout $a;", "proxy_send_timeout;", "proxy_buffering of;", "proxy_buffering 1;"),
    *("proxy_buffering on off;", "proxy_buffering off; proxy_buffering off;", "gzip yes;"),
    *("proxy_http_version 1.2;", "proxy_next_upstream errors;", "proxy_ignore_headers Accel;"),
    *("limit_req_status 399;", "limit_conn_status 600;", "expires 1x;", "expires Max;"),
    *(
        "expires 1h; expires 1h;",
        "keepalive_timeout 5x;",
        "proxy_bufering off;",
        "gzip on; gzip on;",
    ),
    *("fastcgi_buffering of;", "uwsgi_read_timeout never;", "proxy_intercept_errors maybe;"),
    *("auth_basic a; auth_basic b;", "try_files /a /b; try_files /a /b;"),
]
TAKEN = [
    *("proxy_read_timeout 1h30m;", 'proxy_read_timeout "1h 30m";', "proxy_read_timeout 90;"),
    *("proxy_read_timeout 1w2d;", "proxy_connect_timeout 1s500ms;", "proxy_buffering OFF;"),
    *("expires -1;", "expires @15h30m;", "expires modified +1h;", "expires $uri;", "expires 1y;"),
    *("expires max;", "keepalive_timeout 5s 4s;", "keepalive_timeout 0;", "gzip_types a/b;"),
    *("proxy_next_upstream error; proxy_next_upstream http_502;", "limit_req_status 429;"),
    *("proxy_ignore_headers expires Set-Cookie;", "gzip_types a/b; gzip_types a/c;"),
    *("proxy_http_version 1.0;", "proxy_bind off;", "proxy_next_upstream non_idempotent error;"),
]
GROUPS = [
    ("ip_hash; server 127.0.0.1:1; server 127.0.0.1:2 backup;", True),
    ("hash $uri; server 127.0.0.1:1; server 127.0.0.1:2 backup;", True),
    ("random; server 127.0.0.1:1; server 127.0.0.1:2 backup;", True),
    ("server 127.0.0.1:1 max_fails=few;", True),
    ("server 127.0.0.1:1 fail_timeout=long;", True),
    ("least_conn; server 127.0.0.1:1; server 127.0.0.1:2 backup;", False),
    ("server 127.0.0.1:1; server 127.0.0.1:2 backup; hash $uri;", False),
]


@pytest.mark.parametrize("build", builds(), ids=str)
@pytest.mark.parametrize(
    ("line", "refused"), [*((one, True) for one in REFUSED), *((one, False) for one in TAKEN)]
)
def test_a_line_is_refused_where_nginx_refuses_it(
    line: str, refused: bool, build: Build, tmp_path: Path
) -> None:
    agrees(f"server {{ listen unix:s; location / {{ {line} }} }}", refused, build, tmp_path)


@pytest.mark.parametrize("build", builds(), ids=str)
@pytest.mark.parametrize(("lines", "refused"), GROUPS)
def test_an_upstream_is_refused_where_nginx_refuses_it(
    lines: str, refused: bool, build: Build, tmp_path: Path
) -> None:
    agrees(f"upstream one {{ {lines} }}", refused, build, tmp_path)


@pytest.mark.parametrize("build", builds(), ids=str)
@pytest.mark.parametrize("second", ["unix:s default_server", "unix:s"])
def test_one_address_has_one_default_server(second: str, build: Build, tmp_path: Path) -> None:
    servers = f"server {{ listen unix:s default_server; }} server {{ listen {second}; }}"

    agrees(servers, second.endswith("default_server"), build, tmp_path)


def agrees(http: str, refused: bool, build: Build, folder: Path) -> None:
    """Lint and nginx say the same of what stands in http."""
    http = http.replace("unix:s", f"unix:{folder}/s")
    conf = f"pid {folder}/nginx.pid;\nevents {{}}\nhttp {{ access_log off; {http} }}\n"

    code, said = check_conf(conf, folder, build)

    assert (code != 0) == refused, said
    assert ("value" in {finding.rule for finding in lint_conf(conf, "a")}) == refused
