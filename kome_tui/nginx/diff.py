"""What changes between two configuration files, as the operator reads it."""

import difflib


def unified(old: str, new: str, old_name: str, new_name: str) -> str:
    """Return the unified diff from `old` to `new`; empty when they are the same."""
    lines = difflib.unified_diff(
        old.splitlines(), new.splitlines(), fromfile=old_name, tofile=new_name, lineterm=""
    )
    return "".join(f"{line}\n" for line in lines)
