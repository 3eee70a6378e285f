"""Who votes. The newest configuration in the log counts, committed or not; one change at a time.

A peer that is to vote is first sent the log without a vote (a *learner*), so that a majority never waits for one that
has nothing yet. One that was removed is still sent the log until it knows (*departing*): it then stops by itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from raftchaos.consensus.entries import LogEntry, decode_members, encode_members
from raftchaos.consensus.node import PeerNode
from raftchaos.consensus.replication import Contradiction
from raftchaos.consensus.seams import LEADER, Seams, now
from raftchaos.errors import Refused

LEARNER: Final = "learner"
DEPARTING: Final = "departing"


@dataclass(slots=True)
class Extra:
    """A peer that the leader sends the log although it does not vote."""

    node: PeerNode
    kind: str
    until: float
    """When the leader gives up on it."""
    index: int = 0
    """Of a departing peer: the entry that removed it."""


class Membership(Seams):
    """Configurations from the log, and the connections that follow from them."""

    voters: frozenset[str]
    is_voter: bool
    hints: dict[str, str]
    _configurations: list[tuple[int, dict[str, str]]]
    _nodes: dict[str, PeerNode]
    _addresses: dict[str, str]
    _was_member: bool

    @property
    def members(self) -> dict[str, str]:
        """Name and address of every voter; before a configuration is known, what this peer was told when it joined."""
        return self._configurations[-1][1] if self._configurations else self.hints

    @property
    def configuration_index(self) -> int:
        """The entry that holds the present configuration; 0 if none is known."""
        return self._configurations[-1][0] if self._configurations else 0

    @property
    def removed(self) -> bool:
        """This peer was a member, and the entry that removed it is committed."""
        return self._was_member and not self.is_voter and self.configuration_index <= self.commit_index

    # ---- the log moved

    def entry_added(self, entry: LogEntry) -> None:
        """An entry was appended; a configuration is in force from then on."""
        members = decode_members(entry[0])
        if members is not None:
            self._configurations.append((entry[1], members))
            self._enact()

    def entries_truncated(self, index: int) -> None:
        """Entries from `index` on are gone, and the configurations in them with them."""
        before = len(self._configurations)
        while self._configurations and self._configurations[-1][0] >= index:
            self._configurations.pop()
        if len(self._configurations) != before:
            self._enact()

    def configuration_at(self, index: int) -> tuple[int, dict[str, str]]:
        """The configuration after the entry `index`, and the entry that set it."""
        for at, members in reversed(self._configurations):
            if at <= index:
                return at, members
        raise Contradiction(f"no configuration is known at entry {index}")

    def configurations_forgotten(self, index: int) -> None:
        """A snapshot holds everything up to `index`."""
        at, _ = self.configuration_at(index)
        self._configurations = [each for each in self._configurations if each[0] >= at]

    def configurations_restored(self, index: int, members: dict[str, str], last: int) -> None:
        """A snapshot that ends with the entry `last` says who votes; entries after it may say otherwise."""
        self._configurations = [(index, members)]
        for content, at, _ in self.log.entries:
            later = decode_members(content) if at > last else None
            if later is not None:
                self._configurations.append((at, later))
        self._enact()

    def _enact(self) -> None:
        members = self.members
        self.voters = frozenset(members) if self._configurations else frozenset()
        self.is_voter = self.me.name in self.voters
        self._was_member = self._was_member or self.is_voter
        old = {node.name: node for node in self.others}
        wanted = {name: self._node(name, address) for name, address in members.items() if name != self.me.name}
        self.set_others(list(wanted.values()))
        for name, node in sorted(wanted.items()):
            if name not in old:
                self._welcome(node)
        for name, node in sorted(old.items()):
            if name not in wanted:
                self._farewell(node)
        self.owner.changed()
        self.owner.wake()

    def _node(self, name: str, address: str) -> PeerNode:
        node = self._nodes.get(name)
        if node is None:
            node = self._nodes[name] = PeerNode(name, address)
        elif self._addresses.get(name, address) != address:
            node.address = address
            self.transport.addNode(node)
        self._addresses[name] = address
        return node

    def _welcome(self, node: PeerNode) -> None:
        if self.extras.pop(node.name, None) is None:  # a learner keeps what is known of it
            self._start_sending(node)
        self.transport.addNode(node)

    def _start_sending(self, node: PeerNode) -> None:
        self.next_index[node] = self.log.last_index + 1
        self.match_index[node] = 0
        self.answered_at[node] = now()
        self.progress.pop(node, None)

    def _farewell(self, node: PeerNode) -> None:
        if self.role == LEADER:
            until = now() + 4 * self.timings.election_max
            self.extras[node.name] = Extra(node, DEPARTING, until, self.configuration_index)
        else:
            self._forget(node)

    def _forget(self, node: PeerNode) -> None:
        self.next_index.pop(node, None)
        self.match_index.pop(node, None)
        self.answered_at.pop(node, None)
        self.progress.pop(node, None)
        self._nodes.pop(node.name, None)
        self._addresses.pop(node.name, None)
        self.transport.dropNode(node)

    # ---- who is sent the log

    def receivers(self) -> list[PeerNode]:
        """The other voters, learners and departing peers, by name."""
        if not self.extras:
            return self.others
        return sorted([*self.others, *(extra.node for extra in self.extras.values())], key=lambda node: node.name)

    def add_learner(self, name: str, address: str, until: float) -> PeerNode:
        """Send the log to a peer that does not vote yet."""
        present = self.extras.get(name)
        if present is not None and present.kind == DEPARTING:
            self.drop_extra(name)  # the same name, but another peer: nothing that the old one had is there
        node = self._node(name, address)
        if name not in self.extras:
            self._start_sending(node)
        self.extras[name] = Extra(node, LEARNER, until)
        self.transport.addNode(node)
        return node

    def drop_extra(self, name: str) -> None:
        """Stop sending the log to a peer that does not vote."""
        extra = self.extras.pop(name, None)
        if extra is not None:
            self._forget(extra.node)

    def dismiss_extras(self, at: float) -> None:
        """Let go of departing peers that know it, and of everyone whose time is over."""
        for extra in list(self.extras.values()):
            told = extra.kind == DEPARTING and extra.index <= self.commit_index
            if told and self.match_index.get(extra.node, 0) >= extra.index:
                # What it was sent holds the removal; the commit index that makes it final left with the last beat.
                extra.until = min(extra.until, at + 3 * self.timings.append_period)
            if at >= extra.until:
                self.drop_extra(extra.node.name)

    def set_address(self, name: str, address: str) -> None:
        """Connect to this peer at another address from now on."""
        node = self._nodes.get(name)
        if node is not None and node.address != address:
            node.address = address
            self.transport.addNode(node)

    # ---- changing it

    def change_members(self, members: dict[str, str]) -> int:
        """Append a configuration that differs from the present one by one voter; returns its index.

        Raises Refused if it cannot be done now.
        """
        if self.role != LEADER or self.applied_index < self.noop_index:
            raise Refused("this peer does not lead, or has not committed an entry of its term yet")
        if self.configuration_index > self.commit_index:
            raise Refused("another change of the members is not committed yet", hint="wait a moment and repeat it")
        if len(set(members) ^ self.voters) > 1:
            raise Refused("one voter at a time may be added or removed")
        content = encode_members(members)
        index = self.log.last_index + 1
        self.log.add(content, index, self.term)
        self.entry_added((content, index, self.term))
        return index
