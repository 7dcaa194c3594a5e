"""Power cuts at block level: the disk as it is at a random moment of a push, and a boot on it.

The node's disk is an ext4 image on a loop device, the image a file in memory. What the page cache
holds and nothing forced to the disk is not in the image: a copy of it is what a power cut leaves.
The control runs the same with a script that never calls sync; it has to come to grief.
"""

import contextlib
import random
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.node_machine import Built, Machine
from tests.waiting import wait_until
from trials.push import Push, broken, kill_all, reboot, release
from trials.tally import Tally

IMAGE_MB = 8
PUSH_S = 0.6


def power_cuts(
    folder: Path, count: int, seed: int, *, fsync: bool = True, stop_at_first: bool = False
) -> Tally:
    """`count` pushes, the power cut once in each. Needs root, loop devices and ext4.

    `stop_at_first`: a control that has come to grief once has shown enough.
    """
    tally = Tally("power cuts" if fsync else "power cuts, without fsync", control=not fsync)
    chance = random.Random(seed)
    with _disk(folder) as disk:
        machine = disk.machine
        if not fsync:
            text = machine.script.read_text()
            assert "\ndurable() {" in text
            body = text.partition("\ndurable() {")[2].partition("\n")[0]
            machine.script.write_text(text.replace(f"durable() {{{body}", "durable() { :; }"))
        machine.start_nginx()
        old = release(machine, "page-0")
        machine.push(old, "first")
        subprocess.run(["sync", "-f", str(machine.root)], check=True)
        for number in range(count):
            push = Push(machine, release(machine, f"page-{number + 1}"), f"p{seed}-{number}")
            console = push.start()
            moment_s = chance.uniform(0, PUSH_S)
            time.sleep(moment_s)  # the moment itself is what is drawn
            told = push.told  # before the picture: what is told later may be lost
            disk.take_picture()
            push.cut.set()
            kill_all(machine, Machine.processes)
            console.join()
            disk.go_back_to_picture()
            found = _boot(machine, old, push.built, told)
            tally.runs += 1
            tally.counts[f"told {told}"] += 1
            tally.violations += [f"after {moment_s:.3f} s, run {number}: {one}" for one in found]
            if not found:
                if machine.live() == push.built.id:
                    old = push.built
            elif fsync:
                break  # what follows would only repeat it
            elif stop_at_first:
                break
            else:
                machine, old = disk.anew()
    return tally


def _boot(machine: Machine, old: Built, new: Built, told: str) -> list[str]:
    """Boot on the disk as it is; what is broken."""
    allowed = "asked" if told == "not asked" and _committed(machine, new) else told
    try:
        reboot(machine)
        return broken(machine, old, new, allowed)
    except (AssertionError, OSError, subprocess.SubprocessError) as error:
        with contextlib.suppress(OSError):
            held = (machine.root / "etc/nginx.conf").read_bytes()
            return [f"does not come up on {held[:40]!r} ({len(held)} bytes): {error}"]
        return [f"does not come up: {error}"]


def _committed(machine: Machine, new: Built) -> bool:
    """The decision reached the disk between the look at `told` and the picture."""
    journal = machine.state / "journal/decision"
    decided = journal.is_symlink() and str(journal.readlink()) == "confirmed"
    return decided or (machine.live() == new.id and not (machine.state / "journal").exists())


class _Disk:
    """A machine on an image that can be copied and brought back."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._root = folder / "root"
        self.machine = self._made()

    def take_picture(self) -> None:
        """Copy the image as it is at this moment."""
        shutil.copyfile(self._folder / "disk.img", self._folder / "picture.img")

    def go_back_to_picture(self) -> None:
        """The machine's disk is the picture. Nothing of the machine may run."""
        self.unmount()
        shutil.move(self._folder / "picture.img", self._folder / "disk.img")
        self._mount()

    def anew(self) -> tuple[Machine, Built]:
        """A disk that nothing happened to, with a first release."""
        kill_all(self.machine, Machine.processes)
        script = self.machine.script.read_text()
        self.unmount()
        self.machine = self._made()
        self.machine.script.write_text(
            script.replace(f"PORT={self._port_of(script)}\n", f"PORT={self.machine.port}\n")
        )
        self.machine.start_nginx()
        old = release(self.machine, "page-0")
        self.machine.push(old, "first")
        subprocess.run(["sync", "-f", str(self._root)], check=True)
        return self.machine, old

    def unmount(self) -> None:
        """Take the image off; twice is harmless."""
        for place in (self._root / "run", self._root):
            if place.is_mount():
                _unmount(place)

    def _made(self) -> Machine:
        image = self._folder / "disk.img"
        with image.open("wb") as file:
            file.truncate(IMAGE_MB * 1024 * 1024)
        subprocess.run(["mkfs.ext4", "-q", "-F", "-m", "0", str(image)], check=True)
        self._root.mkdir(exist_ok=True)
        self._mount()
        shutil.rmtree(self._root / "lost+found")
        return Machine(self._root)

    def _mount(self) -> None:
        image = self._folder / "disk.img"
        wait_until(lambda: not _in_use(image))  # else it is the disk before the cut, still there
        subprocess.run(["mount", "-o", "loop", str(image), str(self._root)], check=True)
        run = self._root / "run"
        run.mkdir(exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2M", "tmpfs", str(run)], check=True)

    @staticmethod
    def _port_of(script: str) -> str:
        return script.partition("\nPORT=")[2].partition("\n")[0]


@contextmanager
def _disk(folder: Path) -> Iterator[_Disk]:
    folder.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64M", "tmpfs", str(folder)], check=True)
    disk: _Disk | None = None
    try:
        disk = _Disk(folder)
        yield disk
    finally:
        if disk is not None:
            kill_all(disk.machine, Machine.processes)
            disk.unmount()
        _unmount(folder)


def _in_use(image: Path) -> bool:
    """Whether a loop device still has it, as a mount copied by another machine's start makes it."""
    return bool(subprocess.run(["losetup", "-j", str(image)], capture_output=True).stdout)


def _unmount(place: Path) -> None:
    """Unmount once nothing holds it any more: a killed process lets go a moment later."""
    wait_until(
        lambda: subprocess.run(["umount", str(place)], stderr=subprocess.DEVNULL).returncode == 0
    )
