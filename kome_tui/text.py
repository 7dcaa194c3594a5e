"""Makes text from outside safe to show.

Log lines, banners, remote output, HTTP replies and file names may carry terminal escapes or markup.
They pass through clean() once, where they enter. Cleaning twice would show the backslashes twice.
"""

import re
import unicodedata

LINE_LIMIT = 8192
CELL_LIMIT = 400

_FLEET_COMMAND = re.compile(
    r"`kome-tui (?=(check|render|plan|deploy|rollback|rebuild|purge|trust|status|probe|triage)\b)"
)
_MAX_COMBINING = 2
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def clean(raw: str | bytes, limit: int = LINE_LIMIT) -> str:
    """Return `raw` as one printable line of at most about `limit` source characters.

    Bytes are read as UTF-8; what is not UTF-8, and every control, format, surrogate, private or
    unassigned character, is shown as a visible escape (`\\x1b`, `\\u202e`). At most two combining
    marks in a row are kept. The cut comes first, so a huge input costs no more than the limit.
    """
    cut = raw[:limit]
    text = cut.decode("utf-8", "backslashreplace") if isinstance(cut, bytes) else cut
    shown = text if text.isascii() and text.isprintable() else "".join(_visible(text))
    return shown + "…" if len(raw) > limit else shown


def for_fleet(words: str, command: str) -> str:
    """`words` with the commands that they name in backquotes turned to the fleet of `command`.

    A reason or a hint does not know how its fleet is named on a command line (`kome-tui -t FILE`);
    pasted without that, its command would be about another fleet. Repeating it is harmless.
    """
    return _FLEET_COMMAND.sub(lambda _: f"`{command} ", words)


def _visible(text: str) -> list[str]:
    out: list[str] = []
    marks = 0
    for char in text:
        category = unicodedata.category(char)
        if category in _HIDDEN:
            out.append(_escape(char))
            marks = 0
        elif category.startswith("M"):
            marks += 1
            if marks <= _MAX_COMBINING:
                out.append(char)
        else:
            marks = 0
            out.append(char)
    return out


def _escape(char: str) -> str:
    code = ord(char)
    if code <= 0xFF:
        return f"\\x{code:02x}"
    if code <= 0xFFFF:
        return f"\\u{code:04x}"
    return f"\\U{code:08x}"
