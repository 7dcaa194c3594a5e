"""Rules about locations that answer with streams: the golden rule, and WebSocket."""

from collections.abc import Iterator

from kome_tui.nginx.conf_tree import Block, matched
from kome_tui.nginx.lint.conf import Conf, caches, path_words
from kome_tui.nginx.lint.rule import Rule, Suspect
from kome_tui.nginx.lint.stream_paths import WEBSOCKET_WORDS
from kome_tui.nginx.lint.values import at, seconds, sent_header, variables, words

_LONGEST_SILENCE_S = 600
"""A long prompt is read for minutes before its first token."""

_STREAM_TYPES = {"*", "text/event-stream", "application/x-ndjson"}


def _buffers(conf: Conf, block: Block) -> bool:
    """A value that nginx refuses is for the rule `value`; after a 101 nginx holds nothing back."""
    return block.value("proxy_buffering", "on").lower() == "on" and not _is_websocket(conf, block)


def _is_websocket(conf: Conf, block: Block) -> bool:
    """Whether a location is for WebSocket alone, and is written so that it works."""
    modifier, uri = matched(block) if block.head.name == "location" else ("?", "")
    named = modifier in ("", "=", "^~") and uri.rstrip("/").rpartition("/")[2] in WEBSOCKET_WORDS
    asks = sent_header(block, "upgrade") and block.value("proxy_http_version", "1.0") == "1.1"
    return bool(named and asks) and _can_be_upgrade(conf, sent_header(block, "connection") or "")


def _buffered(conf: Conf) -> Iterator[Suspect]:
    for block in conf.streams:
        if _buffers(conf, block):
            yield at(block, "proxy_buffering"), f"{block.label()} buffers streams"
    for block, module in conf.other_streams.items():
        if block.value(f"{module}_buffering", "on").lower() == "on":
            yield (
                at(block, f"{module}_buffering"),
                f"{block.label()} buffers streams, for want of {module}_buffering off",
            )


def _http10(conf: Conf) -> Iterator[Suspect]:
    for block in conf.streams:
        if block.value("proxy_http_version", "1.0") == "1.0":
            yield at(block, "proxy_http_version"), f"{block.label()} speaks HTTP/1.0 upstream"


def _gzipped(conf: Conf) -> Iterator[Suspect]:
    for block in conf.streams:
        zips = block.value("gzip", "off") == "on" and words(block, "gzip_types") & _STREAM_TYPES
        if zips and _buffers(conf, block):
            yield at(block, "gzip_types"), f"{block.label()} compresses streams and buffers them"


def _cached(conf: Conf) -> Iterator[Suspect]:
    for block in conf.streams:
        if caches(block):
            yield at(block, "proxy_cache"), f"{block.label()} caches API answers"
    for block, module in conf.other_streams.items():
        if block.value(f"{module}_cache", "off") != "off":
            yield (
                at(block, f"{module}_cache"),
                f"{block.label()} caches API answers by {module}_cache",
            )


def _impatient(conf: Conf) -> Iterator[Suspect]:
    for block, module in (dict.fromkeys(conf.streams, "proxy") | conf.other_streams).items():
        word = block.value(f"{module}_read_timeout", "60s")
        timeout_s = seconds(word)
        if timeout_s is not None and timeout_s < _LONGEST_SILENCE_S:
            said = f"{block.label()} gives up after {word} without a byte"
            yield at(block, f"{module}_read_timeout"), said


def _deaf(conf: Conf) -> Iterator[Suspect]:
    for block in conf.streams:
        # where nothing is buffered, all the header could do is switch buffering on
        if _buffers(conf, block) and "x-accel-buffering" in words(block, "proxy_ignore_headers"):
            yield at(block, "proxy_ignore_headers"), f"{block.label()} ignores X-Accel-Buffering"


def _upgrade_dropped(conf: Conf) -> Iterator[Suspect]:
    for block in conf.proxying:
        if block.head.name != "location" or not path_words(block) & WEBSOCKET_WORDS:
            continue
        connection = sent_header(block, "connection") or ""
        if not sent_header(block, "upgrade"):
            yield at(block, "proxy_set_header"), f"{block.label()} sends no Upgrade header"
        elif not _can_be_upgrade(conf, connection):
            said = f'{block.label()} sends Connection "{connection or "close"}", never "upgrade"'
            yield at(block, "proxy_set_header"), said


def _can_be_upgrade(conf: Conf, connection: str) -> bool:
    for name in variables(connection):
        values = conf.map_values(name)
        return values is None or any("upgrade" in value.lower() for value in values)
    return "upgrade" in connection.lower()


RULES = (
    Rule(
        "stream-buffered",
        "error",
        "tokens wait until a buffer is full and then arrive as a clump",
        "proxy_buffering off;",
        "measured: HTTP/1.0 + buffering makes 2 reads of 21 tokens, unbuffered 21",
        _buffered,
    ),
    Rule(
        "stream-http10",
        "error",
        "without chunked coding and keep-alive, a buffering hop holds the whole answer back",
        'proxy_http_version 1.1; proxy_set_header Connection "";',
        "measured; the default before nginx 1.29.7",
        _http10,
    ),
    Rule(
        "stream-gzip",
        "error",
        "a client that offers gzip gets the whole stream at its end",
        "gzip off; in this location, and no text/event-stream or * in gzip_types",
        "measured: gzip + buffering makes 1 read after 2 s; gzip unbuffered streams",
        _gzipped,
    ),
    Rule(
        "stream-cached",
        "error",
        "one user's answer is replayed to the next, in one piece",
        "proxy_cache off;",
        "measured: the second client got all 20 tokens in one read",
        _cached,
    ),
    Rule(
        "stream-timeout",
        "error",
        "a long prompt is read for minutes before the first token, and the client gets a 504",
        "proxy_read_timeout 3600s; (600s at least)",
        "nginx ngx_http_proxy_module: the time between two reads, 60s by default",
        _impatient,
    ),
    Rule(
        "accel-buffering-ignored",
        "error",
        "a server that asks not to be buffered or stored is not heard",
        "take X-Accel-Buffering out of proxy_ignore_headers",
        "measured: the header kept a stream out of the cache and out of the buffers",
        _deaf,
    ),
    Rule(
        "upgrade-dropped",
        "error",
        "the server never sees that the client wants WebSocket, so it cannot answer 101",
        "proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; and Connection from"
        " map $http_upgrade $connection_upgrade { default ''; websocket upgrade; }",
        "nginx.org, WebSocket proxying",
        _upgrade_dropped,
    ),
)
