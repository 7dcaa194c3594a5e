"""The error tree. Every leaf says what failed, where, and what to try; str(error) is one line.

Foreign exceptions are translated here once, where foreign code is called, with `from error`. Text
that came from outside is cleaned (text.clean) before it gets into an error.
"""

from dataclasses import dataclass


class KomeError(Exception):
    """Anything this program reports to the operator instead of a traceback."""

    exit_code = 1

    def __init__(self, what: str, *, where: str = "", hint: str = "") -> None:
        self.what = what
        self.where = where
        self.hint = hint
        super().__init__(what)

    def __str__(self) -> str:
        return f"{self.where}: {self.words}" if self.where else self.words

    @property
    def words(self) -> str:
        """The line without the place, for where that stands already."""
        return f"{self.what}; {self.hint}" if self.hint else self.what


def bug_line(error: BaseException) -> str:
    """The line for an error that nobody has foreseen."""
    return f"a bug in kome-tui: {type(error).__name__}: {error} (KOME_DEBUG=1 shows where)"


class UsageError(KomeError):
    """The command was called wrongly."""

    exit_code = 2


class RefusedError(KomeError):
    """A change was refused, or needs a yes that nobody gave."""

    exit_code = 3


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with topology.yaml: where (1-based), the path of the value, and what."""

    file: str
    line: int
    column: int
    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.message}"


class TopologyError(KomeError):
    """topology.yaml cannot be used. Carries every problem at once."""

    exit_code = 2

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        self.problems = problems
        super().__init__("\n".join(str(problem) for problem in problems))


class RenderError(KomeError):
    """A configuration could not be rendered from a valid topology."""


class FleetError(KomeError):
    """A node could not be asked. `node` is its name in the topology."""

    def __init__(self, node: str, what: str, *, hint: str = "") -> None:
        self.node = node
        super().__init__(what, where=node, hint=hint)


class SshUnreachable(FleetError):
    """No SSH connection: refused, timed out, no route, or lost."""


class SshAuthFailed(FleetError):
    """The node did not accept any of our keys."""


class HostKeyUnknown(FleetError):
    """The node's host key is in no known_hosts file. Carries key type and SHA256 fingerprint."""

    def __init__(self, node: str, key_type: str, fingerprint: str, *, hint: str = "") -> None:
        self.key_type = key_type
        self.fingerprint = fingerprint
        super().__init__(node, f"its host key is not known ({key_type} {fingerprint})", hint=hint)


class HostKeyChanged(FleetError):
    """The node shows another host key than the one on record."""

    def __init__(self, node: str, expected: str, seen: str, *, hint: str = "") -> None:
        self.expected = expected
        self.seen = seen
        super().__init__(
            node, f"its host key has changed (recorded {expected}, shown {seen})", hint=hint
        )


class NoSshClient(KomeError):
    """There is no `ssh` program on the operator's machine."""


class ForwardForbidden(FleetError):
    """The node's SSH server opens no TCP connection for us; this says nothing of the target."""


class ForwardFailed(FleetError):
    """The node tried to reach `target` and could not; `reason` is its own (cleaned) word."""

    def __init__(self, node: str, target: str, reason: str) -> None:
        self.target = target
        self.reason = reason
        super().__init__(node, f"cannot reach {target}: {reason}")


class NotSetUp(FleetError):
    """The node answers SSH but has no kome-node script, or may not run it."""


class NodeTimeout(FleetError):
    """The node did not finish in time. The outcome of what it was doing is not known."""


class NodeBusy(FleetError):
    """Another push holds the node's lock. `holder` says who, since when."""

    def __init__(self, node: str, holder: str) -> None:
        self.holder = holder
        super().__init__(node, f"busy: {holder}", hint="wait for it to end, then try again")


class NodeRefused(FleetError):
    """The node answered and refused; `reason` is the node's own (cleaned) word.

    `failed`: it had begun, and could not finish. Something may still be under way there.
    """

    def __init__(self, node: str, verb: str, reason: str, *, failed: bool = False) -> None:
        self.verb = verb
        self.reason = reason
        self.failed = failed
        super().__init__(node, f"{verb} refused: {reason}")


class ProtocolError(FleetError):
    """The node's answer does not follow the protocol."""


class LabError(KomeError):
    """The practice fleet could not be started, broken or healed."""
