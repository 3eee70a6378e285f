"""What went off amid its run although nobody took it back: a load that was killed, rules that somebody deleted."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence

from raftchaos import limits
from raftchaos.errors import RaftchaosError, Refused
from raftchaos.faults.base import Fault, Lost
from raftchaos.faults.defects import told_as
from raftchaos.faults.uses import Use

log = logging.getLogger(__name__)


async def find_lost(uses: Mapping[str, Sequence[Use]]) -> dict[str, str]:
    """Runs of which something has gone off, and why. A fault that cannot be asked now is asked again later."""
    whole = [(run, use) for run, mine in uses.items() for use in mine if use.whole]
    faults = {use.fault.type: use.fault for _, use in whole}
    answers = dict(zip(faults, await asyncio.gather(*map(_ask, faults.values())), strict=True))
    found: dict[str, str] = {}
    for run, use in whole:
        why = answers[use.fault.type].get((use.key, use.target))
        if why and use.whole:  # nobody has begun to take it back meanwhile
            found[run] = f"{use.fault.type} on {use.target} went off amid its run: {why}"
    return found


async def _ask(fault: Fault) -> Lost:
    try:
        async with asyncio.timeout(limits.OBSERVE_TIMEOUT):
            with told_as(Refused, fault.type):
                return await fault.lost()
    except (RaftchaosError, TimeoutError) as error:
        log.debug("could not look whether the fault %s is still on: %s", fault.type, error or "it took too long")
        return {}
