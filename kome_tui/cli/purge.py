"""purge on the command line: empty a node's cache, or take one path out of it."""

from kome_tui.cli.options import Options, chosen
from kome_tui.cli.output import ask, is_interactive, show
from kome_tui.errors import RefusedError, UsageError
from kome_tui.fleet.fleet import Fleet
from kome_tui.text import clean

LONGEST_PATH = 4096


def purge(options: Options, node: str, path: str | None, yes: bool) -> int:
    """Purge one node. Asks before it empties a whole cache; one path is asked for by naming it."""
    options.refuse_if_read_only()
    if path is not None and not _is_request_target(path):
        raise UsageError(
            f"{clean(path, 60)!r} is no path of a request",
            hint="it begins with /, and has neither spaces nor control characters",
        )
    topology, _ = options.load(touches_network=True)
    (name,) = chosen(topology, [node])
    if path is None and not yes:
        if not is_interactive():
            raise RefusedError("refused: emptying a cache asks first", hint="add --yes")
        question = f"Empty the cache of {name}? OKOME then gets every request until it has filled"
        if not ask(question):
            raise RefusedError("nothing was changed")
    with Fleet(topology, options.ssh_config) as fleet:
        removed = fleet.admin(name).purge(path)
    what = clean(path, 200) if path is not None else "the whole cache"
    show(f"{name}: {what}: {removed} {'file' if removed == 1 else 'files'} removed")
    return 0


def _is_request_target(path: str) -> bool:
    return (
        path.startswith("/")
        and len(path) <= LONGEST_PATH
        and path.isascii()
        and all(32 < ord(char) < 127 for char in path)
    )
