"""What stands in a log entry: PySyncObj's one byte of kind, and what follows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from raftchaos.consensus import codec
from raftchaos.errors import MachineUnusable

REGULAR: Final = b"\x00"
NOOP: Final = b"\x01"
MEMBERSHIP: Final = b"\x02"

CONFIGURATION_VERSION: Final = 2
"""Of configurations with observers. A release that does not know it refuses the entry and stops: it would otherwise
count other votes than its leader.
"""

LogEntry = tuple[bytes, int, int]
"""Content, index, term: the order is PySyncObj's."""


def encode_command(request_id: str, wall_ms: int, command: bytes) -> bytes:
    """A command with the wall clock of the leader that appends it."""
    return REGULAR + codec.dumps((request_id, wall_ms, command))


def decode_command(content: bytes) -> tuple[str, int, bytes] | None:
    """Request id, milliseconds and command; None for an entry that is Raft's own."""
    if content[:1] != REGULAR:
        return None
    request_id, wall_ms, command = codec.loads(memoryview(content)[1:])
    return str(request_id), int(wall_ms), bytes(command)


@dataclass(frozen=True, slots=True)
class Configuration:
    """Who is a member of the cluster: names and Raft addresses."""

    voters: Mapping[str, str]
    observers: Mapping[str, str] = field(default_factory=dict)
    """They are sent the log and do not vote."""

    def with_voter(self, name: str, address: str) -> Configuration:
        """One voter more; an observer of that name becomes it."""
        return Configuration({**self.voters, name: address}, _without(self.observers, name))

    def with_observer(self, name: str, address: str) -> Configuration:
        """One observer more."""
        return Configuration(self.voters, {**self.observers, name: address})

    def without(self, name: str) -> Configuration:
        """One member less."""
        return Configuration(_without(self.voters, name), _without(self.observers, name))

    def value(self) -> object:
        """As it is written: without observers as the first release wrote it, so that it goes on understanding it."""
        voters = dict(sorted(self.voters.items()))
        return (CONFIGURATION_VERSION, voters, dict(sorted(self.observers.items()))) if self.observers else voters


def _without(members: Mapping[str, str], name: str) -> dict[str, str]:
    return {member: address for member, address in members.items() if member != name}


def check_configuration(value: object) -> Configuration:
    """What `Configuration.value` gave. Raises ValueError, and MachineUnusable for that of a later release: a peer that
    does not know who votes must not go on.
    """
    if not isinstance(value, tuple):
        return Configuration(_check_voters(value))
    version, *rest = value or (None,)
    if isinstance(version, int) and version > CONFIGURATION_VERSION:
        raise MachineUnusable(
            f"the members of the cluster are written in version {version}, this release knows {CONFIGURATION_VERSION}",
            hint="upgrade this peer to the release of the others",
        )
    if version != CONFIGURATION_VERSION or len(rest) != 2:
        raise ValueError("a configuration is a version, voters and observers")
    voters, observers = _check_voters(rest[0]), check_addresses(rest[1])
    if voters.keys() & observers.keys():
        raise ValueError("a member either votes or observes")
    return Configuration(voters, observers)


def encode_configuration(configuration: Configuration) -> bytes:
    """A whole configuration as the content of an entry.

    PySyncObj writes `add X` and `remove X`, which have to be undone one by one on truncation and mean different
    things to a peer that missed one. A whole configuration cannot be misread: the newest in the log counts.
    """
    return MEMBERSHIP + codec.dumps(configuration.value())


def decode_configuration(content: bytes) -> Configuration | None:
    """The configuration in this entry, or None if it holds none. Raises as `check_configuration`."""
    if content[:1] != MEMBERSHIP:
        return None
    return check_configuration(codec.loads(memoryview(content)[1:]))


def _check_voters(value: object) -> dict[str, str]:
    voters = check_addresses(value)
    if not voters:
        raise ValueError("a configuration names at least one voter")
    return voters


def check_addresses(value: object) -> dict[str, str]:
    """The value as names and addresses. Raises ValueError."""
    if not isinstance(value, dict):
        raise ValueError("members are a map of names and addresses")
    if not all(isinstance(name, str) and isinstance(address, str) for name, address in value.items()):
        raise ValueError("members are names and addresses")
    return value
