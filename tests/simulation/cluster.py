"""A simulated cluster: machines, their network, the folder that stands for their disks, and the checks."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from raftchaos.consensus import bootstrap
from raftchaos.consensus.config import DISK
from raftchaos.consensus.entries import NOOP, Configuration, encode_configuration
from raftchaos.consensus.transport import TcpTransport
from raftchaos.faults.undo_plan import StepFailed
from tests.simulation import seams
from tests.simulation.checks.every_check import Checks
from tests.simulation.machine import Machine
from tests.simulation.network import Network
from tests.simulation.peer import CLUSTER, PeerProcess
from tests.simulation.platter import Platter
from tests.simulation.world import World

CHECK_EVERY = 0.05  # true seconds between two looks at what is on
MEMORY = Path("/dev/shm")


class Unruly:
    """What Raft allows and TCP does not: single messages are lost, come twice, or overtake one another."""

    def __init__(self, world: World, part: float) -> None:
        self.part = part
        self._chance = world.chance("unruly")

    def spoil(self, transport: TcpTransport, peer: PeerProcess) -> None:
        """Stand between the connections of this peer and what it does with their messages."""
        deliver = transport.deliver

        def late(connection: Any, body: bytes) -> None:
            deliver(connection, memoryview(body))

        def unruly(connection: Any, body: memoryview) -> bool:
            fate = self._chance.random()
            if fate >= 3 * self.part:
                return deliver(connection, body)
            if fate >= self.part:
                peer.loop.call_later(self._chance.uniform(0.001, 0.3), late, connection, bytes(body))
            return fate < 2 * self.part or deliver(connection, body)

        transport.deliver = unruly  # type: ignore[method-assign]


class Cluster:
    """`with cluster:` while it is simulated. Machines are called n1, n2, …; the last ones observe."""

    def __init__(
        self, world: World, voters: int, *, observers: int = 0, drift: bool = True, unruly: float = 0.0, **raft: Any
    ) -> None:
        self.world = world
        self.drift = drift
        self.raft_options: dict[str, Any] = raft
        self.synced = raft.get("durability") == DISK
        """What was answered survives a power cut."""
        self.network = Network(world)
        self.unruly = Unruly(world, unruly)
        self.platter = Platter()
        self.removed: set[str] = set()
        """Nodes that somebody has asked to remove."""
        self.restart_after: tuple[float, float] | None = (0.2, 2.0)
        """A main that has ended is started again so much later, as a service manager does."""
        self.checks = Checks(self)
        self.folder = Path(
            tempfile.mkdtemp(prefix="raftchaos-sim-", dir=MEMORY if os.access(MEMORY, os.W_OK) else None)
        )
        names = [f"n{number}" for number in range(1, voters + observers + 1)]
        self.machines = {name: Machine(self, name, self.folder / name) for name in names}
        for name in names[voters:]:
            self.machines[name].observer = True
        self._chance = world.chance("cluster")
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Cluster:
        self._stack.callback(shutil.rmtree, self.folder, True)
        self._stack.callback(self.platter.close)
        self._stack.enter_context(seams.installed(self._proxy_answer, self._undo, self.platter.sync))
        members = Configuration({})
        for name, machine in self.machines.items():
            join = members.with_observer if machine.observer else members.with_voter
            members = join(name, f"{name}:7481")
        for name, machine in self.machines.items():
            entries = [(NOOP, 1, 0), (encode_configuration(members), 2, 0)]
            machine.install(member_of=CLUSTER)
            bootstrap._prepare(machine.folder, cluster_id=CLUSTER, name=name, entries=entries, hints={})
            self.platter.sync_all(machine.folder)
            self.world.at(self._chance.uniform(0.0, 0.2), machine.start_main)
        self.world.at(CHECK_EVERY, self._look)
        return self

    def __exit__(self, *_: object) -> None:
        for machine in self.machines.values():
            if machine.main is not None:
                machine.main.kill()
            if machine.reaper is not None:
                machine.reaper.end()
        self._stack.close()

    def _look(self) -> None:
        self.checks.look()
        self.world.at(CHECK_EVERY, self._look)

    # ---- what peers ask

    def spoil(self, peer: PeerProcess) -> None:
        """Its messages are lost, repeated and reordered from now on, if this cluster's are."""
        transport = peer.replica.raft.transport
        if self.unruly.part and isinstance(transport, TcpTransport):
            self.unruly.spoil(transport, peer)

    def main_gone(self, machine: Machine) -> None:
        """Somebody starts it again."""
        if self.restart_after is not None:
            least, most = self.restart_after
            slowly = 4.0 if self._chance.random() < 0.15 else 1.0
            self.world.at(self._chance.uniform(least, most) * slowly, machine.start_main)

    def _proxy_answer(self, path: str, request: dict[str, Any]) -> dict[str, Any] | None:
        machine = next(each for each in self.machines.values() if each.proxy_socket == path)
        proxy = machine.proxy
        if proxy is None or proxy.dead:
            machine.ended(str(request["run"]), "the reaper")
            return None
        if not proxy.runs:
            raise TimeoutError("the proxy process does not answer")
        effect = proxy.drop(str(request["run"]))
        machine.ended(str(request["run"]), "the reaper")
        return {"ok": True, "effect": effect}

    def _undo(self, step: Mapping[str, Any]) -> dict[str, int]:
        machine = self.machines[str(step["machine"])]
        if machine.undo_fails:
            raise StepFailed("the simulated machine cannot take it back")
        return machine.take_off(str(step["key"]), "the reaper")

    # ---- views

    def peers(self) -> Iterator[PeerProcess]:
        """Every main that has started and runs."""
        for machine in self.machines.values():
            if machine.main is not None and machine.main.started and machine.main_runs:
                yield machine.main

    def leader(self) -> PeerProcess | None:
        """Who leads in the highest term, if it is ready to."""
        leading = [peer for peer in self.peers() if peer.replica.status().leader_ready]
        return max(leading, key=lambda peer: peer.replica.raft.term, default=None)
