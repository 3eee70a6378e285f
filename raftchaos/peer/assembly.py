"""All parts of one start of a peer, wired together."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import socket
import sys
from dataclasses import replace

import psutil

from raftchaos import limits
from raftchaos._version import VERSION
from raftchaos.agent.abilities import Abilities
from raftchaos.agent.agent import Agent
from raftchaos.agent.data_directory import DataDirectory
from raftchaos.agent.halts import LocalHalts
from raftchaos.agent.leader import Leader
from raftchaos.agent.lease_keeper import LeaseKeeper
from raftchaos.agent.mailbox import Mailbox
from raftchaos.agent.membership import Membership
from raftchaos.agent.proxies import NodeProxies
from raftchaos.agent.registration import Registration
from raftchaos.analytics.analyst.process import AnalystProcess
from raftchaos.api.callers import Door
from raftchaos.api.feed import EventFeed
from raftchaos.api.server import ApiServer
from raftchaos.api.toxiproxy.server import ToxiproxyServer
from raftchaos.clock import Clock
from raftchaos.config import PeerSettings, parse_address
from raftchaos.core.commands import RegisterNode
from raftchaos.core.machine import ReplicatedState
from raftchaos.core.planner import plan
from raftchaos.core.request_ids import RequestIds
from raftchaos.errors import Halted, MachineUnusable
from raftchaos.faults.base import Host
from raftchaos.faults.executor import FaultExecutor
from raftchaos.faults.own import OwnFaults
from raftchaos.faults.process import ReaperProcess, reaper_command, reaper_lock_path
from raftchaos.identity.local import socket_to_serve
from raftchaos.model.events import Event
from raftchaos.peer.caller_proxies import PeerCallerProxies
from raftchaos.peer.identity import PeerIdentity
from raftchaos.peer.invitation import invitation
from raftchaos.peer.keeper import IdentityKeeper
from raftchaos.peer.membership import PeerReplica, advertised, wait_for_membership
from raftchaos.peer.recorder import Recorder
from raftchaos.peer.services import Services
from raftchaos.peer.vitals import Vitals
from raftchaos.proxy.control import control_socket_path
from raftchaos.proxy.process import ProxyProcess
from raftchaos.telemetry.live_events import LiveEvents
from raftchaos.telemetry.metrics import Counts, Metrics

LOGGER = logging.getLogger(__name__)


class ProxyLease:
    """The lease listener of the proxy process, which knows the end and acts by itself."""

    def __init__(self, proxy: ProxyProcess) -> None:
        self._proxy = proxy

    def on_renewed(self, end: float, epoch: int) -> None:
        """Tell the process."""
        self._proxy.set_lease(end)

    def on_lapsed(self, epoch: int) -> None:
        """The process has noticed by itself."""


class Assembly:
    """One start of a peer. `start`, `run` for as long as it lives, `stop` for a graceful end, `close` always."""

    def __init__(
        self,
        settings: PeerSettings,
        directory: DataDirectory,
        replica: PeerReplica,
        machine: ReplicatedState,
        clock: Clock,
        keys: PeerIdentity | None,
    ) -> None:
        assert directory.identity is not None
        self._keys = keys
        self._settings, self._directory, self._identity = settings, directory, directory.identity
        self.replica, self.machine = replica, machine
        name, data = settings.name, settings.data_dir
        incarnation, directory_id = self._identity.incarnation, self._identity.directory
        request_ids = RequestIds(name, incarnation)
        self._addresses_of: tuple[object, int] = ({}, 0)
        self.counts = Counts()
        self.live_events = LiveEvents(self.counts)
        mailbox = Mailbox(replica)
        self.proxy = ProxyProcess(
            control_socket_path(data, "proxy"),
            clock,
            arguments=(
                "--reaper-command",
                json.dumps(reaper_command(data)),
                "--reaper-lock",
                str(reaper_lock_path(data)),
            ),
            on_ready=lambda ready: self.agent.wake(),
        )
        self.analyst = AnalystProcess(data, name)
        self.recorder = Recorder(self.analyst, self.proxy, name)
        self.reaper = ReaperProcess(data, clock, on_change=lambda: self.agent.wake())
        host = Host(
            proxy=self.proxy,
            data_dir=data,
            plugins=settings.plugins,
            own_pids=self._own_pids,
            cluster_addresses=self._cluster_addresses,
            meter=self.counts,
        )
        self.executor = FaultExecutor(
            host, node=name, clock=clock, reaper=self.reaper, proxies=lambda: self.proxies.names()
        )
        self.registration = Registration(
            log=replica,
            request_ids=request_ids,
            describe=self._describe,
            clean=lambda: self.executor.clean and self.agent.settled,
        )
        self.keeper = LeaseKeeper(
            log=replica,
            mailbox=mailbox,
            clock=clock,
            state=lambda: machine.state,
            name=name,
            incarnation=incarnation,
            directory=directory_id,
            health=lambda: self.vitals.unwell(),
            recovering=lambda: self.agent.recovering(),
        )
        self.halts = LocalHalts(
            data,
            name=name,
            replicated=replica,
            mailbox=mailbox,
            state=lambda: machine.state,
            request_ids=request_ids,
            clock=clock,
        )
        self.agent = Agent(
            name=name,
            incarnation=incarnation,
            directory=directory_id,
            replicated=replica,
            state=lambda: machine.state,
            lease=self.keeper.lease,
            executor=self.executor,
            halts=self.halts,
            request_ids=request_ids,
            clock=clock,
        )
        self.agent.meter = self.counts
        self.own_faults = OwnFaults(
            self.executor, self.proxy, clock, incarnation=incarnation, check=lambda: self._refuse_in_halt()
        )
        self.proxies = NodeProxies(
            data,
            control=self.proxy,
            in_use=lambda target: self.agent.uses_target(target) or self.own_faults.uses_target(target),
            on_change=self.registration.proxies_changed,
        )
        self.leader = Leader(
            log=replica,
            mailbox=mailbox,
            clock=clock,
            state=lambda: machine.state,
            request_ids=request_ids,
            plan=plan,
            meter=self.counts,
        )
        self.membership = Membership(log=replica, mailbox=mailbox, state=lambda: machine.state, request_ids=request_ids)
        self.abilities = Abilities(
            name=name,
            log=replica,
            nodes=lambda: machine.state.nodes,
            mailbox=mailbox,
            executor=lambda: self.executor,
            request_ids=request_ids,
        )
        self.vitals = Vitals(
            data,
            clock=clock,
            replica=replica,
            machine=machine,
            agent=self.agent,
            reaper=self.reaper,
            proxy=self.proxy,
            analyst=self.analyst,
        )
        self.feed = EventFeed(machine.events)
        services = Services(
            name=name,
            cluster=replica.config.cluster_id,
            insecure=settings.insecure,
            durability=settings.durability,
            replica=replica,
            machine=machine,
            agent=self.agent,
            halts=self.halts,
            node_proxies=self.proxies,
            membership=self.membership,
            abilities=self.abilities,
            executor=self.executor,
            feed=self.feed,
            vitals=self.vitals,
            request_ids=request_ids,
            clock=clock,
            exposition=lambda: self.metrics.text(),
            analyst=self.analyst,
            identity=keys,
        )
        self._keeper = (
            None
            if keys is None
            else IdentityKeeper(
                keys,
                log=replica,
                mailbox=mailbox,
                state=lambda: machine.state,
                request_ids=request_ids,
                incarnation=incarnation,
            )
        )
        self._services = services
        self.metrics = Metrics(services, clock, self.vitals.processes(), self.counts)
        self.api = ApiServer(services, clock)
        caller_proxies = PeerCallerProxies(self.proxies, self.own_faults, of_tasks=self.agent.uses_target)
        self.toxiproxy = ToxiproxyServer(caller_proxies)
        self._connect()

    def _connect(self) -> None:
        """Who is told of what."""
        for listener in (ProxyLease(self.proxy), self.reaper, self.executor, self.agent):
            self.keeper.add_listener(listener)
        self.replica.meter = self.counts
        self.executor.on_trouble = self.agent.wake
        self.replica.nodes = lambda: self.machine.state.nodes
        self.replica.on_applied(self._on_applied)
        self.halts.on_change(self.own_faults.wake)
        self.machine.events.subscribe(self._on_event)

    def _describe(self) -> RegisterNode:
        settings = self._settings
        return RegisterNode(
            name=settings.name,
            incarnation=self._identity.incarnation,
            directory=self._identity.directory,
            raft_address=advertised(settings.raft_listen, settings.advertise),
            api_address=advertised(settings.listen, settings.advertise),
            labels=settings.labels,
            capabilities=list(self.executor.types),
            proxies=list(self.proxies.names()),
            version=VERSION,
        )

    def _own_pids(self) -> frozenset[int]:
        return frozenset(pid for pid in (os.getpid(), self.reaper.pid, self.proxy.pid, self.analyst.pid) if pid)

    def _cluster_addresses(self) -> tuple[str, ...]:
        nodes = self.machine.state.nodes.values()
        return tuple(sorted({address for node in nodes for address in (node.raft_address, node.api_address)}))

    def _on_applied(self) -> None:
        while self.machine.defects:
            LOGGER.error("a defect of raftchaos: %s", self.machine.defects.popleft())
        nodes, configuration = self.machine.state.nodes, self.replica.raft.configuration_index
        if self._addresses_of[0] is nodes and self._addresses_of[1] == configuration:
            return
        self._addresses_of = nodes, configuration
        for name, node in nodes.items():
            if node.incarnation and name != self._settings.name:
                self.replica.set_address(name, node.raft_address)

    def _refuse_in_halt(self) -> None:
        if self.halts.halted or self.machine.state.halted:
            raise Halted("the cluster is halted: nothing is put on until the halt is lifted")

    def _on_event(self, event: Event) -> None:
        if self.replica.status().ready:  # what a start replays was counted when it happened
            self.live_events.on_event(event, self.machine.state)
            self.recorder.on_event(event)

    # ---- its life

    async def start(self) -> None:
        """Bind the ports, start the processes. Raises MachineUnusable, DataCorrupt."""
        host, port = parse_address(self._settings.listen, what="--listen")
        await self.replica.start()
        await self.proxy.start()
        await self.proxies.open(self._settings.proxies)
        advertise = self._settings.advertise
        hosts = frozenset(name.lower() for name in (host, advertise, socket.gethostname()) if name)
        tls = self._keys.contexts.api if self._keys is not None else None
        door = Door(insecure=tls is None, hosts=hosts, metrics_allow=self._settings.metrics_allow)
        await self.api.start(host, port, door, tls)
        try:
            await self.api.start_local(socket_to_serve(self._settings.listen), replace(door, local=True))
        except MachineUnusable as error:  # any user of this machine can bring that about in /tmp
            LOGGER.warning("the user of this peer has no socket, and needs a token: %s; %s", error, error.hint)
        if self._settings.toxiproxy_listen is not None:
            await self.toxiproxy.start(*parse_address(self._settings.toxiproxy_listen, what="--toxiproxy-listen"))

    async def run(self) -> None:
        """Everything that goes on until it is cancelled. Raises what ends the peer."""
        async with asyncio.TaskGroup() as group:
            for part in (
                self.reaper.run(),
                self.executor.run(),
                self.own_faults.run(),
                self.abilities.run(),
                self.halts.run(),
                self.agent.run(),
                self.keeper.run(),
                self.leader.run(),
                self.membership.run(),
                self.vitals.run(self.counts),
                self.analyst.run(),
                self.recorder.run(),
                self._take_part(),
            ):
                group.create_task(part)
            if self._keeper is not None:
                group.create_task(self._keeper.run())
                group.create_task(self._invite())

    async def _take_part(self) -> None:
        await wait_for_membership(self._settings, self._directory, self.replica, self._keys)
        await self.registration.run()

    async def _invite(self) -> None:
        """A peer that is the whole cluster tells the person at its terminal how others join: nowhere else, for it is a
        secret."""
        if not sys.stdout.isatty() or list(self.replica.status().quorum.voters) != [self._settings.name]:
            return
        text = await invitation(self._services, advertised(self._settings.listen, self._settings.advertise))
        sys.stdout.write(text)
        sys.stdout.flush()

    async def stop(self) -> None:
        """Take back every fault, hand over leadership, let the reaper go; while `run` goes on."""
        await self.own_faults.stop()
        await self.agent.stop()
        if self.replica.status().leader_ready:
            await self.replica.transfer_leadership(timeout=limits.HAND_OVER)
        await self.reaper.stop()  # it stays if something could not be taken back, and goes on after this process

    async def close(self, *, with_proxies: bool) -> None:
        """Let go of everything, in the reverse order. The proxy process ends too if it is said, or goes on relaying
        until the next start of this peer adopts it."""
        self.feed.close()
        steps = {
            "toxiproxy API": self.toxiproxy.stop(),
            "API": self.api.stop(),
            "proxy process": self.proxy.stop(shutdown=with_proxies),
            "replica": self.replica.close(),
        }
        for part, step in steps.items():
            try:
                async with asyncio.timeout(limits.STOP_TIMEOUT):
                    await step
            except TimeoutError:
                LOGGER.warning("the %s has not ended within %g s; the peer ends without it", part, limits.STOP_TIMEOUT)
        self.proxies.close()

    @property
    def removed(self) -> bool:
        """This peer was let in, and is no member any more."""
        identity = self._directory.identity
        return identity is not None and identity.voted and self.replica.removed

    @property
    def started_proxies(self) -> bool:
        """Whether this start of the peer has started the proxy process, and did not find it."""
        with contextlib.suppress(psutil.Error):
            return self.proxy.pid is not None and psutil.Process(self.proxy.pid).ppid() == os.getpid()
        return False
