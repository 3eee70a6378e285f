"""The replicated log without a network, a disk or an election: several twins around one shared log, in one loop.

For tests of the other rooms, and for trying things out. It keeps what `ReplicatedLog` promises (the conformance suite
runs on it and on the real thing): one leader with a majority, entries in one order, answers after the local apply,
nothing without a quorum. Peers can be killed and partitioned; it never loses a message between connected peers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from raftchaos import limits
from raftchaos.clock import Clock, SystemClock
from raftchaos.consensus.waiting import Waiting
from raftchaos.core.interfaces import Entry, Outcome, Quorum, ReplicaStatus, StateMachine
from raftchaos.errors import Busy, Conflict, NoQuorum, NotFound, OutcomeUnknown, RaftchaosError, Refused


class InMemoryNetwork:
    """Who reaches whom, who votes, who leads, and what is committed."""

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock = clock or SystemClock()
        self.replicas: dict[str, InMemoryReplica] = {}
        self.voters: set[str] = set()
        self.observers: set[str] = set()
        self.log: list[Entry] = []
        self.term = 0
        self.leader: str | None = None
        self._groups: list[frozenset[str]] = []

    def connected(self, a: str, b: str) -> bool:
        """Both live and nothing separates them."""
        if a not in self.replicas or b not in self.replicas:
            return False
        if a == b or not self._groups:
            return True
        return any(a in group and b in group for group in self._groups)

    def reachable(self, name: str) -> list[str]:
        """The voters that this peer reaches, itself included if it votes."""
        return sorted(voter for voter in self.voters if self.connected(name, voter))

    def has_majority(self, name: str) -> bool:
        """This peer reaches enough voters to lead."""
        return 2 * len(self.reachable(name)) > len(self.voters)

    def leader_replica(self) -> InMemoryReplica:
        """The present leader. Raises NoQuorum if there is none."""
        if self.leader is None:
            raise NoQuorum("nobody leads")
        return self.replicas[self.leader]

    def partition(self, *groups: Iterable[str]) -> None:
        """From now on only peers of the same group reach each other."""
        self._groups = [frozenset(group) for group in groups]
        self.settle()

    def heal(self) -> None:
        """Everyone reaches everyone."""
        self._groups = []
        self.settle()

    def kill(self, name: str) -> None:
        """The peer is gone, as by SIGKILL; what waits on it is answered with NoQuorum or OutcomeUnknown."""
        replica = self.replicas.pop(name, None)
        if replica is not None:
            replica.stopped = True
            replica.waiting.close()
            self.settle()

    def settle(self, leader: str | None = None) -> None:
        """Something changed: keep the leader if it can still lead, else the first voter that can takes a new term."""
        wanted = leader or self.leader
        able = [name for name in sorted(self.voters) if name in self.replicas and self.has_majority(name)]
        chosen = wanted if wanted in able else (able[0] if able else None)
        if chosen != self.leader and chosen is not None:
            self.term += 1
        self.leader = chosen
        for replica in list(self.replicas.values()):
            replica.schedule()

    def append(self, request_id: str, command: bytes) -> None:
        """Commit a command and let everyone who can see it apply it."""
        wall_ms = int(self.clock.wall() * 1000)
        self.log.append(Entry(len(self.log) + 1, self.term, request_id, wall_ms, command))
        for replica in list(self.replicas.values()):
            replica.schedule()


class InMemoryReplica:
    """One twin; implements `core.interfaces.ReplicatedLog`."""

    def __init__(self, name: str, machine: StateMachine, network: InMemoryNetwork, *, voter: bool = True) -> None:
        self.name, self.stopped = name, False
        self.waiting = Waiting()
        self._machine, self._network = machine, network
        self._term, self._applied, self._seen_at_start = 0, 0, len(network.log)
        self._results: dict[str, Outcome] = {}
        self._in_flight = 0
        self._scheduled = False
        self._view: object = None
        self._message_handlers: list[Callable[[str, dict[str, Any]], None]] = []
        self._applied_callbacks: list[Callable[[], None]] = []
        self._change_callbacks: list[Callable[[], None]] = []
        if name in network.replicas:
            raise Conflict(f"there is a peer {name} already")
        network.replicas[name] = self
        if voter:
            network.voters.add(name)
        network.settle()

    # ---- what the network does

    def schedule(self) -> None:
        """Apply and tell soon, once."""
        if not self._scheduled and not self.stopped:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        self._scheduled = False
        if self.stopped:
            return
        status = self.status()
        if status.leader is not None:
            self._apply()
        view = (status.role, status.term, status.leader, status.quorum)
        if view != self._view:
            self._view = view
            for callback in self._change_callbacks:
                callback()
        self.waiting.check()

    def _apply(self) -> None:
        before = self._applied
        for entry in self._network.log[before:]:
            self._applied = entry.index
            result = self._machine.apply(entry)
            self._results[entry.request_id] = Outcome(entry.index, result if isinstance(result, dict) else {})
        while len(self._results) > limits.REQUESTS_REMEMBERED:
            del self._results[next(iter(self._results))]
        if self._applied != before:
            for callback in self._applied_callbacks:
                callback()

    def _leader(self) -> str | None:
        leader = self._network.leader
        return leader if leader is not None and self._network.connected(self.name, leader) else None

    def _leads(self) -> bool:
        return not self.stopped and self._network.leader == self.name

    # ---- ReplicatedLog

    def status(self) -> ReplicaStatus:
        """See ReplicatedLog."""
        network = self._network
        voters = tuple(sorted(network.voters))
        reachable = () if self.stopped else tuple(network.reachable(self.name))
        missing = max(0, len(voters) // 2 + 1 - len(reachable))
        leader = None if self.stopped else self._leader()
        known = len(network.log) if leader is not None else self._applied
        if leader is not None:
            self._term = network.term
        return ReplicaStatus(
            name=self.name,
            role="leader" if self._leads() else "observer" if self.name in network.observers else "follower",
            term=self._term,
            leader=leader,
            commit_index=known,
            applied_index=self._applied,
            last_index=known,
            quorum=Quorum(voters, reachable, missing == 0, missing),
            ready=leader is not None and self._applied >= self._seen_at_start,
            leader_ready=self._leads() and self._applied == len(network.log),
            observers=tuple(sorted(network.observers)),
        )

    def _no_quorum(self, what: str) -> NoQuorum:
        quorum = self.status().quorum
        details = {"voters": list(quorum.voters), "reachable": list(quorum.reachable), "missing": quorum.missing}
        return NoQuorum(f"{what}: {quorum.missing} more voters must be reachable for a majority", details=details)

    async def propose(self, request_id: str, command: bytes, *, timeout: float = limits.WRITE_TIMEOUT) -> Outcome:
        """See ReplicatedLog."""
        if self._in_flight >= limits.PROPOSALS_IN_FLIGHT:
            raise Busy(f"{limits.PROPOSALS_IN_FLIGHT} writes are already in flight on this peer")
        if len(command) > limits.COMMAND:
            raise Refused(f"a command has at most {limits.COMMAND} bytes, this one has {len(command)}")
        self._in_flight += 1
        sent = False
        try:
            async with asyncio.timeout(timeout):
                await self.waiting.until(lambda: self._leader() is not None)
                self._results.pop(request_id, None)
                self._network.append(request_id, command)
                sent = True
                await self.waiting.until(lambda: request_id in self._results)
                return self._results[request_id]
        except (TimeoutError, NoQuorum):
            error: RaftchaosError = self._no_quorum("the write was not made")
            raise (OutcomeUnknown("the write was sent but not confirmed") if sent else error) from None
        finally:
            self._in_flight -= 1

    def propose_as_leader(self, request_id: str, command: bytes, term: int) -> bool:
        """See ReplicatedLog."""
        if not self._leads() or self._network.term != term or len(command) > limits.COMMAND:
            return False
        self._network.append(request_id, command)
        return True

    async def read_barrier(self, *, timeout: float) -> int:
        """See ReplicatedLog."""
        try:
            async with asyncio.timeout(timeout):
                await self.waiting.until(lambda: self._leader() is not None)
                index = len(self._network.log)
                await self.waiting.until(lambda: self._applied >= index)
                return index
        except TimeoutError:
            raise self._no_quorum("the present state is not known") from None

    async def confirm_leadership(self, *, timeout: float) -> int:
        """See ReplicatedLog."""
        term = self._network.term
        try:
            async with asyncio.timeout(timeout):
                await asyncio.sleep(0)
                if self._leads() and self._network.term == term:
                    index = len(self._network.log)
                    await self.waiting.until(lambda: self._applied >= index or not self._leads())
                    if self._leads():
                        return index
        except TimeoutError:
            pass
        raise self._no_quorum("leadership is not confirmed")

    def send(self, peer: str, message: dict[str, Any]) -> bool:
        """See ReplicatedLog."""
        if self.stopped or not self._network.connected(self.name, peer):
            return False
        asyncio.get_running_loop().call_soon(self._network.replicas[peer]._deliver, self.name, message)
        return True

    def _deliver(self, sender: str, message: dict[str, Any]) -> None:
        if not self.stopped:
            for handler in self._message_handlers:
                handler(sender, message)

    def on_message(self, handler: Callable[[str, dict[str, Any]], None]) -> None:
        """See ReplicatedLog."""
        self._message_handlers.append(handler)

    def on_applied(self, callback: Callable[[], None]) -> None:
        """See ReplicatedLog."""
        self._applied_callbacks.append(callback)

    def on_change(self, callback: Callable[[], None]) -> None:
        """See ReplicatedLog."""
        self._change_callbacks.append(callback)

    def _check_leads(self) -> None:
        if not self._leads():
            raise Conflict(f"{self.name} does not lead; {self._leader() or 'nobody that it knows'} does")

    async def add_voter(self, name: str, raft_address: str, *, timeout: float) -> None:
        """See ReplicatedLog."""
        self._check_leads()
        voters = self._network.voters
        if name not in voters and len(voters) >= limits.VOTERS:
            raise Refused(f"{name} cannot vote: there are {len(voters)} voters, at most {limits.VOTERS} are allowed")
        self._check_reaches(name, raft_address, timeout)
        self._network.observers.discard(name)
        voters.add(name)
        self._network.settle()

    async def add_observer(self, name: str, raft_address: str, *, timeout: float) -> None:
        """See ReplicatedLog."""
        self._check_leads()
        self._check_reaches(name, raft_address, timeout)
        if name not in self._network.voters:
            self._network.observers.add(name)
        self._network.settle()

    def _check_reaches(self, name: str, raft_address: str, timeout: float) -> None:
        if not self._network.connected(self.name, name):
            raise Refused(f"{name} was not added: it did not connect at {raft_address} within {timeout:g} s")

    async def remove_member(self, name: str, *, timeout: float) -> None:
        """See ReplicatedLog."""
        network = self._network
        if name in network.observers:
            self._check_leads()
            network.observers.discard(name)
            network.settle()
            return
        if name not in network.voters:
            members = sorted(network.voters | network.observers)
            raise NotFound(f"{name} is no member; the members are {', '.join(members)}")
        if len(network.voters) == 1:
            raise Refused("the last voter cannot be removed")
        if name == self.name and self._leads() and not await self.transfer_leadership(timeout=timeout):
            raise self._no_quorum(f"{name} was not removed: nobody took over")
        if name != self.name:
            self._check_leads()
        rest = network.voters - {name}
        alive = [voter for voter in rest if network.leader is not None and network.connected(network.leader, voter)]
        if len(alive) < len(rest) // 2 + 1:
            raise Refused(f"without {name} only {len(alive)} of {len(rest)} voters would be reachable")
        network.voters.discard(name)
        network.settle()

    def behind(self) -> dict[str, int]:
        """See ReplicatedLog."""
        network = self._network
        others = (network.voters | network.observers) - {self.name} if self._leads() else set()
        replicas = {name: network.replicas.get(name) for name in sorted(others)}
        return {
            name: len(network.log) - (0 if replica is None else replica._applied) for name, replica in replicas.items()
        }

    def set_address(self, name: str, raft_address: str) -> None:
        """See ReplicatedLog. There are no addresses here."""

    async def transfer_leadership(self, *, timeout: float) -> bool:
        """See ReplicatedLog."""
        others = [name for name in self._network.reachable(self.name) if name != self.name]
        if not self._leads() or not others:
            return False
        self._network.settle(leader=others[0])
        await asyncio.sleep(0)
        return not self._leads()
