"""The Python quick start: a cluster on this machine and an experiment in a few lines.

    async with DistributedCoordinator("node-1") as coordinator:
        await coordinator.register_node("node-2")
        task = await coordinator.create_task(OrchestratedScenario("test").add_step(ScenarioStep("slow", "latency")))
        print(await task.wait())

Thin: peers are child processes, everything else is said to them by `Client`, which `coordinator.client` gives.
"""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from raftchaos.client import Client
from raftchaos.errors import MachineUnusable, UsageError
from raftchaos.launch import READY_TIMEOUT, PeerProcess

Json = dict[str, Any]
_POLL = 0.1


@dataclass(frozen=True, slots=True)
class ScenarioStep:
    """One step: a fault type or a built-in scenario, for so many seconds, with parameters by their document names."""

    name: str
    scenario: str
    duration_seconds: float = 60.0
    parameters: dict[str, Any] = field(default_factory=dict)
    delay_before_seconds: float = 0.0
    continue_on_failure: bool = False

    def to_document(self) -> Json:
        """The step as it stands in a ChaosOrchestration."""
        return {
            "name": self.name,
            "scenario": self.scenario,
            "durationSeconds": self.duration_seconds,
            "delayBeforeSeconds": self.delay_before_seconds,
            "continueOnFailure": self.continue_on_failure,
            "parameters": dict(self.parameters),
        }


class OrchestratedScenario:
    """An experiment that is put together step by step."""

    def __init__(
        self,
        name: str,
        *,
        mode: str = "parallel",
        description: str = "",
        target_nodes: dict[str, Any] | None = None,
        safety: dict[str, Any] | None = None,
    ) -> None:
        self.name = name
        self.mode = mode
        self.description = description
        self.target_nodes = target_nodes
        self.safety = safety
        self.steps: list[ScenarioStep] = []

    def add_step(self, step: ScenarioStep) -> Self:
        """Adds a step behind the others; returns itself, so that calls can be chained."""
        self.steps.append(step)
        return self

    def to_document(self) -> Json:
        """The ChaosOrchestration: what `raftchaos run` takes as a file. It is checked when it is submitted."""
        spec: Json = {"coordinationMode": self.mode, "steps": [step.to_document() for step in self.steps]}
        if self.description:
            spec["description"] = self.description
        if self.target_nodes is not None:
            spec["targetNodes"] = dict(self.target_nodes)
        if self.safety is not None:
            spec["safety"] = dict(self.safety)
        return {
            "apiVersion": "raftchaos.io/v1",
            "kind": "ChaosOrchestration",
            "metadata": {"name": self.name},
            "spec": spec,
        }


class TaskHandle:
    """A task that the cluster has accepted."""

    def __init__(self, client: Client, task: str) -> None:
        self._client = client
        self.id = task

    async def view(self) -> Json:
        """The task as it is now, with its steps and runs."""
        return await self._client.task(self.id)

    async def wait(self, *, timeout: float | None = None) -> Json:
        """Waits until the task has ended and returns it. Raises TimeoutError after `timeout` seconds; it goes on."""
        return await self._client.wait(self.id, timeout=timeout)

    async def cancel(self, reason: str = "") -> Json:
        """Takes its faults back and ends it."""
        return await self._client.cancel(self.id, reason=reason)


class DistributedCoordinator:
    """A cluster to run experiments on.

    Without `address` it starts a peer called `name` as a child process, on free loopback ports, with its data in
    `directory` (default: a temporary folder that is removed at the end); `register_node` starts more of them. With
    `address` (`HOST:PORT[,…]`, API addresses) it talks to a cluster that runs already, and starts and ends nothing.
    """

    def __init__(self, name: str, *, address: str | None = None, directory: str | Path | None = None) -> None:
        self.name = name
        self._address = address
        self._given = Path(directory) if directory is not None else None
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._peers: dict[str, PeerProcess] = {}
        self._client: Client | None = None

    @property
    def client(self) -> Client:
        """The client of the cluster, for everything else. Raises UsageError before `start`."""
        if self._client is None:
            raise UsageError(f"the coordinator {self.name} is not started", hint="await its start() first")
        return self._client

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Starts the first peer and waits until it is ready, or looks whether the given cluster answers.

        Raises `MachineUnusable` if the peer cannot start, `Unreachable` if nobody answers.
        """
        if self._client is not None:
            return
        if self._address is not None:
            client = Client([self._address])
            try:
                await client.status()
            except BaseException:
                await client.close()
                raise
            self._client = client
            return
        try:
            await self._start_peer(self.name, None)
        except BaseException:
            await self.stop()
            raise

    async def register_node(self, name: str) -> Json:
        """Starts another peer that joins the cluster, and returns its node once it is active.

        Raises `UsageError` for a cluster that was given by its address (start peers there with `raftchaos peer`) and
        for a name that is taken, `MachineUnusable` if the peer cannot start.
        """
        client = self.client
        if self._address is not None:
            raise UsageError(
                f"the cluster at {self._address} was not started here, so {name} cannot be started either",
                hint="start it where it shall run: raftchaos peer --name NAME --join HOST:PORT",
            )
        if name in self._peers:
            raise UsageError(f"there is a peer {name!r} already", hint="give each node a name of its own")
        await self._start_peer(name, client.peers[0])
        return await self._active(name)

    async def create_task(self, scenario: OrchestratedScenario) -> TaskHandle:
        """Submits the experiment. Raises `InvalidDocument` with all problems, `Refused` and its kinds, `NoQuorum`."""
        accepted = await self.client.submit(scenario.to_document())
        return TaskHandle(self.client, accepted["id"])

    async def stop(self) -> None:
        """Ends the peers that were started here, the youngest first, and removes their temporary folder."""
        if self._client is not None:
            client, self._client = self._client, None
            await client.close()
        while self._peers:
            _, peer = self._peers.popitem()
            await peer.stop()
        if self._temporary is not None:
            temporary, self._temporary = self._temporary, None
            await asyncio.to_thread(temporary.cleanup)

    async def _start_peer(self, name: str, join: str | None) -> None:
        peer = PeerProcess(name, self._directory(), join=join)
        self._peers[name] = peer
        try:
            await peer.start()
            await peer.wait_ready()
        except BaseException:
            del self._peers[name]
            await peer.stop()
            raise
        if self._client is not None:
            await self._client.close()
        self._client = Client([peer.listen for peer in self._peers.values()])

    async def _active(self, name: str) -> Json:
        try:
            async with asyncio.timeout(READY_TIMEOUT):
                while True:
                    for node in await self.client.nodes():
                        if node["name"] == name and node["status"] == "active":
                            return node
                    await asyncio.sleep(_POLL)
        except TimeoutError:
            raise MachineUnusable(f"{name} was not active within {READY_TIMEOUT:.0f} s") from None

    def _directory(self) -> Path:
        if self._given is not None:
            return self._given
        if self._temporary is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="raftchaos-", ignore_cleanup_errors=True)
        return Path(self._temporary.name)
