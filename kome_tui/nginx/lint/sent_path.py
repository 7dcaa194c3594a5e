"""Which path an upstream is asked for: a prefix taken off, a rewrite, a path after proxy_pass.

`location /ollama/ { proxy_pass http://node:11434/; }` hands /ollama/api/chat on as /api/chat.
"""

import re
from collections.abc import Callable, Iterator

from kome_tui.nginx.conf_tree import Block, matched
from kome_tui.nginx.lint.route import rewritten
from kome_tui.nginx.lint.stream_paths import FILE_WORDS, SAMPLES, is_stream
from kome_tui.nginx.lint.values import path_of
from kome_tui.nginx.regex import compiled

_LITERAL = re.compile(r"\^?([\w/.-]*)")


def sends_streams(location: Block, answers: Callable[[str], bool]) -> bool:
    """Whether a location asks its upstream for a stream under another path than its client used.

    `answers` says whether the location answers a path.
    """
    modifier, uri = matched(location)
    if location.head.name != "location" or uri.rstrip("/").rpartition("/")[2] in FILE_WORDS:
        return False
    for path in _candidates(modifier, uri, _path_after_pass(location)):
        sent = sent_path(location, path)
        if sent is None or sent == path:
            continue
        if (sent in SAMPLES or (path == uri and is_stream(sent))) and answers(path):
            return True
    return False


def sent_path(location: Block, path: str) -> str | None:
    """What the upstream is asked for when a client asks for `path`, or None where it is not known.

    nginx ngx_http_proxy_create_request: the part that the location matched becomes the path after
    proxy_pass, and after a rewrite with `break` that path is not used.
    """
    modifier, uri = matched(location)
    moved, way = rewritten(location, path)
    if way != "stays":
        return None
    if moved != path:
        return moved
    after = _path_after_pass(location)
    if after is None:
        return path
    if "$" in after:
        return _filled(after, modifier, uri, path)
    if modifier not in ("", "^~", "=") or not path.startswith(uri):
        return after
    return after + path[len(uri) :]


def _path_after_pass(location: Block) -> str | None:
    line = location.all("proxy_pass")[-1]
    return path_of(line.args[0]) if line.args else None


def _candidates(modifier: str, uri: str, after: str | None) -> Iterator[str]:
    """Paths of a client that may reach the upstream as a stream's."""
    if modifier in ("~", "~*"):
        literal = _LITERAL.match(uri)
        uri = literal[1] if literal else ""
    for sample in SAMPLES:
        if modifier != "=":
            yield uri.rstrip("/") + sample
        if after is not None and sample.startswith(after) and modifier in ("", "^~"):
            yield uri + sample[len(after) :]
    if modifier in ("", "=", "^~"):
        yield uri


def _filled(after: str, modifier: str, pattern: str, path: str) -> str | None:
    """A path after proxy_pass with what its variables hold, or None where that is not known."""
    expression = compiled(pattern, modifier == "~*") if modifier in ("~", "~*") else None
    match = expression.search(path) if expression is not None else None
    bare = after.replace("$is_args", "").replace("$args", "").partition("?")[0]
    bare = bare.replace("$request_uri", path).replace("$uri", path)
    for number in range(1, min(9, len(match.groups()) if match else 0) + 1):
        assert match is not None
        bare = bare.replace(f"${number}", match[number] or "")
    return None if "$" in bare else bare
