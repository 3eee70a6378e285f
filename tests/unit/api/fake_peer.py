"""A peer for the tests of the API: the real decisions over a log of one, and switches for what can go wrong."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from raftchaos import limits
from raftchaos.api import ApiServer, EventFeed
from raftchaos.client import Client
from raftchaos.core import commands
from raftchaos.core.backup import Backup
from raftchaos.core.backup import encode as encode_backup
from raftchaos.core.commands import Command
from raftchaos.core.interfaces import Entry, Outcome, Quorum, ReplicaStatus
from raftchaos.core.machine import ReplicatedState
from raftchaos.core.service_records import (
    ActiveFault,
    EventId,
    Gap,
    HaltAnswer,
    Health,
    IssuedToken,
    JoinAnswer,
    JoinRequest,
    ProxyRecord,
    SeenFault,
)
from raftchaos.core.services import raise_for_result
from raftchaos.core.state import ClusterState, HaltRecord
from raftchaos.errors import Conflict, NoQuorum, NotFound, RaftchaosError, Refused
from raftchaos.identity.tokens import new_api_token, new_join_token
from raftchaos.model.events import Event
from raftchaos.model.resolved import ResolvedOrchestration

TERM = 3
DIRECTORY = "d" * 32
FAULTS = ["http_error", "latency", "reset_peer"]


class SharedLog:
    """The log that the fake peers of a test share: each applies the same commands at the same index."""

    def __init__(self, nodes: Sequence[str] = ("node-1", "node-2", "node-3")) -> None:
        self.commands: list[tuple[Command, int]] = []
        self.peers: list[FakePeer] = []
        self.now_ms = 1_700_000_000_000
        self.nodes = tuple(nodes)
        self.append(commands.LeaderStarted(TERM, nodes[0]))
        for number, name in enumerate(nodes):
            self.append(
                commands.RegisterNode(
                    name=name,
                    incarnation=1,
                    directory=DIRECTORY,
                    raft_address=f"127.0.0.1:{7481 + 10 * number}",
                    api_address=f"127.0.0.1:{7480 + 10 * number}",
                    capabilities=FAULTS,
                    proxies=["payments"],
                    version="0.1.0",
                )
            )

    def append(self, command: Command) -> None:
        self.now_ms += 10
        self.commands.append((command, self.now_ms))
        for peer in self.peers:
            if not peer.lagging:
                peer.catch_up()


class FakePeer:
    """Implements `PeerServices`. `error` is raised by the next writes; `quorum` says whether there is one."""

    def __init__(self, log: SharedLog, name: str) -> None:
        self._log = log
        self._name = name
        self.machine = ReplicatedState()
        self.feed = EventFeed(self.machine.events)
        self.quorum = True
        self.lagging = False
        self.live = True
        self.lacking = ""
        self.seen: list[SeenFault] = []
        self.error: RaftchaosError | None = None
        self.crash: Exception | None = None
        self.writes = 0
        self.proxy_table: dict[str, ProxyRecord] = {}
        self.halts_held: dict[str, HaltRecord] = {}
        self.last_result: dict[str, Any] = {}
        self.catch_up()
        log.peers.append(self)

    def catch_up(self) -> None:
        """Applies what the log has."""
        for index in range(self.machine.applied_index, len(self._log.commands)):
            command, wall_ms = self._log.commands[index]
            entry = Entry(index + 1, TERM, f"test:{index}", wall_ms, commands.encode(command))
            self.last_result = self.machine.apply(entry)

    def restore_from_snapshot(self) -> None:
        """Gets the newest state from a peer that has it, without the events that led to it."""
        whole = FakePeer(self._log, self._name)
        self._log.peers.remove(whole)
        self.machine.restore(whole.machine.snapshot())
        self.lagging = False

    def write(self, command: Command) -> Outcome:
        """What every write does: refused without a quorum, else appended, applied here, and its result judged."""
        self.writes += 1
        if self.crash is not None:
            raise self.crash
        if self.error is not None:
            raise self.error
        if not self.quorum:
            raise NoQuorum("no majority")
        self._log.append(command)
        self.catch_up()
        raise_for_result(self.last_result)
        return Outcome(self.applied_index, self.last_result)

    # ---- PeerServices

    @property
    def name(self) -> str:
        return self._name

    @property
    def cluster(self) -> str:
        return "c" * 32

    @property
    def insecure(self) -> bool:
        return False

    @property
    def certificate_end(self) -> float:
        return 1_800_000_000.0

    @property
    def access(self) -> FakeAccess:
        return FakeAccess(self)

    @property
    def durability(self) -> str:
        return "process"

    @property
    def state(self) -> ClusterState:
        return self.machine.state

    @property
    def applied_index(self) -> int:
        return self.machine.applied_index

    def state_hash(self) -> str:
        return self.machine.state_hash()

    def status(self) -> ReplicaStatus:
        voters = self._log.nodes
        reachable = voters if self.quorum else (self._name,)
        missing = 0 if self.quorum else len(voters) // 2
        return ReplicaStatus(
            name=self._name,
            role="leader" if self.quorum and self._name == voters[0] else "follower",
            term=TERM,
            leader=voters[0] if self.quorum else None,
            commit_index=self.machine.applied_index,
            applied_index=self.machine.applied_index,
            last_index=self.machine.applied_index,
            quorum=Quorum(voters, reachable, self.quorum, missing),
            ready=self.quorum,
            leader_ready=self.quorum and self._name == voters[0],
        )

    def health(self) -> Health:
        return Health(self.live, self.quorum, () if self.quorum else ("it sees no leader",))

    async def seen_faults(self) -> Sequence[SeenFault]:
        return self.seen

    @property
    def unable(self) -> Mapping[str, str]:
        return {"reset_peer": "this machine has no proxy process"}

    def active_faults(self) -> Sequence[ActiveFault]:
        runs = [run for run in self.machine.state.runs.values() if run.live and run.node == self._name]
        return [ActiveFault(str(run.id), "latency", "proxy:payments") for run in runs]

    def local_halts(self) -> Sequence[HaltRecord]:
        return list(self.halts_held.values())

    async def read_barrier(self, *, timeout: float = limits.WRITE_TIMEOUT) -> int:
        if not self.quorum:
            raise NoQuorum("no majority")
        self.catch_up()
        return self.machine.applied_index

    def events(self, after: EventId | None) -> AsyncGenerator[Event | Gap, None]:
        return self.feed.stream(after)

    def backup(self) -> bytes:
        return encode_backup(Backup(self.cluster, self.name, "0", self.applied_index, 0, self.machine.snapshot()))

    async def metrics_text(self) -> str:
        return "# TYPE raftchaos_is_leader gauge\nraftchaos_is_leader 1.0\n"

    async def check(self, task: str, orchestration: ResolvedOrchestration) -> None:
        if self.lacking and task not in self.state.tasks:
            raise Refused(self.lacking)

    async def submit(self, task: str, orchestration: Mapping[str, Any]) -> Outcome:
        return self.write(commands.SubmitTask(task, dict(orchestration)))

    async def cancel_task(self, task: str, reason: str) -> Outcome:
        return self.write(commands.CancelTask(task, reason))

    async def pause_task(self, task: str) -> Outcome:
        return self.write(commands.PauseTask(task))

    async def resume_task(self, task: str) -> Outcome:
        return self.write(commands.ResumeTask(task))

    async def drain_node(self, name: str, drained: bool) -> Outcome:
        return self.write(commands.DrainNode(name, drained))

    def behind(self) -> Mapping[str, int]:
        return {}

    async def promote_node(self, name: str, *, timeout: float = limits.MEMBERSHIP_TIMEOUT) -> Outcome:
        if name not in self.machine.state.nodes:
            raise NotFound(f"found no node {name!r}")
        return Outcome(self.machine.applied_index, {"ok": True, "promoted": name})

    async def remove_node(self, name: str, *, timeout: float = limits.MEMBERSHIP_TIMEOUT) -> Outcome:
        return self.write(commands.RemoveNode(name))

    async def join(self, request: JoinRequest, *, timeout: float = limits.MEMBERSHIP_TIMEOUT) -> JoinAnswer:
        known = self.machine.state.nodes.get(request.name)
        if known is not None and known.directory != request.directory:
            raise Conflict(f"the name {request.name} belongs to another data directory")
        members = {name: node.raft_address for name, node in self.machine.state.nodes.items()}
        return JoinAnswer(self.cluster, {**members, request.name: request.raft_address})

    async def halt(self, reason: str, halt_id: str = "") -> HaltAnswer:
        halt = halt_id or f"halt-{len(self._log.commands)}"
        self.halts_held[halt] = HaltRecord(halt, reason, self._name, self._log.now_ms)
        if self.quorum:
            self.write(commands.Halt(halt, reason, self._name))
        return HaltAnswer(halt, self.quorum, (self._name,))

    async def resume(self, halts: Sequence[str] | None) -> Sequence[str]:
        wanted = sorted(self.machine.state.halts) if halts is None else list(halts)
        unknown = [halt for halt in wanted if halt not in self.machine.state.halts]
        if unknown:
            raise NotFound(f"no halt {unknown[0]} is in force")
        self.write(commands.Resume(wanted))
        for halt in wanted:
            self.halts_held.pop(halt, None)
        return wanted

    async def proxies(self) -> Sequence[ProxyRecord]:
        return [self.proxy_table[name] for name in sorted(self.proxy_table)]

    async def add_proxy(
        self, name: str, listen: str, upstream: str, certificate: str = "", key: str = ""
    ) -> ProxyRecord:
        made = ProxyRecord(name, listen, upstream, {"connections": 4, "bytes_up": 100}, certificate)
        if self.proxy_table.setdefault(name, made) != made:
            raise Conflict(f"the proxy {name} exists with other addresses")
        return made

    async def remove_proxy(self, name: str) -> None:
        if name not in self.proxy_table:
            raise NotFound(f"there is no proxy {name!r}")
        del self.proxy_table[name]


class FakeAccess:
    """Tokens of the shared log; no certificates."""

    certificate = b"certificate"

    def __init__(self, peer: FakePeer) -> None:
        self._peer = peer

    async def create_token(self, name: str, role: str, seconds: float) -> IssuedToken:
        token = new_api_token()
        outcome = self._peer.write(commands.CreateToken(token.id, name, role, token.digest, seconds))
        return IssuedToken(token.id, token.text, outcome.result["expires"])

    async def create_certificate(self, name: str, role: str, seconds: float, request: str) -> tuple[str, str]:
        await self.create_token(name, role, seconds)
        return "certificate", "authorities"

    async def create_join_token(self, seconds: float, single: bool) -> IssuedToken:
        token = new_join_token("a" * 64)
        outcome = self._peer.write(commands.CreateJoinToken(token.id, token.public, seconds, single))
        return IssuedToken(token.id, token.text, outcome.result["expires"])

    async def revoke_token(self, token: str) -> str:
        return str(self._peer.write(commands.RevokeToken(token)).result["id"])

    async def rotate(self) -> str:
        self._peer.write(commands.TrustAuthority("b" * 64, "pem"))
        return "b" * 64


class TaskDriver:
    """Plays the planner and the nodes for one task of the shared log."""

    def __init__(self, log: SharedLog, task: str) -> None:
        self._log = log
        self._task = task

    def run_id(self, node: str, step: int = 0) -> str:
        return f"{self._task}/1/{step}/{node}/1"

    def plan(self, *nodes: str, step: int = 0, seconds: float = 10.0) -> None:
        self._log.append(commands.PlanRuns(TERM, self._task, [(self.run_id(node, step), seconds) for node in nodes]))

    def start(self, node: str, step: int = 0) -> None:
        run = self.run_id(node, step)
        self._log.append(commands.StartRun(run, node, 1, DIRECTORY, [f"proxy:payments@{node}"]))
        self._log.append(commands.RunActive(run, node, 1))

    def end(self, node: str, step: int = 0, touched: int = 7) -> None:
        run = self.run_id(node, step)
        self._log.append(
            commands.RunFinished(run, node, 1, "succeeded", "", [{"touched": touched, "requests": touched}])
        )

    def finish(self) -> None:
        self._log.append(commands.FinishTask(TERM, self._task))


@dataclass
class Served:
    """Three peers that serve their API on loopback, and a client of all of them."""

    log: SharedLog
    peers: list[FakePeer]
    servers: list[ApiServer]
    addresses: list[str]
    client: Client

    async def stop(self, place: int) -> None:
        self.peers[place].feed.close()
        await self.servers[place].stop()


async def until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    """Waits until the condition holds. Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - what is waited for happens in the server, which tells nobody
            await asyncio.sleep(0.005)
