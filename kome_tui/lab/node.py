"""One practice node: a real nginx with a root folder and a port of its own, and its SSH server.

nginx is always started on what etc/nginx.conf is at that moment, never on a copy: after a push
that is a link into the releases.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable
from pathlib import Path

from kome_tui.errors import LabError
from kome_tui.lab.ports import LOOPBACK, HeldPort, answers
from kome_tui.lab.programs import Nginx
from kome_tui.lab.relay import Relay
from kome_tui.lab.ssh import OnGroup, SshServer
from kome_tui.topology.model import Role

FOLDERS = ("etc/nginx", "state", "run", "log", "cache", "temp")
HAND_EDIT = b"# changed by hand (config-drift, rehearsed by the lab)\n"

STOP_S = 5.0
START_S = 10.0
BIND_TRIES = 3
_POLL_S = 0.02

_MIME_TYPES = """types {
    text/html                 html htm;
    text/css                  css;
    text/plain                txt;
    text/javascript           js mjs;
    application/json          json map;
    application/wasm          wasm;
    image/png                 png;
    image/jpeg                jpg jpeg;
    image/svg+xml             svg;
    image/x-icon              ico;
    font/woff2                woff2;
}
"""


class LabNode:
    """A node's folder, nginx, relay and SSH server."""

    def __init__(
        self, name: str, role: Role, root: Path, nginx: Nginx, relay: Relay, on_group: OnGroup
    ) -> None:
        self.name = name
        self.role = role
        self.root = root
        self.relay = relay
        self._held = HeldPort()
        self._nginx = nginx
        self._on_group = on_group
        self._edited: set[Path] = set()
        self._ssh: SshServer | None = None

    @property
    def ssh(self) -> SshServer:
        """Its SSH server; there is one once the lab has given it one."""
        assert self._ssh is not None
        return self._ssh

    @ssh.setter
    def ssh(self, server: SshServer) -> None:
        self._ssh = server

    @property
    def port(self) -> int:
        """Where nginx listens."""
        return self._held.number

    @property
    def conf(self) -> Path:
        """The file that nginx is told to use."""
        return self.root / "etc/nginx/nginx.conf"

    def okome_port(self) -> int:
        """Where it finds OKOME: its own relay."""
        return self.relay.port

    def layout(self) -> dict[str, object]:
        """What of the topology's layout is this node's own."""
        root = self.root
        return {
            "etc": root / "etc/nginx",
            "state": root / "state",
            "run": root / "run",
            "log": root / "log",
            "cache": root / "cache",
            "temp": root / "temp",
            "script": root / "kome-node",
            "pid": root / "run/nginx.pid",
            "mime_types": root / "etc/nginx/mime.types",
            "port": self.port,
        }

    def write(self) -> None:
        """Make the folders and the `original`: a plain nginx that knows nothing of kome."""
        for name in FOLDERS:
            (self.root / name).mkdir(parents=True)
        (self.root / "etc/nginx/mime.types").write_text(_MIME_TYPES)
        self.conf.write_text(self._original())

    async def start_nginx(self) -> None:
        """Start nginx, unless it serves. Raises LabError with nginx's own words."""
        if await asyncio.to_thread(answers, self.port):
            return
        for attempt in range(BIND_TRIES):
            said = await self._start()
            if said is None:
                return
            if "bind() to" not in said or not self._is_fresh() or attempt == BIND_TRIES - 1:
                raise LabError(f"{self.name}: nginx does not start: {said}")
            self._held = HeldPort()  # somebody took it since; nothing has been told of it yet
            self.conf.write_text(self._original())

    def give_up_port(self) -> None:
        """Let go of a port that nginx never came to use."""
        self._held.release()

    async def stop_nginx(self) -> None:
        """End nginx, workers included. Stopping twice is harmless."""
        master = self._master()
        if master is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(master, signal.SIGTERM)
        # It removes its pid file last; its pid stays until somebody has reaped it.
        if not await _within(STOP_S, lambda: self._master() != master):
            with contextlib.suppress(ProcessLookupError):
                os.kill(master, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(master, signal.SIGKILL)  # workers it could not end itself
        self._on_group(master, False)
        if not await _within(STOP_S, lambda: not answers(self.port)):
            raise LabError(f"{self.name}: port {self.port} still answers after nginx was stopped")

    def edit_by_hand(self) -> None:
        """Add a line to the live configuration file, as a person with an editor would."""
        path = Path(os.path.realpath(self.conf))
        content = path.read_bytes()
        self._edited.add(path)
        if HAND_EDIT not in content:
            _replace(path, content + HAND_EDIT)

    def undo_edit(self) -> None:
        """Take the line out again, if the file is still the one that was edited."""
        for path in self._edited:
            # After a push the old path may be a link to a release: that one was never edited.
            if path.is_file() and Path(os.path.realpath(path)) == path:
                content = path.read_bytes()
                if HAND_EDIT in content:
                    _replace(path, content.replace(HAND_EDIT, b""))
        self._edited.clear()

    async def _start(self) -> str | None:
        """None when it serves, else what nginx said."""
        self._held.release()
        error_log = ("-e", str(self.root / "log/error.log")) if self._nginx.has_e_option else ()
        command = [self._nginx.binary, *error_log, "-c", str(self.conf)]
        with (self.root / "log/start.log").open("w+") as output:
            starting = await asyncio.create_subprocess_exec(
                *command, stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output,
                cwd=self.root,
            )  # fmt: skip
            try:
                # Once begun it is let through: what is half started could not be found and ended.
                code = await asyncio.shield(asyncio.wait_for(starting.wait(), START_S))
            except TimeoutError:
                starting.kill()
                await starting.wait()
                return f"it did not return within {START_S:.0f} s"
            output.seek(0)
            said = output.read().strip().splitlines()
        if code != 0:
            return next((line for line in said if "[emerg]" in line), f"exit code {code}")
        await _within(STOP_S, lambda: self._master() is not None)
        master = self._master()
        if master is None:
            return "it wrote no pid file"
        self._on_group(master, True)
        return None

    def _is_fresh(self) -> bool:
        return not self.conf.is_symlink() and not any((self.root / "state").iterdir())

    def _master(self) -> int | None:
        try:
            pid = int((self.root / "run/nginx.pid").read_text())
        except (OSError, ValueError):
            return None
        return pid if _alive(pid) else None

    def _original(self) -> str:
        root = self.root
        user = "user root;\n" if os.geteuid() == 0 else ""
        temp = "\n".join(
            f"    {kind}_temp_path {root}/temp/{kind};"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        return f"""{user}worker_processes 1;
pid {root}/run/nginx.pid;
error_log {root}/log/error.log;

events {{
    worker_connections 256;
}}

http {{
    include {root}/etc/nginx/mime.types;
    default_type application/octet-stream;
    access_log {root}/log/access.log;
{temp}

    server {{
        listen {LOOPBACK}:{self.port};
        location / {{
            default_type text/html;
            add_header X-Served-By {self.name} always;
            return 200 "<!doctype html><title>{self.name}</title><p>{self.name}: original</p>\\n";
        }}
    }}
}}
"""


def _replace(path: Path, content: bytes) -> None:
    new = path.with_name(f".{path.name}.lab")
    new.write_bytes(content)
    new.chmod(path.stat().st_mode & 0o7777)
    new.replace(path)


async def _within(seconds: float, condition: Callable[[], bool]) -> bool:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while not condition():
        if loop.time() > deadline:
            return False
        await asyncio.sleep(_POLL_S)
    return True


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return False  # somebody else's: the pid file is old
    return True
