"""A broken rule, and which parts of a file are sound enough to be judged."""

from dataclasses import dataclass

from kome_tui.topology.document import Keys


@dataclass(frozen=True, slots=True)
class Broken:
    """A broken rule: the path of the value to mend, and the sentence."""

    path: Keys
    message: str


@dataclass(frozen=True, slots=True)
class Intact:
    """Which parts of the file are valid: all but `damaged` (sections, and single nodes)."""

    damaged: frozenset[Keys] = frozenset()

    def section(self, name: str) -> bool:
        """Whether nothing is wrong in the section, with all that is in it."""
        return all(path[0] != name for path in self.damaged)

    def node(self, name: str) -> bool:
        """Whether nothing is wrong with this node."""
        return not self.damaged & {("nodes",), ("nodes", name)}
