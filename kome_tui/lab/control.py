"""How another process talks to a running lab: one JSON line each way, on 127.0.0.1.

DIR/control holds the port and a random token and is readable by its owner only.
"""

import hashlib
import hmac
import json
import os
import secrets
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

from platformdirs import user_state_path

from kome_tui.errors import LabError

if TYPE_CHECKING:
    import asyncio

TIMEOUT_S = 20.0
LINE_LIMIT = 4096

Act = Callable[[str, str | None], Awaitable[str]]
"""Does what a verb asks for and says what was done. Raises LabError."""


def send(directory: Path, verb: str, fault: str | None = None) -> str:
    """Ask the lab of `directory` for `break` FAULT, `heal` or `faults`; its one-line answer.

    Raises LabError when no lab runs there, or when it refuses.
    """
    port, token = _read_control(directory)
    asked = {"token": token, "verb": verb, "fault": fault}
    try:
        with socket.create_connection(("127.0.0.1", port), TIMEOUT_S) as connection:
            connection.sendall(json.dumps(asked).encode() + b"\n")
            with connection.makefile("rb") as stream:
                answer = json.loads(stream.readline(LINE_LIMIT))
    except (OSError, ValueError) as error:
        raise LabError(f"the lab of {directory} does not answer: {error}") from error
    if not answer["ok"]:
        raise LabError(str(answer["text"]))
    return str(answer["text"])


def latest_lab() -> Path | None:
    """The folder of the lab that was started last, of those that still run."""
    noted: list[tuple[int, Path]] = []
    for note in record_path(Path()).parent.glob("*.json"):
        try:
            noted.append((note.stat().st_mtime_ns, Path(json.loads(note.read_text())["directory"])))
        except (OSError, ValueError, KeyError, TypeError):
            continue  # it ended a moment ago, or somebody else's file
    return next((folder for _, folder in sorted(noted, reverse=True) if _runs(folder)), None)


def record_path(directory: Path) -> Path:
    """Where it is noted that a lab was started in `directory`."""
    name = hashlib.sha256(os.fsencode(directory)).hexdigest()[:16]
    return user_state_path("kome") / "labs" / f"{name}.json"


def record(directory: Path) -> None:
    """Note that this lab was started; a home that cannot be written is no obstacle."""
    path = record_path(directory)
    for _ in range(3):  # a lab that ends just now takes the empty folder away
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _write_private(path, json.dumps({"directory": str(directory)}))
        except FileNotFoundError:
            continue
        except OSError:
            pass
        return


def _runs(directory: Path) -> bool:
    try:
        port, _ = _read_control(directory)
        socket.create_connection(("127.0.0.1", port), 1.0).close()
    except (OSError, LabError):
        return False
    return True


async def serve_control(directory: Path, act: Act) -> "Callable[[], Awaitable[None]]":
    """Open the control port and write DIR/control; the function that closes it again."""
    from kome_tui.lab.listener import Listener

    token = secrets.token_hex(16)

    async def serve(reader: "asyncio.StreamReader", writer: "asyncio.StreamWriter") -> None:
        line = await reader.readline()
        if not line:
            return  # somebody only looked whether the lab runs
        writer.write(json.dumps(await _answer(line, token, act)).encode() + b"\n")
        await writer.drain()

    listener = Listener(serve)
    await listener.open()
    _write_private(directory / "control", json.dumps({"port": listener.port, "token": token}))
    return listener.shut_down


async def _answer(line: bytes, token: str, act: Act) -> dict[str, object]:
    try:
        asked = json.loads(line)
        given, verb, fault = asked["token"], asked["verb"], asked["fault"]
    except (ValueError, KeyError, TypeError):
        return {"ok": False, "text": "that is no request to a lab"}
    if not isinstance(given, str) or not hmac.compare_digest(given.encode(), token.encode()):
        return {"ok": False, "text": "that is not this lab's token"}
    try:
        return {"ok": True, "text": await act(str(verb), fault if fault is None else str(fault))}
    except (LabError, OSError) as error:
        return {"ok": False, "text": str(error)}


def _read_control(directory: Path) -> tuple[int, str]:
    try:
        said = json.loads((directory / "control").read_text())
        return int(said["port"]), str(said["token"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LabError(f"no lab runs in {directory}", hint="start one: kome-tui lab") from error


def _write_private(path: Path, text: str) -> None:
    new = path.with_name(f"{path.name}.new")
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(fd, "w") as file:
        file.write(text + "\n")
    new.replace(path)
