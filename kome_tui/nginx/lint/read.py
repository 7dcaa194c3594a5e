"""Reads a configuration with all that it includes, as nginx would, within limits.

A relative include is looked for beside the main configuration file, wherever it stands. What keeps
a part from being read is a Problem at the line that asked for it.
"""

import errno
import glob
import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from kome_tui.nginx.conf_tree import Block, Directive, Unreadable, fill

MAX_FILES = 1000
"""Included files, each counted as often as it is included."""

MAX_BYTES = 4 * 1024 * 1024
"""All files together. nginx.conf and all of a distribution's parts are 30 KB."""

MAX_INCLUDES_DEEP = 16

Trouble = Literal["syntax", "include-missing", "include-elsewhere", "include-loop", "too-large"]

_PACKAGED = frozenset(
    {
        *("mime.types", "fastcgi_params", "fastcgi.conf", "uwsgi_params", "scgi_params"),
        *("proxy_params", "koi-utf", "koi-win", "win-utf"),
    }
)
"""What nginx's package puts beside nginx.conf: a copy of a configuration seldom has them."""

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
    included: frozenset[str] = frozenset()
    """The real paths of the included files that were read."""

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
    """Return the reading of `path` and all it includes.

    Raises OSError where `path` can't be read, or is no regular file: a FIFO would never end.
    """
    raw = _first_bytes(path, MAX_BYTES + 1)
    main = _folder_of_main(path, raw.decode("utf-8", "replace"))
    reader = _Reader(str(path), path.parent if main is None else main, main is not None)
    reader.open_now.append(str(path.resolve()))
    reader.fill(reader.tree, raw, str(path), reader.tree.head)
    return reader.reading()


@dataclass(slots=True)
class _Reader:
    """One reading as it grows."""

    name: str
    folder: Path | None
    """Where relative includes are; None follows no include."""
    is_of_main: bool = False
    """Whether the main file is there, so that `folder` is nginx's own."""
    tree: Block = field(init=False)
    problems: dict[Problem, None] = field(default_factory=dict)
    open_now: list[str] = field(default_factory=list)
    included: set[str] = field(default_factory=set)
    files: int = 0
    size: int = 0

    def __post_init__(self) -> None:
        self.tree = Block(Directive("file", (), 1, self.name), None)

    def reading(self) -> Reading:
        return Reading(self.tree, tuple(self.problems), frozenset(self.included))

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
                raw = _first_bytes(path, MAX_BYTES + 1)
            except OSError as error:
                self.unread(asked, path, error)
                return
            self.included.add(real)
            self.open_now.append(real)
            self.fill(block, raw, str(path), asked)
            self.open_now.pop()

    def unread(self, asked: Directive, path: Path, error: OSError) -> None:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR):
            self.trouble("include-missing", asked, f"{path}: {error.strerror}")
        elif self.is_nginx_own(path):
            self.trouble("include-missing", asked, f"{path} is not there")
        else:
            self.trouble("include-elsewhere", asked, f"{path} is not on this machine")

    def is_nginx_own(self, path: Path) -> bool:
        """Whether `path` belongs into the main file's folder, and into no package."""
        assert self.folder is not None
        inside = path.absolute().is_relative_to(self.folder.absolute())
        return self.is_of_main and inside and path.name not in _PACKAGED


def _first_bytes(path: Path, count: int) -> bytes:
    # a FIFO keeps whoever opens it waiting, but for O_NONBLOCK
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:  # noqa: PTH123 by number
        mode = os.fstat(file.fileno()).st_mode
        if not stat.S_ISREG(mode):
            kind = "it is a folder" if stat.S_ISDIR(mode) else "it is not a regular file"
            raise OSError(errno.EINVAL, kind)
        return file.read(count)


def _folder_of_main(path: Path, text: str) -> Path | None:
    """nginx resolves from the main file's folder; of conf.d/site.conf that is one further up.

    None where there is a part alone.
    """
    if _MAIN_FILE.search(text):
        return path.parent
    for folder in path.absolute().parents[1:_MAIN_FILE_IS_UP]:
        if (folder / "nginx.conf").is_file():
            return folder
    return None


def _is_of_another_machine(path: Path) -> bool:
    """The package's mime.types where no nginx is installed: only types, and no rule needs them."""
    return path.name == "mime.types" and path.is_absolute() and not path.parent.is_dir()
