"""topology.yaml, loaded: a typed Topology, or every problem at once with its line.

Nothing gets past parse() that the grammars do not allow, whatever the bytes, and nothing but
TopologyError comes out of it.
"""

from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from kome_tui.errors import KomeError, Problem, TopologyError
from kome_tui.text import clean
from kome_tui.topology.broken import Intact
from kome_tui.topology.document import MAX_BYTES, MAX_PROBLEMS, Document, Keys, Value, read
from kome_tui.topology.explain import explain
from kome_tui.topology.model import Topology
from kome_tui.topology.rules import broken_rules

_PACKAGE = Path(__file__).resolve().parent.parent

# In place of a section that is wrong or missing, while the rules look at the others.
_STAND_INS: dict[str, Value] = {
    "lan": ["127.0.0.0/8"],
    "upstreams": {
        name: {"address": "127.0.0.1", "port": "1"}
        for name in ("okome", "vllm", "ollama", "tf-rest", "tf-grpc", "redis")
    },
    "nodes": {},
}


def load(path: Path) -> Topology:
    """The topology in the file at `path`. Raises TopologyError with every problem."""
    name = clean(str(path))
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        reason = clean(error.strerror or "no reason given")
        raise _only_problem(name, f"cannot be read: {reason}") from error
    except ValueError as error:  # a path with a NUL in it
        raise _only_problem(name, "cannot be read: this is not the name of a file") from error
    return parse(raw, name)


def parse(text: bytes, name: str) -> Topology:
    """The topology in `text`; `name` stands in the problems. Raises TopologyError."""
    try:
        return _parse(text, name)
    except (RecursionError, MemoryError) as error:
        raise _only_problem(name, "the file is too large or nested too deeply") from error
    except (ValueError, OSError) as error:
        raise _only_problem(name, "cannot be read; allowed is a topology") from error


def packaged_file(relative: str) -> Path:
    """A file that comes with the program: `topology.yaml`, or one below `templates`.

    In an installed package these are in kome_tui/data/, in a checkout at its top. Raises KomeError
    where the file is missing.
    """
    return _packaged(relative, _PACKAGE)


def _packaged(relative: str, package: Path) -> Path:
    installed = package / "data"
    path = (installed if installed.is_dir() else package.parent) / relative
    if not path.exists():
        raise KomeError(f"{relative} is missing", where="kome-tui", hint="install it again")
    return path


def _parse(text: bytes, name: str) -> Topology:
    document = read(text, name)
    topology, errors = _validated(document.value)
    for error in errors[:MAX_PROBLEMS]:
        document.note(*explain(error, document))
    document.unnamed += len(errors[MAX_PROBLEMS:])
    if topology is None:
        _check_rest(document, errors)
    else:
        _check_rules(topology, Intact(frozenset(map(_section, document.repeated))), document)
    if topology is None or document.problems:
        raise document.error()
    return topology


def _validated(value: Value) -> tuple[Topology | None, Sequence[ErrorDetails]]:
    try:
        return Topology.model_validate(value), ()
    except ValidationError as error:
        return None, error.errors(include_url=False)


def _check_rest(document: Document, errors: Sequence[ErrorDetails]) -> None:
    """Checks the rules on what is left without the sections and nodes that are wrong."""
    if not isinstance(document.value, dict):
        return
    paths = (*(error["loc"] for error in errors), *document.repeated)
    damaged = frozenset(map(_section, paths))
    rest = _STAND_INS | {key: part for key, part in document.value.items() if (key,) not in damaged}
    if isinstance(nodes := rest["nodes"], dict):
        rest["nodes"] = {
            name: node for name, node in nodes.items() if ("nodes", name) not in damaged
        }
    topology, _ = _validated(rest)
    if topology is not None:
        _check_rules(topology, Intact(damaged), document)


def _check_rules(topology: Topology, intact: Intact, document: Document) -> None:
    for broken in broken_rules(topology, intact):
        place = document.at_value(broken.path)
        document.note(place, broken.path, broken.message)


def _section(path: Keys) -> Keys:
    """The part of the file that a wrong value spoils: one node, or one section."""
    return path[:2] if path[:1] == ("nodes",) else path[:1]


def _only_problem(name: str, message: str) -> TopologyError:
    return TopologyError((Problem(name, 1, 1, "", message),))
