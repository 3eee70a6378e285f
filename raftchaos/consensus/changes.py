"""Changes of the membership, and the planned handover of leadership."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from raftchaos import limits
from raftchaos.consensus.entries import Configuration
from raftchaos.consensus.node import PeerNode, split_address
from raftchaos.consensus.seams import LEADER, now
from raftchaos.consensus.waiting import Waiting
from raftchaos.errors import Conflict, NotFound, OutcomeUnknown, Refused

if TYPE_CHECKING:
    from raftchaos.consensus.raft import Raft
    from raftchaos.consensus.replica import Replica

ASK_AGAIN = 0.1


class Changes:
    """One change at a time, each through the log."""

    def __init__(self, replica: Replica, waiting: Waiting) -> None:
        self._replica, self._waiting = replica, waiting
        self._busy = False

    @property
    def _raft(self) -> Raft:
        return self._replica.raft

    def _check_leads(self) -> None:
        raft = self._raft
        if raft.role != LEADER:
            leader = raft.leader.name if raft.leader is not None else "nobody that it knows"
            raise Conflict(f"{self._replica.name} does not lead; {leader} does", hint="ask the leader")
        if self._busy:
            raise Refused("another change of the members is under way", hint="wait a moment and repeat it")

    async def add_voter(self, name: str, address: str, timeout: float) -> None:
        """See ReplicatedLog."""
        voters = self._raft.configuration.voters
        if name not in voters and len(voters) >= limits.VOTERS:
            raise Refused(
                f"{name} cannot vote: there are {len(voters)} voters, at most {limits.VOTERS} are allowed",
                hint="leave it an observer, or remove a voter first: raftchaos node remove NAME",
            )
        await self._add(name, address, timeout, Configuration.with_voter, voters)

    async def add_observer(self, name: str, address: str, timeout: float) -> None:
        """See ReplicatedLog."""
        present = self._raft.configuration
        await self._add(name, address, timeout, Configuration.with_observer, {**present.observers, **present.voters})

    async def _add(
        self,
        name: str,
        address: str,
        timeout: float,
        change: Callable[[Configuration, str, str], Configuration],
        known: Mapping[str, str],
    ) -> None:
        """Until the new peer has the log, nothing depends on it. Those `known` are what it is to be already."""
        self._check_leads()
        split_address(address)
        raft = self._raft
        if name in known:
            if known[name] != address:
                raise Conflict(f"{name} is a member already, at {known[name]}")
            return
        term, appended = raft.term, False
        self._busy = True
        try:
            async with asyncio.timeout(timeout):
                node = raft.add_learner(name, address, now() + timeout)
                raft.owner.wake()
                await self._waiting.until(lambda: self._has_log(node, term))
                await self._settled(term)
                index = raft.change_configuration(change(raft.configuration, name, address))
                appended = True
                await self._committed(index, term)
        except TimeoutError:
            if appended:
                raise OutcomeUnknown(f"{name} was added, but no majority confirmed it within {timeout:g} s") from None
            reached = "has not taken the log" if self._connected(name) else f"did not connect at {address}"
            raise Refused(
                f"{name} was not added: it {reached} within {timeout:g} s",
                hint="see that the peer runs and that its advertised Raft address is reachable from the leader",
            ) from None
        finally:
            self._busy = False
            if not appended:
                raft.drop_extra(name)

    def _connected(self, name: str) -> bool:
        extra = self._raft.extras.get(name)
        return extra is not None and self._raft.is_connected(extra.node)

    def _has_log(self, node: PeerNode, term: int) -> bool:
        raft = self._raft
        if raft.role != LEADER or raft.term != term:
            return True  # `_settled` then says so
        return raft.is_connected(node) and raft.match_index.get(node, 0) >= raft.commit_index > 0

    async def _settled(self, term: int) -> None:
        """An entry of this term is committed, and so is the last change. Raises Conflict if this peer leads no more."""
        raft = self._raft

        def settled() -> bool:
            leads = raft.role == LEADER and raft.term == term
            return not leads or (raft.leader_ready and raft.configuration_index <= raft.commit_index)

        await self._waiting.until(settled)
        if raft.role != LEADER or raft.term != term:
            raise Conflict(f"{self._replica.name} does not lead any more; the members did not change")

    async def _committed(self, index: int, term: int) -> None:
        raft = self._raft
        await self._waiting.until(lambda: raft.applied_index >= index or raft.role != LEADER or raft.term != term)
        if raft.role != LEADER or raft.term != term:
            raise OutcomeUnknown(
                "the leader changed while the members changed", hint="look at the members, then repeat"
            )

    async def remove_member(self, name: str, timeout: float) -> None:
        """See ReplicatedLog."""
        raft = self._raft
        if name == self._replica.name:
            await self._remove_self(timeout)
            return
        self._check_leads()
        present = raft.configuration
        if name not in present.voters and name not in present.observers:
            members = ", ".join(sorted({**present.voters, **present.observers}))
            raise NotFound(f"{name} is no member; the members are {members}")
        term, appended = raft.term, False
        self._busy = True
        try:
            async with asyncio.timeout(timeout):
                await self._settled(term)
                index = self._remove(name)
                appended = True
                await self._committed(index, term)
        except TimeoutError:
            if appended:
                raise OutcomeUnknown(f"no majority confirmed the removal of {name} within {timeout:g} s") from None
            raise self._replica.no_quorum(f"{name} was not removed") from None
        finally:
            self._busy = False

    def _remove(self, name: str) -> int:
        """Append the configuration without `name`. Raises Refused if the rest could then not decide anything."""
        raft = self._raft
        rest = raft.configuration.without(name)
        voters = rest.voters
        alive = [node.name for node in raft.others if raft.is_connected(node) and node.name in voters]
        if self._replica.name in voters:
            alive.append(self._replica.name)
        needed = len(voters) // 2 + 1
        if name in raft.voters and len(alive) < needed:
            raise Refused(
                f"without {name} only {len(alive)} of {len(voters)} voters would be reachable, {needed} are needed",
                hint="start the other peers first, or add new ones",
            )
        return raft.change_configuration(rest)

    async def _remove_self(self, timeout: float) -> None:
        """Hand over first: a leader that is no member cannot commit its own removal safely."""
        raft, deadline = self._raft, now() + timeout
        if raft.is_voter and len(raft.voters) == 1:
            raise Refused("the last voter cannot be removed", hint="stop the peer and delete its data directory")
        if raft.role == LEADER and not await self.transfer_leadership(timeout):
            raise self._replica.no_quorum(f"{self._replica.name} was not removed: nobody took over")
        while raft.is_member and now() < deadline:
            leader = raft.leader
            if leader is not None and leader != raft.me:
                raft.transport.send(leader, {"type": "remove_me"})
            try:
                async with asyncio.timeout(min(ASK_AGAIN, max(0.0, deadline - now()))):
                    await self._waiting.until(lambda: not raft.is_member)
            except TimeoutError:
                continue
        if raft.is_member and not self._replica.removed:
            raise OutcomeUnknown(
                f"the removal of {self._replica.name} was asked for, but not seen within {timeout:g} s"
            )

    def asked_to_remove(self, peer: str) -> None:
        """A member wants to leave. It asks again until it is gone, so that a refusal needs no answer."""
        raft = self._raft
        settled = raft.leader_ready and raft.configuration_index <= raft.commit_index and not self._busy
        present = raft.configuration
        is_member = peer in present.voters or peer in present.observers
        if settled and is_member and peer != self._replica.name:
            try:
                self._remove(peer)
            except Refused:
                return

    async def transfer_leadership(self, timeout: float) -> bool:
        """See ReplicatedLog."""
        raft = self._raft
        if raft.role != LEADER:
            return False
        candidates = [node for node in raft.others if raft.is_connected(node)]
        if not candidates:
            return False
        term = raft.term
        raft.begin_hand_over(max(candidates, key=lambda node: (raft.match_index.get(node, 0), node.name)))
        try:
            async with asyncio.timeout(timeout):
                await self._waiting.until(lambda: raft.role != LEADER or raft.term != term)
                await self._waiting.until(lambda: raft.leader is not None)
        except TimeoutError:
            pass
        finally:
            if raft.role == LEADER and raft.term == term:
                raft.end_hand_over()
        return raft.role != LEADER
