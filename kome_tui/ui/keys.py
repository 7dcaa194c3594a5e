"""The one table of keys. Bindings, key bar, help and palette are all made from it.

A key that is bound anywhere else would be missing from the help.
"""

from dataclasses import dataclass

from textual.binding import Binding, BindingType

from kome_tui.ui.ink import Line, Span

ALL_SCREENS = ("fleet", "release", "stream", "triage", "events")


@dataclass(frozen=True, slots=True)
class Key:
    """One command: its key, the action it runs, its name and one sentence of help."""

    key: str
    action: str
    name: str
    help: str
    screens: tuple[str, ...] = ()
    """Screens that own the action; empty: the app does, everywhere."""
    bar: tuple[str, ...] = ()
    """Screens whose key bar names it."""
    shown: str = ""
    """The key as people write it, where that differs."""
    priority: bool = False

    @property
    def label(self) -> str:
        """The key as people write it."""
        return self.shown or self.key

    @property
    def scoped_action(self) -> str:
        """The action with its owner, as a click or the palette runs it."""
        return f"{'screen' if self.screens else 'app'}.{self.action}"


KEYS: tuple[Key, ...] = (
    Key("1", "go('fleet')", "Fleet", "Every node and every upstream, live."),
    Key("2", "go('release')", "Release", "What a push would change; the last push."),
    Key("3", "go('stream')", "Stream", "Inter-token gaps of every path."),
    Key("4", "go('triage')", "Triage", "What is wrong, why, and what to do now."),
    Key("5", "go('events')", "Events", "What happened, and requests as they come."),
    Key(
        "r",
        "redeploy",
        "Push",
        "Pushes to the marked nodes, or to all.",
        bar=("fleet", "release"),
    ),
    Key(
        "u",
        "roll_back",
        "Roll back",
        "Takes marked nodes, or all, back. Always asks.",
        bar=("fleet", "release"),
    ),
    Key(
        "space",
        "mark",
        "Mark",
        "Marks the node under the cursor.",
        screens=("fleet", "release"),
        bar=("fleet", "release"),
    ),
    Key(
        "slash",
        "filter",
        "Filter",
        "Shows only lines that contain the words.",
        screens=ALL_SCREENS,
        bar=("fleet", "events"),
        shown="/",
    ),
    Key(
        "pagedown",
        "read_on",
        "Read on",
        "Scrolls the finding, whatever has the focus.",
        screens=("triage",),
        bar=("triage",),
        shown="PgDn",
        priority=True,
    ),
    Key(
        "pageup",
        "read_back",
        "Read back",
        "Scrolls the finding up again.",
        screens=("triage",),
        shown="PgUp",
        priority=True,
    ),
    Key("p", "probe", "Probe", "Measures one stream through every path.", bar=("fleet", "stream")),
    Key(
        "t",
        "triage",
        "Triage",
        "Runs every check again and diagnoses.",
        bar=("fleet", "stream", "triage", "events"),
    ),
    Key(
        "o",
        "open_way_around",
        "Way around",
        "Opens OKOME in the browser, if it answers.",
        bar=("triage",),
    ),
    Key(
        "enter",
        "read_plan",
        "Read plan",
        "Asks again what a push would change.",
        screens=("release",),
        bar=("release",),
    ),
    Key(
        "f",
        "freeze",
        "Freeze",
        "Holds the picture still. Measuring goes on.",
        bar=("stream", "events"),
    ),
    Key(
        "y",
        "copy",
        "Copy",
        "Copies the row, finding or verdict as text.",
        bar=("stream", "triage", "events"),
    ),
    Key("question_mark", "help", "Help", "Lists the keys.", bar=ALL_SCREENS, shown="?"),
    Key(
        "ctrl+p",
        "command_palette",
        "Palette",
        "Every command by name.",
        shown="ctrl+p",
        priority=True,
    ),
    Key("colon", "command_palette", "Palette", "Every command by name.", shown=":"),
    Key(
        "escape",
        "step_back",
        "Back",
        "Closes a dialog, stops a push, or goes home.",
        bar=ALL_SCREENS,
    ),
    Key("q", "quit", "Quit", "Leaves. Asks while a push runs.", bar=ALL_SCREENS),
    Key("ctrl+q", "quit", "Quit", "Leaves. Asks while a push runs.", priority=True),
)


def bindings(owner: str) -> list[BindingType]:
    """Bindings of the app (`app`) or of one screen."""
    return [
        Binding(key.key, key.action, key.name, show=False, priority=key.priority)
        for key in KEYS
        if (owner in key.screens if owner != "app" else not key.screens)
    ]


def bar_of(screen: str) -> tuple[Key, ...]:
    """The keys that the screen's key bar names."""
    return tuple(key for key in KEYS if screen in key.bar)


def help_lines() -> tuple[Line, ...]:
    """The help, one line a key."""
    return tuple(
        (
            Span(f"{key.label:>8}  ", "accent"),
            Span(f"{key.name:<11}", "strong"),
            Span(key.help),
        )
        for key in KEYS
    )
