"""Opens a page in the operator's browser, and never one that would take over the terminal."""

import os
import sys
import webbrowser


def open_page(url: str) -> bool:
    """Open `url`. False: there is no browser with a window here. May block for a moment."""
    if sys.platform != "darwin" and not (
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    ):
        return False  # what webbrowser finds now is lynx or w3m, in our own terminal
    try:
        browser = webbrowser.get()
    except webbrowser.Error:
        return False
    background = isinstance(browser, webbrowser.BackgroundBrowser)
    if isinstance(browser, webbrowser.GenericBrowser) and not background:
        return False
    return browser.open(url)
