"""`kome-tui` without a topology, at a terminal: what is offered, and what can go wrong with it."""

import io
from pathlib import Path

import pytest

from kome_tui.cli import console
from kome_tui.cli.options import Options
from kome_tui.errors import RefusedError
from kome_tui.topology.load import packaged_file

NONE = Options(None, None, False)


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> "type[Typed]":
    """A terminal in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(console, "is_interactive", lambda: True)
    Typed.patch = monkeypatch
    return Typed


class Typed:
    """Types lines at the offer."""

    patch: pytest.MonkeyPatch

    def __init__(self, lines: str) -> None:
        self.patch.setattr("sys.stdin", io.StringIO(lines))
        self.code = console.open_console(NONE)


def test_2_writes_the_example(typed: type[Typed]) -> None:
    assert typed("2\n").code == 0
    assert Path("topology.yaml").read_bytes() == packaged_file("topology.yaml").read_bytes()


def test_2_follows_no_link_that_leads_nowhere(typed: type[Typed]) -> None:
    Path("topology.yaml").symlink_to("elsewhere.yaml")
    with pytest.raises(RefusedError, match="is there already"):
        typed("2\n")
    assert not Path("elsewhere.yaml").exists()


def test_2_never_writes_over_a_file(typed: type[Typed]) -> None:
    Path("topology.yaml").write_text("mine")
    with pytest.raises(RefusedError, match="left as it is"):
        console._copy_example(Path("topology.yaml"))
    assert Path("topology.yaml").read_text() == "mine"


def test_2_where_nothing_can_be_written_says_so(
    typed: type[Typed], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(RefusedError, match="cannot be written"):
        typed("2\n")


def test_3_knows_the_home_folder(
    typed: type[Typed], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    opened: list[Path | None] = []
    offer = console.open_console

    def open_console(options: Options) -> int:
        if options.topology is None:
            return offer(options)
        opened.append(options.topology)
        return 0

    monkeypatch.setattr(console, "open_console", open_console)
    typed("3\n~/t.yaml\n")
    assert opened == [tmp_path / "t.yaml"]


@pytest.mark.parametrize("lines", ["\n", "3\n\n", ""])
def test_enter_leaves(typed: type[Typed], lines: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert typed(lines).code == 0
    assert list(Path().iterdir()) == []


def test_anything_else_is_said_and_asked_again(
    typed: type[Typed], capsys: pytest.CaptureFixture[str]
) -> None:
    assert typed("7\n2\n").code == 0
    assert "'7' is none of these" in capsys.readouterr().err
    assert Path("topology.yaml").exists()
