"""What the agent says to the cluster: proposals that are repeated until they are answered, each at its pace."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Any

from raftchaos import limits
from raftchaos.clock import Clock
from raftchaos.core.commands import Command, encode
from raftchaos.core.interfaces import ReplicatedLog
from raftchaos.core.request_ids import RequestIds
from raftchaos.errors import Busy, NoQuorum, OutcomeUnknown
from raftchaos.model.runs import RunId

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Pace:
    """What was said about one run in one kind of command."""

    due: float = 0.0
    busy: bool = False
    unanswered: dict[bytes, str] = field(default_factory=dict)
    """Request ids of proposals whose outcome nobody knows: a repetition keeps its id, so it is applied once."""


class Words:
    """Proposals about runs: for each run at most one of a kind at a time, and not faster than its interval."""

    def __init__(self, replicated: ReplicatedLog, request_ids: RequestIds, clock: Clock) -> None:
        self._log = replicated
        self._request_ids = request_ids
        self._clock = clock
        self._paces: dict[tuple[RunId, str], _Pace] = {}
        self._speaking = 0

    def due(self, run: RunId, kind: type[Command]) -> bool:
        """Whether such a command about a run may be proposed now."""
        pace = self._paces.get((run, kind.kind))
        free = self._speaking < limits.RUN_ACTIONS
        return free and (pace is None or (not pace.busy and self._clock.boot() >= pace.due))

    def begin(self, run: RunId, kind: type[Command]) -> None:
        """Such a command is about to be proposed: no other of its kind is until it has been."""
        self._paces.setdefault((run, kind.kind), _Pace()).busy = True
        self._speaking += 1

    async def say(self, run: RunId, command: Command, interval: float) -> dict[str, Any] | None:
        """Propose once, after `begin`. Returns the answer, None if there is none: say it again after `interval`."""
        pace = self._paces[(run, command.kind)]
        data = encode(command)
        request_id = pace.unanswered.get(data) or self._request_ids.next()
        try:
            outcome = await self._log.propose(request_id, data)
        except OutcomeUnknown:
            pace.unanswered[data] = request_id
            return None
        except (NoQuorum, Busy) as error:
            log.debug("no answer to %s of %s yet: %s", command.kind, run, error)
            return None
        else:
            pace.unanswered.pop(data, None)
            if not outcome.result.get("ok"):
                log.debug("%s of %s was declined: %s", command.kind, run, outcome.result)
            return outcome.result
        finally:
            pace.busy, pace.due = False, self._clock.boot() + interval
            self._speaking -= 1

    def keep_only(self, runs: set[RunId]) -> None:
        """Drop what is known of all other runs."""
        for key in [key for key, pace in self._paces.items() if key[0] not in runs and not pace.busy]:
            del self._paces[key]
