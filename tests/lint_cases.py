"""The cases of tests/cases/lint/RULE/: files and folders called fires* and quiet*.

A folder's main file is its nginx.conf. Lines that a finding must name end in `# here`.
"""

from dataclasses import dataclass
from pathlib import Path

from kome_tui.nginx.lint import RULES

FOLDER = Path(__file__).parent / "cases" / "lint"
MARK = "# here"


@dataclass(frozen=True, slots=True)
class Case:
    """One case of one rule."""

    rule: str
    path: Path

    @property
    def conf(self) -> Path:
        """The file to judge."""
        return self.path / "nginx.conf" if self.path.is_dir() else self.path

    @property
    def marked(self) -> set[tuple[str, int]]:
        """File and line of every mark."""
        files = self.path.rglob("*.conf") if self.path.is_dir() else [self.path]
        return {
            (str(file), number)
            for file in files
            for number, line in enumerate(file.read_text().splitlines(), 1)
            if line.rstrip().endswith(MARK)
        }

    def __str__(self) -> str:
        return f"{self.rule}/{self.path.name}"


def cases() -> list[Case]:
    """Every case. Raises where a rule has none of a kind, and for a case of no rule or kind."""
    names = sorted(rule.code for rule in RULES)
    found = sorted(path.name for path in FOLDER.iterdir())
    if found != names:
        raise AssertionError(f"a case for each rule and no other: {set(found) ^ set(names)}")
    every = [Case(name, path) for name in names for path in sorted((FOLDER / name).iterdir())]
    for name in names:
        kinds = {kind_of(case) for case in every if case.rule == name}
        if kinds != {"fires", "quiet"}:
            raise AssertionError(f"{name} needs a case that fires and one that stays quiet")
    for case in every:
        if bool(case.marked) != (kind_of(case) == "fires"):
            raise AssertionError(f"{case}: {MARK!r} marks the lines of a firing case, and no other")
    return every


def kind_of(case: Case) -> str:
    """`fires` or `quiet`."""
    kind = case.path.name.partition("-")[0].removesuffix(".conf")
    if kind not in ("fires", "quiet"):
        raise AssertionError(f"{case} is neither fires nor quiet")
    return kind
