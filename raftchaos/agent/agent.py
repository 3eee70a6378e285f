"""The agent: makes the runs on this node match the replicated state, for as long as the peer lives.

It looks (`reconcile`), and does what the look decided: asks for runs, injects and recovers them through the executor,
and tells the cluster. What touches the world never waits for what is only said.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from raftchaos import limits
from raftchaos.agent import reconcile as decide
from raftchaos.agent.halts import LocalHalts
from raftchaos.agent.records import LocalRun, Phase
from raftchaos.agent.words import Words
from raftchaos.clock import Clock
from raftchaos.core.commands import RunActive, RunFinished, StartRun
from raftchaos.core.counting import types_of
from raftchaos.core.interfaces import Lease, ReplicatedLog, RunExecutor
from raftchaos.core.meter import Meter, NullMeter
from raftchaos.core.request_ids import RequestIds
from raftchaos.core.service_records import ActiveFault
from raftchaos.core.state import ClusterState
from raftchaos.errors import RaftchaosError, Refused
from raftchaos.model.resolved import ResolvedStep
from raftchaos.model.runs import InterruptReason, RunId, RunStatus

log = logging.getLogger("raftchaos.agent")


class Agent:
    """One node's agent. It is a lease listener: `LeaseKeeper.add_listener(agent)`."""

    def __init__(
        self,
        *,
        name: str,
        incarnation: int,
        directory: str,
        replicated: ReplicatedLog,
        state: Callable[[], ClusterState],
        lease: Lease,
        executor: RunExecutor,
        halts: LocalHalts,
        request_ids: RequestIds,
        clock: Clock,
    ) -> None:
        """`state` gives the newest applied state."""
        self._name = name
        self._incarnation = incarnation
        self._directory = directory
        self._log = replicated
        self._state = state
        self._lease = lease
        self._executor = executor
        self._halts = halts
        self._clock = clock
        self.meter: Meter = NullMeter()
        """Counts injections and effects; the composition root sets the real one."""
        self._words = Words(replicated, request_ids, clock)
        self._runs: dict[RunId, LocalRun] = {}
        self._grants: dict[RunId, int] = {}
        self._offered: dict[RunId, float] = {}
        self._not_before: dict[RunId, float] = {}
        self._replayed = False
        self._stopping = False
        self._look_again = asyncio.Event()
        self._quiet = asyncio.Event()  # stopping, and nothing is on
        self._told = asyncio.Event()  # stopping, and the cluster knows
        self._group: asyncio.TaskGroup | None = None
        replicated.on_applied(self.wake)
        replicated.on_change(self.wake)
        halts.on_change(self.wake)

    # ---- for the rest of the peer

    def wake(self) -> None:
        """Something has changed: look again. Cheap; may be called at any time from the loop's thread."""
        self._look_again.set()

    def on_renewed(self, end: float, epoch: int) -> None:
        """The lease keeper's listener."""
        self.wake()

    def on_lapsed(self, epoch: int) -> None:
        """The lease keeper's listener: everything under that lease is taken back."""
        self.wake()

    def active_faults(self) -> tuple[ActiveFault, ...]:
        """What is on, or may still be on, at this node."""
        return tuple(
            ActiveFault(str(run), fault, target, local.problem)
            for run, local in sorted(self._runs.items())
            if local.present
            for fault, target in self._executor.uses(str(run))
        )

    def uses_target(self, target: str) -> bool:
        """Whether a run on this node is, or is about to be, done to this target, such as `proxy:payments`."""
        if any(local.present and target in local.targets for local in self._runs.values()):
            return True
        return any(run.node == self._name and run.live and target in run.targets for run in self._state().runs.values())

    @property
    def settled(self) -> bool:
        """The cluster knows the end of every run that an earlier start of this peer was granted. Before that this start
        is not registered: registering ends them without saying what became of them."""
        if not self._executor.undone() and not self._executor.unfinished():
            return True  # no start before this one has begun anything
        return self._replayed and not any(
            run.node == self._name and run.live and run.incarnation < self._incarnation
            for run in self._state().runs.values()
        )

    def problems(self) -> tuple[str, ...]:
        """Recoveries that keep failing, in plain words."""
        return tuple(
            f"{run} could not be taken back: {local.problem}"
            for run, local in sorted(self._runs.items())
            if local.stuck
        )

    def recovering(self) -> tuple[str, ...]:
        """Ids of the runs whose recovery has failed so far and is being tried again."""
        return tuple(
            str(run) for run, local in sorted(self._runs.items()) if local.problem and local.phase is Phase.RECOVERING
        )

    async def stop(self, timeout: float = limits.REVERT + limits.LATENESS) -> bool:
        """Before the peer ends: take back everything, start nothing more, and tell the cluster if it listens.

        `run` must go on meanwhile. False if something is still on after `timeout` seconds: then the reaper goes on
        with it.
        """
        self._stopping = True
        self.wake()
        try:
            async with asyncio.timeout(timeout):
                await self._quiet.wait()
        except TimeoutError:
            return False
        try:
            async with asyncio.timeout(limits.LAST_WORDS):
                await self._told.wait()
        except TimeoutError:
            log.info("the cluster will learn of the end of this peer's runs at its next start")
        return True

    async def run(self) -> None:
        """Look and act until it is cancelled."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            while True:
                self._look_again.clear()
                self._look()
                try:
                    async with asyncio.timeout(self._pause()):
                        await self._look_again.wait()
                except TimeoutError:
                    continue

    # ---- one look

    def _look(self) -> None:
        self._replayed = self._replayed or self._log.status().ready
        view = self._view()
        decision = decide.reconcile(view)
        self._grants, self._offered = decision.grants, decision.offered
        for action in decision.actions:
            self._act(action)
        self._words.keep_only({*view.state.runs, *self._runs})
        self._not_before = {run: due for run, due in self._not_before.items() if run in self._grants}
        if self._stopping and not any(local.present for local in self._runs.values()):
            self._quiet.set()
            if not self._runs:
                self._told.set()

    def _view(self) -> decide.View:
        now = self._clock.boot()
        return decide.View(
            node=self._name,
            incarnation=self._incarnation,
            directory=self._directory,
            state=self._state(),
            now=now,
            lease_epoch=self._lease.epoch,
            lease_left=self._lease.end - now if self._lease.running(now) else 0.0,
            replayed=self._replayed,
            clean=self._executor.clean,
            ready=self._executor.ready,
            halted=self._halts.halted,
            stopping=self._stopping,
            local=self._runs,
            undone=self._executor.undone(),
            happened=self._executor.happened(),
            troubles=self._executor.troubles(),
            unfinished=self._executor.unfinished(),
            grants=self._grants,
            offered=self._offered,
        )

    def _pause(self) -> float:
        """Seconds until the clock alone makes a difference. Bounded, as timers do not count a suspend."""
        now = self._clock.boot()
        instants = [run.started + run.duration for run in self._runs.values() if run.phase is Phase.ON]
        instants.append(self._lease.end)
        later = [instant - now for instant in instants if instant > now]
        return min([limits.AGENT_TICK, *later])

    def _act(self, action: decide.Action) -> None:
        match action:
            case decide.Recover(run, status, reason):
                self._recover(self._runs[run], status, reason)
            case decide.Start(run):
                self._start(run)
            case decide.Forget(run):
                del self._runs[run]
                self._spawn(self._executor.forget(str(run)))
            case decide.Ask(run) if self._words.due(run, StartRun):
                self._words.begin(run, StartRun)
                self._spawn(self._ask(run))
            case decide.ReportActive(run) if self._words.due(run, RunActive):
                self._words.begin(run, RunActive)
                command = RunActive(str(run), self._name, self._incarnation)
                self._spawn(self._say(run, command))
            case decide.ReportFinished() if self._words.due(action.run, RunFinished):
                self._words.begin(action.run, RunFinished)
                self._spawn(self._report_end(action))
            case _:
                return  # it is due later, and decided again then

    # ---- the world

    def _start(self, run: RunId) -> None:
        now = self._clock.boot()
        starting = sum(1 for local in self._runs.values() if local.phase is Phase.STARTING)
        if now < self._not_before.get(run, 0.0) or starting >= limits.RUN_ACTIONS:
            return
        wanted = self._state().runs[run]
        types = types_of(self._state(), wanted)
        local = LocalRun(run, wanted.targets, types, wanted.duration_seconds, self._lease.epoch)
        self._runs[run] = local
        self._spawn(self._inject(local))

    async def _inject(self, local: LocalRun) -> None:
        step, seed = self._step_of(local.id)
        try:
            if step is None:
                raise Refused("its task has ended")
            await self._executor.start(str(local.id), step, local.targets, seed, lambda: self._permit(local))
        except Refused as error:  # nothing was done; the next look decides whether it is over or only not yet
            log.info("did not inject run=%s: %s", local.id, error)
            del self._runs[local.id]
            self._not_before[local.id] = self._clock.boot() + limits.AGENT_TICK
        except RaftchaosError as error:
            log.warning("could not inject run=%s: %s", local.id, error)
            self._recover(local, *self._why_not_on(local, error, one_shot=step is not None and step.one_shot))
        else:
            local.phase, local.started = Phase.ON, self._clock.boot()
            log.info("injected run=%s targets=%s", local.id, ",".join(local.targets))
            for fault, _ in self._executor.uses(str(local.id)):
                self.meter.fault_injected(fault)
            if not step.lasts:
                self._recover(local, RunStatus.DONE, "")
        self.wake()

    def _why_not_on(self, local: LocalRun, error: RaftchaosError, *, one_shot: bool) -> tuple[RunStatus, str]:
        """What a run ends as that could not be injected: interrupted if it was no longer wanted, else failed. What may
        have been done, and cannot be taken back, has failed: an interrupted run may be attempted again."""
        wanted = self._state().runs.get(local.id)
        if one_shot:
            return RunStatus.FAILED, str(error)
        if self._halts.halted or self._state().halted:
            return RunStatus.INTERRUPTED, str(InterruptReason.HALT)
        if self._stopping:
            return RunStatus.INTERRUPTED, str(InterruptReason.RESTART)
        if wanted is not None and wanted.status is RunStatus.RECOVERING:
            return RunStatus.INTERRUPTED, wanted.reason or str(InterruptReason.CANCEL)
        return RunStatus.FAILED, str(error)

    def _permit(self, local: LocalRun) -> float:
        """Under the undo journal's lock: the end of the lease, if the injection may still begin, or begin again."""
        now = self._clock.boot()
        wanted = self._state().runs.get(local.id)
        if self._stopping or self._halts.halted or self._state().halted:
            raise Refused("halted")
        first = local.phase is Phase.STARTING
        good = (RunStatus.GRANTED,) if first else (RunStatus.GRANTED, RunStatus.ACTIVE)
        if wanted is None or wanted.status not in good or wanted.incarnation != self._incarnation:
            raise Refused("the run is not granted any more")
        if not self._lease.running(now) or self._lease.epoch != local.lease:
            raise Refused("the lease that it was granted under has ended")
        if self._lease.end - now <= limits.START_MARGIN:
            raise Refused("the lease is about to end")
        return self._lease.end

    def _recover(self, local: LocalRun, status: RunStatus, reason: str) -> None:
        local.phase, local.status, local.reason = Phase.RECOVERING, status, reason
        self._spawn(self._take_back(local))

    async def _take_back(self, local: LocalRun) -> None:
        """Until it is off, however long that takes; after a while the cluster is told that it is not."""
        began, pause = self._clock.boot(), limits.RECOVERY_RETRY
        while True:
            recovery = await self._executor.recover(str(local.id))
            local.effects = recovery.effects or local.effects
            if recovery.ok:
                break
            if recovery.error != local.problem:
                log.warning("could not recover run=%s, trying again: %s", local.id, recovery.error)
            local.problem = recovery.error
            if not local.stuck and self._clock.boot() - began >= limits.RECOVERY_GIVE_UP:
                local.stuck = True
                self.wake()
            await asyncio.sleep(pause)
            pause = min(pause * 2, limits.RECOVERY_RETRY_MAX)
        assert local.status is not None
        if local.stuck:
            self._end(local, RunStatus.FAILED, local.problem)
        else:
            good = local.status in (RunStatus.SUCCEEDED, RunStatus.DONE)
            self._end(local, local.status, self._executor.untouched(str(local.id)) if good else local.reason)
        self.wake()

    def _end(self, local: LocalRun, status: RunStatus, reason: str) -> None:
        local.phase, local.status, local.reason = Phase.OFF, status, reason
        touched = [effect.get("touched", 0) for effect in local.effects]
        log.info("recovered run=%s status=%s reason=%s touched=%s", local.id, status, reason or "-", touched)
        step, _ = self._step_of(local.id)
        for index, fault in enumerate(step.faults if step is not None else ()):
            if index < len(touched):
                self.meter.fault_effect(fault.type, touched[index])

    # ---- words

    async def _ask(self, run: RunId) -> None:
        step, _ = self._step_of(run)
        targets: tuple[str, ...] = ()
        if step is not None:
            try:
                targets = await self._executor.resolve(step)
            except RaftchaosError as error:  # the cluster checks the same by the registry, and says so to everybody
                log.info("this node has no target for run=%s: %s", run, error)
        command = StartRun(str(run), self._name, self._incarnation, self._directory, list(targets))
        await self._words.say(run, command, limits.ASK_INTERVAL)
        self.wake()

    async def _say(self, run: RunId, command: RunActive | RunFinished) -> bool:
        answer = await self._words.say(run, command, limits.REPORT_INTERVAL)
        self.wake()
        return answer is not None

    async def _report_end(self, action: decide.ReportFinished) -> None:
        command = RunFinished(
            str(action.run),
            self._name,
            self._incarnation,
            str(action.status),
            action.reason[: limits.REASON],
            [dict(effect) for effect in action.effects],
        )
        answered = await self._say(action.run, command)
        local = self._runs.get(action.run)
        if answered and local is not None and local.phase is Phase.OFF:
            local.told = True

    # ---- helpers

    def _step_of(self, run: RunId) -> tuple[ResolvedStep | None, int]:
        """The step of a run and the seed of its task; None if the task has left the state."""
        task = self._state().tasks.get(run.task)
        if task is None or run.step >= len(task.orchestration.steps):
            return None, 0
        return task.orchestration.steps[run.step], task.orchestration.seed

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        assert self._group is not None
        self._group.create_task(work)
