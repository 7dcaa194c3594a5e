"""Every lint rule fires where it should, stays quiet where it should, and never on our output."""

import os
import re
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kome_tui.nginx.lint import RULES, lint_conf, lint_file, read
from tests.lint_cases import Case, cases, kind_of
from tests.nginx_process import builds, check_conf
from tests.rendered_shapes import rendered_shapes

ALL = cases()
REFUSED_BY_NGINX = ("syntax", "include-missing", "include-loop", "name-in-upstream", "value")
"""The point of their firing cases is that nginx takes no such file, or not everywhere."""


@pytest.mark.parametrize("case", [case for case in ALL if kind_of(case) == "fires"], ids=str)
def test_rule_fires_at_each_marked_line_and_at_no_other(case: Case) -> None:
    found = [finding for finding in lint_file(case.conf) if finding.rule == case.rule]

    assert {(finding.file, finding.line) for finding in found} == case.marked
    assert all(finding.message and finding.fix for finding in found)


@pytest.mark.parametrize("case", [case for case in ALL if kind_of(case) == "quiet"], ids=str)
def test_rule_stays_quiet(case: Case) -> None:
    assert [found for found in lint_file(case.conf) if found.rule == case.rule] == []


@pytest.mark.skipif(os.geteuid() != 0, reason="nginx -t binds port 80, which needs root")
@pytest.mark.parametrize(
    "case",
    [
        case
        for case in ALL
        if "elsewhere" not in str(case)  # it lacks a file that nginx would want
        and (kind_of(case) == "quiet" or case.rule not in REFUSED_BY_NGINX)
    ],
    ids=str,
)
def test_nginx_itself_accepts_the_case(case: Case, tmp_path: Path) -> None:
    source = case.path if case.path.is_dir() else case.conf.parent
    folder = shutil.copytree(source, tmp_path / "etc")
    (folder / "logs").mkdir()
    text = case.conf.read_text()
    if not re.search(r"^http \{", text, re.MULTILINE):  # a part, which stands among others
        text = f"http {{\nupstream backend {{ server 192.0.2.1; }}\n{text}}}\n"
    if not re.search(r"^events \{", text, re.MULTILINE):
        text = f"events {{}}\n{text}"

    code, said = check_conf(f"pid {tmp_path}/nginx.pid;\n{text}", folder, builds()[0])

    assert code == 0, said


@pytest.mark.parametrize(("name", "conf"), rendered_shapes().items())
def test_nothing_is_found_in_what_we_render(name: str, conf: str, tmp_path: Path) -> None:
    path = tmp_path / "nginx.conf"
    path.write_text(conf)

    assert lint_conf(conf, name) == ()
    assert lint_file(path) == ()


def test_a_hash_is_what_keeps_our_zones_quiet() -> None:
    conf = next(iter(rendered_shapes().values()))
    named_alike = re.sub(r"kome_(client|cached|cache)_[0-9a-f]{6}", r"kome_\1", conf)

    found = lint_conf(named_alike, "a")

    assert named_alike != conf
    assert {finding.rule for finding in found} == {"zone-name-fixed"}


def test_a_site_file_without_http_is_judged_too() -> None:
    site = "server {\n  location / {\n    proxy_pass http://127.0.0.1:1;\n  }\n}\n"

    assert "stream-buffered" in {finding.rule for finding in lint_conf(site, "site")}


def test_locations_alone_are_judged_too() -> None:
    part = "location /v1/ {\n  proxy_pass http://127.0.0.1:1;\n}\n"

    assert "stream-buffered" in {finding.rule for finding in lint_conf(part, "part")}


@pytest.mark.parametrize("word", ["of", "OFF"])
def test_a_word_for_off_is_not_taken_for_the_default(word: str) -> None:
    conf = f"location /v1/ {{ proxy_buffering {word}; proxy_pass http://127.0.0.1:1; }}"

    found = {finding.rule for finding in lint_conf(conf, "a")}

    assert "stream-buffered" not in found
    assert ("value" in found) == (word == "of")


def test_names_of_headers_are_said_as_they_are_written() -> None:
    conf = "server { add_header X-Frame-Options DENY; location / { add_header A b; } }"

    (found,) = (one for one in lint_conf(conf, "a") if one.rule == "header-inheritance")

    assert "loses the inherited add_header X-Frame-Options" in found.message


def test_a_fifo_among_the_included_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.conf")
    conf = tmp_path / "nginx.conf"
    conf.write_text("events {}\n\ninclude *.con[f];\ninclude pipe.conf;\n")

    found = {(one.rule, one.line) for one in lint_file(conf) if "regular file" in one.message}

    assert found == {("include-missing", 3), ("include-missing", 4)}


def test_more_includes_than_the_limit_are_one_finding(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("server_tokens off;")
    conf = tmp_path / "nginx.conf"
    conf.write_text("include a;" * read.MAX_FILES + "\ninclude a;\n")

    (found,) = lint_file(conf)

    assert (found.rule, found.line) == ("too-large", 2)


def test_more_bytes_than_the_limit_are_one_finding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read, "MAX_BYTES", 100)
    (tmp_path / "a").write_text("# eighty-one bytes" + "." * 62 + "\n")
    conf = tmp_path / "nginx.conf"
    conf.write_text("\n\ninclude a;\ninclude b*;\n")

    (found,) = lint_file(conf)

    assert (found.rule, found.line) == ("too-large", 3)


def test_a_text_is_judged_without_a_look_at_any_file(tmp_path: Path) -> None:
    (tmp_path / "a.conf").write_text("proxy_buffering on;")
    text = f"http {{ include {tmp_path}/a.conf; include not-there.conf; }}"

    assert lint_conf(text, f"{tmp_path}/nginx.conf") == ()


@pytest.mark.parametrize("conf", ["http { server {", "}", "a{" * 3000, "location { }", "'"])
def test_what_is_no_configuration_is_one_finding_or_none(conf: str) -> None:
    found = lint_conf(conf, "broken.conf")

    assert [finding.rule for finding in found] in ([], ["syntax"])


@pytest.mark.parametrize(
    ("conf", "line", "said"),
    [
        ("http {\n  server {\n  }\n", 1, '"http" is not closed'),
        ("a b;\n\nc d\n", 3, '"c" is not ended by ";"'),
        ("a b;\n;\n", 2, 'unexpected ";"'),
        ("a b;\n{ }\n", 2, 'unexpected "{"'),
        ("a b;\n}\n", 2, 'unexpected "}"'),
        ("a;\n\n\0", 3, "a zero byte"),
        ("a {\n" * 65 + "}" * 65, 65, "nested deeper than 64"),
    ],
)
def test_a_syntax_finding_names_line_and_reason(conf: str, line: int, said: str) -> None:
    (found,) = lint_conf(conf, "broken.conf")

    assert (found.rule, found.line) == ("syntax", line)
    assert said in found.message


def test_a_finding_holds_no_control_characters() -> None:
    found = lint_conf("http { upstream u {\n server a\x1b]52;c;x\x07b:80;\n} }\n", "x\x1b")

    assert [finding.rule for finding in found] == ["name-in-upstream"]
    assert found[0].message.isprintable()
    assert found[0].file.isprintable()


@pytest.mark.parametrize(
    "pattern", ["(x+x+)+y", "((a*)*)*b", "(.|.|.)" * 30, ".*" * 40, "(a?){9}" * 9]
)
def test_an_expression_that_never_ends_is_not_tried(pattern: str) -> None:
    conf = f'server {{ location ~ "^/{pattern}" {{ proxy_pass http://127.0.0.1:1; }} }}'

    assert {finding.rule for finding in lint_conf(conf, "a")} <= {"regex-no-boundary"}


def test_a_circle_of_rewrites_ends() -> None:
    conf = """server {
        rewrite ^/v1/(.*)$ /v2/$1 last;
        location /v1/ { rewrite ^ /v2/a last; }
        location /v2/ { rewrite ^/v2/(.*)$ /v1/a$1 last; error_page 404 = @a; }
        location @a { try_files /none @b; }
        location @b { try_files /none @a; }
    }"""

    assert lint_conf(conf, "a") == ()


WORDS = [
    *("http", "server", "location", "upstream", "map", "if", "return", "rewrite", "try_files"),
    *("{", "}", ";", " ", "\n", '"', "'", "\\", "$", "#", "~", "=", "@a", "/v1/", "/", "(a|b)"),
    *("proxy_pass", "proxy_cache", "error_page", "expires", "listen", "include", "access_log"),
    *("proxy_set_header", "content_by_lua_block", "zone=a:1m", "10m", "http://a", "include *;"),
]
TEXTS = st.lists(st.sampled_from(WORDS) | st.text(max_size=3), max_size=60).map(" ".join)


@settings(max_examples=200, deadline=None)
@given(TEXTS)
def test_any_text_is_judged_without_an_exception(conf: str) -> None:
    lint_conf(conf, "any")


@settings(max_examples=100, deadline=None)
@given(st.lists(TEXTS.map(str.encode) | st.binary(max_size=40), min_size=3, max_size=3))
def test_any_files_that_include_each_other_are_judged_without_an_exception(
    tmp_path_factory: pytest.TempPathFactory, texts: list[bytes]
) -> None:
    folder = tmp_path_factory.mktemp("any")
    for name, text in zip(("nginx.conf", "a", "b"), texts, strict=True):
        (folder / name).write_bytes(b"include a; include [ab]; include x/../b;\n" + text)

    assert lint_file(folder / "nginx.conf")


def test_the_table_of_rules_is_what_the_rules_say() -> None:
    table = Path(__file__).parent.parent / "docs" / "lint.md"
    rows = [line for line in table.read_text().splitlines() if line.startswith("| `")]

    cells = [
        (f"`{rule.code}`", rule.severity, rule.reason, rule.fix, rule.source) for rule in RULES
    ]
    assert rows == [
        "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in cells
    ]
