"""Commands on their way into the log, from this peer and from others.

A command is answered when the entry with its request id is applied *here*. Until then it is sent again whenever the
leader, its term or the connection to it changes: the same request id may then stand in the log twice, and the state
machine applies it once. Whether it may have been sent at all decides which error a caller gets in the end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from raftchaos import limits
from raftchaos.consensus.entries import encode_command
from raftchaos.core.interfaces import Outcome
from raftchaos.errors import Busy, NoQuorum, OutcomeUnknown, RaftchaosError, Refused

if TYPE_CHECKING:
    from raftchaos.consensus.raft import Raft

RETRY: Final = 0.02  # before a leader that could not take a command is asked again
REQUEST_ID: Final = 256


class _Proposal:
    __slots__ = ("attempt", "callers", "command", "maybe", "request_id", "retry", "sent_as")

    def __init__(self, request_id: str, command: bytes) -> None:
        self.request_id, self.command = request_id, command
        self.callers: dict[asyncio.Future[Outcome], None] = {}
        self.attempt = 0
        self.maybe = 0  # attempts of which nobody has said that they did not enter the log
        self.sent_as: object = None  # leader, term and connection of the last attempt
        self.retry: asyncio.TimerHandle | None = None


def _time_out(caller: asyncio.Future[Outcome]) -> None:
    if not caller.done():
        caller.set_exception(TimeoutError())


class Proposals:
    """At most `limits.PROPOSALS_IN_FLIGHT` callers wait on one peer."""

    def __init__(
        self, *, raft: Callable[[], Raft], wall: Callable[[], float], missing: Callable[[], tuple[str, dict[str, Any]]]
    ) -> None:
        self._raft, self._wall, self._missing = raft, wall, missing
        self._in_flight: dict[str, _Proposal] = {}
        self._callers = 0
        self._connection = 0
        self._closed = False

    async def propose(self, request_id: str, command: bytes, timeout: float) -> Outcome:
        """See `ReplicatedLog.propose`."""
        if len(command) > limits.COMMAND or not 0 < len(request_id) <= REQUEST_ID:
            raise Refused(f"a command has at most {limits.COMMAND} bytes, this one has {len(command)}")
        if self._callers >= limits.PROPOSALS_IN_FLIGHT:
            raise Busy(f"{limits.PROPOSALS_IN_FLIGHT} writes are already in flight on this peer")
        proposal = self._in_flight.get(request_id)
        loop = asyncio.get_running_loop()
        caller: asyncio.Future[Outcome] = loop.create_future()
        timer = loop.call_later(timeout, _time_out, caller)  # `asyncio.timeout` costs more than the log does
        self._callers += 1
        if proposal is None:
            proposal = self._in_flight[request_id] = _Proposal(request_id, command)
        proposal.callers[caller] = None
        try:
            if proposal.sent_as is None:
                self._submit(proposal)
            return await caller
        except TimeoutError:
            raise self._given_up(proposal, timeout) from None
        finally:
            timer.cancel()
            self._callers -= 1
            proposal.callers.pop(caller, None)
            if not proposal.callers:
                self._forget(proposal)

    def _forget(self, proposal: _Proposal) -> None:
        if self._in_flight.get(proposal.request_id) is proposal:
            del self._in_flight[proposal.request_id]
        if proposal.retry is not None:
            proposal.retry.cancel()

    def _given_up(self, proposal: _Proposal, timeout: float) -> RaftchaosError:
        text, details = self._missing()
        if proposal.maybe:
            return OutcomeUnknown(
                f"the write was sent but not confirmed within {timeout:g} s: {text}",
                details={**details, "request_id": proposal.request_id},
            )
        return NoQuorum(f"the write was not made: {text}", details=details)

    # ---- sending

    def _submit(self, proposal: _Proposal) -> None:
        raft = self._raft()
        leader = raft.leader
        if leader is None or self._closed:
            return
        proposal.sent_as = self._way(raft)
        proposal.attempt += 1
        if leader == raft.me:
            taken = self.append(proposal.request_id, proposal.command)
        else:
            taken = raft.transport.send(
                leader,
                {
                    "type": "propose",
                    "id": proposal.request_id,
                    "attempt": proposal.attempt,
                    "command": proposal.command,
                },
            )
        if taken:
            proposal.maybe += 1
        else:
            self._again(proposal)

    def _way(self, raft: Raft) -> object:
        return (raft.leader, raft.term, self._connection)

    def _again(self, proposal: _Proposal) -> None:
        if proposal.retry is not None:
            proposal.retry.cancel()
        proposal.retry = asyncio.get_running_loop().call_later(RETRY, self._retry, proposal)

    def _retry(self, proposal: _Proposal) -> None:
        proposal.retry = None
        if proposal.callers and not self._closed:
            self._submit(proposal)

    def leader_lost(self) -> None:
        """What was sent to the leader on the connection that broke may not have arrived."""
        self._connection += 1

    def changed(self) -> None:
        """Send what went another way again."""
        raft = self._raft()
        way = self._way(raft)
        for proposal in list(self._in_flight.values()):
            if proposal.sent_as != way:
                self._submit(proposal)

    def restored(self) -> None:
        """A snapshot replaced the state: entries in it were not shown one by one. Asking again finds the result."""
        for proposal in list(self._in_flight.values()):
            self._again(proposal)

    # ---- the leader's side

    def append(self, request_id: str, command: bytes) -> bool:
        """Append as the leader, stamped with its wall clock. False: certainly not appended.

        A leader that knows itself to be without a majority takes nothing: its callers are told something definite.
        """
        raft = self._raft()
        if not raft.reaches_majority():
            return False
        return raft.append(encode_command(request_id, int(self._wall() * 1000), command)) is not None

    def forwarded(self, peer: str, message: dict[str, Any], reply: Callable[[str, dict[str, Any]], object]) -> None:
        """Another peer's command. Only a refusal is answered: success shows in the log."""
        fits = len(message["command"]) <= limits.COMMAND and 0 < len(message["id"]) <= REQUEST_ID
        if not fits or not self.append(message["id"], message["command"]):
            reply(peer, {"type": "propose_refused", "id": message["id"], "attempt": message["attempt"]})

    def refused(self, message: dict[str, Any]) -> None:
        """The leader certainly did not append this attempt."""
        proposal = self._in_flight.get(message["id"])
        if proposal is not None and proposal.attempt == message["attempt"] and proposal.retry is None:
            proposal.maybe -= 1
            self._again(proposal)

    # ---- answers

    def applied(self, request_id: str, outcome: Outcome) -> None:
        """The entry of this request is applied on this peer."""
        proposal = self._in_flight.pop(request_id, None)
        if proposal is not None:
            for caller in proposal.callers:
                if not caller.done():
                    caller.set_result(outcome)

    def close(self, error: RaftchaosError) -> None:
        """Nobody will be answered any more."""
        self._closed = True
        for proposal in list(self._in_flight.values()):
            for caller in proposal.callers:
                if not caller.done():
                    caller.set_exception(error if not proposal.maybe else OutcomeUnknown(str(error)))
            self._forget(proposal)
