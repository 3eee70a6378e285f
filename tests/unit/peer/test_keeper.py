"""What keeps a running peer's certificates good: renewals, CA keys, and what is told when that fails."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from raftchaos.agent.mailbox import Mailbox
from raftchaos.consensus.twin import InMemoryNetwork, InMemoryReplica
from raftchaos.core.commands import Command, RegisterNode, TrustAuthority, encode
from raftchaos.core.machine import ReplicatedState
from raftchaos.core.request_ids import RequestIds
from raftchaos.core.state import ClusterState
from raftchaos.identity.certificates import Authority, new_key, pem_of, request_for
from raftchaos.peer.identity import PeerIdentity
from raftchaos.peer.keeper import ASK_CERTIFICATE, CERTIFICATE, KEY, IdentityKeeper
from tests.unit.peer.identities import CLUSTER, Wall, certify, founder, let_in, peer

DUE = 4 * 24 * 3600.0


class Log(InMemoryReplica):
    """The log of one peer, some of whose messages may get lost."""

    def __init__(self, name: str, machine: ReplicatedState, network: InMemoryNetwork, *, voter: bool) -> None:
        super().__init__(name, machine, network, voter=voter)
        self.lost: set[str] = set()
        self.sent: list[str] = []

    def send(self, peer: str, message: dict[str, Any]) -> bool:
        self.sent.append(message["type"])
        return message["type"] not in self.lost and super().send(peer, message)


class World:
    """Peers a, which founded the cluster, and b, which votes if it is said so."""

    def __init__(self, folder: Path, *, voters: str) -> None:
        self.clock, self.network = Wall(), InMemoryNetwork()
        self.identities = {"a": founder(folder, clock=self.clock), "b": peer(folder, "b", self.clock)}
        let_in(self.identities["a"], self.identities["b"])
        self.machines = {name: ReplicatedState() for name in "ab"}
        self.logs = {name: Log(name, self.machines[name], self.network, voter=name in voters) for name in "ab"}
        self.keepers = {name: self._keeper(name) for name in "ab"}

    def _keeper(self, name: str) -> IdentityKeeper:
        log = self.logs[name]
        return IdentityKeeper(
            self.identities[name],
            log=log,
            mailbox=Mailbox(log),
            state=lambda: self.machines[name].state,
            request_ids=RequestIds(name, 1),
            incarnation=1,
        )

    @property
    def state(self) -> ClusterState:
        return self.machines["a"].state

    async def write(self, command: Command) -> None:
        outcome = await self.logs["a"].propose(f"test-{len(self.network.log)}", encode(command))
        assert outcome.result["ok"], outcome

    @asynccontextmanager
    async def running(self, *names: str) -> AsyncIterator[None]:
        """With these keepers at work, until both certificates are known to the cluster."""
        for name in "ab":
            await self.write(RegisterNode(name, 1, self.identities[name].directory_id, "", ""))
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self.keepers[name].run()) for name in names]
            await until(lambda: len(self.state.access.identities) == len(names))
            yield
            for task in tasks:
                assert not task.done()
                task.cancel()


async def until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - files and states that other parts change
            await asyncio.sleep(0.02)


def serial(identity: PeerIdentity) -> int:
    return identity.certificate.serial_number


async def rotation(world: World) -> Authority:
    """A new CA whose key a alone has, proposed."""
    made = Authority.create(CLUSTER, world.clock.now)
    world.identities["a"].folder.write_authority(made)
    await world.write(TrustAuthority(made.fingerprint, pem_of(made.certificate).decode()))
    return made


async def test_late_and_foreign_certificates_are_not_taken(tmp_path: Path) -> None:
    world = World(tmp_path, voters="a")
    first, second, log = world.identities["a"], world.identities["b"], world.logs["b"]
    foreign = certify(first, second, request=request_for(new_key(), "b").decode())
    async with world.running("a", "b"):
        before = serial(second)
        world.logs["a"].lost.add(CERTIFICATE)
        world.clock.now += DUE
        await until(lambda: ASK_CERTIFICATE in log.sent)
        log._deliver("a", {"type": CERTIFICATE, "chain": foreign})
        log._deliver("a", {"type": CERTIFICATE, "chain": "nonsense"})
        assert serial(second) == before
        log._deliver("a", {"type": CERTIFICATE, "chain": certify(first, second)})
        log._deliver("a", {"type": CERTIFICATE, "chain": foreign})
        await until(lambda: serial(second) != before)
        good = second.folder.peer.read_bytes()
        log._deliver("a", {"type": CERTIFICATE, "chain": foreign})
        log._deliver("a", {"type": CERTIFICATE, "chain": certify(first, second)})
        await asyncio.sleep(0.3)
        assert second.folder.peer.read_bytes() == good


async def test_a_new_ca_signs_only_when_each_voter_has_its_key(tmp_path: Path) -> None:
    world = World(tmp_path, voters="ab")
    second = world.identities["b"]
    async with world.running("a", "b"):
        await until(lambda: second.signer() is not None and world.state.access.identities["b"].trusts)
        world.logs["a"].lost.add(KEY)
        new = await rotation(world)
        await until(lambda: new.certificate in second.folder.authorities())
        await until(lambda: new.fingerprint in world.state.access.identities["a"].trusts)
        await asyncio.sleep(1.0)
        assert world.state.access.signer != new.fingerprint
        world.logs["a"].lost.clear()
        await until(lambda: list(world.state.access.authorities) == [new.fingerprint])
        assert second.signer(new.fingerprint) is not None
        assert second.fingerprint == new.fingerprint


async def test_a_state_that_is_older_than_the_disk_changes_nothing_on_it(tmp_path: Path) -> None:
    world = World(tmp_path, voters="ab")
    first = world.identities["a"]
    async with world.running("a", "b"):
        pass
    old, new = first.signer(), Authority.create(CLUSTER, world.clock.now)
    assert old is not None
    first.folder.write_authorities([old.certificate, new.certificate])
    first.folder.write_authority(new)
    first.folder.write_authority(Authority.create(CLUSTER, world.clock.now))  # one that came to nothing
    first.reload()
    world.network.partition(["a"], ["b"])
    keeping = asyncio.create_task(world.keepers["a"].run())
    before = serial(first)
    world.clock.now += DUE
    await until(lambda: serial(first) != before)  # it is renewed all the same, by the CA that others trust
    assert first.fingerprint == old.fingerprint
    assert first.folder.authorities() == [old.certificate, new.certificate]
    assert first.signer(new.fingerprint) is not None
    world.network.heal()
    await until(lambda: first.folder.authorities() == [old.certificate])
    await until(lambda: len(list(first.folder.path.glob("authority-*.key"))) == 1)
    keeping.cancel()
    await asyncio.wait([keeping])


async def test_a_renewal_that_fails_is_told_once_and_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    world = World(tmp_path, voters="a")
    first = world.identities["a"]
    failures: list[Exception] = []

    def fail(authority: Authority) -> None:
        failures.append(OSError("no space left") if len(failures) < 3 else ValueError("a defect"))
        raise failures[-1]

    async with world.running("a"):
        with monkeypatch.context() as patch, caplog.at_level(logging.WARNING):
            patch.setattr(first, "renew", fail)
            before = serial(first)
            world.clock.now += DUE
            await until(lambda: len(failures) >= 5)
        told = [record for record in caplog.records if record.name == "raftchaos.peer.keeper"]
        assert [record.getMessage().rpartition(": ")[2] for record in told] == ["no space left", "a defect"]
        assert [record.exc_info is not None for record in told] == [False, True]
        await until(lambda: serial(first) != before)
