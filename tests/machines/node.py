"""A machine made a node by hand: what `rebuild` leaves, without its steps, proofs and trial.

For tests of what comes after. The machine is one with Debian's nginx (image "serving").
"""

import io
import shlex
import tarfile

from kome_tui.fleet.script import script_of
from kome_tui.nginx.host import HostFile, host_files
from kome_tui.topology.model import Topology
from tests.machines.machine import Machine


def set_up_node(machine: Machine, topology: Topology) -> None:
    """Put the node script and the host's files in place, and enable their units.

    nginx goes on serving what the package came with: the first push finds and keeps that.
    """
    host = host_files(topology, machine.name)
    script = HostFile(
        topology.layout_of(machine.name).script, script_of(topology, machine.name), 0o755
    )
    lines = [shlex.join(diversion.make) for diversion in host.diversions]
    lines.append("tar --extract --directory / --no-same-owner --no-overwrite-dir")
    lines += [shlex.join([*file.check, file.path]) for file in (script, *host.files) if file.check]
    lines.append("systemctl daemon-reload")
    lines += [shlex.join(["systemctl", "--quiet", "enable", unit]) for unit in host.units]
    lines.append("systemd-tmpfiles --create /etc/tmpfiles.d/kome.conf")
    lines.append("systemctl reload ssh")
    # Started as the next boot would; recover is for boots alone.
    started = [unit for unit in host.units if unit != "kome-recover.service"]
    lines.append(shlex.join(["systemctl", "start", *started]))
    machine.run("set -e\n" + "\n".join(lines), stdin=_archive([script, *host.files, host.manifest]))


def _archive(files: list[HostFile]) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for file in files:
            member = tarfile.TarInfo(file.path.lstrip("/"))
            member.size = len(file.text.encode())
            member.mode = file.mode
            assert file.owner == "root:root"
            archive.addfile(member, io.BytesIO(file.text.encode()))
    return made.getvalue()
