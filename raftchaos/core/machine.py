"""The state machine that the replicated log drives: decodes, applies, remembers, publishes."""

from __future__ import annotations

import hashlib
from collections import deque
from typing import Any

from raftchaos.core import answers, snapshot
from raftchaos.core.answers import Answer
from raftchaos.core.apply import Applied, apply
from raftchaos.core.callers import Caller
from raftchaos.core.commands import Command, RemoveNode, SubmitTask, UnknownCommand, read
from raftchaos.core.draft import Context
from raftchaos.core.events import EventLog
from raftchaos.core.interfaces import Entry
from raftchaos.core.requests import RequestWindow
from raftchaos.core.state import ClusterState
from raftchaos.errors import UsageError

DEFECTS_KEPT = 100


class ReplicatedState:
    """Implements `interfaces.StateMachine`. All methods are called from one thread.

    `state` is immutable: keep the reference and read it at leisure, from any thread.
    """

    def __init__(self) -> None:
        self.state = ClusterState()
        """The state after `applied_index`."""
        self.applied_index = 0
        """Index of the last entry that was applied, or that the restored snapshot held."""
        self.events = EventLog()
        self.incompatible = ""
        """Why this peer cannot go on; empty while it can. Set when the log holds a command of a newer release: applying
        what comes after it would make this peer differ from the others, so nothing is applied any more, the index
        stays, and whoever runs the peer ends it with this text."""
        self.defects: deque[str] = deque(maxlen=DEFECTS_KEPT)
        """What went wrong inside, newest last: each is a defect of raftchaos, to be logged and counted."""
        self._requests = RequestWindow()
        self._hash: tuple[int, str] | None = None

    def apply(self, entry: Entry) -> Answer:
        """Apply one committed entry. Never raises, and repeats the remembered answer to a repeated request."""
        if self.incompatible:
            return answers.refuse(answers.INTERNAL, self.incompatible)
        known = self._requests.find(entry.request_id) if entry.request_id else None
        if entry.index <= self.applied_index:
            # Contained in the snapshot already.
            missing = answers.refuse(answers.OUTCOME_UNKNOWN, f"the entry {entry.index} was applied before")
            return missing if known is None else {**known, "repeated": True}
        try:
            command, caller = read(entry.command)
        except UnknownCommand as error:
            self.incompatible = f"the log holds at {entry.index} what this release does not know: {error}; {error.hint}"
            return answers.refuse(answers.INTERNAL, self.incompatible)
        except UsageError as error:
            self.applied_index = entry.index
            return answers.refuse(answers.USAGE, str(error))
        if known is not None and not _judges_itself(command, known):
            self.applied_index = entry.index
            return {**known, "repeated": True}
        return self._apply(entry, command, caller)

    def snapshot(self) -> bytes:
        """The whole state as canonical bytes."""
        return snapshot.pack(snapshot.Snapshot(self.applied_index, self.state, self._requests))

    def restore(self, data: bytes) -> None:
        """Take the state of a snapshot. Raises ValueError, and changes nothing, if it is not believable;
        MachineUnusable for one of a later release."""
        restored = snapshot.unpack(data)
        self.state = restored.state
        self.applied_index = restored.applied
        self._requests = restored.requests
        self._hash = None
        self.events.restart(restored.applied)

    def state_hash(self) -> str:
        """A hash of the whole state at `applied_index`, equal on peers of the same release that agree."""
        if self._hash is None or self._hash[0] != self.applied_index:
            self._hash = (self.applied_index, hashlib.sha256(self.snapshot()).hexdigest())
        return self._hash[1]

    def _apply(self, entry: Entry, command: Command, caller: Caller | None) -> Answer:
        context = Context(entry.index, entry.wall_ms, entry.term, caller)
        try:
            applied = apply(self.state, command, context)
        except Exception as error:
            # A defect. Every replica meets the same one, so all of them answer the same and keep their state; an
            # exception would kill one after another, and each restarted one again.
            if isinstance(error, MemoryError | RecursionError):
                raise  # of this machine alone: going on would make it differ from the others
            text = f"applying {command.kind} at {entry.index} raised {type(error).__name__}: {error}"
            self.defects.append(text)
            applied = Applied(self.state, answers.refuse(answers.INTERNAL, f"{command.kind} hit a defect"), ())
        return self._take(entry, command, applied)

    def _take(self, entry: Entry, command: Command, applied: Applied) -> Answer:
        self.state = applied.state
        self.applied_index = entry.index
        result: dict[str, Any] = applied.result
        if isinstance(command, RemoveNode) and result["ok"]:
            self._requests.forget_node(command.name)
        if not self._requests.holds(entry.request_id):
            self._requests.remember(entry.request_id, result)
        self.defects.extend(self.events.add(applied.events))
        return result


def _judges_itself(command: Command, known: Answer) -> bool:
    """An accepted submit is known by its task, which also tells whether the repeat brings the same orchestration."""
    return isinstance(command, SubmitTask) and bool(known["ok"])
