"""Faults that are a table of nftables: found by host, port and interface, gated by the lease, counted by the kernel."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Final, Generic, TypeVar

from raftchaos.errors import InjectionFailed, NotFound, RecoveryFailed, Refused
from raftchaos.faults import effects
from raftchaos.faults.base import CatalogueFault, Host, Lost, NodeContext
from raftchaos.faults.network import guard, names, places, rules, scan, undo, where
from raftchaos.faults.network.places import CommandFailed, Place, PlaceGone
from raftchaos.faults.network.rules import Deed, Network, Table, Traffic
from raftchaos.faults.records import Step
from raftchaos.faults.threads import blocking
from raftchaos.faults.undo_plan import StepFailed
from raftchaos.model.faults import FaultType
from raftchaos.model.faults.network import NamespaceParameters
from raftchaos.model.safety import SELF_HARM

P = TypeVar("P", bound=NamespaceParameters)
T = TypeVar("T")
_RESOLVED: Final = 1_000
"""Targets that were resolved and not started; the oldest are forgotten."""


@dataclass(frozen=True, slots=True)
class Spot:
    """Where a target is, as it was resolved."""

    place: Place
    interface: str
    disarmed: bool
    """The net against harm to the peer itself is off."""
    index: int = 0
    """The number of the interface, which it keeps when it is renamed; 0 if nobody needs it."""


@dataclass(slots=True)
class Use:
    """One use of a fault on one target."""

    spot: Spot
    table: str
    steps: list[Step]
    on: bool = False
    lost: str = ""
    """Why it is off although nobody took it back."""
    counted: dict[str, int] = field(default_factory=lambda: {"touched": 0})
    watch: names.NameWatch | None = None


class TableFault(CatalogueFault[P], Generic[P]):
    """Subclasses say which packets, and what becomes of them."""

    holds_deadline = True
    undoing: ClassVar[Mapping[str, Callable[[Step], dict[str, int]]]] = {
        "network.table": undo.delete_table,
        "network.queue": undo.remove_queue,
    }

    def __init__(self, catalogue: FaultType, parameters: type[P], host: Host) -> None:
        super().__init__(catalogue, parameters, host)
        self._owner = str(host.data_dir.absolute())
        self._resolved: dict[str, Spot] = {}
        self._uses: dict[tuple[str, str], Use] = {}

    # ---- what subclasses say

    @abstractmethod
    def traffic(self, wanted: P, interface: str) -> Traffic:
        """Which packets, the hosts left out."""

    @abstractmethod
    def deed(self, wanted: P) -> Deed:
        """What becomes of them."""

    def hosts(self, wanted: P) -> Sequence[str] | None:
        """The other end: addresses, networks and names; None for all."""
        return None

    def spots(self, wanted: P, disarmed: bool) -> dict[str, Spot]:
        """Every target with where it is. Raises `NotFound` and `Refused`."""
        place = where.place_of(wanted.namespace)
        interface = getattr(wanted, "interface", None) or ""
        if interface:
            where.check_interface(place, interface)
        return {where.target("network", place, wanted, self.hosts(wanted)): Spot(place, interface, disarmed)}

    def look_at_net(self, wanted: P, traffic: Traffic, own: bool, cluster: Sequence[tuple[guard.Address, int]]) -> None:
        """Raises `Refused` for what must not be touched."""
        guard.check(traffic, own=own, cluster=cluster, ephemeral=where.ephemeral_ports())

    async def prepare(self, use: Use, wanted: P) -> None:
        """What must be there before the table is."""

    # ---- the fault

    def resolve(self, parameters: Mapping[str, Any], node: NodeContext) -> tuple[str, ...]:
        """One target for the packets that are meant, with its namespace; names of hosts are looked up later."""
        wanted = self.read(parameters)
        spots = self.spots(wanted, SELF_HARM in node.disarmed)
        networks, _ = names.split(self.hosts(wanted) or ())
        for spot in spots.values():
            known, _ = guard.split_cluster(self._host.cluster_addresses())
            self._check(wanted, spot, networks, known)
        for target, spot in spots.items():
            self._resolved.pop(target, None)
            self._resolved[target] = spot
        while len(self._resolved) > _RESOLVED:
            del self._resolved[next(iter(self._resolved))]
        return tuple(sorted(spots))

    def undo_steps(self, key: str, target: str) -> list[Step]:
        """Delete the table, by its name and the inode of the namespace."""
        spot = self._resolved.get(target)
        if spot is None:
            raise NotFound(f"the target {target} was not resolved before")
        table = rules.table_name(self._owner, f"{self.type} {key}", target)
        use = self._uses[key, target] = Use(spot, table, [])
        use.steps = self.steps_of(use)
        return list(use.steps)

    def steps_of(self, use: Use) -> list[Step]:
        """The undo steps of one use, in the order of the injection."""
        return [{"do": "network.table", "table": use.table, "inode": use.spot.place.inode, "path": use.spot.place.path}]

    async def inject(self, key: str, target: str, parameters: Mapping[str, Any], seed: int, lease_end: float) -> None:
        """Look the names up, look at the net again, and let the kernel do it until the lease ends."""
        wanted = self.read(parameters)
        use = self._uses[key, target]
        await self._stop_watch(use)
        use.counted = {"touched": 0}
        networks, host_names = names.split(self.hosts(wanted) or ())
        networks += await names.look_up(host_names)
        known, cluster_names = guard.split_cluster(self._host.cluster_addresses())
        known += await names.ports_of(cluster_names)
        traffic = self._check(wanted, use.spot, networks, known)
        comment = rules.comment_of(key, self.type)
        use.on, use.lost = True, ""
        await self.prepare(use, wanted)
        text = rules.table_text(Table(use.table, comment, traffic, self.deed(wanted)), _left(lease_end))
        await self._nft(use.spot.place, text)
        if host_names:

            async def take_up(found: list[Network]) -> None:
                self._check(wanted, use.spot, found, known)
                await self._nft(use.spot.place, rules.hosts_text(use.table, found))

            use.watch = names.NameWatch(host_names, networks, take_up)

    def _check(
        self, wanted: P, spot: Spot, networks: Sequence[Network], cluster: Sequence[tuple[guard.Address, int]]
    ) -> Traffic:
        """Which packets, with hosts. Raises `Refused`."""
        traffic = self.traffic(wanted, spot.interface)
        if self.hosts(wanted) is not None:
            traffic = replace(traffic, hosts=tuple(networks))
        if not spot.disarmed:
            self.look_at_net(wanted, traffic, spot.place.own, cluster)
        return traffic

    async def recover(self, key: str, target: str) -> dict[str, int]:
        """Carry out the undo steps as the reaper would; the counters of the table are the effect."""
        use = self._uses.get((key, target))
        if use is None:
            return {"touched": 0}
        await self._stop_watch(use)
        problems = []
        for step in reversed(use.steps):
            try:
                await blocking(self._undo, use, step)
            except StepFailed as error:
                problems.append(str(error))
        if problems:
            raise RecoveryFailed("; ".join(problems))
        use.on = False
        return dict(use.counted)

    def _undo(self, use: Use, step: Step) -> None:
        """Counted where it is done: what waits for it may be cancelled meanwhile."""
        effects.add(use.counted, self.undoing[step["do"]](step))

    async def renew(self, lease_end: float) -> None:
        """Let the tables live longer, those of a namespace together. One that has ended stays so."""
        together: dict[Place, list[Use]] = {}
        for use in self._uses.values():
            if use.on and not use.lost:
                together.setdefault(use.spot.place, []).append(use)
        for place, uses in together.items():
            try:
                await self._renew(place, uses, lease_end)
            except (CommandFailed, PlaceGone):
                await self._renew_each(place, uses, lease_end)

    async def _renew(self, place: Place, uses: Sequence[Use], lease_end: float) -> None:
        text = rules.renewal_text([use.table for use in uses], _left(lease_end))
        await blocking(places.run, place, ["nft", "-f", "-"], text, self._host.inherited)

    async def _renew_each(self, place: Place, uses: Sequence[Use], lease_end: float) -> None:
        """One of them is gone: by the lease, by somebody's hand, or with its namespace. The others go on."""
        for use in uses:
            try:
                await self._renew(place, [use], lease_end)
            except PlaceGone as error:
                use.lost = str(error)
            except CommandFailed as error:
                if error.nothing_there:
                    use.lost = "its rules in nftables have lapsed, or were deleted"

    async def lost(self) -> Lost:
        """What could not be renewed because it is not there any more."""
        return {pair: use.lost for pair, use in self._uses.items() if use.lost}

    async def effects(self, key: str, target: str) -> dict[str, int]:
        """The counters as they stand."""
        use = self._uses.get((key, target))
        if use is None or not use.on:
            return {"touched": 0}
        try:
            now = await blocking(undo.counted, use.spot.place, use.table)
        except (CommandFailed, PlaceGone):
            now = {"touched": 0}
        total = dict(use.counted)
        effects.add(total, now)
        return total

    async def forget(self, key: str, target: str) -> None:
        """Drop what is kept of one use."""
        use = self._uses.pop((key, target), None)
        if use is not None:
            await self._stop_watch(use)

    async def observe(self) -> list[tuple[str, str]] | None:
        """The tables of this peer that are live, in its own namespace, those with names, and those in use."""
        known = {use.table: pair for pair, use in self._uses.items()}
        used = [use.spot.place for use in self._uses.values()]
        found = await blocking(scan.live_tables, rules.owner_prefix(self._owner), used)
        return [
            known.get(table, (key, f"network:{table}")) for table, (fault, key) in found.items() if fault == self.type
        ]

    async def _nft(self, place: Place, text: str) -> None:
        try:
            await blocking(places.run, place, ["nft", "-f", "-"], text, self._host.inherited)
        except PlaceGone as error:
            raise NotFound(str(error)) from None
        except CommandFailed as error:
            raise InjectionFailed(f"nftables did not take the rules: {error}") from None

    @staticmethod
    async def _stop_watch(use: Use) -> None:
        if use.watch is not None:
            await use.watch.stop()
            use.watch = None


def _left(lease_end: float) -> float:
    left = lease_end - time.clock_gettime(time.CLOCK_BOOTTIME)
    if left <= 0:
        raise Refused("the lease has ended")
    return left
