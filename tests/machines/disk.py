"""A machine's disk: an image that is only read, layers kept by `keep`, and what was written since.

What is written lies in memory ("memory"), or in an ext4 file system in a file ("ext4") where a test
needs one that turns read-only, or loses at a power cut what was not synced. The latter takes the
file as it is at that moment: what only the kernel had is gone, as with a real disk.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tests.machines.world import RUN, World

_MOUNT_MEMORY = 'mkdir -p "$1" && mount -t tmpfs -o "size=$2m,nr_inodes=$3,mode=755" disk "$1"'
_MAKE_EXT4 = """
mkdir -p "$1"
truncate -s "$2M" "$1.ext4"
mkfs.ext4 -q -F -N "$3" -m 0 -E lazy_itable_init=1,lazy_journal_init=1 "$1.ext4"
"""
# A machine that starts in that moment has a copy of every mount, and gives it back a little later.
# Until then the loop device is busy, or is there still with all that went wrong before.
_MOUNT_EXT4 = """
tries=0
until [ -z "$(losetup -j "$1.ext4")" ] && mount -o "loop,$2" "$1.ext4" "$1"; do
    tries=$((tries + 1))
    [ "$tries" -lt 100 ] || exit 1
    sleep 0.1
done
"""
_MOUNT_ROOT = """
mkdir -p "$1/upper" "$1/work" "$2"
mount -t overlay -o "lowerdir=$3,upperdir=$1/upper,workdir=$1/work" disk "$2"
"""
# Two copies that agree: the kernel wrote nothing to the file while it was read.
_CUT_EXT4 = """
for attempt in 1 2 3 4 5 6 7 8 9 10; do
    cp --sparse=always "$1.ext4" "$1.cut"
    if cmp -s "$1.ext4" "$1.cut"; then exit 0; fi
done
echo "the disk was written to all the time" >&2
exit 1
"""
_BREAK_EXT4 = """
loop=$(findmnt -n -o SOURCE "$1")
echo 1 >"/sys/fs/ext4/${loop##*/}/trigger_fs_error"
"""


@dataclass(frozen=True)
class DiskSpec:
    """How large a disk is, and on what it lies."""

    kind: Literal["memory", "ext4"] = "memory"
    mb: int = 256
    inodes: int = 32_768


IN_MEMORY = DiskSpec()


class Disk:
    """The root file system of one machine, mounted at `root` of the world from `mount` on."""

    def __init__(self, world: World, name: str, image: Path, spec: DiskSpec) -> None:
        self._world = world
        self._name = name
        self._image = image
        self._layers: list[Path] = []
        self._made = 0
        self.spec = spec
        self.root = RUN / "root" / name
        self._new()

    def _new(self) -> None:
        self._made += 1
        self._written = RUN / "disk" / self._name / str(self._made)
        make = _MOUNT_MEMORY if self.spec.kind == "memory" else _MAKE_EXT4
        self._world.sh(make, self._written, str(self.spec.mb), str(self.spec.inodes))
        self._mounted = False
        self.mount()

    def mount(self) -> None:
        """Make it there, as the start of a machine does. Harmless where it is."""
        if self._mounted:
            return
        if self.spec.kind == "ext4":
            self._world.sh(_MOUNT_EXT4, self._written, "commit=1,errors=remount-ro")
        lower = ":".join(map(str, [*reversed(self._layers), self._image]))
        self._world.sh(_MOUNT_ROOT, self._written, self.root, lower)
        self._mounted = True

    def unmount(self) -> None:
        """Take it away; everything that was written is kept."""
        if self._mounted:
            self._world.sh('umount "$1"', self.root)
            if self.spec.kind == "ext4":
                self._world.sh('umount "$1"', self._written)
            self._mounted = False

    def keep(self) -> None:
        """Make what it is now the state that `reset` goes back to. No machine may run on it."""
        self.unmount()
        if self.spec.kind == "ext4":
            self._world.sh(_MOUNT_EXT4, self._written, "ro")
        self._layers.append(self._written / "upper")
        self._new()

    @property
    def has_layers(self) -> bool:
        """Whether there is a kept state."""
        return bool(self._layers)

    def reset(self) -> None:
        """Throw away what was written since `keep`."""
        self.unmount()
        self._drop(self._written)
        self._new()

    def remake(self, image: Path, spec: DiskSpec) -> None:
        """Throw away everything, and start from `image`."""
        self.unmount()
        self._drop(self._written)
        for layer in self._layers:
            self._drop(layer.parent)
        self._layers = []
        self._image = image
        self.spec = spec
        self._new()

    def cut(self) -> None:
        """Note what is on the disk at this moment; `take_cut` makes that the disk."""
        self._world.sh(_CUT_EXT4, self._written)

    def take_cut(self) -> None:
        """Go on with what `cut` noted. No machine may run on it."""
        self.unmount()
        self._world.sh('mv "$1.cut" "$1.ext4"', self._written)

    def fail(self) -> None:
        """An error of the medium: ext4 turns read-only, now, for everybody who has a file open."""
        self._world.sh(_BREAK_EXT4, self._written)

    def _drop(self, written: Path) -> None:
        self._world.sh(
            'if mountpoint -q "$1"; then umount "$1"; fi; rm -f "$1.ext4" "$1.cut"; rmdir "$1"',
            written,
        )
