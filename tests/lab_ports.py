"""A free port that nothing listens on."""

from kome_tui.lab.ports import HeldPort


def free_port() -> int:
    """A port of 127.0.0.1, outside the range of outgoing connections."""
    held = HeldPort()
    held.release()
    return held.number
