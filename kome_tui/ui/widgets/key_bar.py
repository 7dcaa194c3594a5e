"""The line at the bottom: the keys of this screen, with what they would do right now."""

from collections.abc import Mapping

from textual.content import Content
from textual.style import Style
from textual.widgets import Static

from kome_tui.ui.keys import Key, bar_of
from kome_tui.ui.theme import TONES


class KeyBar(Static):
    """Keys and names; a click runs the key's action."""

    def __init__(self, screen_name: str) -> None:
        super().__init__("", markup=False)
        self._keys = bar_of(screen_name)
        self._said: tuple[Mapping[str, str], int] = ({}, 0)

    def show(self, names: Mapping[str, str]) -> None:
        """Show the keys; `names` replaces the name of an action by what it would do now.

        An empty name leaves the key out.
        """
        said = (dict(names), self.size.width)
        if said == self._said or not self.size.width:
            return
        self._said = said
        parts: list[Content] = []
        for key in self._fitting(names):
            click = Style.from_meta({"@click": key.scoped_action})
            accent = Style.from_rich_style(TONES["accent"])
            parts.append(Content.styled(f" {key.label} ", accent + click))
            parts.append(Content.styled(f"{names.get(key.action, key.name)} ", click))
        self.update(Content("").join(parts))

    def _fitting(self, names: Mapping[str, str]) -> tuple[Key, ...]:
        """All keys, or as many as have room; the last ones stand for help, back and leaving."""
        kept = [key for key in self._keys if names.get(key.action, key.name)]
        while len(kept) > 2 and sum(_width(key, names) for key in kept) > self.size.width:
            kept.pop(-3)
        return tuple(kept)


def _width(key: Key, names: Mapping[str, str]) -> int:
    return len(key.label) + len(names.get(key.action, key.name)) + 3
