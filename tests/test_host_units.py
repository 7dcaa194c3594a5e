"""systemd's own judgement of the units, the folders and the mount."""

import pwd
import subprocess
from pathlib import Path

from kome_tui.nginx.host import host_files
from kome_tui.topology.grammar import size_bytes
from tests.builders_topology import topology
from tests.host_programs import file_at, needs, program, put

NODE = "node-03"


def units(folder: Path, **layout: str) -> dict[str, Path]:
    """Every unit of a node whose cache is in memory, by name; its script is there."""
    script = folder / "kome-node"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    fleet = topology(
        cache={"size": "200m", "tmpfs": "256m"}, layout={"script": f"{script}", **layout}
    )
    files = host_files(fleet, NODE).files
    made = [put(file, folder) for file in files if file.path.startswith("/etc/systemd/")]
    return {path.name: path for path in made if path.suffix != ".conf"}


@needs("systemd-analyze", "logrotate", "nft", "nginx", root=False)
def test_systemd_finds_nothing_wrong_with_the_units(tmp_path: Path) -> None:
    made = units(tmp_path, cache="/srv/web-cache/kome")
    assert set(made) == {
        "kome-recover.service",
        "kome-logs.service",
        "kome-logs.timer",
        "kome-firewall.service",
        r"srv-web\x2dcache-kome.mount",
    }
    command = [program("systemd-analyze"), "verify", "--man=no", *map(str, made.values())]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=100)
    # it also names what it finds wrong with the machine's own units
    ours = [row for row in ran.stderr.splitlines() if any(name in row for name in made)]
    assert ours == []
    recover = made["kome-recover.service"]
    recover.write_text(recover.read_text().replace("RemainAfterExit", "RemainAfterwards"))
    again = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert "RemainAfterwards" in again.stderr


def test_recover_comes_before_nginx_and_nothing_depends_on_its_success(tmp_path: Path) -> None:
    text = units(tmp_path)["kome-recover.service"].read_text()
    rows = set(text.splitlines())
    assert {"Before=nginx.service", "RemainAfterExit=yes", "WantedBy=multi-user.target"} <= rows
    assert {"StandardInput=data", "StandardInputText=kome/1 recover at=boot"} <= rows
    assert "RequiredBy" not in text
    assert "network" not in text


@needs("systemd-tmpfiles", "unshare")
def test_the_folders_are_made_as_nginx_wants_them(tmp_path: Path) -> None:
    fleet = topology(
        layout={
            "cache": f"{tmp_path}/a/b/kome",
            "log": f"{tmp_path}/c/log",
            "temp": f"{tmp_path}/d/e",
        }
    )
    conf = put(file_at(host_files(fleet, NODE), "tmpfiles.d/kome.conf"), tmp_path)
    for _ in range(2):
        create = [program("systemd-tmpfiles"), "--create", f"{conf}"]
        subprocess.run(create, check=True, timeout=60)
        cache = (tmp_path / "a/b/kome").stat()
        assert (cache.st_mode & 0o7777, pwd.getpwuid(cache.st_uid).pw_name) == (0o700, "www-data")
        assert (tmp_path / "c/log").stat().st_mode & 0o7777 == 0o755
        assert (tmp_path / "d/e").is_dir()


@needs("mount", "unshare")
def test_the_cache_in_memory_is_mounted_with_its_options(tmp_path: Path) -> None:
    text = units(tmp_path)["var-cache-nginx-kome.mount"].read_text()
    row = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    where = tmp_path / "cache"
    where.mkdir()
    script = 'mount -t "$1" -o "$2" "$3" "$4" && stat -c "%U %a" "$4" && grep " $4 " /proc/mounts'
    words = [row["Type"], row["Options"], row["What"], f"{where}"]
    command = [program("unshare"), "--mount", "sh", "-c", script, "sh", *words]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    owner, mounted = ran.stdout.splitlines()
    assert owner == "www-data 700"
    size = f"size={size_bytes('256m') // 1024}k"
    assert {"noexec", "nosuid", "nodev", size} <= set(mounted.split()[3].split(","))
    assert list(where.iterdir()) == []
