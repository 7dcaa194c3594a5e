"""The same push by ansible-core and by pyinfra, as their manuals would have it, without our proofs.

Both are separate programs, installed into a virtual environment of their own outside the tree, and
never imported. The file is the one that we would push. Each does it in two ways: "releases" leaves
on a node what our push leaves (the release in a folder of its own, links to it and to the one
before); "one file" overwrites nginx.conf in the fewest tasks there are. Both ways check it with
nginx -t, reload where it changed, and wait until the new version is seen over HTTP.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

from bench.deploy.fleet import Practice
from kome_tui.nginx.render import render_release

ANSIBLE = "ansible-core==2.19.4"
PYINFRA = "pyinfra==3.5.1"
LIMIT_S = 300

ANSIBLE_CFG = """\
[defaults]
inventory = inventory.ini
forks = {forks}
host_key_checking = True
interpreter_python = {python}
gathering = explicit
[ssh_connection]
pipelining = True
ssh_args = -F {config} -o ControlMaster=auto -o ControlPersist=120s
control_path_dir = {control}
"""
ANSIBLE_FRAME = """\
- hosts: all
  gather_facts: false
  tasks:
{tasks}
    - name: reloaded now, not at the end
      ansible.builtin.meta: flush_handlers
    - name: the new version is seen
      ansible.builtin.uri:
        url: "{{{{ marker }}}}"
        return_content: true
      register: seen
      until: release in seen.content
      retries: 50
      delay: 0
  handlers:
    - name: reload
      ansible.builtin.command: "{{{{ nginx }}}} -c {{{{ conf }}}} -s reload"
"""
ANSIBLE_ONE_FILE = """\
    - name: configuration
      ansible.builtin.copy:
        src: "{{ inventory_hostname }}.conf"
        dest: "{{ conf }}"
        mode: "0644"
        validate: "{{ nginx }} -t -q -c %s"
      notify: reload
"""
ANSIBLE_RELEASES = """\
    - name: folder of the release
      ansible.builtin.file:
        path: "{{ state }}/releases/{{ release }}"
        state: directory
        mode: "0755"
    - name: configuration
      ansible.builtin.copy:
        src: "{{ inventory_hostname }}.conf"
        dest: "{{ state }}/releases/{{ release }}/nginx.conf"
        mode: "0644"
        validate: "{{ nginx }} -t -q -c %s"
    - name: what is current
      ansible.builtin.stat:
        path: "{{ state }}/current"
      register: current
    - name: the one before
      ansible.builtin.file:
        src: "{{ current.stat.lnk_target }}"
        dest: "{{ state }}/previous"
        state: link
      when: current.stat.exists and current.stat.lnk_target != "releases/" + release
    - name: the release is current
      ansible.builtin.file:
        src: "releases/{{ release }}"
        dest: "{{ state }}/current"
        state: link
      notify: reload
    - name: nginx reads it
      ansible.builtin.file:
        src: "{{ state }}/current/nginx.conf"
        dest: "{{ conf }}"
        state: link
        force: true
"""
PYINFRA_FRAME = """\
from pyinfra import host
from pyinfra.operations import files, server

{tasks}
server.shell(
    name="the new version is seen",
    commands=[
        f"for i in $(seq 200); do curl -fsS {{host.data.marker}} | grep -q {{host.data.release}}"
        " && exit 0; sleep 0.02; done; exit 1"
    ],
)
"""
PYINFRA_ONE_FILE = """\
put = files.put(
    name="configuration", src=host.name.removeprefix("@ssh/") + ".conf", dest=host.data.conf
)
server.shell(
    name="reload",
    commands=[
        f"{host.data.nginx} -t -q -c {host.data.conf}",
        f"{host.data.nginx} -c {host.data.conf} -s reload",
    ],
    _if=put.did_change,
)
"""
PYINFRA_RELEASES = """\
release = f"{host.data.state}/releases/{host.data.release}"
files.directory(name="folder of the release", path=release)
files.put(
    name="configuration",
    src=host.name.removeprefix("@ssh/") + ".conf",
    dest=f"{release}/nginx.conf",
)
server.shell(
    name="the one before",
    commands=[
        f"now=$(readlink {host.data.state}/current) || exit 0;"
        f' [ "$now" = {release} ] || ln -sfn "$now" {host.data.state}/previous'
    ],
)
link = files.link(name="the release is current", path=f"{host.data.state}/current", target=release)
files.link(
    name="nginx reads it",
    path=host.data.conf,
    target=f"{host.data.state}/current/nginx.conf",
    force=True,
    force_backup=False,
)
server.shell(
    name="reload",
    commands=[
        f"{host.data.nginx} -t -q -c {host.data.conf}",
        f"{host.data.nginx} -c {host.data.conf} -s reload",
    ],
    _if=link.did_change,
)
"""


def environment() -> Path:
    """The programs' folder, made where it is missing."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kome-tui-bench"
    programs = cache / "venv/bin"
    if not programs.exists():
        subprocess.run([sys.executable, "-m", "venv", cache / "venv"], check=True)
    quiet = ["-q", "--disable-pip-version-check"]
    subprocess.run([programs / "pip", "install", *quiet, ANSIBLE, PYINFRA], check=True)
    return programs


class Other:
    """One of the two, on its own practice fleet."""

    def __init__(self, practice: Practice, programs: Path, *, releases: bool) -> None:
        self._practice = practice
        self._programs = programs
        self._releases = releases
        self.folder = practice.folder / "files"
        self.folder.mkdir()
        self._number = 0
        self.prepare()
        self.changed()

    def prepare(self) -> None:
        """Write what does not change from round to round."""

    def command(self) -> list[str | Path]:
        """The program and its arguments."""
        raise NotImplementedError

    def write(self) -> None:
        """Write what the next push needs: files, and what is to be seen."""
        topology = self._practice.version(self._number)
        for name in topology.nodes:
            release = render_release(topology, name)
            (self.folder / f"{name}.conf").write_text(release.conf)
            self.describe(
                name,
                {
                    "conf": f"{topology.layout_of(name).etc}/nginx.conf",
                    "state": topology.layout_of(name).state,
                    "nginx": topology.layout_of(name).nginx,
                    "marker": f"http://{topology.http_of(name)}/.kome/release",
                    "release": release.id,
                },
            )

    def describe(self, name: str, facts: dict[str, str]) -> None:
        """Tell the program of one node."""
        raise NotImplementedError

    def changed(self) -> float:
        """All nodes get a configuration that they never had."""
        self._number += 1
        self.write()
        return self._run()

    def unchanged(self) -> float:
        """Once more."""
        return self._run()

    def close(self) -> None:
        """Nothing is left open."""

    def _run(self) -> float:
        environment = {**os.environ, "ANSIBLE_CONFIG": str(self.folder / "ansible.cfg")}
        environment |= {"ANSIBLE_HOME": str(self.folder / "home"), "NO_COLOR": "1"}
        started = time.monotonic()
        done = subprocess.run(
            self.command(), cwd=self.folder, env=environment, capture_output=True, timeout=LIMIT_S
        )
        took_s = time.monotonic() - started
        if done.returncode != 0:
            said = (done.stdout + done.stderr).decode(errors="replace")[-3000:]
            raise SystemExit(f"{type(self).__name__} failed:\n{said}")
        return took_s


class Ansible(Other):
    """ansible-playbook: pipelining, warm ControlPersist, one fork per node, no facts."""

    def prepare(self) -> None:
        control = self.folder / "cp"
        control.mkdir()
        settings = {
            "forks": len(self._practice.topology.nodes),
            "python": sys.executable,
            "config": self._practice.ssh.config,
            "control": control,
        }
        (self.folder / "ansible.cfg").write_text(ANSIBLE_CFG.format(**settings))
        tasks = ANSIBLE_RELEASES if self._releases else ANSIBLE_ONE_FILE
        (self.folder / "push.yaml").write_text(ANSIBLE_FRAME.format(tasks=tasks.rstrip()))
        (self.folder / "host_vars").mkdir()

    def write(self) -> None:
        names = "\n".join(self._practice.topology.nodes)
        (self.folder / "inventory.ini").write_text(f"{names}\n")
        super().write()

    def describe(self, name: str, facts: dict[str, str]) -> None:
        lines = (f'{key}: "{value}"\n' for key, value in facts.items())
        (self.folder / "host_vars" / f"{name}.yaml").write_text("".join(lines))

    def command(self) -> list[str | Path]:
        return [self._programs / "ansible-playbook", "push.yaml"]

    def close(self) -> None:
        """End the connections that ControlPersist keeps."""
        for socket in (self.folder / "cp").iterdir():
            subprocess.run(
                ["ssh", "-o", f"ControlPath={socket}", "-O", "exit", "any"], capture_output=True
            )


class Pyinfra(Other):
    """pyinfra: all hosts in parallel."""

    def prepare(self) -> None:
        tasks = PYINFRA_RELEASES if self._releases else PYINFRA_ONE_FILE
        (self.folder / "push.py").write_text(PYINFRA_FRAME.format(tasks=tasks))
        self._hosts: dict[str, dict[str, object]] = {}

    def describe(self, name: str, facts: dict[str, str]) -> None:
        ssh = self._practice.ssh
        self._hosts[name] = {
            **facts,
            "ssh_hostname": "127.0.0.1",
            "ssh_port": ssh.ports[name],
            "ssh_user": ssh.user,
            "ssh_key": str(ssh.key),
            "ssh_known_hosts_file": str(ssh.known_hosts),
            "ssh_config_file": str(ssh.config),
        }
        hosts = list(self._hosts.items())
        (self.folder / "inventory.py").write_text(f"nodes = {hosts!r}\n")

    def command(self) -> list[str | Path]:
        return [self._programs / "pyinfra", "-y", "inventory.py", "push.py"]
