"""Reads a configuration with all that it includes, as nginx would, within limits.

A relative include is looked for beside the main configuration file, wherever it stands. What keeps
a part from being read is a Problem at the line that asked for it.
"""

import glob
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from kome_tui.nginx.conf_tree import Block, Directive, Unreadable, fill

MAX_FILES = 1000
"""Included files, each counted as often as it is included."""

MAX_BYTES = 4 * 1024 * 1024
"""All files together. nginx.conf and all of a distribution's parts are 30 KB."""

MAX_INCLUDES_DEEP = 16

Trouble = Literal["syntax", "include-missing", "include-loop", "too-large"]

_MAIN_FILE = re.compile(r"^\s*(?:events|http)\s*\{", re.MULTILINE)
_MAIN_FILE_IS_UP = 3
"""How many folders above conf.d/site.conf or sites-enabled/site the main file may be."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that could not be read: which trouble, where, and what is there."""

    trouble: Trouble
    at: Directive
    what: str


@dataclass(frozen=True, slots=True)
class Reading:
    """The tree, includes in their place, and what is missing from it."""

    tree: Block
    problems: tuple[Problem, ...]

    @property
    def is_whole(self) -> bool:
        """Whether all that was there has its structure."""
        return not any(problem.trouble in ("syntax", "too-large") for problem in self.problems)


def read_text(conf: str, name: str) -> Reading:
    """Return the reading of one text, called `name`; touches no file, follows no include."""
    reader = _Reader(name, None)
    reader.fill(reader.tree, conf.encode("utf-8", "replace"), name, reader.tree.head)
    return reader.reading()


def read_file(path: Path) -> Reading:
    """Return the reading of `path` and all it includes. Raises OSError if `path` can't be read."""
    raw = _first_bytes(path, MAX_BYTES + 1)
    text = raw.decode("utf-8", "replace")
    reader = _Reader(str(path), _folder_of_main(path, text))
    reader.open_now.append(str(path.resolve()))
    reader.fill(reader.tree, raw, str(path), reader.tree.head)
    return reader.reading()


@dataclass(slots=True)
class _Reader:
    """One reading as it grows."""

    name: str
    folder: Path | None
    """Where relative includes are; None follows no include."""
    tree: Block = field(init=False)
    problems: dict[Problem, None] = field(default_factory=dict)
    open_now: list[str] = field(default_factory=list)
    files: int = 0
    size: int = 0

    def __post_init__(self) -> None:
        self.tree = Block(Directive("file", (), 1, self.name), None)

    def reading(self) -> Reading:
        return Reading(self.tree, tuple(self.problems))

    def trouble(self, trouble: Trouble, at: Directive, what: str) -> None:
        self.problems[Problem(trouble, at, what)] = None

    def fill(self, block: Block, raw: bytes, file: str, asked: Directive) -> None:
        self.size += len(raw)
        if self.size > MAX_BYTES:
            limit = f"more than {MAX_BYTES // 1024 // 1024} MiB with this"
            self.trouble("too-large", asked, limit)
            return
        if b"\0" in raw:
            here = Directive("file", (), raw[: raw.index(b"\0")].count(b"\n") + 1, file)
            self.trouble("syntax", here, "a zero byte, so this is no text")
            return
        try:
            follow = None if self.folder is None else self.include
            fill(block, raw.decode("utf-8", "replace"), file, follow)
        except Unreadable as error:
            self.trouble("syntax", Directive("file", (), error.line, file), str(error))

    def include(self, block: Block, asked: Directive) -> None:
        assert self.folder is not None
        if not asked.args or "\0" in asked.args[0]:
            self.trouble("include-missing", asked, "include names no file")
            return
        names = [asked.args[0]]
        if any(char in names[0] for char in "*?["):  # nginx's own test
            names = sorted(glob.glob(names[0], root_dir=self.folder))  # noqa: PTH207 absolute too
        elif _is_of_another_machine(Path(names[0])):
            return
        for name in names:
            self.one(block, asked, self.folder / name)

    def one(self, block: Block, asked: Directive, path: Path) -> None:
        real = str(path.resolve())
        if real in self.open_now:
            self.trouble("include-loop", asked, f"{path} includes itself in the end")
        elif self.files >= MAX_FILES or len(self.open_now) > MAX_INCLUDES_DEEP:
            limit = f"more than {MAX_FILES} included files, or {MAX_INCLUDES_DEEP} in each other"
            self.trouble("too-large", asked, limit)
        else:
            self.files += 1
            try:
                if not path.is_file():
                    kind = "is a folder" if path.is_dir() else "is not there"
                    self.trouble("include-missing", asked, f"{path} {kind}")
                    return
                raw = _first_bytes(path, MAX_BYTES + 1)
            except OSError as error:
                self.trouble("include-missing", asked, f"{path}: {error.strerror}")
                return
            self.open_now.append(real)
            self.fill(block, raw, str(path), asked)
            self.open_now.pop()


def _first_bytes(path: Path, count: int) -> bytes:
    with path.open("rb") as file:
        return file.read(count)


def _folder_of_main(path: Path, text: str) -> Path:
    """nginx resolves from the main file's folder; of conf.d/site.conf that is one further up."""
    if not _MAIN_FILE.search(text):
        above = path if path.is_absolute() else Path.cwd() / path
        for folder in above.parents[1:_MAIN_FILE_IS_UP]:
            if (folder / "nginx.conf").is_file():
                return folder
    return path.parent


def _is_of_another_machine(path: Path) -> bool:
    """The package's mime.types where no nginx is installed: only types, and no rule needs them."""
    return path.name == "mime.types" and path.is_absolute() and not path.parent.is_dir()
