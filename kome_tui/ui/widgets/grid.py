"""A table of keyed rows that is cheap to keep up to date.

Only changed cells are written. Rows and columns are laid out anew only when a row or column comes
or goes (filter, resize), with the cursor kept on its key: an action must never hit another row.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from rich.text import Text
from textual import events
from textual.widgets import DataTable

from kome_tui.ui.ink import Cell
from kome_tui.ui.widgets.paint import painted

_PADDING = 2
_SCROLLBAR = 1


@dataclass(frozen=True, slots=True)
class Column:
    """One column: the lower `priority`, the longer it stays when room gets short."""

    key: str
    title: str
    width: int
    priority: int
    right: bool = False
    stretch: bool = False
    """Takes the room that is left."""
    grows_to: int = 0
    """As wide as its longest cell, up to this: a name cut short could be another's."""


def fitting(
    columns: Sequence[Column], rows: Mapping[str, Mapping[str, Cell]], width: int
) -> tuple[tuple[Column, int], ...]:
    """The columns that have room, with their widths, in their order. At least the first stays."""
    room = width - _SCROLLBAR
    columns = tuple(_grown(column, rows) for column in columns)
    kept: set[str] = set()
    for column in sorted(columns, key=lambda one: one.priority):
        if kept and column.width + _PADDING > room:
            continue
        kept.add(column.key)
        room -= column.width + _PADDING
    return tuple(
        (column, column.width + (max(0, room) if column.stretch else 0))
        for column in columns
        if column.key in kept
    )


def _grown(column: Column, rows: Mapping[str, Mapping[str, Cell]]) -> Column:
    longest = max((len(cells[column.key].text) for cells in rows.values()), default=0)
    return replace(column, width=max(column.width, min(longest, column.grows_to)))


class Grid(DataTable[Text]):
    """Shows rows of cells by key."""

    def __init__(self, columns: Sequence[Column], *, id: str | None = None) -> None:
        super().__init__(
            cursor_type="row",
            cursor_foreground_priority="renderable",
            cell_padding=1,
            id=id,
        )
        self._wanted_columns = tuple(columns)
        self._laid_out: tuple[tuple[Column, int], ...] = ()
        self._shown: dict[str, dict[str, Cell]] = {}
        self._pending: Mapping[str, Mapping[str, Cell]] = {}

    @property
    def current(self) -> str | None:
        """Key of the row under the cursor."""
        keys = list(self._shown)
        return keys[self.cursor_row] if 0 <= self.cursor_row < len(keys) else None

    @property
    def shown(self) -> Mapping[str, Mapping[str, Cell]]:
        """What is shown, by row and column."""
        return self._shown

    def show(self, rows: Mapping[str, Mapping[str, Cell]]) -> None:
        """Show `rows`, in their order."""
        self._pending = rows
        if not self.size.width:
            return  # on_resize shows them
        columns = fitting(self._wanted_columns, rows, self.size.width)
        if columns != self._laid_out or list(rows) != list(self._shown):
            self._lay_out(columns, rows)
        else:
            self._write_changes(rows)

    def on_resize(self, event: events.Resize) -> None:
        """Choose columns for the new width."""
        self.show(self._pending)

    def _write_changes(self, rows: Mapping[str, Mapping[str, Cell]]) -> None:
        for key, cells in rows.items():
            shown = self._shown[key]
            for column, _ in self._laid_out:
                cell = cells[column.key]
                if shown.get(column.key) != cell:
                    self.update_cell(key, column.key, painted(cell, column.right))
            self._shown[key] = dict(cells)

    def _lay_out(
        self, columns: tuple[tuple[Column, int], ...], rows: Mapping[str, Mapping[str, Cell]]
    ) -> None:
        current = self.current
        with self.prevent(DataTable.RowHighlighted):
            self.clear(columns=True)
            self._laid_out = columns
            for column, width in columns:
                title = painted(Cell(column.title), column.right)
                self.add_column(title, width=width, key=column.key)
            for key, cells in rows.items():
                drawn = [painted(cells[column.key], column.right) for column, _ in columns]
                self.add_row(*drawn, key=key)
            self._shown = {key: dict(cells) for key, cells in rows.items()}
            if current in self._shown:
                self.move_cursor(row=list(self._shown).index(current), animate=False)
