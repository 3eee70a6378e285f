"""One use of a fault: one fault of a run on one target. Putting several on together, taking several back together."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from raftchaos import limits
from raftchaos.errors import InjectionFailed, RaftchaosError, RecoveryFailed, Refused
from raftchaos.faults import effects
from raftchaos.faults.base import Fault
from raftchaos.faults.defects import told_as
from raftchaos.faults.records import Effects, Step
from raftchaos.faults.rhythm import AT_ONCE, Beat
from raftchaos.model.resolved import SEED_MAX


@dataclass(slots=True)
class Use:
    """One fault of a run on one target."""

    index: int
    """Of the fault in its step."""
    fault: Fault
    target: str
    parameters: Mapping[str, Any]
    key: str
    seed: int
    beats: Iterator[Beat] | None = None
    """When it is switched on and off; None if it is on for the whole run, or does that itself."""
    first: Beat = AT_ONCE
    on: bool = False
    """It is, or may be, on. A one-shot fault: it was done, and its effect was not read yet."""
    whole: bool = False
    """It is on for certain, and nobody has begun to take it back."""
    past: dict[str, int] = field(default_factory=lambda: {"touched": 0})
    """What it did up to when it was last taken back."""

    async def inject(self, lease_end: float) -> None:
        """Put it on. Raises `RaftchaosError` if it cannot; it may be on then."""
        self.on = True
        with told_as(InjectionFailed, self.fault.type):
            await self.fault.inject(self.key, self.target, self.parameters, self.seed, lease_end)
        self.whole = True

    async def recover(self) -> None:
        """Take it back, if it is not off. Raises `RaftchaosError` if it is still on."""
        self.whole = False
        if self.on:
            with told_as(RecoveryFailed, self.fault.type):
                effects.add(self.past, await self.fault.recover(self.key, self.target))
            self.on = False

    async def effect(self) -> dict[str, int]:
        """What it has done so far."""
        total = dict(self.past)
        if self.on:
            with told_as(Refused, self.fault.type):
                effects.add(total, await self.fault.effects(self.key, self.target))
        return total


def kind_of(uses: Sequence[Use]) -> str:
    """`oneShot` if nothing of them can be taken back."""
    return "oneShot" if all(use.fault.kind == "oneShot" for use in uses) else "continuous"


def undo_plan_of(uses: Sequence[Use]) -> list[Step]:
    """What undoes them all, in the order of the injection."""
    steps: list[Step] = []
    for use in uses:
        with told_as(InjectionFailed, use.fault.type):
            steps += [_complete(step, use) for step in use.fault.undo_steps(use.key, use.target)]
    return steps


def _complete(step: Step, use: Use) -> Step:
    return {**step, "fault": use.index, **({"parameters": dict(use.parameters)} if "parameters" in step else {})}


def total_of(uses: Sequence[Use]) -> Effects:
    """What each fault of the step did until its uses were taken back, in the step's order."""
    totals: list[dict[str, int]] = [{"touched": 0} for _ in range(max(use.index for use in uses) + 1)]
    for use in uses:
        effects.add(totals[use.index], use.past)
    return tuple(totals)


async def inject_all(uses: Sequence[Use], lease_end: float, timeout: float, permit: Callable[[], float]) -> str:
    """Put everything on; why it is not all on, "" if it is. A halt does not wait for a fault that hangs."""
    work = asyncio.gather(*(use.inject(lease_end) for use in uses), return_exceptions=True)
    watch = asyncio.ensure_future(_until_forbidden(permit))
    both: list[asyncio.Future[Any]] = [work, watch]
    try:
        await asyncio.wait(both, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            return problems_of(uses, work.result())
        return watch.result() if watch.done() else f"the faults were not on within {timeout:.1f} s"
    finally:
        for each in both:
            each.cancel()
        await asyncio.gather(*both, return_exceptions=True)


async def recover_all(uses: Sequence[Use]) -> str:
    """Take everything back; why it is not all off, "" if it is."""
    try:
        async with asyncio.timeout(limits.REVERT):
            return problems_of(uses, await asyncio.gather(*(use.recover() for use in uses), return_exceptions=True))
    except TimeoutError:
        return f"the faults were not off within {limits.REVERT:g} s"


def problems_of(uses: Sequence[Use], results: Sequence[Any]) -> str:
    """What went wrong, in words. A cancellation goes on."""
    texts = []
    for use, result in zip(uses, results, strict=True):
        if isinstance(result, RaftchaosError):
            texts.append(f"{use.fault.type} on {use.target}: {result}")
        elif isinstance(result, BaseException):
            raise result
    return "; ".join(texts)


async def _until_forbidden(permit: Callable[[], float]) -> str:
    """Returns why, as soon as the injection may not go on."""
    while True:
        await asyncio.sleep(limits.INJECT_LOOK)
        try:
            permit()
        except Refused as error:
            return f"given up amid the injection: {error}"


def fault_seed(seed: int, step: str, index: int) -> int:
    """The seed of one fault of a step: the same on every node and in every attempt, so that a sample is the same."""
    digest = hashlib.sha256(f"{seed}/{step}/{index}".encode()).digest()
    return int.from_bytes(digest[:8], "big") & SEED_MAX
