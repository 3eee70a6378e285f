"""Injects and takes back runs on this node, under the undo journal.

The order is the guarantee: lock, checks, undo record on disk, injection, unlock. Whoever finds an open record may
undo it; whoever finds it done leaves it alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Protocol

from raftchaos import limits
from raftchaos.clock import Clock
from raftchaos.core.interfaces import Recovery
from raftchaos.core.service_records import SeenFault
from raftchaos.errors import Conflict, InjectionFailed, NotFound, RaftchaosError, Refused
from raftchaos.faults import FAULT_MODULES, build_fault, effects
from raftchaos.faults.base import Fault, Host, NodeContext
from raftchaos.faults.defects import told_as, usable
from raftchaos.faults.inventory import take_inventory
from raftchaos.faults.lost import find_lost
from raftchaos.faults.records import Effects
from raftchaos.faults.rhythm import beats, without_rhythm
from raftchaos.faults.threads import blocking
from raftchaos.faults.undo import UndoJournal
from raftchaos.faults.uses import Use, fault_seed, inject_all, kind_of, recover_all, total_of, undo_plan_of
from raftchaos.model.faults import FAULTS
from raftchaos.model.faults.described import nothing_touched
from raftchaos.model.resolved import ResolvedStep

log = logging.getLogger(__name__)

_LOCK_POLL = 0.01


class ReaperState(Protocol):
    """What the executor needs to know of the reaper."""

    @property
    def standing(self) -> bool:
        """A reaper of this main stands."""
        ...

    @property
    def lease_end(self) -> float:
        """The end of the lease that it knows."""
        ...


class FaultExecutor:
    """One node's executor: `core.interfaces.RunExecutor`. Raises `DataCorrupt` if the undo journal is damaged."""

    def __init__(
        self,
        host: Host,
        *,
        node: str,
        clock: Clock,
        reaper: ReaperState,
        proxies: Callable[[], Iterable[str]],
        faults: Mapping[str, Fault] | None = None,
    ) -> None:
        """`proxies` gives the names of the node's proxies as they are now. Every fault is asked whether this machine
        can do it, which may take some tenths of a second."""
        self._node = node
        self._clock = clock
        self._reaper = reaper
        self._proxy = host.proxy
        self._meter = host.meter
        self._proxies = proxies
        made = (FAULT_MODULES, partial(build_fault, host)) if faults is None else (faults, faults.__getitem__)
        self._faults, self.unable = usable(*made)
        """The fault types that this machine can do; those that it cannot do, and why not."""
        self._journal = UndoJournal(host.data_dir)
        host.inherited[:] = [self._journal.lock_fd]
        self._left_behind = self.unfinished()
        self._gate = asyncio.Lock()
        # Not the loop's own threads: those undo, and must not wait for a look-up that hangs.
        self._looking = ThreadPoolExecutor(limits.LOOKS, "looking")
        self._uses: dict[str, tuple[Use, ...]] = {}
        self._told: dict[str, Effects] = {}
        self._forgotten: set[str] = set()
        self._followers: dict[str, list[asyncio.Task[None]]] = {}
        self._troubles: dict[str, str] = {}
        self._group: asyncio.TaskGroup | None = None
        self._renewed = asyncio.Event()
        self.on_trouble: Callable[[], None] = lambda: None
        """Called when `troubles` has changed."""

    # ---- what the agent asks

    @property
    def types(self) -> tuple[str, ...]:
        """The fault types that this node can do: its capabilities."""
        return tuple(sorted(self._faults))

    @property
    def clean(self) -> bool:
        """A reaper of this main stands, and has undone what earlier incarnations left."""
        if self._left_behind and self._reaper.standing:
            self._left_behind &= self.unfinished()
        return self._reaper.standing and not self._left_behind

    @property
    def ready(self) -> bool:
        """A fault may be injected now."""
        return self.clean and self._reaper.lease_end > self._clock.boot() and self._proxy.ready

    async def resolve(self, step: ResolvedStep) -> tuple[str, ...]:
        """All targets of a step on this node, sorted."""
        return tuple(sorted({target for targets in await self._targets(step) for target in targets}))

    async def _targets(self, step: ResolvedStep) -> list[tuple[str, ...]]:
        """Those of each fault. Looked up in a thread: /proc, the kernel and a container runtime take their time."""
        context = NodeContext(self._node, tuple(sorted(self._proxies())), step.disarm)
        wanted = [(self.fault(fault.type), fault.parameters) for fault in step.faults]
        return await blocking(
            lambda: [_resolved(fault, parameters, context) for fault, parameters in wanted], pool=self._looking
        )

    def uses(self, run: str) -> tuple[tuple[str, str], ...]:
        """The fault types and targets of a run that was started and not forgotten."""
        return tuple((use.fault.type, use.target) for use in self._uses.get(run, ()))

    def untouched(self, run: str) -> str:
        """In a sentence, what did nothing of a run that was taken back."""
        uses, effects_ = self._uses.get(run, ()), self._told.get(run, ())
        idle = [use for use in uses if use.index < len(effects_) and not effects_[use.index].get("touched")]
        return nothing_touched(FAULTS.get(idle[0].fault.type), idle[0].target) if idle else ""

    def undone(self) -> dict[str, Effects]:
        """Runs that are marked done, with their effects."""
        return {run: record.effects for run, record in self._journal.records().items() if record.done}

    def happened(self) -> dict[str, bool]:
        """One-shot runs that were done (True), or that may have been: their peer ended before it wrote that down."""
        return {
            run: record.by == "main"
            for run, record in self._journal.records().items()
            if record.done and record.kind == "oneShot" and (record.effects or record.by != "main")
        }

    def troubles(self) -> Mapping[str, str]:
        """Runs that have failed amid their time, and why: something could not be switched, or has gone off."""
        return self._troubles

    def unfinished(self) -> frozenset[str]:
        """Runs whose undo record is open."""
        return frozenset(record.run for record in self._journal.open_records())

    # ---- its life

    async def run(self) -> None:
        """Renew what holds a deadline outside of main, and switch what pulses, until it is cancelled."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            group.create_task(self._watch())
            while True:
                await self._renewed.wait()
                self._renewed.clear()
                await self._renew()

    def on_renewed(self, end: float, epoch: int) -> None:
        """The lease keeper's listener."""
        self._renewed.set()

    def on_lapsed(self, epoch: int) -> None:
        """The lease keeper's listener: the agent takes everything back."""

    async def _renew(self) -> None:
        """Tell the new end of the lease to whatever acts on it without main. Under the lock, like an injection: what
        the reaper has undone must not come back."""
        if not any(use.on and use.fault.holds_deadline for uses in self._uses.values() for use in uses):
            return
        try:
            async with self._locked(), asyncio.timeout(limits.INJECT_TIMEOUT):
                open_ = self.unfinished()
                on = [use for run, uses in self._uses.items() if run in open_ for use in uses if use.on]
                end = self._reaper.lease_end
                for fault in {use.fault.type: use.fault for use in on if use.fault.holds_deadline}.values():
                    with told_as(InjectionFailed, fault.type):
                        if self._clock.boot() < end:
                            await fault.renew(end)
        except (RaftchaosError, TimeoutError) as error:  # the next renewal of the lease comes soon
            log.warning("could not renew what is on: %s", error or "it took too long")

    async def _watch(self) -> None:
        """Notice what has gone off amid its run: the agent ends that."""
        while True:
            await asyncio.sleep(limits.LOST_LOOK)
            for run, problem in (await find_lost(self._uses)).items():
                self._fail(run, problem)

    def _fail(self, run: str, problem: str) -> None:
        if run not in self._troubles:
            self._troubles[run] = problem
            self.on_trouble()

    async def inventory(self) -> tuple[SeenFault, ...]:
        """What is on, as read back from the world, beside what the undo journal says."""
        return await take_inventory(self._faults, self._uses, self._journal.open_records())

    # ---- injecting

    async def start(
        self, run: str, step: ResolvedStep, targets: tuple[str, ...], seed: int, permit: Callable[[], float]
    ) -> None:
        """Inject a run; see `RunExecutor.start`."""
        epoch = self._journal.epoch
        uses = await self._plan(run, step, targets, seed)
        problem = ""
        async with self._locked():
            self._check(epoch)
            permit()
            if run in self._journal.records():
                raise Conflict(f"the run {run} was started before; a run is started once")
            self._uses[run] = uses
            await blocking(self._journal.record_open, run, kind_of(uses), undo_plan_of(uses))
            try:
                lease_end = permit()  # the disk may have taken its time
                self._check(epoch)
            except Refused:
                self._journal.mark_done(run, (), "main")
                del self._uses[run]
                raise
            problem = await self._inject([use for use in uses if use.first.wait == 0], lease_end, permit)
        if problem:
            await self.recover(run)
            raise InjectionFailed(problem)
        self._follow(run, uses, permit)

    async def record(self, run: str, uses: tuple[Use, ...], holder: str) -> None:
        """Write down, synced, what undoes these uses, which stand for the life of `holder` and not under the node's
        lease. Who puts them on ends them by `recover`."""
        async with self._locked():
            self._uses[run] = uses  # first: a disk that fails may have kept the record all the same
            await blocking(self._journal.record_open, run, kind_of(uses), undo_plan_of(uses), holder)

    async def _plan(self, run: str, step: ResolvedStep, targets: tuple[str, ...], seed: int) -> tuple[Use, ...]:
        uses = [
            self._use(run, step, index, target, seed)
            for index, found in enumerate(await self._targets(step))
            for target in found
            if target in targets
        ]
        missing = sorted(set(targets) - {use.target for use in uses})
        if missing or not uses:
            raise NotFound(f"the run {run} was granted {', '.join(missing) or 'no target'}, which is not here any more")
        return tuple(uses)

    def _use(self, run: str, step: ResolvedStep, index: int, target: str, seed: int) -> Use:
        wanted = step.faults[index]
        fault, own = self.fault(wanted.type), fault_seed(seed, step.name, index)
        use = Use(index, fault, target, wanted.parameters, f"{run}#{index}", own)
        if not fault.pulses_itself:
            use.parameters, use.beats = without_rhythm(wanted.parameters), beats(wanted.parameters, own)
        if use.beats is not None:
            use.first = next(use.beats)
        return use

    def _check(self, epoch: int) -> None:
        if not self.ready:
            raise Refused("the reaper or the proxy process of this node is not ready")
        if self._journal.epoch != epoch:
            raise Refused("the lease has ended meanwhile: the reaper has undone what was open")

    async def _inject(self, uses: Sequence[Use], lease_end: float, permit: Callable[[], float]) -> str:
        timeout = min(limits.INJECT_TIMEOUT, max(lease_end - self._clock.boot(), 0.0))
        return await inject_all(uses, lease_end, timeout, permit)

    # ---- switching

    def _follow(self, run: str, uses: Sequence[Use], permit: Callable[[], float]) -> None:
        switched = [use for use in uses if use.beats is not None]
        if switched:
            assert self._group is not None, "`run` switches what pulses"
            self._followers[run] = [self._group.create_task(self._switch(run, use, permit)) for use in switched]

    async def _switch(self, run: str, use: Use, permit: Callable[[], float]) -> None:
        """Switch one use by its beats, until it is taken back or something goes wrong."""
        assert use.beats is not None
        beat, due = use.first, self._clock.boot() + use.first.wait
        while True:
            await self._until(due)
            problem = "" if use.on else await self._on_again(run, use, permit)
            due = max(due, self._clock.boot()) + beat.lasts
            await self._until(due)
            problem = problem or await recover_all([use])
            if problem:
                self._fail(run, problem)
                return
            beat = next(use.beats)
            due += beat.wait

    async def _on_again(self, run: str, use: Use, permit: Callable[[], float]) -> str:
        """Under the lock and the lease, like the first time. A beat that is not permitted now is left out."""
        try:
            async with self._locked():
                if run not in self.unfinished() or not self.ready:
                    return ""
                return await self._inject([use], permit(), permit)
        except Refused:
            return ""

    async def _until(self, due: float) -> None:
        """Timers do not count a suspend: they are compared with the clock."""
        while (left := due - self._clock.boot()) > 0:  # noqa: ASYNC110 - time is all that is awaited
            await asyncio.sleep(min(left, limits.SWITCH_LOOK))

    async def _stop_switching(self, run: str) -> None:
        followers = self._followers.pop(run, [])
        for follower in followers:
            follower.cancel()
        await asyncio.gather(*followers, return_exceptions=True)

    # ---- taking back

    async def recover(self, run: str) -> Recovery:
        """Take back a run; see `RunExecutor.recover`."""
        uses = self._uses.get(run)
        if uses is None:
            return self._told_by_journal(run)
        await self._stop_switching(run)
        problem = await recover_all(uses)
        for fault in {use.fault.type for use in uses if use.on}:
            self._meter.recover_failed(fault)
        self._told[run] = effects.larger(self._told.get(run, ()), total_of(uses))
        problem = problem or await self._mark_done(run)
        return Recovery(not problem, self._told[run], problem)

    def _told_by_journal(self, run: str) -> Recovery:
        record = self._journal.records().get(run)
        if record is None or record.done:
            return Recovery(True, () if record is None else record.effects)
        return Recovery(False, (), "it was started by an earlier incarnation, whose faults the reaper undoes")

    async def _mark_done(self, run: str) -> str:
        try:
            async with self._locked():
                if not self._journal.mark_done(run, self._told[run], "main"):
                    record = self._journal.records().get(run)  # the reaper was there first
                    if record is not None:
                        self._told[run] = effects.larger(self._told[run], record.effects)
        except RaftchaosError as error:
            return f"its recovery could not be written down: {error}"
        return ""

    async def forget(self, run: str) -> None:
        """Drop what is kept of a run whose end the cluster knows."""
        self._told.pop(run, None)
        self._troubles.pop(run, None)
        for use in self._uses.pop(run, ()):
            # A process that is gone has forgotten by itself.
            with contextlib.suppress(RaftchaosError), told_as(Refused, use.fault.type):
                await use.fault.forget(use.key, use.target)
        self._forgotten.add(run)
        if self._journal.oversized:
            with contextlib.suppress(RaftchaosError):  # the next one compacts
                async with self._locked():
                    await blocking(self._journal.compact, tuple(self._forgotten))
                    self._forgotten.clear()

    def close(self) -> None:
        """Let go of the undo journal, and of threads that still look for targets."""
        self._looking.shutdown(wait=False, cancel_futures=True)
        self._journal.close()

    # ---- helpers

    @contextlib.asynccontextmanager
    async def _locked(self) -> AsyncIterator[None]:
        """The undo journal's lock, for one task of this process at a time."""
        async with self._gate:
            deadline = self._clock.boot() + limits.UNDO_LOCK_WAIT
            while not self._journal.try_lock():
                if self._clock.boot() > deadline:
                    raise Refused(f"another process holds the undo journal for {limits.UNDO_LOCK_WAIT:g} s")
                await asyncio.sleep(_LOCK_POLL)
            try:
                yield
            finally:
                self._journal.unlock()

    def fault(self, name: str) -> Fault:
        """The fault of this type. Raises `NotFound` with the reason if this node cannot do it."""
        fault = self._faults.get(name)
        if fault is None:
            why = self.unable.get(name) or f"it can do: {', '.join(self.types)}"
            raise NotFound(f"this node cannot do the fault {name}: {why}")
        return fault


def _resolved(fault: Fault, parameters: Mapping[str, Any], context: NodeContext) -> tuple[str, ...]:
    with told_as(Refused, fault.type):
        return fault.resolve(parameters, context)
