"""Faults that also need a queueing discipline: what the tables find goes to a class of ours on the interface."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Generic, TypeVar

from raftchaos.errors import InjectionFailed, NotFound, Refused
from raftchaos.faults.base import Host
from raftchaos.faults.network import queues, where
from raftchaos.faults.network.fault import Spot, TableFault, Use
from raftchaos.faults.network.hosts_fault import traffic_of
from raftchaos.faults.network.places import CommandFailed, Place, PlaceGone
from raftchaos.faults.network.queues import ForeignQueue
from raftchaos.faults.network.rules import Traffic
from raftchaos.faults.records import Step
from raftchaos.faults.threads import blocking
from raftchaos.model.faults import FaultType
from raftchaos.model.faults.network import NetworkParameters

P = TypeVar("P", bound=NetworkParameters)


class QueueFault(TableFault[P], Generic[P]):
    """A target is `interface:<name>`: the one that is named, or those of the default routes."""

    part: str
    """Which part of our queueing discipline it is: `queues.LIMIT` or `queues.DELAY`."""

    def __init__(self, catalogue: FaultType, parameters: type[P], host: Host) -> None:
        super().__init__(catalogue, parameters, host)
        self._handle = queues.handle_of(self._owner)

    @abstractmethod
    def direction(self, wanted: P) -> str:
        """incoming, outgoing or both."""

    @abstractmethod
    def put(self, place: Place, interface: str, wanted: P) -> None:
        """Put the part of the queueing discipline there. Blocking."""

    def traffic(self, wanted: P, interface: str) -> Traffic:
        """As the parameters say, on one interface."""
        return traffic_of(wanted, interface, self.direction(wanted))

    def hosts(self, wanted: P) -> Sequence[str] | None:
        """As the parameters say."""
        return wanted.hosts

    def spots(self, wanted: P, disarmed: bool) -> dict[str, Spot]:
        """One target for each interface. Raises `Refused` for one that the host has given a queueing discipline."""
        place = where.place_of(wanted.namespace)
        if wanted.interface is not None:
            where.check_interface(place, wanted.interface)
        chosen = [wanted.interface] if wanted.interface is not None else where.way_out(place)
        if self._queued(wanted):
            for interface in chosen:
                self._check_queue(place, interface)
        known = where.indexes(place)
        gone = [name for name in chosen if name not in known]
        if gone:
            raise NotFound(f"the interface {gone[0]} is not there any more")
        return {where.interface_target(place, name): Spot(place, name, disarmed, known[name]) for name in chosen}

    def steps_of(self, use: Use) -> list[Step]:
        """The queue is taken away after the table that leads to it."""
        place = use.spot.place
        queue = {
            "do": "network.queue",
            "interface": use.spot.interface,
            "index": use.spot.index,
            "handle": self._handle,
            "part": self.part,
            "inode": place.inode,
            "path": place.path,
        }
        return [queue, *super().steps_of(use)]

    async def prepare(self, use: Use, wanted: P) -> None:
        """Put the queue there, if packets go out."""
        if not self._queued(wanted):
            return
        interface = use.spot.interface
        try:
            if await blocking(queues.name_of, use.spot.place, use.spot.index) != interface:
                raise NotFound(f"the interface {interface} is not there any more, or has another name")
            await blocking(self.put, use.spot.place, interface, wanted)
        except PlaceGone as error:
            raise NotFound(str(error)) from None
        except ForeignQueue as error:
            raise _taken(interface, error) from None
        except CommandFailed as error:
            raise InjectionFailed(f"the interface {interface} did not take the queue: {error}") from None

    def _queued(self, wanted: P) -> bool:
        return self.direction(wanted) != "incoming"

    def _check_queue(self, place: Place, interface: str) -> None:
        try:
            queues.check(place, interface, self._handle)
        except ForeignQueue as error:
            raise _taken(interface, error) from None
        except (CommandFailed, PlaceGone) as error:
            raise Refused(f"the interface {interface} cannot be looked at: {error}") from None


def _taken(interface: str, found: ForeignQueue) -> Refused:
    return Refused(
        f"the interface {interface} has a queueing discipline of this host's own ({found}), which is never replaced",
        hint="use another interface, the fault of the proxy, or direction: incoming where the fault has it",
    )
