"""The node of a test: a real nginx on this machine with the node script beside it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.node_machine import Machine


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """Serves what it had before it met the script."""
    made = Machine(tmp_path)
    try:
        made.start_nginx()
        yield made
    finally:
        made.close()
