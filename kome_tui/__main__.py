"""`python -m kome_tui` is `kome-tui`."""

from kome_tui.cli import main

main()
