"""Draws docs/*.svg, one picture of each screen, from a console on a practice fleet.

Run it as `.venv/bin/python scripts/pictures.py` after a change that shows.
"""

import asyncio
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from kome_tui.fleet.fleet import Fleet
from kome_tui.lab.control import send
from kome_tui.session import Session
from kome_tui.topology.load import load
from kome_tui.ui.app import KomeApp

DOCS = Path(__file__).resolve().parent.parent / "docs"
SIZE = (140, 40)
LIMIT_S = 60.0
TRAFFIC_S = 20.0
"""How long the traffic runs before the first picture, so that there are hit rates to show."""


async def until(condition: Callable[[], object]) -> None:
    """Wait for a condition; raises TimeoutError."""
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("the console did not come to what was to be drawn")
        await asyncio.sleep(0.1)


def save(app: KomeApp, name: str) -> None:
    """Write one picture, without the web font that the export would fetch."""
    svg = re.sub(r"@font-face \{.*?\}\s*", "", app.export_screenshot(), flags=re.DOTALL)
    (DOCS / f"{name}.svg").write_text(svg)


async def draw(folder: Path) -> None:
    """Push, probe, break OKOME, and take a picture of each screen."""
    os.chdir(folder)
    topology = load(Path("topology.yaml"))
    fleet = Fleet(topology, folder / "ssh_config")
    session = Session(topology, "topology.yaml", fleet, is_lab=True, read_only=False)
    app = KomeApp(session)
    async with app.run_test(size=SIZE) as pilot:
        nodes = app.folded.nodes
        await until(lambda: all(node.facts.or_none() for node in app.folded.nodes.values()))
        session.deploy(tuple(nodes))
        await until(lambda: app.folded.last_push is not None)
        await asyncio.sleep(TRAFFIC_S)
        session.probe()
        await until(lambda: app.folded.probe.or_none() is not None)
        for key, name in (("1", "fleet"), ("2", "release"), ("3", "stream"), ("5", "events")):
            await pilot.press(key)
            await asyncio.sleep(2.0)
            save(app, name)
        send(folder, "break", "okome-down")
        await pilot.press("4")
        await until(lambda: "okome-down" in str(app.folded.diagnosis.value))
        await asyncio.sleep(2.0)
        save(app, "triage")
    session.stop()


def main() -> None:
    """Start a practice fleet, draw, end it."""
    with tempfile.TemporaryDirectory(prefix="kome-pictures-", ignore_cleanup_errors=True) as top:
        folder = Path(top) / "lab"
        command = [sys.executable, "-m", "kome_tui.lab", "--dir", str(folder), "--leash"]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as lab:
            assert lab.stdout is not None
            if lab.stdout.readline().strip() != "ready":
                raise SystemExit("the practice fleet did not start")
            try:
                asyncio.run(draw(folder))
            finally:
                os.chdir(DOCS)
                lab.terminate()


main()
