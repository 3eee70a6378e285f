"""What the tests of consensus share: a small state machine, and clusters of real replicas in one loop."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from raftchaos.clock import SystemClock
from raftchaos.consensus.replica import Replica, ReplicaConfig
from raftchaos.consensus.timings import Timings
from raftchaos.consensus.twin import InMemoryNetwork, InMemoryReplica
from raftchaos.core.interfaces import Entry, ReplicatedLog
from raftchaos.launch import free_port

QUICK = Timings(election_min=0.15, election_max=0.3, append_period=0.03)


class Machine:
    """Remembers every command, each request id once."""

    def __init__(self) -> None:
        self.commands: list[str] = []
        self.results: dict[str, int] = {}
        self.entries: list[Entry] = []
        self.restores = 0

    def apply(self, entry: Entry) -> object:
        self.entries.append(entry)
        if entry.request_id not in self.results:
            self.commands.append(entry.command.decode())
            self.results[entry.request_id] = len(self.commands)
        return {"position": self.results[entry.request_id]}

    def snapshot(self) -> bytes:
        return json.dumps([self.commands, self.results]).encode()

    def restore(self, data: bytes) -> None:
        self.commands, self.results = json.loads(data)
        self.restores += 1


async def eventually(condition: Callable[[], bool], timeout: float = 10.0) -> None:
    """Wait until the condition is true; the loop goes on meanwhile."""
    async with asyncio.timeout(timeout):
        while not condition():  # noqa: ASYNC110 - any condition at all, seen from outside
            await asyncio.sleep(0.005)


class RealCluster:
    """Replicas on loopback, each with its own directory; may be killed, restarted and cut off."""

    def __init__(self, root: Path, timings: Timings = QUICK, **options: Any) -> None:
        self.root, self.timings, self.options = root, timings, options
        self.replicas: dict[str, Replica] = {}
        self.machines: dict[str, Machine] = {}
        self.addresses: dict[str, str] = {}
        self.incarnations: dict[str, int] = {}

    def config(self, name: str) -> ReplicaConfig:
        self.incarnations[name] = self.incarnations.get(name, 0) + 1
        address = self.addresses.setdefault(name, f"127.0.0.1:{free_port()}")
        return ReplicaConfig(
            name=name,
            cluster_id="test-cluster",
            directory_id=f"directory-of-{name}",
            incarnation=self.incarnations[name],
            data_dir=self.root / name,
            listen=address,
            advertise=address,
            timings=self.timings,
            **self.options,
        )

    async def found(self, name: str) -> Replica:
        machine = self.machines[name] = Machine()
        replica = Replica.create(self.config(name), machine, clock=SystemClock(), rng=random.Random(name))
        return await self._start(name, replica)

    async def expect(self, name: str, members: dict[str, str]) -> Replica:
        machine = self.machines[name] = Machine()
        return await self._start(
            name, Replica.join(self.config(name), machine, members=members, rng=random.Random(name))
        )

    async def restart(self, name: str) -> Replica:
        machine = self.machines[name] = Machine()
        return await self._start(name, Replica.open(self.config(name), machine, rng=random.Random(name)))

    async def _start(self, name: str, replica: Replica) -> Replica:
        await replica.start()
        self.replicas[name] = replica
        return replica

    def address(self, name: str) -> str:
        return self.addresses[name]

    async def add(self, name: str) -> Replica:
        leader = await self.leader()
        replica = await self.expect(name, leader.members)
        await leader.add_voter(name, self.addresses[name], timeout=5)
        return replica

    async def grow(self, *names: str) -> None:
        await self.found(names[0])
        for name in names[1:]:
            await self.add(name)
        await self.settled()

    async def stop(self, name: str) -> None:
        await self.replicas.pop(name).close()

    async def close(self) -> None:
        for name in list(self.replicas):
            with contextlib.suppress(Exception):
                await self.stop(name)

    def leaders(self) -> list[Replica]:
        return [replica for replica in self.replicas.values() if replica.status().leader_ready]

    async def leader(self) -> Replica:
        def one() -> bool:
            return len(self.leaders()) == 1

        await eventually(one)
        return self.leaders()[0]

    async def settled(self) -> Replica:
        """Everyone runs, follows the same leader, and has applied the same."""

        def same() -> bool:
            status = [replica.status() for replica in self.replicas.values()]
            return (
                len({each.leader for each in status}) == 1
                and all(each.ready for each in status)
                and len({each.applied_index for each in status}) == 1
                and status[0].applied_index == max(each.last_index for each in status)
            )

        await eventually(same)
        return await self.leader()

    def followers(self) -> list[str]:
        return [name for name, replica in self.replicas.items() if replica.status().role != "leader"]


async def write(cluster: RealCluster, count: int, prefix: str = "w", size: int = 10) -> None:
    """Write so many commands through the leader, a hundred at a time."""
    leader = await cluster.leader()
    for start in range(0, count, 100):
        batch = range(start, min(count, start + 100))
        await asyncio.gather(*(leader.propose(f"{prefix}:{i}", b"x" * size + b"%d" % i) for i in batch))


class TwinCluster:
    """The same over the in-memory twin."""

    def __init__(self) -> None:
        self.network = InMemoryNetwork()
        self.replicas: dict[str, ReplicatedLog] = {}
        self.machines: dict[str, Machine] = {}

    async def grow(self, *names: str) -> None:
        for name in names:
            self.machines[name] = Machine()
            self.replicas[name] = InMemoryReplica(name, self.machines[name], self.network)

    async def grow_without_vote(self, name: str) -> ReplicatedLog:
        self.machines[name] = Machine()
        self.replicas[name] = InMemoryReplica(name, self.machines[name], self.network, voter=False)
        return self.replicas[name]

    def address(self, name: str) -> str:
        return f"{name}:1"

    async def add(self, name: str) -> ReplicatedLog:
        replica = await self.grow_without_vote(name)
        await self.network.leader_replica().add_voter(name, f"127.0.0.1:{free_port()}", timeout=5)
        return replica

    async def stop(self, name: str) -> None:
        self.network.kill(name)
        del self.replicas[name]

    async def close(self) -> None:
        for name in list(self.replicas):
            await self.stop(name)

    async def leader(self) -> ReplicatedLog:
        await eventually(lambda: any(each.status().leader_ready for each in self.replicas.values()))
        return next(each for each in self.replicas.values() if each.status().leader_ready)
