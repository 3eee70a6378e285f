"""Injects and takes back runs on this node, under the undo journal.

The order is the guarantee: lock, checks, undo record on disk, injection, unlock. Whoever finds an open record may
undo it; whoever finds it done leaves it alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from raftchaos import limits
from raftchaos.clock import Clock
from raftchaos.core.interfaces import Recovery
from raftchaos.errors import Conflict, InjectionFailed, NotFound, RaftchaosError, Refused
from raftchaos.faults import build_faults, effects
from raftchaos.faults.base import Fault, Host, NodeContext
from raftchaos.faults.records import Effects, Step
from raftchaos.faults.undo import UndoJournal
from raftchaos.model.resolved import SEED_MAX, ResolvedStep

T = TypeVar("T")

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


@dataclass(frozen=True, slots=True)
class _Use:
    """One fault of a run on one target."""

    index: int
    fault: Fault
    target: str
    parameters: Mapping[str, Any]
    key: str


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
        self._proxies = proxies
        every = build_faults(host) if faults is None else faults
        self.unable = {name: problem for name, fault in sorted(every.items()) if (problem := fault.why_not())}
        """The fault types that this machine cannot do, and why not."""
        self._faults = {name: fault for name, fault in every.items() if name not in self.unable}
        self._journal = UndoJournal(host.data_dir)
        self._left_behind = self.unfinished()
        self._gate = asyncio.Lock()
        self._uses: dict[str, tuple[_Use, ...]] = {}
        self._told: dict[str, Effects] = {}
        self._forgotten: set[str] = set()

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

    def resolve(self, step: ResolvedStep) -> tuple[str, ...]:
        """All targets of a step on this node, sorted."""
        context = self._context()
        found = {
            target for fault in step.faults for target in self._fault(fault.type).resolve(fault.parameters, context)
        }
        return tuple(sorted(found))

    def uses(self, run: str) -> tuple[tuple[str, str], ...]:
        """The fault types and targets of a run that was started and not forgotten."""
        return tuple((use.fault.type, use.target) for use in self._uses.get(run, ()))

    def undone(self) -> dict[str, Effects]:
        """Runs that are marked done, with their effects."""
        return {run: record.effects for run, record in self._journal.records().items() if record.done}

    def unfinished(self) -> frozenset[str]:
        """Runs whose undo record is open."""
        return frozenset(record.run for record in self._journal.open_records())

    # ---- injecting

    async def start(
        self, run: str, step: ResolvedStep, targets: tuple[str, ...], seed: int, permit: Callable[[], float]
    ) -> None:
        """Inject a run; see `RunExecutor.start`."""
        epoch = self._journal.epoch
        uses = self._plan(run, step, targets)
        problem = ""
        async with self._locked():
            self._check(epoch)
            permit()
            if run in self._journal.records():
                raise Conflict(f"the run {run} was started before; a run is started once")
            self._uses[run] = uses
            await _in_thread(self._journal.record_open, run, _kind(uses), _steps(uses))
            try:
                lease_end = permit()  # the disk may have taken its time
                self._check(epoch)
            except Refused:
                self._journal.mark_done(run, (), "main")
                del self._uses[run]
                raise
            problem = await self._inject(uses, step, seed, lease_end, permit)
        if problem:
            await self.recover(run)
            raise InjectionFailed(problem)

    def _plan(self, run: str, step: ResolvedStep, targets: tuple[str, ...]) -> tuple[_Use, ...]:
        context = self._context()
        uses = [
            _Use(index, self._fault(fault.type), target, fault.parameters, f"{run}#{index}")
            for index, fault in enumerate(step.faults)
            for target in self._fault(fault.type).resolve(fault.parameters, context)
            if target in targets
        ]
        missing = sorted(set(targets) - {use.target for use in uses})
        if missing or not uses:
            raise NotFound(f"the run {run} was granted {', '.join(missing) or 'no target'}, which is not here any more")
        return tuple(uses)

    def _check(self, epoch: int) -> None:
        if not self.ready:
            raise Refused("the reaper or the proxy process of this node is not ready")
        if self._journal.epoch != epoch:
            raise Refused("the lease has ended meanwhile: the reaper has undone what was open")

    async def _inject(
        self, uses: tuple[_Use, ...], step: ResolvedStep, seed: int, lease_end: float, permit: Callable[[], float]
    ) -> str:
        """Put everything on; why it is not all on, "" if it is. A halt does not wait for a fault that hangs."""
        timeout = min(limits.INJECT_TIMEOUT, max(lease_end - self._clock.boot(), 0.0))
        work = asyncio.gather(
            *(
                use.fault.inject(use.key, use.target, use.parameters, fault_seed(seed, step.name, use.index), lease_end)
                for use in uses
            ),
            return_exceptions=True,
        )
        watch = asyncio.ensure_future(_until_forbidden(permit))
        both: list[asyncio.Future[Any]] = [work, watch]
        try:
            await asyncio.wait(both, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                return _problems(uses, work.result())
            return watch.result() if watch.done() else f"the faults were not on within {timeout:.1f} s"
        finally:
            for each in both:
                each.cancel()
            await asyncio.gather(*both, return_exceptions=True)

    # ---- taking back

    async def recover(self, run: str) -> Recovery:
        """Take back a run; see `RunExecutor.recover`."""
        uses = self._uses.get(run)
        if uses is None:
            return self._told_by_journal(run)
        try:
            async with asyncio.timeout(limits.REVERT):
                results = await asyncio.gather(
                    *(use.fault.recover(use.key, use.target) for use in uses), return_exceptions=True
                )
        except TimeoutError:
            return Recovery(False, self._told.get(run, ()), f"the faults were not off within {limits.REVERT:g} s")
        self._told[run] = effects.larger(self._told.get(run, ()), _total(uses, results))
        problem = _problems(uses, results) or await self._mark_done(run)
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
        for use in self._uses.pop(run, ()):
            with contextlib.suppress(RaftchaosError):  # a process that is gone has forgotten by itself
                await use.fault.forget(use.key, use.target)
        self._forgotten.add(run)
        if self._journal.oversized:
            with contextlib.suppress(RaftchaosError):  # the next one compacts
                async with self._locked():
                    await _in_thread(self._journal.compact, tuple(self._forgotten))
                    self._forgotten.clear()

    def close(self) -> None:
        """Let go of the undo journal."""
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

    def _context(self) -> NodeContext:
        return NodeContext(self._node, tuple(sorted(self._proxies())))

    def _fault(self, name: str) -> Fault:
        fault = self._faults.get(name)
        if fault is None:
            why = self.unable.get(name) or f"it can do: {', '.join(self.types)}"
            raise NotFound(f"this node cannot do the fault {name}: {why}")
        return fault


def fault_seed(seed: int, step: str, index: int) -> int:
    """The seed of one fault of a step: the same on every node and in every attempt, so that a sample is the same."""
    digest = hashlib.sha256(f"{seed}/{step}/{index}".encode()).digest()
    return int.from_bytes(digest[:8], "big") & SEED_MAX


def _kind(uses: tuple[_Use, ...]) -> str:
    return "oneShot" if all(use.fault.kind == "oneShot" for use in uses) else "continuous"


def _steps(uses: tuple[_Use, ...]) -> list[Step]:
    return [{**step, "fault": use.index} for use in uses for step in use.fault.undo_steps(use.key, use.target)]


def _problems(uses: tuple[_Use, ...], results: list[Any]) -> str:
    """What went wrong, in words. An error that is none of ours is a defect and goes on."""
    texts = []
    for use, result in zip(uses, results, strict=True):
        if isinstance(result, RaftchaosError):
            texts.append(f"{use.fault.type} on {use.target}: {result}")
        elif isinstance(result, BaseException):
            raise result
    return "; ".join(texts)


def _total(uses: tuple[_Use, ...], results: list[Any]) -> Effects:
    totals: list[dict[str, int]] = [{"touched": 0} for _ in range(max(use.index for use in uses) + 1)]
    for use, result in zip(uses, results, strict=True):
        if isinstance(result, dict):
            effects.add(totals[use.index], result)
    return tuple(totals)


async def _until_forbidden(permit: Callable[[], float]) -> str:
    """Returns why, as soon as the injection may not go on."""
    while True:
        await asyncio.sleep(limits.INJECT_LOOK)
        try:
            permit()
        except Refused as error:
            return f"given up amid the injection: {error}"


async def _in_thread(function: Callable[..., T], *arguments: Any) -> T:
    """Run something that blocks in a thread; a cancellation waits for its end, since it holds the lock meanwhile."""
    work = asyncio.ensure_future(asyncio.to_thread(function, *arguments))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        await asyncio.wait([work])
        raise
