"""The messages of the console. Only Arrived crosses from other threads.

Widgets send the rest upwards: what the operator wants, never what to do about it.
"""

from textual.message import Message


class Arrived(Message):
    """Events wait in the app's inbox. At most one is under way at a time."""

    bubble = False


class MarkWanted(Message):
    """The operator marks a node, or takes its mark away."""

    def __init__(self, node: str) -> None:
        self.node = node
        super().__init__()


class FilterChanged(Message):
    """The words of a screen's filter; empty shows everything."""

    def __init__(self, words: str) -> None:
        self.words = words
        super().__init__()
