"""Kills the leader and measures how long the cluster is without one, as its other peers tell it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raftchaos.client import Client
from raftchaos.demo.checks import ask_proxy_process
from raftchaos.demo.stage import Stage
from raftchaos.errors import MachineUnusable, ProxyUnavailable, RaftchaosError

POLL = 0.02  # seconds between two questions to one peer
PATIENCE = 15.0
RESTART_AFTER = 1.0  # seconds after the others have a leader again


@dataclass(frozen=True, slots=True)
class Failover:
    """One loss of a leader. Times are seconds."""

    killed: str
    leader: str
    """Who leads since."""
    term_before: int
    term_after: int
    without_leader_seconds: float
    """From the SIGKILL to the first answer of a survivor that names another leader: at most POLL too long."""
    fault_off_seconds: float | None
    """From the SIGKILL until the killed peer's proxy bore no fault any more, as it says itself; None if it went on."""

    def to_dict(self) -> dict[str, Any]:
        """As data."""
        return {
            "killed": self.killed,
            "newLeader": self.leader,
            "termBefore": self.term_before,
            "termAfter": self.term_after,
            "withoutLeaderSeconds": round(self.without_leader_seconds, 3),
            "faultOffSeconds": None if self.fault_off_seconds is None else round(self.fault_off_seconds, 3),
            "resolutionSeconds": POLL,
        }


async def kill_leader(stage: Stage, client: Client) -> Failover:
    """SIGKILL for the process of the leader; returns once another peer leads.

    Raises `MachineUnusable` if there is no leader to kill, or none again within `PATIENCE` seconds.
    """
    before = await client.status()
    killed = before["leader"]
    if killed not in stage.peers:
        raise MachineUnusable("found no leader to kill in the middle of the experiment")
    survivors = [peer.listen for name, peer in stage.peers.items() if name != killed]
    async with Client(survivors, timeout=1.0) as watcher:
        for address in survivors:
            await watcher.status(peer=address)  # so that no connection has to be made while the clock runs
        began = time.monotonic()
        await stage.peers[killed].kill()
        async with asyncio.TaskGroup() as group:
            off = group.create_task(_fault_off(stage.peers[killed].data_dir, began))
            try:
                async with asyncio.timeout(PATIENCE):
                    status = await _first_to_name_another(watcher, survivors, killed, before["term"])
            except TimeoutError:
                raise MachineUnusable(f"no peer named a new leader within {PATIENCE:.0f} s of the kill") from None
            seconds = time.monotonic() - began
    return Failover(killed, status["leader"], before["term"], status["term"], seconds, off.result())


async def _fault_off(data_dir: Path, began: float) -> float | None:
    """Seconds from `began` until the proxy process of a killed peer says that it bears no fault; None if it does not.

    A proxy that has ended bears none.
    """
    while time.monotonic() - began < PATIENCE:
        try:
            hello = await asyncio.to_thread(ask_proxy_process, data_dir)
        except ProxyUnavailable:
            hello = {"faults": []}
        if not hello["faults"]:
            return time.monotonic() - began
        await asyncio.sleep(POLL)
    return None


async def _first_to_name_another(watcher: Client, survivors: Sequence[str], killed: str, term: int) -> dict[str, Any]:
    """The first status of a survivor that names a leader of a later term."""
    found: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def ask(address: str) -> None:
        while True:
            try:
                status = await watcher.status(peer=address)
            except RaftchaosError:
                status = {}  # it is busy with the election; ask again
            if status.get("leader") not in (None, "", killed) and status["term"] > term:
                await found.put(status)
                return
            await asyncio.sleep(POLL)

    async with asyncio.TaskGroup() as group:
        asking = [group.create_task(ask(address)) for address in survivors]
        status = await found.get()
        for task in asking:
            task.cancel()
    return status


async def restart(stage: Stage, name: str) -> float:
    """Starts the killed peer again from its data directory; returns the seconds until it was ready."""
    await asyncio.sleep(RESTART_AFTER)
    began = time.monotonic()
    peer = stage.peers[name]
    await peer.start()
    await peer.wait_ready()
    return time.monotonic() - began
