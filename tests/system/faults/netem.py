"""What needs netem in the kernel, seen from outside: delay, jitter, duplicates, reordering, damage, composition."""

from __future__ import annotations

import asyncio
import statistics
from pathlib import Path
from typing import Any, Final

from tests.system.faults.networks import PORT, TwoHosts
from tests.system.faults.one_fault import OneFault

FOUR, SIX = TwoHosts.THERE
RATE_KB = 400


class Checks:
    """Each takes its fault back and leaves traffic control as it was."""

    NAMES: Final = ("delay", "jitter", "duplicates", "reordering", "damage", "composition", "reaper")

    def __init__(self, hosts: TwoHosts, folder: Path) -> None:
        self.hosts = hosts
        self.folder = folder

    def fault(self, name: str, **parameters: Any) -> OneFault:
        """A fault on the wire, here."""
        place = {"namespace": {"name": self.hosts.here}, "interface": "wire"}
        return OneFault(name, {**place, **parameters}, self.folder)

    async def trips(self, host: str, count: int = 20) -> list[float]:
        """Round trips over TCP, in milliseconds."""
        found = await asyncio.to_thread(self.hosts.measure, "round_trips", host=host, port=PORT, count=count)
        return [seconds * 1000 for seconds in found]

    async def delay(self) -> None:
        """What is meant comes later by what was said, what is not does not; and all is counted."""
        before = self.hosts.look()
        fault = self.fault("network_delay", hosts=FOUR, delayMs=80)
        await fault.inject()
        late, others = statistics.median(await self.trips(FOUR)), statistics.median(await self.trips(SIX))
        assert 80 <= late < 100, late
        assert others < 20, others
        effect = await fault.recover()
        assert effect["touched"] >= 20, effect
        assert statistics.median(await self.trips(FOUR)) < 20
        assert self.hosts.look() == before

    async def jitter(self) -> None:
        """Delays differ, within what was said."""
        fault = self.fault("network_delay", hosts=FOUR, delayMs=60, jitterMs=30)
        await fault.inject()
        found = await self.trips(FOUR, 60)
        await fault.recover()
        assert min(found) >= 29, min(found)
        assert max(found) - min(found) > 25, found
        assert sorted(found)[45] < 130, found

    async def duplicates(self) -> None:
        """More comes back than was sent."""
        fault = self.fault("network_delay", hosts=FOUR, delayMs=0, duplicatePercent=50)
        await fault.inject()
        found = await asyncio.to_thread(self.hosts.measure, "copies", host=FOUR, port=PORT, count=300)
        await fault.recover()
        assert 380 < found["back"] < 520, found

    async def reordering(self) -> None:
        """Some come before those that were sent earlier."""
        fault = self.fault("network_delay", hosts=FOUR, delayMs=30, reorderPercent=25)
        await fault.inject()
        found = await asyncio.to_thread(self.hosts.measure, "copies", host=FOUR, port=PORT, count=300)
        await fault.recover()
        assert found["back"] == 300, found
        assert found["overtaken"] > 20, found

    async def damage(self) -> None:
        """A damaged datagram fails its checksum and is lost."""
        fault = self.fault("network_delay", hosts=FOUR, delayMs=0, corruptPercent=40)
        await fault.inject()
        found = await asyncio.to_thread(self.hosts.measure, "copies", host=FOUR, port=PORT, count=300)
        await fault.recover()
        assert 120 < found["back"] < 240, found

    async def composition(self) -> None:
        """A delay and a limit on one interface: both, then either alone, in both orders of coming and going."""
        before = self.hosts.look()
        for names in (("network_delay", "network_bandwidth"), ("network_bandwidth", "network_delay")):
            faults = {
                "network_delay": self.fault("network_delay", hosts=FOUR, delayMs=50),
                "network_bandwidth": self.fault(
                    "network_bandwidth", hosts=FOUR, kilobytesPerSecond=RATE_KB, direction="outgoing"
                ),
            }
            for name in names:
                await faults[name].inject()
            await self._see(late=True, slow=True)
            await faults[names[0]].recover()
            await self._see(late=names[1] == "network_delay", slow=names[1] == "network_bandwidth")
            await faults[names[1]].recover()
            assert self.hosts.look() == before, names

    async def reaper(self) -> None:
        """The undo plan alone takes it back."""
        before = self.hosts.look()
        fault = self.fault("network_delay", hosts=FOUR, delayMs=50)
        await fault.inject()
        await self._see(late=True, slow=False)
        assert fault.reap()["touched"] > 0, "counted"
        assert self.hosts.look() == before, "as before"
        assert fault.reap()["touched"] == 0, "idempotent"
        await fault.recover()

    async def _see(self, *, late: bool, slow: bool) -> None:
        trip = statistics.median(await self.trips(FOUR, 5))
        rate = await asyncio.to_thread(self.hosts.measure, "push", host=FOUR, port=PORT, seconds=1.5)
        assert (trip > 45) is late, f"{trip} ms, expected late: {late}"
        assert (rate < RATE_KB * 1150) is slow, f"{rate} bytes/s, expected slow: {slow}"
