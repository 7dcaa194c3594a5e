"""kome-tui: the operator's console of KOME, an nginx edge in front of an LLM gateway."""

__version__ = "0.1.0"
