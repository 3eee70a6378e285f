"""What a peer tells its API, and is told by it: the values that `core.services` speaks of. Data without behaviour."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Final

from raftchaos.errors import UsageError

LAST_NUMBER = 2**31 - 1
"""Greater than the number of any event: `EventId(index, LAST_NUMBER)` stands after all events of that index."""


@dataclass(frozen=True, order=True, slots=True)
class EventId:
    """The place of an event: equal on all peers, so that a stream can go on at another one."""

    index: int
    number: int

    def __str__(self) -> str:
        return f"{self.index}-{self.number}"

    @classmethod
    def parse(cls, text: str) -> EventId:
        """Reads `INDEX-NUMBER`, or `INDEX` for the place after all events of that index. Raises `UsageError`."""
        index, dash, number = text.partition("-")
        if index.isascii() and index.isdigit() and len(index) < 20:
            if not dash:
                return cls(int(index), LAST_NUMBER)
            if number.isascii() and number.isdigit() and len(number) < 20:
                return cls(int(index), int(number))
        raise UsageError(f"found the event id {text[:60]!r}, expected INDEX-NUMBER such as 120-0, or an index")


@dataclass(frozen=True, slots=True)
class Gap:
    """Stands in an event stream where events are missing: the peer no longer keeps them, or never saw them.

    A reader that needs them reads the tasks again. `after` is the last place that it had, `before` the place of the
    next event that it gets, or the newest place that the peer knows.
    """

    after: EventId
    before: EventId


@dataclass(frozen=True, slots=True)
class ActiveFault:
    """A fault that is on at this peer now."""

    run: str
    """Id of its run, as text."""
    fault: str
    """Its type."""
    target: str
    """What it is done to, e.g. `proxy:payments`."""
    problem: str = ""
    """Why the last try to take its run back has failed; it is tried again."""


TOXIPROXY_RUN: Final = "toxiproxy:"
"""With which the undo journal names what callers of the toxiproxy API have set. No id of a task holds a colon."""


@dataclass(frozen=True, slots=True)
class SeenFault:
    """A fault that is on at this peer, as read back from the world, beside what the undo journal says of it."""

    DORMANT: ClassVar[str] = "dormant"
    """It pulses or repeats, and is off at this moment."""
    MISSING: ClassVar[str] = "missing"
    """The undo journal says that it is on, and it is not there."""
    LEFT_OVER: ClassVar[str] = "leftOver"
    """It is there, and the undo journal does not say so."""
    UNREADABLE: ClassVar[str] = "unreadable"
    """Nobody can tell whether it is there."""

    run: str
    """Id of its run, or what names it if it is of none."""
    fault: str
    target: str
    journal: bool
    """Whether the undo journal holds it."""
    mark: str
    """One of the words above; empty if world and journal agree that it is on."""
    effect: Mapping[str, int] = field(default_factory=dict)
    """What it has done so far."""

    @property
    def origin(self) -> str:
        """By what it was set: `task`, or `toxiproxy`, the API that toxiproxy's clients speak."""
        return "toxiproxy" if self.run.startswith(TOXIPROXY_RUN) else "task"


@dataclass(frozen=True, slots=True)
class ProxyRecord:
    """A proxy of this node. `stats` are counters since its process started, empty while that is down."""

    name: str
    listen: str
    """`HOST:PORT` that it listens on."""
    upstream: str
    """`HOST:PORT` that it connects to."""
    stats: Mapping[str, int]
    """connections, active, refused, requests, bytes_up and bytes_down (received), sent_up and sent_down (passed on),
    upstream_errors."""
    certificate: str = ""
    """Path of the certificate with which it ends TLS; empty: it does not."""


@dataclass(frozen=True, slots=True)
class HaltAnswer:
    """The answer to a halt."""

    id: str
    logged: bool
    """Whether it is in the Raft log already. If not, every peer that knows it proposes it once there is a quorum."""
    told: tuple[str, ...]
    """Names of the peers that were told directly, this one included, sorted."""


@dataclass(frozen=True, slots=True)
class JoinRequest:
    """A new peer asks to become a member."""

    name: str
    directory: str
    """Id of its data directory."""
    raft_address: str
    api_address: str
    version: str = ""
    observer: bool = False
    """It wants to be sent the log, but not to vote. Any peer that comes when `limits.VOTERS` vote observes."""
    certificate_request: str = ""
    """PKCS #10, PEM; empty if it needs no certificate: it has one of its own CA, or the cluster is insecure."""
    hosts: tuple[str, ...] = ()
    """Names and addresses under which other programs may find it."""
    token: str = ""
    """Id of the join token that it has proved to have; empty if its caller may let peers in."""
    key: str = ""
    """SHA-256 of the public key of its certificate request, as the peer that is asked has read it."""


@dataclass(frozen=True, slots=True)
class JoinAnswer:
    """The answer to a join: what the new peer needs to take part."""

    cluster: str
    """Id of the cluster."""
    members: Mapping[str, str]
    """Raft address of every voter by name, and of the new peer: whom it has to be connected to."""
    certificate: str = ""
    """Its certificate and that of the CA, PEM."""
    authorities: str = ""
    """The CAs to trust, PEM."""


@dataclass(frozen=True, slots=True)
class Health:
    """Whether this peer works."""

    live: bool
    """False: only a restart helps (answered as 503 on /healthz)."""
    ready: bool
    """It has caught up with what it saw when it started, and it sees a leader."""
    reasons: tuple[str, ...] = ()
    """Why it is not live, not ready or not well, in plain words."""


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """A new token. `text` is shown once and kept nowhere."""

    id: str
    text: str
    expires_ms: int

    def __repr__(self) -> str:
        return f"IssuedToken({self.id})"
