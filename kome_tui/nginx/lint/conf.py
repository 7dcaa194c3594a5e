"""One configuration as the rules see it: who streams, who caches, which group is behind whom."""

import re
from collections.abc import Callable, Iterator
from functools import cached_property

from kome_tui.nginx.conf_tree import Block, Directive, matched, serving
from kome_tui.nginx.lint.read import Problem, Reading
from kome_tui.nginx.lint.route import Rivals, answering, named, redirects
from kome_tui.nginx.lint.sent_path import sends_streams, sent_path
from kome_tui.nginx.lint.stream_paths import HEALTH, PAGES, SAMPLES, is_plain, is_stream
from kome_tui.nginx.lint.values import host_of, is_address, variables
from kome_tui.nginx.regex import compiled

OTHER_MODULES = ("fastcgi", "uwsgi", "scgi")
"""Modules with buffering, cache and timeouts like the proxy's; grpc_pass buffers nothing."""


class Conf:
    """A configuration that was read; everything is worked out once, when a rule asks."""

    def __init__(self, reading: Reading) -> None:
        self.tree: Block = reading.tree
        self.problems: tuple[Problem, ...] = reading.problems
        self._rivals: dict[Block, Rivals] = {}
        self._named: dict[tuple[Block, str], list[Block]] = {}

    @cached_property
    def is_main(self) -> bool:
        """Whether this is a whole configuration, not a part such as conf.d/site.conf."""
        return bool(self.tree.inner("events"))

    @cached_property
    def blocks(self) -> list[Block]:
        """Every block, the file first."""
        return list(self.tree.walk())

    def everywhere(self, *names: str) -> Iterator[Directive]:
        """Every directive called so, wherever it stands."""
        for block in self.blocks:
            yield from (line for line in block.own if line.name in names)

    @cached_property
    def servers(self) -> list[Block]:
        """Every HTTP server; a part that holds locations alone is read as one."""
        levels = [self.tree, *self.tree.inner("http")]
        found = [server for level in levels for server in level.inner("server")]
        return [*found, self.tree] if self.tree.inner("location") else found

    @cached_property
    def groups(self) -> dict[str, Block]:
        """Upstreams by name."""
        levels = [self.tree, *self.tree.inner("http")]
        every = [group for level in levels for group in level.inner("upstream")]
        return {group.head.args[0]: group for group in every if group.head.args}

    @cached_property
    def maps(self) -> dict[str, Block]:
        """Maps by the variable they make, `$name`."""
        every = [block for block in self.blocks if block.head.name == "map"]
        return {block.head.args[1]: block for block in every if len(block.head.args) > 1}

    def map_values(self, variable: str) -> list[str] | None:
        """What a variable can be, or None where no map says so."""
        made = self.maps.get(variable)
        return None if made is None else [line.args[-1] for line in made.own if line.args]

    def depends_on(self, text: str, wanted: str) -> bool:
        """Whether a word holds the variable `wanted`, or one that a map makes from it."""
        return any(
            name == wanted or (name in self.maps and wanted in self.maps[name].head.args[0])
            for name in variables(text)
        )

    def targets(self, line: Directive) -> list[str]:
        """The named locations (`@page`) an error_page may lead to."""
        last = line.args[-1] if line.args else ""
        if not last.startswith("$"):
            return [last] if last.startswith("@") else []
        return [value for value in self.map_values(last) or () if value.startswith("@")]

    @cached_property
    def server_of(self) -> dict[Block, Block]:
        """The server of each block that proxies."""
        return {
            block: server
            for server in self.servers
            for block in server.walk()
            if block.all("proxy_pass")
        }

    @cached_property
    def proxying(self) -> list[Block]:
        """Every block of a server that proxies: a location, or `if` or `limit_except` in one."""
        return list(self.server_of)

    @cached_property
    def streams(self) -> dict[Block, None]:
        """Those of `proxying` that may answer with a stream."""
        found = self._answering(SAMPLES)
        for block in self.proxying:
            modifier, uri = matched(block) if block.head.name == "location" else ("?", "")
            if modifier in ("", "=", "^~") and is_stream(uri):
                if not is_plain(sent_path(block, uri) or ""):
                    found[block] = None
            elif block not in found and sends_streams(block, self._answers(block)):
                found[block] = None
        return {block: None for block in self.proxying if block in found}

    @cached_property
    def other_streams(self) -> dict[Block, str]:
        """Locations that may answer with a stream of another protocol, with its module's name.

        Asked by path alone: what try_files leads to is a PHP application's, hardly a stream.
        """
        found: dict[Block, str] = {}
        for server in self.servers:
            asked = {serving(server, path) for path in SAMPLES}
            for block in server.walk():
                module = next((name for name in OTHER_MODULES if block.all(f"{name}_pass")), None)
                modifier, uri = matched(block) if block.head.name == "location" else ("?", "")
                named = modifier in ("", "=", "^~") and is_stream(uri)
                if module is not None and (block in asked or named):
                    found[block] = module
        return found

    @cached_property
    def health(self) -> list[Block]:
        """Those of `proxying` that answer a health check."""
        found = self._answering(HEALTH)
        return [block for block in self.proxying if block in found]

    @cached_property
    def pages(self) -> list[Block]:
        """Every block that answers with the page: a folder's is looked up as its index."""
        found = self._answering(PAGES)
        by_name = self._answering(PAGES[1:])
        return [block for block in found if block in by_name or not hands_on_index(block)]

    @cached_property
    def caching(self) -> list[Block]:
        """Those of `proxying` that cache."""
        return [block for block in self.proxying if caches(block)]

    def _answers(self, block: Block) -> Callable[[str], bool]:
        server = self.server_of[block]
        if server not in self._rivals:
            self._rivals[server] = Rivals(server)
        rivals = self._rivals[server]
        return lambda path: (
            rivals.leave(block, path) or block in answering(server, path, self._ways_on)
        )

    def _answering(self, paths: tuple[str, ...]) -> dict[Block, None]:
        return {
            block: None
            for server in self.servers
            for path in paths
            for block in answering(server, path, self._ways_on)
        }

    def _ways_on(self, server: Block, line: Directive) -> Iterator[Block]:
        # what lets only GET and HEAD in gets no prompt
        return (at for at in self.led_to(server, line) if not self.refuses_methods(at))

    def led_to(self, server: Block, line: Directive) -> list[Block]:
        """The named locations of `server` that an error_page may lead to."""
        found: list[Block] = []
        for name in self.targets(line):
            if (server, name) not in self._named:
                self._named[server, name] = named(server, name)
            found += self._named[server, name]
        return found

    def refuses_methods(self, block: Block) -> bool:
        """Whether a location turns requests away by their method."""
        if block.inner("limit_except"):
            return True
        return any(
            self.depends_on(" ".join(branch.head.args), "$request_method") and branch.all("return")
            for branch in block.inner("if")
        )

    def group_of(self, block: Block) -> Block | None:
        """The upstream that `block` proxies to, where it is one of this configuration."""
        return self.groups.get(_host(block))

    def may_repeat(self, block: Block) -> bool:
        """Whether nginx may send a request of `block` again.

        With one address it does only on a connection that was kept (ngx_http_upstream_next: the
        try is given back when a cached connection fails).
        """
        group = self.group_of(block)
        return not self.has_one_server(block) or (group is not None and keeps(group))

    def has_one_server(self, block: Block) -> bool:
        """Whether there is just one address behind `block`."""
        group = self.group_of(block)
        if group is None:
            return is_address(_host(block))
        return has_one_address(group)


def caches(block: Block) -> bool:
    """Whether answers are kept."""
    return block.value("proxy_cache", "off") != "off"


def has_one_address(group: Block) -> bool:
    """Whether an upstream is one address that is asked: a name may stand for many."""
    servers = group.all("server")
    asked = len(servers) == 1 and "down" not in servers[0].args
    return asked and all(is_address(host) for host in hosts(servers))


def keeps(group: Block) -> bool:
    """Whether an upstream keeps connections open."""
    return any(line.args[:1] not in ((), ("0",)) for line in group.all("keepalive"))


def hosts(servers: list[Directive]) -> list[str]:
    """The addresses of an upstream's lines."""
    return [line.args[0] for line in servers if line.args]


def only_returns(block: Block) -> bool:
    """Whether a level answers by `return` or a redirect alone."""
    return answers_all(block) is not None


def answers_all(block: Block) -> Directive | None:
    """The `return`, or the rewrite that redirects, by which a level answers every request.

    None where a `break`, or a rewrite, before it may lead on.
    """
    for line in block.own:
        if line.name == "return" or (line.name == "rewrite" and _redirects_all(block, line)):
            return line
        if line.name == "break" or (
            line.name == "rewrite" and len(line.args) > 2 and not redirects(line)
        ):
            return None
    return None


def _redirects_all(block: Block, rewrite: Directive) -> bool:
    expression = compiled(rewrite.args[0]) if rewrite.args and redirects(rewrite) else None
    modifier, uri = matched(block) if block.head.name == "location" else ("", "/")
    exact = modifier == "="
    paths = [uri] if exact else [uri, f"{uri}a/b"] if modifier in ("", "^~") else ["/", "/a/b"]
    return expression is not None and all(expression.search(path) for path in paths)


def hands_on_index(block: Block) -> bool:
    """Whether a location of files answers `/` by another request, for its index.

    nginx ngx_http_index_handler and the last word of try_files redirect internally.
    """
    if any(line.name.endswith("_pass") or line.name == "return" for line in block.own):
        return False
    tried = [word for line in block.all("try_files")[-1:] for word in line.args[:-1]]
    is_default = block.value("index", "index.html") == "index.html"
    return is_default and not any(word.endswith(".html") for word in tried)


def path_words(block: Block) -> set[str]:
    """The words in a location's path or expression."""
    return set(re.findall(r"[A-Za-z0-9_.-]+", block.head.args[-1] if block.head.args else ""))


def _host(block: Block) -> str:
    line = block.all("proxy_pass")[-1]
    # a variable after the name is a path: http://draft$rest
    return host_of(line.args[0] if line.args else "").partition("$")[0]
