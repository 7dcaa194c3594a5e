"""`kome-tui lint` on the command line: several files, and what is no configuration at all."""

import os
from pathlib import Path

import pytest

from kome_tui.nginx.lint import read
from tests.command_line import Ran, kome_tui
from tests.contract import LintAnswer

BUFFERS = "server {\n    location /v1/ { proxy_pass http://127.0.0.1:1; }\n}\n"
INFO = "http {\n    limit_req_zone $binary_remote_addr zone=one:1m rate=1r/s;\n}\n"


def lint(*files: str, cwd: Path) -> tuple[int, dict[tuple[str, int, str], str]]:
    """Exit code, and severity by file, line and rule."""
    ran = kome_tui("lint", *files, "--json", cwd=cwd)
    found = LintAnswer.model_validate_json(ran.out).findings
    return ran.code, {(one.file, one.line, one.rule): one.severity for one in found}


def one_line(ran: Ran) -> str:
    (line,) = ran.err.splitlines()
    return line


def test_files_are_judged_together_and_a_shared_include_is_named_once(tmp_path: Path) -> None:
    (tmp_path / "common.conf").write_text(BUFFERS)
    for name in ("a.conf", "b.conf"):
        (tmp_path / name).write_text("http {\n    include common.conf;\n}\n")

    code, found = lint("a.conf", "b.conf", cwd=tmp_path)

    assert code == 1
    assert found[("common.conf", 2, "stream-buffered")] == "error"


def test_for_people_a_line_says_where_and_how_to_mend_it(tmp_path: Path) -> None:
    (tmp_path / "a.conf").write_text(BUFFERS)

    lines = kome_tui("lint", "a.conf", cwd=tmp_path).out.splitlines()

    (buffered,) = [line for line in lines if "stream-buffered" in line]
    assert buffered.startswith("a.conf:2: error stream-buffered: location /v1/ buffers streams")
    assert buffered.endswith("; proxy_buffering off;")
    assert lines[-1] == f"findings: {len(lines) - 1}, in 1 file"


def test_the_last_line_counts_each_file_that_was_read_once(tmp_path: Path) -> None:
    (tmp_path / "conf.d").mkdir()
    for name in ("one", "two", "three"):
        (tmp_path / "conf.d" / f"{name}.conf").write_text("# nothing\n")
    (tmp_path / "nginx.conf").write_text(
        "events { worker_connections 9; }\ninclude conf.d/*.conf;\ninclude conf.d/one.conf;\n"
    )

    alone = kome_tui("lint", "nginx.conf", cwd=tmp_path)
    both = kome_tui("lint", "nginx.conf", "conf.d/two.conf", cwd=tmp_path)

    assert (alone.code, alone.out) == (0, "findings: 0, in 1 file and 3 included\n")
    assert (both.code, both.out) == (0, "findings: 0, in 2 files and 2 included\n")


@pytest.mark.parametrize("name", ["pipe", "/dev/zero"])
def test_what_never_ends_is_one_line_and_exit_2(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / "pipe")

    ran = kome_tui("lint", name, cwd=tmp_path)

    assert ran.code == 2
    assert "it is not a regular file" in one_line(ran)


def test_info_alone_is_a_finding_too(tmp_path: Path) -> None:
    (tmp_path / "a.conf").write_text(INFO)

    assert lint("a.conf", cwd=tmp_path) == (1, {("a.conf", 2, "zone-name-fixed"): "info"})


def test_a_binary_and_a_huge_file_are_findings_beside_the_others(tmp_path: Path) -> None:
    (tmp_path / "a.conf").write_text(BUFFERS)
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0")
    with (tmp_path / "huge.conf").open("w") as huge:
        huge.truncate(read.MAX_BYTES + 1)

    code, found = lint("picture.png", "huge.conf", "a.conf", cwd=tmp_path)

    assert code == 1
    assert found.keys() >= {
        ("picture.png", 3, "syntax"),
        ("huge.conf", 1, "too-large"),
        ("a.conf", 2, "stream-buffered"),
    }


@pytest.mark.parametrize(("name", "said"), [("conf.d", "is a folder"), ("gone", "No such file")])
def test_what_is_no_file_is_one_line_and_exit_2(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / "conf.d").mkdir()

    ran = kome_tui("lint", name, cwd=tmp_path)

    assert ran.code == 2
    assert said in one_line(ran)


def test_a_file_linked_into_sites_enabled_finds_what_the_main_file_would(tmp_path: Path) -> None:
    for folder in ("sites-available", "sites-enabled", "snippets"):
        (tmp_path / folder).mkdir()
    (tmp_path / "nginx.conf").write_text("events {}\nhttp { include sites-enabled/*; }\n")
    (tmp_path / "snippets" / "pass.conf").write_text("proxy_pass http://127.0.0.1:1;\n")
    site = "server {\n    location /v1/ {\n        include snippets/pass.conf;\n    }\n}\n"
    (tmp_path / "sites-available" / "a").write_text(site)
    (tmp_path / "sites-enabled" / "a").symlink_to("../sites-available/a")

    _, found = lint("sites-enabled/a", cwd=tmp_path)

    assert ("sites-enabled/a", 2, "stream-buffered") in found
    assert "include-missing" not in {rule for _, _, rule in found}
