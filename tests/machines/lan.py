"""The LAN of the shipped topology.yaml: its machines, what they stand in front of, the operator.

Every host has a network namespace with one cable into a switch, a bridge in a namespace of its
own. None has a default route, and the switch has no way out: nothing that runs here can send a
packet to the network of this computer, and this computer has no route to the LAN.
"""

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from kome_tui.topology.load import load
from kome_tui.topology.model import Topology, UpstreamName
from tests.machines.image import Image
from tests.machines.machine import BARE, Machine, MachineSpec
from tests.machines.operator import TOPOLOGY, Operator
from tests.machines.services import MODELS, Service, command_of
from tests.machines.world import World

T = TypeVar("T")
R = TypeVar("R")

OPERATOR = "192.168.86.10"
# More at once only makes each slower, on two cores.
_AT_ONCE = 6

_SWITCH = """
ip netns add switch
ip -n switch link set lo up
ip -n switch link add name lan type bridge
ip -n switch link set lan up
ip netns exec switch nft -f - <<'RULES'
table bridge cables {
    set cut {
        type ipv4_addr . ipv4_addr
    }
    chain forward {
        type filter hook forward priority 0; policy accept;
        ip saddr . ip daddr @cut drop
    }
}
RULES
"""
_HOST = """
while [ $# -gt 1 ]; do
    ip netns add "$1"
    ip -n "$1" link set lo up
    ip -n switch link add name "$1" type veth peer name eth0 netns "$1"
    ip -n switch link set "$1" master lan up
    ip -n "$1" address add "$2/24" dev eth0
    ip -n "$1" link set eth0 up
    shift 2
done
"""
_KEYS = """
folder=$1
shift
for name; do
    [ -e "$folder/$name" ] || ssh-keygen -q -t ed25519 -N '' -C "$name" -f "$folder/$name"
done
"""


class Lan:
    """Use it as a context manager: on entry the LAN is up and every machine has started.

    `names` are the machines (all of the topology), `specs` what single ones start from instead
    of `spec`. `folder` takes keys, ssh_config and consoles. With `boot=False` machines are off.
    """

    def __init__(
        self,
        image: Image,
        folder: Path,
        names: Iterable[str] | None = None,
        *,
        spec: MachineSpec = BARE,
        specs: Mapping[str, MachineSpec] | None = None,
        boot: bool = True,
    ) -> None:
        self.image = image
        self.folder = folder
        self.topology: Topology = load(TOPOLOGY)
        self.machines: dict[str, Machine] = {}
        self.operator: Operator
        self._names = list(self.topology.nodes if names is None else names)
        self._specs = {name: (specs or {}).get(name, spec) for name in self._names}
        self._boot = boot
        self._world = World()
        self._services: dict[str, Service] = {}
        self._addresses = self._all_addresses()

    def _all_addresses(self) -> dict[str, str]:
        upstreams = self.topology.upstreams
        return {
            "operator": OPERATOR,
            "okome": str(upstreams.okome.address),
            "gpu": str(upstreams.vllm.address),
            "redis": str(upstreams.redis.address),
            **{name: str(self.topology.nodes[name].address) for name in self._names},
        }

    def __enter__(self) -> "Lan":
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._world.__enter__()
        try:
            self._build()
        except BaseException:
            self._world.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._world.__exit__(kind, error, trace)

    def _build(self) -> None:
        hosts = [word for host in self._addresses.items() for word in host]
        self._world.sh(_SWITCH)
        self._world.sh(_HOST, *hosts)
        self._world.sh(_KEYS, self.folder, "operator", *(f"{n}.hostkey" for n in self._names))
        self._services = self._make_services()
        for service in self._services.values():
            service.launch()
        made = _at_once(self._make, self._names)
        self.machines = dict(zip(self._names, made, strict=True))
        self.operator = Operator(self._world, self.folder, TOPOLOGY)
        self.operator.know({m.address: m.host_key for m in self.machines.values()})
        if self._boot:
            self.boot()
        for service in self._services.values():
            service.wait_until_up()

    def _make(self, name: str) -> Machine:
        spec = self._specs[name]
        return Machine(self._world, self.image, name, self._addresses[name], self.folder, spec)

    def _make_services(self) -> dict[str, Service]:
        upstreams = self.topology.upstreams
        at = {name.value: str(upstreams.of(name)) for name in UpstreamName}
        redis = upstreams.redis
        server = ["redis-server", "--bind", str(redis.address), "--port", str(redis.port)]
        server += ["--save", "", "--protected-mode", "no", "--dir", "/run"]
        commands = {
            "redis": ("redis", server),
            **{name: ("gpu", command_of(name, at[name])) for name in MODELS},
            "okome": ("okome", command_of("okome", at["okome"], at["vllm"], at["redis"])),
        }
        return {
            name: Service(
                self._world, name, host, upstreams.of(UpstreamName(name)).port, command, self.folder
            )
            for name, (host, command) in commands.items()
        }

    def __getitem__(self, name: str) -> Machine:
        return self.machines[name]

    def service(self, name: str) -> Service:
        """One of okome, vllm, ollama, tf-rest, tf-grpc, redis."""
        return self._services[name]

    def address(self, name: str) -> str:
        """The address of a machine, or of operator, okome, gpu, redis."""
        return self._addresses[name]

    def boot(self, names: Iterable[str] | None = None) -> None:
        """Switch machines on, all of them by default, and wait until they are up."""
        self.each(Machine.boot, names)

    def reset(self, names: Iterable[str] | None = None) -> None:
        """Put machines back to their kept state and start them; heal the LAN, start services."""
        self.heal()
        for service in self._services.values():
            service.thaw()
            service.start()

        def renew(machine: Machine) -> None:
            machine.reset()
            machine.boot()

        self.each(renew, names)
        self.operator.know({m.address: m.host_key for m in self.machines.values()})

    def each(self, work: Callable[[Machine], None], names: Iterable[str] | None = None) -> None:
        """Do something with machines, all of them by default, several at once."""
        chosen = self.machines if names is None else names
        _at_once(work, [self.machines[name] for name in chosen])

    # --- cables

    def partition(self, a: str, b: str) -> None:
        """Let no packet pass between two hosts, in either direction; nothing tells them so."""
        self._cables(f"add element bridge cables cut {{ {self._pairs(a, b)} }}")

    def heal(self) -> None:
        """Undo every partition, and plug every cable in."""
        self._cables("flush set bridge cables cut")
        self._world.sh('for name; do ip -n switch link set "$name" up; done', *self._addresses)

    def unplug(self, name: str) -> None:
        """Pull the cable of a host."""
        self._world.sh('ip -n switch link set "$1" down', name)

    def plug(self, name: str) -> None:
        """Put the cable of a host back in."""
        self._world.sh('ip -n switch link set "$1" up', name)

    def _pairs(self, a: str, b: str) -> str:
        one, other = self._addresses[a], self._addresses[b]
        return f"{one} . {other}, {other} . {one}"

    def _cables(self, command: str) -> None:
        self._world.sh('ip netns exec switch nft "$1"', command)


def _at_once(work: Callable[[T], R], items: Iterable[T]) -> list[R]:
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        return list(threads.map(work, items))
