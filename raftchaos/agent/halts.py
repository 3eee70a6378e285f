"""Halts that this peer obeys whether or not the log knows them.

A halt does not wait for the log: whoever learns of one reverts its own faults at once, remembers it on disk, tells the
others, and puts it into the log as soon as there is a quorum. It is dropped when the state knows it as lifted.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from raftchaos import limits
from raftchaos.agent.mailbox import Mailbox
from raftchaos.clock import Clock
from raftchaos.core.callers import CALLER, Caller
from raftchaos.core.commands import Halt, encode
from raftchaos.core.interfaces import ReplicatedLog
from raftchaos.core.request_ids import RequestIds
from raftchaos.core.service_records import HaltAnswer
from raftchaos.core.state import ClusterState, HaltRecord
from raftchaos.errors import Busy, DataCorrupt, NoQuorum, OutcomeUnknown, RaftchaosError, UsageError
from raftchaos.files import read_record, write_record

log = logging.getLogger(__name__)

MESSAGE = {"id": str, "reason": str, "origin": str}


class LocalHalts:
    """The halts of this peer. `run` proposes and tells; the rest may be called from the loop's thread."""

    def __init__(
        self,
        data_dir: Path,
        *,
        name: str,
        replicated: ReplicatedLog,
        mailbox: Mailbox,
        state: Callable[[], ClusterState],
        request_ids: RequestIds,
        clock: Clock,
    ) -> None:
        """Reads what the last start remembered. Raises `DataCorrupt`, `MachineUnusable`."""
        self._file = data_dir / "halt.msgpack"
        self._name = name
        self._log = replicated
        self._state = state
        self._request_ids = request_ids
        self._clock = clock
        self._halts = self._read()
        self._requests: dict[str, str] = {}
        self._callers: dict[str, Caller | None] = {}  # who asked for a halt, as far as this start knows
        self._written = set(self._halts)
        self._listeners: list[Callable[[], None]] = []
        self._wake = asyncio.Event()
        self._applied = asyncio.Event()
        self._writing = asyncio.Lock()
        mailbox.register("halt", MESSAGE, self._on_message)
        replicated.on_applied(self._on_applied)
        replicated.on_change(self._wake.set)

    # ---- for the rest of the peer

    @property
    def halted(self) -> bool:
        """Whether this peer obeys a halt of its own."""
        return bool(self._halts)

    @property
    def unlogged(self) -> tuple[HaltRecord, ...]:
        """The halts that this peer obeys although the state does not hold them yet."""
        state = self._state()
        return tuple(halt for key, halt in sorted(self._halts.items()) if key not in state.halts)

    def on_change(self, callback: Callable[[], None]) -> None:
        """Call this when halts come or go."""
        self._listeners.append(callback)

    async def halt(self, reason: str, halt_id: str = "", *, timeout: float = limits.HALT_LOGGED_WAIT) -> HaltAnswer:
        """Halt: revert here at once, remember it, tell every reachable peer, and log it if that is possible within
        `timeout` seconds. Works without a quorum. Raises `UsageError` for an id that is none."""
        key = halt_id or uuid.uuid4().hex
        if not _is_id(key):
            raise UsageError(f"found a bad halt id, expected 1 to {limits.TASK_ID} bytes of printable text")
        reason = reason.encode("utf-8", "replace").decode()  # half a surrogate pair cannot be written down or sent
        if key in self._state().lifted:
            return HaltAnswer(key, True, (self._name,))
        halt = HaltRecord(key, reason[: limits.REASON], self._name, int(self._clock.wall() * 1000))
        self._obey(halt, CALLER.get())
        await self._persist()
        told = self._tell(key)
        await self._wait_logged(key, timeout)
        return HaltAnswer(key, self._logged(key), told)

    async def run(self) -> None:
        """Write down what messages told, and propose what the log does not know, until it is cancelled."""
        while True:
            self._wake.clear()
            await self._persist()
            unlogged = [halt.id for halt in self.unlogged]
            for key in unlogged:
                self._tell(key)
                await self._propose(key)
            try:
                async with asyncio.timeout(limits.HALT_RETRY if unlogged else None):
                    await self._wake.wait()
            except TimeoutError:
                continue

    # ---- how halts come and go

    def _obey(self, halt: HaltRecord, caller: Caller | None) -> None:
        if halt.id in self._halts or halt.id in self._state().lifted:
            return
        if len(self._halts) >= limits.HALTS_LOCAL:
            log.warning("ignored the halt %s: this peer obeys %d already", halt.id, len(self._halts))
            return
        log.warning("halted: %s (%s, from %s)", halt.reason or "no reason given", halt.id, halt.origin)
        self._halts[halt.id] = halt
        self._callers[halt.id] = caller
        self._wake.set()
        self._changed()

    def _on_message(self, sender: str, message: dict[str, Any]) -> None:
        key = message["id"]
        if _is_id(key):
            reason, origin = message["reason"][: limits.REASON], message["origin"][: limits.NAME]
            caller = None
            with contextlib.suppress(ValueError):  # a peer that has started since does not know who asked
                caller = Caller.from_list(message.get("by"))
            self._obey(HaltRecord(key, reason, origin, int(self._clock.wall() * 1000)), caller)

    def _on_applied(self) -> None:
        self._applied.set()
        state = self._state()
        lifted = [key for key in self._halts if key in state.lifted]
        for key in lifted:
            del self._halts[key]
            self._requests.pop(key, None)
            self._callers.pop(key, None)
        if lifted:
            self._wake.set()
            self._changed()

    def _changed(self) -> None:
        for listener in self._listeners:
            listener()

    def _logged(self, key: str) -> bool:
        state = self._state()
        return key in state.halts or key in state.lifted

    # ---- disk, peers, log

    def _read(self) -> dict[str, HaltRecord]:
        value = read_record(self._file)
        try:
            return {} if value is None else {item["id"]: HaltRecord.from_dict(item) for item in value}
        except (KeyError, TypeError) as error:
            raise DataCorrupt(f"{self._file} is damaged: found no list of halts ({error!r})") from error

    async def _persist(self) -> None:
        """Bring the file up to date. A disk that cannot be written does not keep a halt from being obeyed."""
        async with self._writing:
            if self._written == set(self._halts):
                return
            halts = dict(self._halts)
            work = asyncio.ensure_future(
                asyncio.to_thread(write_record, self._file, [halt.to_dict() for halt in halts.values()])
            )
            try:
                await asyncio.shield(work)
            except asyncio.CancelledError:
                await asyncio.wait([work])
                raise
            except (RaftchaosError, OSError) as error:
                log.error("cannot remember the halts of this peer for its next start: %s", error)
                return
            self._written = set(halts)

    def _tell(self, key: str) -> tuple[str, ...]:
        """Tell every peer that can be reached; returns their names, this one included."""
        halt = self._halts.get(key)
        if halt is None:
            return (self._name,)
        message: dict[str, Any] = {"type": "halt", "id": halt.id, "reason": halt.reason, "origin": halt.origin}
        caller = self._callers.get(key)
        if caller is not None:
            message["by"] = caller.to_list()
        others = ({*self._state().nodes} | {*self._log.status().quorum.voters}) - {self._name}
        return tuple(sorted([self._name, *(peer for peer in sorted(others) if self._log.send(peer, message))]))

    async def _propose(self, key: str) -> None:
        halt = self._halts.get(key)
        status = self._log.status()
        if halt is None or not status.ready or not status.quorum.has_quorum:
            return
        request_id = self._requests.setdefault(key, "") or self._request_ids.next()
        self._requests[key] = request_id
        try:
            outcome = await self._log.propose(
                request_id, encode(Halt(halt.id, halt.reason, halt.origin), self._callers.get(key))
            )
        except (NoQuorum, Busy, OutcomeUnknown) as error:
            log.debug("the halt %s is not logged yet: %s", key, error)
            return
        if not outcome.result.get("ok"):
            self._requests.pop(key, None)
            log.warning("the halt %s was declined, it is obeyed here: %s", key, outcome.result)

    async def _wait_logged(self, key: str, timeout: float) -> None:
        if not self._log.status().quorum.has_quorum:
            return
        try:
            async with asyncio.timeout(timeout):
                while not self._logged(key):
                    self._applied.clear()
                    await self._applied.wait()
        except TimeoutError:
            return


def _is_id(text: str) -> bool:
    """Whether the log takes it as the id of a halt: one that it refuses could never be lifted."""
    return text.isprintable() and 0 < len(text.encode()) <= limits.TASK_ID
