"""What is on, as read back from the kernel, the processes and the proxy, beside what the undo journal says."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from raftchaos import limits
from raftchaos.core.service_records import SeenFault
from raftchaos.errors import RaftchaosError, Refused
from raftchaos.faults.base import Fault
from raftchaos.faults.defects import told_as
from raftchaos.faults.records import UndoRecord
from raftchaos.faults.uses import Use

log = logging.getLogger(__name__)

Observed = list[tuple[str, str]] | None
"""Pairs of key and target; None if nobody can tell."""

UNKNOWN_TYPE: Final = "?"


async def take_inventory(
    faults: Mapping[str, Fault], uses: Mapping[str, Sequence[Use]], records: Iterable[UndoRecord]
) -> tuple[SeenFault, ...]:
    """Everything that is on or should be, sorted. `records` are the open ones of the undo journal, `uses` what this
    main has started."""
    names = sorted(faults)
    answers = await asyncio.gather(*(_observe(faults[name]) for name in names))
    observed = dict(zip(names, answers, strict=True))
    left = {(name, key, target) for name, found in observed.items() for key, target in found or ()}
    seen: list[SeenFault] = []
    for record in records:
        mine = uses.get(record.run, ())
        for use in mine:
            place = (use.fault.type, use.key, use.target)
            mark = _mark(use, place in left, readable=observed.get(use.fault.type) is not None)
            left.discard(place)
            seen.append(SeenFault(record.run, use.fault.type, use.target, True, mark, await _effect(use)))
        if not mine:
            seen += _of_earlier(record, left)
    seen += [SeenFault(run_of(key), name, target, False, SeenFault.LEFT_OVER) for name, key, target in left]
    return tuple(sorted(seen, key=lambda one: (one.run, one.fault, one.target)))


def run_of(key: str) -> str:
    """The run that a key belongs to; the key itself if it is none of ours."""
    return key.partition("#")[0]


def _of_earlier(record: UndoRecord, left: set[tuple[str, str, str]]) -> list[SeenFault]:
    """A record of an earlier start of the peer, or one that somebody else keeps: matched by what was read back."""
    found = sorted(place for place in left if run_of(place[1]) == record.run)
    left.difference_update(found)
    if not found:
        return [SeenFault(record.run, UNKNOWN_TYPE, "", True, SeenFault.MISSING)]
    return [SeenFault(record.run, name, target, True, "") for name, _, target in found]


def _mark(use: Use, there: bool, *, readable: bool) -> str:
    if not readable:
        return SeenFault.UNREADABLE
    if use.on == there:
        return "" if use.on else SeenFault.DORMANT
    return SeenFault.LEFT_OVER if there else SeenFault.MISSING


async def _observe(fault: Fault) -> Observed:
    try:
        async with asyncio.timeout(limits.OBSERVE_TIMEOUT):
            with told_as(Refused, fault.type):
                return await fault.observe()
    except (RaftchaosError, TimeoutError) as error:
        log.warning("could not read back what of the fault %s is on: %s", fault.type, error or "it took too long")
        return None


async def _effect(use: Use) -> dict[str, int]:
    try:
        async with asyncio.timeout(limits.OBSERVE_TIMEOUT):
            return await use.effect()
    except (RaftchaosError, TimeoutError):
        return dict(use.past)
