"""Who votes, and who only listens. The newest configuration in the log counts, committed or not; one change at a time.

An *observer* is sent the log and does not vote. Voters keep a connection to every member, so that whoever leads next
reaches all of them at once; observers keep one to the voters only.

A peer that is to become a member is first sent the log by the leader alone (a *learner*), so that a majority never
waits for one that has nothing yet. One that was removed is still sent the log until it knows (*departing*): it then
stops by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from raftchaos.consensus.entries import Configuration, LogEntry, decode_configuration, encode_configuration
from raftchaos.consensus.node import PeerNode
from raftchaos.consensus.replication import Contradiction
from raftchaos.consensus.seams import LEADER, Seams, now
from raftchaos.errors import Refused

LEARNER: Final = "learner"
DEPARTING: Final = "departing"


@dataclass(slots=True)
class Extra:
    """A peer that the leader sends the log for a while, besides the members or ahead of the other observers."""

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
    is_member: bool
    """It votes or observes, as its newest configuration says."""
    observers: list[PeerNode]
    """Those that this peer keeps a connection to because it votes, by name."""
    hints: dict[str, str]
    _configurations: list[tuple[int, Configuration]]
    _nodes: dict[str, PeerNode]
    _addresses: dict[str, str]
    _was_member: bool

    @property
    def configuration(self) -> Configuration:
        """The newest one; before one is known, what this peer was told when it joined, as if all of them voted."""
        return self._configurations[-1][1] if self._configurations else Configuration(self.hints)

    @property
    def configuration_index(self) -> int:
        """The entry that holds the present configuration; 0 if none is known."""
        return self._configurations[-1][0] if self._configurations else 0

    @property
    def removed(self) -> bool:
        """This peer was a member, and the entry that removed it is committed."""
        return self._was_member and not self.is_member and self.configuration_index <= self.commit_index

    # ---- the log moved

    def entry_added(self, entry: LogEntry) -> None:
        """An entry was appended; a configuration is in force from then on."""
        configuration = decode_configuration(entry[0])
        if configuration is not None:
            self._configurations.append((entry[1], configuration))
            self._enact()

    def entries_truncated(self, index: int) -> None:
        """Entries from `index` on are gone, and the configurations in them with them."""
        before = len(self._configurations)
        while self._configurations and self._configurations[-1][0] >= index:
            self._configurations.pop()
        if len(self._configurations) != before:
            self._enact()

    def configuration_at(self, index: int) -> tuple[int, Configuration]:
        """The configuration after the entry `index`, and the entry that set it."""
        for at, configuration in reversed(self._configurations):
            if at <= index:
                return at, configuration
        raise Contradiction(f"no configuration is known at entry {index}")

    def configurations_forgotten(self, index: int) -> None:
        """A snapshot holds everything up to `index`."""
        at, _ = self.configuration_at(index)
        self._configurations = [each for each in self._configurations if each[0] >= at]

    def configurations_restored(self, index: int, configuration: Configuration, last: int) -> None:
        """A snapshot that ends with the entry `last` says who is a member; entries after it may say otherwise."""
        self._configurations = [(index, configuration)]
        for content, at, _ in self.log.entries:
            later = decode_configuration(content) if at > last else None
            if later is not None:
                self._configurations.append((at, later))
        self._enact()

    def _enact(self) -> None:
        configuration, known = self.configuration, bool(self._configurations)
        old = {node.name: node for node in (*self.others, *self.observers)}
        self.voters = frozenset(configuration.voters) if known else frozenset()
        self.is_voter = self.me.name in self.voters
        self.is_member = self.is_voter or self.me.name in configuration.observers
        self._was_member = self._was_member or self.is_member
        voters = self._nodes_of(configuration.voters)
        self.observers = self._nodes_of(configuration.observers) if self.is_voter else []
        self.set_others(voters)
        wanted = {node.name: node for node in (*voters, *self.observers)}
        for name, node in sorted(wanted.items()):
            if name not in old:
                self._welcome(node)
            elif name in configuration.voters:
                self.extras.pop(name, None)  # an observer has become a voter
        for name, node in sorted(old.items()):
            if name not in wanted:
                self._farewell(node)
        self.owner.changed()
        self.owner.wake()

    def _nodes_of(self, members: Mapping[str, str]) -> list[PeerNode]:
        return [self._node(name, address) for name, address in sorted(members.items()) if name != self.me.name]

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
            self.start_sending(node, self.log.last_index + 1)
        self.transport.addNode(node)

    def start_sending(self, node: PeerNode, index: int) -> None:
        """Nothing is known of what this follower has; try with this entry first."""
        self.next_index[node] = index
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
        """Who is sent everything at once: the other voters, learners and departing peers, by name."""
        if not self.extras:
            return self.others
        return sorted([*self.others, *(extra.node for extra in self.extras.values())], key=lambda node: node.name)

    def is_spread_to(self, node: PeerNode) -> bool:
        """It is an observer, which is sent what is committed from time to time. One that is to vote is a learner."""
        return node.name in self.configuration.observers and node.name not in self.extras

    def add_learner(self, name: str, address: str, until: float) -> PeerNode:
        """Send the log at once to a peer that is no member, or no voter, yet."""
        present = self.extras.get(name)
        if present is not None and present.kind == DEPARTING:
            self.drop_extra(name)  # the same name, but another peer: nothing that the old one had is there
        node = self._node(name, address)
        if name not in self.extras and node not in self.observers:
            self.start_sending(node, self.log.last_index + 1)
        self.extras[name] = Extra(node, LEARNER, until)
        self.transport.addNode(node)
        return node

    def drop_extra(self, name: str) -> None:
        """No longer treat it apart: an observer goes on as one, any other peer is not sent the log any more."""
        extra = self.extras.pop(name, None)
        if extra is not None and extra.node not in self.observers:
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

    def change_configuration(self, configuration: Configuration) -> int:
        """Append a configuration that differs from the present one by one voter at most; returns its index.

        Raises Refused if it cannot be done now.
        """
        if self.role != LEADER or self.applied_index < self.noop_index:
            raise Refused("this peer does not lead, or has not committed an entry of its term yet")
        if self.configuration_index > self.commit_index:
            raise Refused("another change of the members is not committed yet", hint="wait a moment and repeat it")
        if len(set(configuration.voters) ^ self.voters) > 1:
            raise Refused("one voter at a time may be added or removed")
        content = encode_configuration(configuration)
        index = self.log.last_index + 1
        self.log.add(content, index, self.term)
        self.entry_added((content, index, self.term))
        return index
