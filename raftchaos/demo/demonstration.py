"""The story: a cluster, a shop behind its proxies, an experiment, a killed leader, and everything put back."""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path
from typing import Any, Protocol

from raftchaos import launch
from raftchaos.client import Client
from raftchaos.demo.checks import nothing_left
from raftchaos.demo.experiment import CALM, KILL_IN_STEP, STEPS, all_active, document
from raftchaos.demo.failover import Failover, kill_leader, restart
from raftchaos.demo.load import Sample
from raftchaos.demo.outcome import Outcome, step_outcomes
from raftchaos.demo.stage import PEERS, Stage
from raftchaos.errors import MachineUnusable, RaftchaosError
from raftchaos.model.tasks import FINAL

Json = dict[str, Any]
STEP_SECONDS = 5.0
RATE = 60.0  # requests a second
TASK_PATIENCE = 60.0  # beyond the time that the steps take
AFTER = CALM + 0.5  # the load goes on so long after the last step


class Screen(Protocol):
    """Who watches."""

    def say(self, text: str) -> None:
        """Something happened."""

    def task(self, view: Json) -> None:
        """The task as it is now."""

    def sample(self, sample: Sample) -> None:
        """One request of the load was answered."""


class Demonstration:
    """One demonstration. `run` may be called once."""

    def __init__(self, screen: Screen, *, rate: float = RATE, step_seconds: float = STEP_SECONDS) -> None:
        self._screen = screen
        self._rate = rate
        self._step_seconds = step_seconds
        self._view: Json = {}
        self._changed = asyncio.Event()
        self.family = ""
        """Mark of all its processes, for whoever has to end them when nothing can be awaited any more."""

    async def run(self) -> Outcome:
        """Plays the whole story and ends everything that it started, whatever happens.

        Raises `MachineUnusable` if this machine does not let a peer or the shop start.
        """
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="raftchaos-demo-", ignore_cleanup_errors=True) as directory:
            stage = Stage(Path(directory))
            self.family = stage.family
            try:
                told = await self._play(stage)
            except BaseExceptionGroup as group:
                raise _first_of(group) from group
            finally:
                self._screen.say("ending every process")
                left = await stage.end()
        running = await asyncio.to_thread(launch.marked, stage.family)
        left += [f"process {process.pid} still runs" for process in running]
        return Outcome(**told, left_processes=left, seconds=time.monotonic() - began)

    async def _play(self, stage: Stage) -> Json:
        """Everything between the start and the end of the processes; the fields of an `Outcome`."""
        say = self._screen.say
        say(f"starting {len(PEERS)} peers")
        async with await stage.start_cluster() as client:
            status = await client.status()
            say(f"the cluster stands: {status['leader']} leads in term {status['term']}")
            load = await stage.start_shop(client, self._rate, self._screen.sample)
            async with asyncio.TaskGroup() as group:
                group.create_task(load.run())
                say(f"the shop is open: {self._rate:g} checkouts a second, payments behind the peers' proxies")
                try:
                    await load.wait_flows()
                    told = await self._experiment(stage, client)
                    await asyncio.sleep(AFTER)
                finally:
                    samples = await load.stop()
            say("looking for faults that were left behind")
            checks = await nothing_left(stage, client)
            return {**told, "steps": step_outcomes(told["task"], samples), "checks": checks}

    async def _experiment(self, stage: Stage, client: Client) -> Json:
        """Submits the orchestration, kills the leader in the middle of it, and waits for its end."""
        accepted = await client.submit(document(self._step_seconds))
        self._screen.say(f"task {accepted['id']}: {len(STEPS)} steps of {self._step_seconds:g} s on every node at once")
        patience = len(STEPS) * (self._step_seconds + CALM) + TASK_PATIENCE
        async with asyncio.TaskGroup() as group:
            killing = group.create_task(self._kill_in_the_middle(stage, client))
            try:
                task = await client.wait(accepted["id"], timeout=patience, on_update=self._take)
            except TimeoutError:
                raise MachineUnusable(f"the task had not ended after {patience:.0f} s") from None
            self._take(task)
        failover, restarted = killing.result()
        self._screen.say(f"the task {task['status']}, verdict {task['verdict']}")
        return {"task": task, "failover": failover, "restarted_seconds": restarted}

    def _take(self, view: Json) -> None:
        self._view = view
        self._changed.set()
        self._screen.task(view)

    async def _kill_in_the_middle(self, stage: Stage, client: Client) -> tuple[Failover, float]:
        """Waits for the middle of the step, kills the leader, and starts it again."""
        while not all_active(self._view, KILL_IN_STEP, len(PEERS)):
            if self._view.get("status") in FINAL:
                raise MachineUnusable(f"the task {self._view['status']} before the step in which its leader is killed")
            await self._changed.wait()
            self._changed.clear()
        await asyncio.sleep(self._step_seconds / 2)
        say = self._screen.say
        say("killing the leader with SIGKILL, in the middle of a step")
        failover = await kill_leader(stage, client)
        gap = failover.without_leader_seconds * 1000
        say(f"{failover.leader} leads, {gap:.0f} ms after {failover.killed} was killed")
        if failover.fault_off_seconds is not None:
            say(f"the fault of {failover.killed} was off {failover.fault_off_seconds * 1000:.0f} ms after the kill")
        seconds = await restart(stage, failover.killed)
        say(f"{failover.killed} is back after {seconds:.1f} s, from its data directory")
        return failover, seconds


def _first_of(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error that a person can do something about, out of those of tasks that ended together."""
    known: BaseException | None = group.subgroup(RaftchaosError)
    while isinstance(known, BaseExceptionGroup):
        known = known.exceptions[0]
    return known or group
