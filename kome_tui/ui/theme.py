"""Colours: one quiet theme for the fleet, and one for the lab that nobody can mistake for it."""

from rich.style import Style
from textual.theme import Theme

from kome_tui.ui.ink import Tone

TONES: dict[Tone, Style] = {
    "plain": Style(),
    "strong": Style(bold=True),
    "dim": Style(color="#8490a0"),
    "good": Style(color="#8fcaa3"),
    "warn": Style(color="#e6b96c"),
    "bad": Style(color="#f08c80", bold=True),
    "removed": Style(color="#f08c80"),
    "accent": Style(color="#86b8ea"),
}


def _theme(name: str, primary: str, panel: str, banner: str) -> Theme:
    return Theme(
        name=name,
        primary=primary,
        secondary="#8fa3b8",
        accent=primary,
        foreground="#d5dce5",
        background="#12171e",
        surface="#12171e",
        panel=panel,
        success="#8fcaa3",
        warning="#e6b96c",
        error="#f08c80",
        dark=True,
        variables={"banner": banner},
    )


FLEET_THEME = _theme("kome", "#86b8ea", "#1b2430", "#22384f")
LAB_THEME = _theme("kome-lab", "#d0a8ee", "#251f30", "#47305e")
