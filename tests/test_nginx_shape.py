"""The shape check: what gets past the grammars and the finalizer still may not change the tree."""

import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from typing import Any

import pytest

from kome_tui.errors import RenderError
from kome_tui.nginx import render as render_module
from kome_tui.nginx import shape as shape_module
from kome_tui.nginx.conf_tree import Block, parse_conf
from kome_tui.nginx.context import Context, context_of
from kome_tui.nginx.render import render_release, render_text
from kome_tui.nginx.shape import NEUTRAL, check_shape, neutral
from kome_tui.topology.load import packaged_file
from kome_tui.topology.model import Topology
from tests.builders_topology import ROLES, topology, topology_values

HOSTILE = (
    *("a; } server {", "a;", "a; include /etc/shadow", "a b", "a\tb", "a\nb", "{", "}", "a{b"),
    "a}b",
    *("a\rb", 'a"b', "a'b", '"', "'", "#", "a #b", "\\", "a\\", "a;b", ";", "", " "),
    *("$host", "${host}", "a$b", "a\x0bb", "a\xa0b", "a\u2028b", "a\n}", "a;\n#", "a; #", "x {} y"),
)
Where = tuple[str | int, ...]


def full() -> Topology:
    """Every optional part is there."""
    values = topology_values(stream_path="gpu")
    values["layout"] = {"temp": "/var/tmp/nginx"}
    values["nodes"]["node-07"]["draft"] = {"address": "192.168.86.31", "port": 8000}
    at = {"address": "192.168.86.18", "port": 3000}
    values["nodes"]["node-09"]["services"] = {
        "grafana": {**at, "path": "/grafana/"},
        "loki": {**at, "path": "/loki"},
    }
    return Topology.model_validate(values)


def texts_in(value: Any, path: Where = ()) -> Iterator[Where]:
    """Where the texts of a context stand."""
    if isinstance(value, str):
        yield path
    elif isinstance(value, tuple):
        for index, each in enumerate(value):
            yield from texts_in(each, (*path, index))
    elif is_dataclass(value):
        for part in fields(value):
            yield from texts_in(getattr(value, part.name), (*path, part.name))


def with_text(value: Any, path: Where, text: str) -> Any:
    """`value` with another text at `path`."""
    match path:
        case ():
            return text
        case (int(index), *rest):
            return (*value[:index], with_text(value[index], tuple(rest), text), *value[index + 1 :])
        case (str(name), *rest):
            return replace(value, **{name: with_text(getattr(value, name), tuple(rest), text)})
    raise AssertionError(path)


def refusal(text: str, bland: str, name: str) -> str:
    try:
        check_shape(text, bland, name)
    except RenderError as error:
        return str(error)
    return ""


def test_no_template_has_the_neutral_word() -> None:
    templates = list(packaged_file("templates/nginx").rglob("*.j2"))

    assert len(templates) > 5
    assert not [path for path in templates if NEUTRAL in path.read_text()]


@pytest.mark.parametrize("name", ROLES)
def test_neutral_values_keep_how_many_there_are_and_tell_nothing(name: str) -> None:
    context = context_of(full(), name)
    bland = neutral(context)

    assert list(texts_in(bland)) == list(texts_in(context))
    text = render_text(bland)
    assert len(text.splitlines()) == len(render_text(context).splitlines())
    assert not re.search(r"192\.168|127\.0|kome_cache_|www-data|/var/|node-0|grafana", text)


@pytest.mark.parametrize("name", ["kome", "node-01", "node-03", "node-07", "node-09"])
def test_no_hostile_text_of_any_field_gets_past_where_the_finalizer_is_too_wide(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(render_module, "_VALUE", re.compile(r"(?s).*\Z"))
    context = context_of(full(), name)
    harmless, bland = render_text(context), render_text(neutral(context))
    check_shape(harmless, bland, name)
    written = [
        path
        for path in texts_in(context)
        # role and log_format are of our own making: a template's name, and nginx text
        if path not in (("role",), ("log_format",))
        and render_text(with_text(context, path, "x")) != harmless
    ]

    # each field with four of them, all of them somewhere: reading a file takes 7 ms
    for number, path in enumerate(written):
        for step in range(4):
            hostile = HOSTILE[(4 * number + step) % len(HOSTILE)]
            told = refusal(render_text(with_text(context, path, hostile)), bland, name)
            assert told, f"{path} = {hostile!r} was taken"
            assert re.match(rf"node {name}: .*line [0-9]+", told)
    assert 4 * len(written) > len(HOSTILE)


def test_the_error_names_node_line_and_directive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(render_module, "_VALUE", re.compile(r"(?s).*\Z"))
    real = context_of

    def injected(of: Topology, name: str) -> Context:
        context = real(of, name)
        return replace(context, listen=("80; } server { listen 81", *context.listen[1:]))

    monkeypatch.setattr(render_module, "context_of", injected)

    with pytest.raises(RenderError) as raised:
        render_release(topology(), "kome")

    text = render_text(injected(topology(), "kome"))
    line = 1 + next(n for n, line in enumerate(text.splitlines()) if "listen 81" in line)
    told = str(raised.value)
    assert told.startswith("node kome: ")
    assert f"line {line} has " in told
    assert "listen" in told


@pytest.mark.parametrize(
    ("template", "file"),
    [
        ("a NEUTRAL;", "a b c;"),
        ("a NEUTRAL;", "a b; c d;"),
        ("a NEUTRAL;", "a { b; }"),
        ("a NEUTRAL;", "b b;"),
        ("a NEUTRAL;", ""),
        ("a { b NEUTRAL; }", "a { } b x;"),
        ("a { b NEUTRAL; }", "a { b x; b y; }"),
        ("a { b NEUTRAL; }", "a { b x; } c { }"),
        ("a { b NEUTRAL; }", "c { b x; }"),
        ("a { b NEUTRAL; }", "a d { b x; }"),
        ("a zone=NEUTRAL:10m;", "a zone=x:20m;"),
        ("a off;", "a on;"),
        ("a NEUTRAL;", "a b; }"),
        ("a { b NEUTRAL; }", "a { b x;"),
    ],
)
def test_another_tree_is_refused(template: str, file: str) -> None:
    with pytest.raises(RenderError, match="node n: "):
        check_shape(file, template, "n")


@pytest.mark.parametrize(
    ("template", "file"),
    [
        ("a NEUTRAL;", "a b;"),
        ("NEUTRAL 1;", "10.0.0.0/8 1;"),
        ("a zone=NEUTRAL:10m rate=NEUTRALr/s;", "a zone=z:10m rate=1r/s;"),
        ("# NEUTRAL\na { b 'x y'; }", "# kome\na { b 'x y'; }"),
    ],
)
def test_the_same_tree_with_other_words_is_taken(template: str, file: str) -> None:
    check_shape(file, template, "n")


def test_a_file_is_read_once_however_often_it_is_rendered(monkeypatch: pytest.MonkeyPatch) -> None:
    read = []

    def counted(text: str) -> Block:
        read.append(text)
        return parse_conf(text)

    monkeypatch.setattr(shape_module, "parse_conf", counted)
    of = topology(fleet="read-once", lan=["172.31.5.0/24"])

    for _ in range(3):
        render_release(of, "node-03")

    assert len(read) <= 2
