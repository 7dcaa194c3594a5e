"""One real Debian machine: systemd, sshd and sudo of its own, at its own address of the LAN."""

import shlex
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.machines.cgroups import Group
from tests.machines.commands import (
    Done,
    finish,
    in_clean_environment,
    namespace_depth,
    own_memory,
)
from tests.machines.disk import IN_MEMORY, Disk, DiskSpec
from tests.machines.image import Image, ImageName
from tests.machines.world import CommandFailed, World, children, listens
from tests.waiting import wait_until

BOOT_S = 90.0
COMMAND_S = 60.0
SUDO_PASSWORD = "tramontana-41"
"""Of the bootstrap user `debian`, where its sudo asks for one."""

_FILLER = "/var/tmp/filler"

_IDENTITY = """
root=$1 name=$2 files=$3 sudo=$4 kome=$5
echo "$name" >"$root/etc/hostname"
printf '127.0.0.1 localhost\\n127.0.1.1 %s\\n::1 localhost\\n' "$name" >"$root/etc/hosts"
install -m 600 "$files/$name.hostkey" "$root/etc/ssh/ssh_host_ed25519_key"
install -m 644 "$files/$name.hostkey.pub" "$root/etc/ssh/ssh_host_ed25519_key.pub"
if [ "$sudo" = free ]; then
    echo 'debian ALL=(ALL) NOPASSWD: ALL' >"$root/etc/sudoers.d/debian"
    chmod 440 "$root/etc/sudoers.d/debian"
else
    rm -f "$root/etc/sudoers.d/debian"
fi
[ "$kome" = yes ] || chroot "$root" userdel --remove kome
for user in debian kome; do
    [ -d "$root/home/$user" ] || continue
    install -d -m 700 "$root/home/$user/.ssh"
    install -m 600 "$files/operator.pub" "$root/home/$user/.ssh/authorized_keys"
    chroot "$root" chown -R "$user:$user" "/home/$user/.ssh"
done
sync --file-system "$root/etc"
"""

# systemd-nspawn keeps what was mounted where it started, out of sight, as long as the machine runs:
# the disks of the other machines would then be in use for ever. One may be removed meanwhile.
_WITHOUT_OTHER_DISKS = """
name=$1
shift
mounts=$(cat /proc/self/mountinfo)
while read -r _ _ _ _ at _; do
    case $at in
        "/run/root/$name" | "/run/disk/$name"/*) ;;
        /run/root/* | /run/disk/*) umount "$at" || ! mountpoint -q "$at" ;;
    esac
done <<END
$mounts
END
exec "$@"
"""


@dataclass(frozen=True)
class MachineSpec:
    """What a machine starts from."""

    image: ImageName = "bare"
    disk: DiskSpec = IN_MEMORY
    sudo_password: bool = False
    """Whether sudo asks the bootstrap user `debian` for SUDO_PASSWORD."""
    kome: bool = True
    """Whether there is a user kome that the operator's key opens, without any sudo."""


BARE = MachineSpec()


class Machine:
    """Made by Lan. A machine has power (`is_on`) or not; its disk stays either way."""

    def __init__(
        self, world: World, image: Image, name: str, address: str, files: Path, spec: MachineSpec
    ) -> None:
        self.name = name
        self.address = address
        self.spec = spec
        self.boot_s = 0.0
        """How long the last start took, until sshd accepted and systemd was done."""
        self._world = world
        self._image = image
        self._files = files
        self._group: Group = world.group.child(name)
        self._process: subprocess.Popen[bytes] | None = None
        self._init = 0
        self._switched_on = 0.0
        self._disk = Disk(world, name, image.disk(spec.image), spec.disk)
        self._identify()

    # --- power

    @property
    def is_on(self) -> bool:
        """Whether it has power."""
        return self._process is not None and self._process.poll() is None

    def boot(self) -> None:
        """Switch it on; waits until systemd is done and sshd accepts. Harmless when it is on."""
        if self.is_on:
            return
        self.switch_on()
        self.wait_for_boot()

    def switch_on(self) -> None:
        """Switch it on and wait for nothing."""
        self._disk.mount()
        self._carrier("up")
        with self.console.open("ab") as console:
            self._process = self._world.start(self._nspawn(), self._group, None, console)
        self._init = 0
        self._switched_on = time.monotonic()

    def wait_for_boot(self) -> None:
        """Wait until systemd is done and sshd accepts; fails with what the machine says of it."""
        try:
            self._init = wait_until(self._find_init, BOOT_S)
            wait_until(self._is_up, BOOT_S, every_s=0.05)
        except AssertionError as error:
            raise CommandFailed(f"{self.name} does not start: {self._complaint()}") from error
        self.boot_s = time.monotonic() - self._switched_on

    def _complaint(self) -> str:
        said = self.console.read_text(errors="replace")[-2000:]
        if self._init:
            ask = "systemctl is-system-running; systemctl --failed; systemctl list-jobs"
            said += self.run(ask, check=False).out
        return said

    def kill(self) -> None:
        """Cut the power: every process is gone at once. What was written to the disk is there."""
        self._carrier("down")  # the network of a dead machine refuses nothing: it is silent
        self._group.end()
        self._ended()

    def cut_power(self) -> None:
        """Cut the power of a machine with an ext4 disk: what was not synced is lost as well."""
        self._group.freeze()
        self._disk.cut()
        self.kill()
        self._disk.take_cut()

    def power_off(self) -> None:
        """Shut it down in order."""
        self.run("systemctl poweroff --no-block")
        wait_until(lambda: not self.is_on, BOOT_S)
        self.kill()

    def reboot(self) -> None:
        """Cut the power and switch it on again, on the same disk."""
        self.kill()
        self.boot()

    def restart(self) -> None:
        """Shut it down in order and switch it on again."""
        self.power_off()
        self.boot()

    def freeze(self) -> None:
        """Hang it: every process stands still; the kernel still takes connections for them."""
        self._group.freeze()

    def thaw(self) -> None:
        """Let a hung machine go on."""
        self._group.thaw()

    # --- its state

    def keep(self) -> None:
        """Make its present state the one that `reset` goes back to; shuts it down for that."""
        if self.is_on:
            self.power_off()
        self._disk.keep()

    def reset(self) -> None:
        """Back to the kept state, or to a new machine where none was kept. It is off afterwards."""
        self.kill()
        self._disk.reset()
        if not self._disk.has_layers:
            self._identify()

    def remake(self, spec: MachineSpec) -> None:
        """A new machine from `spec` with the same host key, and no kept state. It is off."""
        self.kill()
        self.spec = spec
        self._disk.remake(self._image.disk(spec.image), spec.disk)
        self._identify()

    # --- commands and files, as root

    def run(
        self,
        command: str | Sequence[str],
        *,
        stdin: str | bytes = b"",
        check: bool = True,
        timeout_s: float = COMMAND_S,
    ) -> Done:
        """Run a command, or a line of sh, as root inside; it must be on.

        Raises CommandFailed when it fails and `check` is set. It is no service of the machine: a
        frozen machine still runs it, and what it starts in the background is in no unit.
        """
        assert self._init, f"{self.name} is off"
        words = ["sh", "-c", command] if isinstance(command, str) else list(command)
        enter = ["nsenter", "--target", str(self._init), "--all", "--"]
        return finish([*enter, *in_clean_environment(words)], stdin, check, timeout_s, self.name)

    def offline(self, command: str, *, stdin: str | bytes = b"") -> Done:
        """Run a line of sh as root on its disk while it is off, as with the disk taken out."""
        assert not self.is_on, f"{self.name} is on"
        self._disk.mount()
        words = ["chroot", str(self._disk.root), *in_clean_environment(["sh", "-c", command])]
        return finish(self._world.inside(words), stdin, True, COMMAND_S, self.name)

    def read_file(self, path: str) -> str:
        """A file's text, whether the machine is on or off."""
        return self._on_or_off(f"cat {shlex.quote(path)}").out

    def write_file(self, path: str, text: str, mode: int = 0o644, owner: str = "root:root") -> None:
        """Write a file, with the folders it needs, whether the machine is on or off."""
        file = shlex.quote(path)
        self._on_or_off(
            f"set -e; mkdir -p {shlex.quote(str(Path(path).parent))}; umask 077; cat >{file}; "
            f"chmod {mode:o} {file}; chown {shlex.quote(owner)} {file}",
            stdin=text,
        )

    def _on_or_off(self, command: str, stdin: str = "") -> Done:
        if self.is_on:
            return self.run(command, stdin=stdin)
        return self.offline(command, stdin=stdin)

    # --- faults of the disk

    def fill_disk(self, leave_kb: int = 0) -> None:
        """Fill the disk up to the last `leave_kb` KiB."""
        self.run(
            f"dd if=/dev/zero of={_FILLER} bs=4k 2>/dev/null; truncate -s -{leave_kb}K {_FILLER}"
        )

    def fill_inodes(self) -> None:
        """Use up every inode; there is room for bytes, but for no new file."""
        script = "i=0; while : >{0}/$i; do i=$((i+1)); done"
        self.run(f"mkdir {_FILLER} && ( {script.format(_FILLER)} ) 2>/dev/null; true")

    def empty_disk(self) -> None:
        """Undo fill_disk and fill_inodes."""
        self.run(f"rm -rf {_FILLER}")

    def fail_disk(self) -> None:
        """An error of the medium: the ext4 disk turns read-only until the next start."""
        assert self.spec.disk.kind == "ext4", "only an ext4 disk can fail"
        self._disk.fail()

    # --- its identity

    def change_host_key(self) -> None:
        """Give it another SSH host key, as a machine that was set up anew has."""
        key = "/etc/ssh/ssh_host_ed25519_key"
        self.run(f"rm {key} {key}.pub; ssh-keygen -q -t ed25519 -N '' -f {key}")
        self.run("systemctl restart ssh")
        wait_until(lambda: listens(self._init, 22))

    @property
    def host_key(self) -> str:
        """Type and base64 of the key it was made with: the rest of a known_hosts line."""
        return " ".join((self._files / f"{self.name}.hostkey.pub").read_text().split()[:2])

    @property
    def console(self) -> Path:
        """What it printed while starting."""
        return self._files / f"{self.name}.console"

    def processes(self) -> list[int]:
        """All its processes, as this computer numbers them."""
        return self._group.processes()

    def memory_bytes(self) -> int:
        """The memory its processes share with nobody, together."""
        return sum(own_memory(process) for process in self.processes())

    def _identify(self) -> None:
        self._world.sh(
            _IDENTITY,
            self._disk.root,
            self.name,
            self._files,
            "asks" if self.spec.sudo_password else "free",
            "yes" if self.spec.kome else "no",
        )

    def _carrier(self, state: str) -> None:
        self._world.sh('ip -n switch link set "$1" "$2"', self.name, state)

    def _nspawn(self) -> list[str]:
        return [
            *("unshare", "--mount", "sh", "-eu", "-c", _WITHOUT_OTHER_DISKS, "sh", self.name),
            *("systemd-nspawn", "--quiet", "--directory", str(self._disk.root), "--boot"),
            *(f"--machine={self.name}", "--register=no", "--keep-unit", "--resolv-conf=off"),
            "--capability=CAP_NET_ADMIN",  # to load rules of nftables
            f"--network-namespace-path=/run/netns/{self.name}",
            *("--link-journal=no", "--console=pipe"),
        ]

    def _find_init(self) -> int:
        """The first process of the machine, seen from outside; 0 while there is none."""
        assert self._process is not None
        if self._process.poll() is not None:
            raise CommandFailed(f"{self.name} ended while starting")
        for nspawn in children(self._process.pid):
            for process in children(nspawn):
                if namespace_depth(process) == 3:
                    return process
        return 0

    def _is_up(self) -> bool:
        if not listens(self._init, 22):
            return False
        state = self.run("systemctl is-system-running", check=False).out.strip()
        return state in ("running", "degraded")

    def _ended(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait(30)
        self._process = None
        self._init = 0
        self._disk.unmount()
