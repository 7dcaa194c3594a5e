"""Words of a configuration as values: times, headers, addresses, hosts, variables."""

import ipaddress
import re

from kome_tui.nginx.conf_tree import Block, Directive

_TIME = re.compile(r"(\d+)(ms|[smhdwMy]?)")
_IN_SECONDS = {
    "ms": 0.001,
    "": 1,
    "s": 1,
    "m": 60,
    "h": 3600,
    "d": 86400,
    "w": 7 * 86400,
    "M": 30 * 86400,
    "y": 365 * 86400,
}


def seconds(word: str) -> float | None:
    """The seconds in `1h30m`, or None where `word` is no time (a variable, say)."""
    bare = word.replace(" ", "")
    parts = _TIME.findall(bare)
    if not parts or "".join(number + unit for number, unit in parts) != bare:
        return None
    # as far as a float goes: nobody waits longer
    return float(sum(int(number[:15]) * _IN_SECONDS[unit] for number, unit in parts))


def at(block: Block, name: str) -> Directive:
    """Where to point for a setting of `block`: its own line, else the block's head."""
    own = block.all(name)
    return own[-1] if own else block.head


def title(header: Directive) -> str:
    """The header a line is about, in lower case: names of headers have no case."""
    return header.args[0].lower() if header.args else ""


def sent_header(block: Block, name: str) -> str | None:
    """What `block` sends upstream as the header `name`, or None where nothing is said."""
    found = [line for line in block.nearest("proxy_set_header") if title(line) == name]
    return found[-1].args[1] if found and len(found[-1].args) > 1 else None


def words(block: Block, name: str) -> set[str]:
    """All words after `name` where it holds in `block`, in lower case."""
    return {word.lower() for line in block.nearest(name) for word in line.args}


def option(line: Directive, name: str) -> str | None:
    """The value of `name=value` among the words of a line."""
    found = [arg.partition("=")[2] for arg in line.args if arg.startswith(f"{name}=")]
    return found[-1] if found else None


def host_of(url: str) -> str:
    """`host:port` of what stands after proxy_pass."""
    after = url.partition("://")[2] if "://" in url else url
    return after if after.startswith("unix:") else after.partition("/")[0].partition("?")[0]


def path_of(url: str) -> str | None:
    """The path in what stands after proxy_pass, or None where there is none."""
    after = url.partition("://")[2] if "://" in url else url
    if after.startswith("unix:"):
        return after.removeprefix("unix:").partition(":")[2] or None
    _, slash, path = after.partition("/")
    return slash + path if slash else None


def is_address(host: str) -> bool:
    """Whether `host` (a port may follow) is an address or a socket, and not a name."""
    if host.startswith("unix:"):
        return True
    bare = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    try:
        ipaddress.ip_address(bare)
    except ValueError:
        return False
    return True


def variables(text: str) -> list[str]:
    """The variables in a word, as `$name`."""
    return [f"${name}" for name in re.findall(r"\$\{?(\w+)", text)]
