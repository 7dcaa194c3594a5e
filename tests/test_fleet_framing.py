"""The wire protocol: what is a request, what is an answer, and what is neither."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kome_tui.fleet.framing import (
    DATA_LIMIT,
    LINE_LIMIT,
    AnswerParser,
    Data,
    End,
    Field,
    FramingError,
    Item,
    encode_request,
)

HELLO = b"kome-node 1 status\n"


def parse(answer: bytes, *cuts: int) -> list[Item]:
    parser = AnswerParser("status")
    items: list[Item] = []
    edges = [0, *sorted(cuts), len(answer)]
    for start, end in itertools.pairwise(edges):
        items += parser.feed(answer[start:end])
    return items


def test_a_request_is_one_line_and_its_payload() -> None:
    request = encode_request("stage", {"id": "abc", "size": 3}, b"x\n\0")
    assert request == b"kome/1 stage id=abc size=3\nx\n\0"


@pytest.mark.parametrize("value", ["", "a b", "a\n", "a;b", "$(x)", "é", "x" * 201, "a=b", "a\0"])
def test_a_request_refuses_a_value_outside_the_grammar(value: str) -> None:
    with pytest.raises(ValueError, match="not allowed in a request"):
        encode_request("apply", {"id": value})


@pytest.mark.parametrize("verb", ["", "Stage", "a b", "stage\n"])
def test_a_request_refuses_what_is_no_verb(verb: str) -> None:
    with pytest.raises(ValueError, match="not a verb"):
        encode_request(verb, {})


def test_an_answer_gives_fields_data_and_end() -> None:
    items = parse(HELLO + b"live abc\nlast\ndata conf 7 3 5\na\nb\nc\nend ok\n")
    assert items == [
        Field("live", "abc"),
        Field("last", ""),
        Data("conf", 7, 3, b"a\nb\nc"),
        End("ok", ""),
    ]


def test_empty_data_is_data() -> None:
    assert parse(HELLO + b"data log 1 0 0\n\nend ok\n")[0] == Data("log", 1, 0, b"")


def test_text_from_a_node_is_cleaned() -> None:
    items = parse(HELLO + b"last \x1b[2J\xff\nend failed \x9b2J\n")
    assert items == [Field("last", "\\x1b[2J\\xff"), End("failed", "\\x9b2J")]


@pytest.mark.parametrize(
    "answer",
    [
        b"hello\n",
        b"kome-node 2 status\n",
        b"kome-node 1 apply\n",
        b"kome-node 1 status \n",
        HELLO + b"\n",
        HELLO + b"Live abc\n",
        HELLO + b"live\tabc\n",
        HELLO + b"\xff\xfe x\n",
        HELLO + b"end\n",
        HELLO + b"end OK\n",
        HELLO + b"end ok\nmore",
        HELLO + b"end ok\n\n",
        HELLO + b"data conf 0 0\n",
        HELLO + b"data conf 0 0 x\n",
        HELLO + b"data conf 0 -1 3\n",
        HELLO + b"data conf 0 0 3 \n",
        HELLO + b"data CONF 0 0 3\n",
        HELLO + f"data conf 0 0 {DATA_LIMIT + 1}\n".encode(),
        HELLO + b"data conf 0 0 3\nabcd\n",
        HELLO + b"x" * (LINE_LIMIT + 1),
        b"x" * (LINE_LIMIT + 1),
    ],
)
def test_anything_else_is_a_framing_error(answer: bytes) -> None:
    with pytest.raises(FramingError) as caught:
        parse(answer)
    assert str(caught.value).isprintable()


keys = st.from_regex(r"[a-z_]{1,12}", fullmatch=True).filter(lambda key: key not in ("end", "data"))
values = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30)
items_of_an_answer = st.lists(
    st.one_of(
        st.builds(Field, keys, values),
        st.builds(
            Data, keys, st.integers(0, 2**40), st.integers(0, 2**40), st.binary(max_size=200)
        ),
    ),
    max_size=8,
)


def encode(items: list[Field | Data]) -> bytes:
    out = HELLO
    for item in items:
        if isinstance(item, Field):
            out += f"{item.key} {item.value}\n".encode()
        else:
            header = f"data {item.key} {item.inode} {item.offset} {len(item.content)}\n"
            out += header.encode() + item.content + b"\n"
    return out + b"end ok\n"


@given(items_of_an_answer, st.data())
def test_the_result_does_not_depend_on_how_the_bytes_were_cut(
    items: list[Field | Data], data: st.DataObject
) -> None:
    answer = encode(items)
    cuts = data.draw(st.lists(st.integers(0, len(answer)), max_size=12))
    assert parse(answer, *cuts) == [*items, End("ok", "")]


@given(st.binary(max_size=300), st.booleans())
def test_any_bytes_give_items_or_a_framing_error(noise: bytes, greeted: bool) -> None:
    parser = AnswerParser("status")
    try:
        for byte in (HELLO if greeted else b"") + noise:
            for item in parser.feed(bytes([byte])):
                if isinstance(item, Field):
                    assert item.value.isprintable() or item.value == ""
    except FramingError as error:
        assert str(error).isprintable()  # noqa: PT017 - an error is one of the two right ends
