"""Our search for the location that answers a path finds what nginx itself finds."""

import random
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from kome_tui.nginx.conf_tree import Block, matched, parse_conf, serving
from tests.http_client import ask
from tests.nginx_process import Build, running
from tests.ports import free_port

SERVERS = 60
PATHS = ("/", "/a", "/a/", "/a/b", "/a/b/c", "/ab", "/A/b", "/b", "/b/a", "/b.c")
OUTER = (
    *("/", "/a", "/a/", "/a/b", "/b", "/b/", "/ab"),
    *("= /", "= /a", "= /a/b", "^~ /a", "^~ /a/", "^~ /b", "=/b", "^~/ab"),
    *("~ ^/a", "~ b$", "~* ^/A/", "~ [.]c$", "~ ^/(a|b)/", "~ /b/c", "~*^/a$"),
)
INNER = ("/a/b", "/a/b/", "= /a/b", "^~ /a/b", "~ b$", "~ c$", "~* B")


def locations(chance: random.Random, heads: tuple[str, ...], numbers: Iterator[int]) -> str:
    """Some of `heads`, each answering with a number of its own, some with locations inside."""
    made: dict[tuple[bool, str], str] = {}
    for head in chance.sample(heads, chance.randint(0, len(heads) // 3)):
        modifier, uri = matched(next(iter(parse_conf(f"location {head} {{}}").blocks)))
        holds_inner = heads is OUTER and modifier in ("", "^~") and uri in ("/", "/a", "/a/")
        inside = locations(chance, INNER, numbers) if holds_inner else ""
        # nginx takes /a and ^~ /a for the same
        made[modifier in ("", "^~"), uri if modifier in ("", "^~") else head] = (
            f"location {head} {{ add_header X-Found {next(numbers)} always; {inside} }}\n"
        )
    return "".join(made.values())


def found_by_us(server: Block, path: str) -> str | None:
    said = serving(server, path).all("add_header")
    return said[0].args[1] if said else None


def test_nginx_finds_the_same_location(build: Build, tmp_path: Path) -> None:
    port, chance, numbers = free_port(), random.Random(7), count()
    listen = f"listen 127.0.0.1:{port}; root {tmp_path}/nothing;"
    servers = "".join(
        f"server {{ {listen} server_name s{number};\n{locations(chance, OUTER, numbers)}}}\n"
        for number in range(SERVERS)
    )
    temp = "".join(
        f"{kind}_temp_path {tmp_path}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    conf = (
        f"error_log {tmp_path}/error.log;\npid {tmp_path}/pid;\nevents {{}}\n"
        f"http {{\n{temp}access_log off;\n{servers}}}\n"
    )
    tree = parse_conf(conf)
    seen = set()

    with running(conf, tmp_path, build, port):
        for number, server in enumerate(tree.named("server")):
            for path in PATHS:
                found = ask(port, path, headers={"Host": f"s{number}"}).headers.get("x-found")
                assert found == found_by_us(server, path), f"server {number} {path}"
                seen.add(found)

    assert len(seen) > 50
