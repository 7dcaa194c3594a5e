"""The palette: the key table, by name."""

from collections.abc import Awaitable, Callable
from functools import partial

from textual.command import DiscoveryHit, Hit, Hits, Provider

from kome_tui.ui.keys import KEYS, Key


class KeyCommands(Provider):
    """Every command that the screen in front has."""

    async def search(self, query: str) -> Hits:
        """Commands whose name or help matches."""
        matcher = self.matcher(query)
        for key in self._keys():
            text = f"{key.name} ({key.label})"
            # The help only word by word: letters strewn over a sentence would fit any query.
            in_help = query.strip().casefold() in key.help.casefold()
            score = max(matcher.match(text), 0.5 if in_help else 0.0)
            if score > 0:
                yield Hit(score, matcher.highlight(text), self._command(key), help=key.help)

    async def discover(self) -> Hits:
        """All of them."""
        for key in self._keys():
            yield DiscoveryHit(f"{key.name} ({key.label})", self._command(key), help=key.help)

    def _keys(self) -> tuple[Key, ...]:
        screen = getattr(self.screen, "KEY", "")
        seen: dict[str, Key] = {}
        for key in KEYS:
            if key.action != "command_palette" and (not key.screens or screen in key.screens):
                seen.setdefault(key.action, key)
        return tuple(seen.values())

    def _command(self, key: Key) -> Callable[[], Awaitable[None]]:
        return partial(self.screen.run_action, key.scoped_action)
