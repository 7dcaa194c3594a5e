"""One node on this machine: a temporary root, a real nginx on a free port, and the node script.

close() ends every process that belongs to the root, found by command line and open files, by pid.
"""

import contextlib
import hashlib
import os
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from kome_tui.fleet.script import node_script
from kome_tui.topology.model import Layout
from tests.ports import free_port
from tests.roles import Role, role_of
from tests.waiting import wait_until

Shell = Literal["dash", "busybox", "bash"]

MAIN_CONF = """\
# release @ID@
{user}worker_processes 2;
pid {root}/nginx.pid;
error_log {root}/log/error.log;
events {{ worker_connections 64; }}
http {{
    access_log {root}/log/access.log;
    client_body_temp_path {root}/temp/body;
    proxy_temp_path {root}/temp/proxy;
    fastcgi_temp_path {root}/temp/fastcgi;
    uwsgi_temp_path {root}/temp/uwsgi;
    scgi_temp_path {root}/temp/scgi;
    server {{
        listen 127.0.0.1:{port};
{locations}
        location / {{ return 200 "{page}\\n"; }}
{extra}
    }}
}}
"""
MARKER = """\
        location = /.kome/release { access_log off; return 200 "%s\\n"; }
        location = /.kome/status { access_log off; stub_status; }"""


@dataclass(frozen=True)
class Built:
    """A release as the console would render it."""

    id: str
    conf: bytes


@dataclass
class Answer:
    """What one exec answered. `data` are the raw blocks as (inode, offset, bytes)."""

    code: int
    end: str
    keys: dict[str, str] = field(default_factory=dict)
    data: list[tuple[int, int, bytes]] = field(default_factory=list)
    ticks: int = 0
    frames: list[dict[str, str]] = field(default_factory=list)
    stderr: str = ""

    def __getitem__(self, key: str) -> str:
        return self.keys[key]


class Machine:
    """A node. Nothing of kome is on it until the first apply."""

    def __init__(self, root: Path, shell: Shell = "dash") -> None:
        self.root = root
        self.port = free_port()
        for folder in ("etc", "log", "temp", "cache"):
            (root / folder).mkdir(exist_ok=True)
        self.state = root / "state"
        self.layout = Layout(
            etc=f"{root}/etc",
            state=f"{root}/state",
            run=f"{root}/run",
            log=f"{root}/log",
            cache=f"{root}/cache/kome",
            script=f"{root}/kome-node",
            pid=f"{root}/nginx.pid",
            nginx=self.nginx_program(),
            service="direct",
            root="none",
            listen="127.0.0.1",
            port=self.port,
        )
        self.shell = root / "sh"  # called sh, bash is POSIX and busybox is ash
        self.shell.symlink_to(shutil.which(shell) or shell)
        text = node_script(self.layout).replace("KOME_TEST=0\n", "KOME_TEST=1\n")
        self.script = Path(self.layout.script)
        self.script.write_text(text.replace("SH=/bin/sh\n", f"SH={self.shell}\n"))
        self.env = {"PATH": os.environ["PATH"], "HOME": str(root)}
        (root / "etc/conf.d").mkdir()
        (root / "etc/conf.d/extra.conf").write_text("# kept as well\n")
        (root / "etc/nginx.conf").write_bytes(self.original())

    @staticmethod
    def nginx_program() -> str:
        """The system's nginx; empty where there is none."""
        return shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/bin") or ""

    # ------------------------------------------------------------ configurations

    def conf(self, page: str, *, marker: str | None = "@ID@", extra: str = "") -> str:
        user = "user root;\n" if os.geteuid() == 0 else ""
        locations = "" if marker is None else MARKER % marker
        return MAIN_CONF.format(
            user=user, root=self.root, port=self.port, locations=locations, page=page, extra=extra
        )

    def original(self, page: str = "before kome") -> bytes:
        """A configuration that knows nothing of us."""
        return self.conf(page, marker=None).replace("# release @ID@\n", "").encode()

    def release(self, page: str, *, marker: str = "@ID@", extra: str = "") -> Built:
        template = self.conf(page, marker=marker, extra=extra)
        release_id = hashlib.sha256(template.encode()).hexdigest()[:12]
        return Built(release_id, template.replace("@ID@", release_id).encode())

    # ------------------------------------------------------------ nginx

    def start_nginx(self) -> None:
        subprocess.run(
            [self.layout.nginx, "-c", f"{self.root}/etc/nginx.conf"], check=True, timeout=10
        )
        wait_until(lambda: self.page() is not None)

    def get(self, path: str) -> str | None:
        """The body, `HTTP code` for an error, None when nothing answers."""
        url = f"http://127.0.0.1:{self.port}{path}"
        try:
            with urllib.request.urlopen(url, timeout=3) as reply:
                return str(reply.read().decode()).strip()
        except urllib.error.HTTPError as error:
            error.close()
            return f"HTTP {error.code}"
        except OSError:
            return None

    def page(self) -> str | None:
        return self.get("/")

    def marker(self) -> str | None:
        return self.get("/.kome/release")

    def master(self) -> int | None:
        try:
            return int((self.root / "nginx.pid").read_text())
        except (OSError, ValueError):
            return None

    # ------------------------------------------------------------ the script

    def start(self, verb: str, *, fault: str = "", **keys: object) -> "subprocess.Popen[bytes]":
        """Start one exec with its header sent; standard input stays open."""
        env = {**self.env, **({"KOME_FP": fault} if fault else {})}
        started = subprocess.Popen(
            [str(self.shell), str(self.script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=env,
            cwd=self.root,
        )
        words = "".join(f" {key}={value}" for key, value in keys.items())
        assert started.stdin is not None
        started.stdin.write(f"kome/1 {verb}{words}\n".encode())
        started.stdin.flush()
        return started

    def run(self, verb: str, payload: bytes = b"", *, fault: str = "", **keys: object) -> Answer:
        started = self.start(verb, fault=fault, **keys)
        out, err = started.communicate(payload, timeout=40)
        answer = parsed(started.returncode, out, err)
        assert "not found" not in answer.stderr, answer  # a name that the script does not have
        return answer

    def stage(self, built: Built, *, fault: str = "", **changed: object) -> Answer:
        keys: dict[str, object] = {
            "id": built.id,
            "size": len(built.conf),
            "sha256": hashlib.sha256(built.conf).hexdigest(),
        }
        return self.run("stage", built.conf, fault=fault, **{**keys, **changed})

    def apply(self, built: Built, token: str, *, trial: float = 30, fault: str = "") -> Answer:
        return self.run(
            "apply", id=built.id, token=token, trial=trial, by="ops.laptop", fault=fault
        )

    def push(self, built: Built, token: str) -> None:
        """Stage, apply and confirm; all must succeed."""
        assert self.stage(built).end == "ok"
        answer = self.apply(built, token)
        assert answer.end == "ok", answer
        assert self.run("confirm", token=token)["decision"] == "confirmed"

    def live(self) -> str | None:
        try:
            return (self.state / "current").readlink().name
        except OSError:
            return None

    def agrees(self, release_id: str, page: str) -> None:
        """Files, links and what nginx answers are one: the release, with no transaction left."""
        wait_until(lambda: not (self.state / "journal").exists())
        assert self.live() == release_id
        assert self.page() == page
        status = self.run("status")
        assert (status["live"], status["drift"], status["trial"]) == (release_id, "no", "-")

    # ------------------------------------------------------------ processes

    def processes(self, containing: str = "") -> list[int]:
        """Processes of this node whose command line contains a text."""
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            with contextlib.suppress(OSError):
                line = (
                    (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                )
                if not line or containing not in line:
                    continue
                if str(self.root) in line or self._has_open(entry):
                    found.append(int(entry.name))
        return found

    def of_push(self, role: Role) -> list[int]:
        """The runner of the push that goes on, or its guard; empty when there is none."""
        found = self.processes(f"{self.script} runner")
        return [pid for pid in found if role_of(pid, str(self.script)) == role]

    def _has_open(self, entry: Path) -> bool:
        for opened in (entry / "fd").iterdir():
            with contextlib.suppress(OSError):
                if str(opened.readlink()).startswith(f"{self.root}/"):
                    return True
        return False

    def close(self) -> None:
        deadline = time.monotonic() + 10
        while found := self.processes():
            for pid in found:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            assert time.monotonic() < deadline, f"these do not end: {found}"
            time.sleep(0.02)


def parsed(code: int, out: bytes, err: bytes = b"", *, under_way: bool = False) -> Answer:
    """The protocol, read the plain way. `under_way`: a last piece that is not whole is left out."""
    answer = Answer(code, "", stderr=err.decode(errors="replace"))
    rest = out
    first, _, rest = rest.partition(b"\n")
    assert first.startswith((b"kome-node 1 ", b"end usage")), (first, err)
    if first.startswith(b"end "):
        answer.end = first.decode()[4:]
        return answer
    frame: dict[str, str] = {}
    while rest:
        line, newline, rest = rest.partition(b"\n")
        if not newline:
            break  # the far end was killed
        key, _, value = line.decode().partition(" ")
        if key == "data":
            _, inode, offset, length = value.split()
            if under_way and len(rest) <= int(length):
                break
            body, rest = rest[: int(length)], rest[int(length) :]
            assert len(body) == int(length)
            assert rest[:1] == b"\n"
            rest = rest[1:]
            answer.data.append((int(inode), int(offset), body))
        elif key == "tick":
            answer.ticks += 1
        elif key == "frame":
            answer.frames.append(frame)
            frame = {}
        elif key == "end":
            answer.end = value
            assert not rest, rest
        else:
            frame[key] = answer.keys[key] = value
    return answer
