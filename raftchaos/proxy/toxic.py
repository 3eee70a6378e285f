"""What a fault is to the data plane: one `Fault` a run and proxy, one `Toxic` for each connection that it touches.

Both are told what happens and say what shall happen; they have no clock, no socket and no random generator. `now` and
all other instants are CLOCK_BOOTTIME seconds. Chance is a keyed hash of the run's seed and of the position of the
connection (and of the request or burst on it) since the fault began, so that the same seed touches the same ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

from raftchaos import limits
from raftchaos.proxy.calls import Call, Touch
from raftchaos.proxy.chance import draw, number, word
from raftchaos.proxy.commands import DOWNSTREAM, UPSTREAM, Ending
from raftchaos.proxy.delayline import NEVER
from raftchaos.proxy.editing import Edit
from raftchaos.proxy.frames import FramePiece
from raftchaos.proxy.matching import Match, Sample
from raftchaos.proxy.messages import Answered, Exchange

Directed = list[tuple[int, bytes]]
"""Bytes with the direction in which they go on."""

Chunks = list[tuple[float, bytes]]
"""Bytes with the instants at which they may go on."""


class Client(NamedTuple):
    """Who is at one end of a connection."""

    address: str
    """IP address."""
    fresh: bool = True
    """The connection opens now; else it was open when the fault came."""


class Answer(NamedTuple):
    """What a fault answers in place of the service."""

    data: bytes
    at: float = 0.0
    """Not before this instant; 0: at once. Requests that follow wait, too."""


class Effect:
    """What a fault did, counted where it happened. `touched` is there for every fault: what it really changed."""

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        self._counts: dict[str, float] = {"touched": 0}

    def add(self, name: str, amount: float = 1) -> None:
        """Count `amount` more of `name`."""
        self._counts[name] = self._counts.get(name, 0) + amount

    def touch(self, name: str, amount: float = 1) -> None:
        """Count `amount` more of `name`, which is what this fault changes."""
        self.add("touched", amount)
        self.add(name, amount)

    def report(self) -> dict[str, int]:
        """All counts, rounded to whole numbers."""
        return {name: round(amount) for name, amount in self._counts.items()}


class Toxic(Answered):
    """One fault on one connection. Subclasses override what they need; every hook does nothing here."""

    __slots__ = ("ending", "gone", "wake_at")

    frames: ClassVar[bool] = False
    """It has a `frame`: it acts on WebSocket messages."""
    calls: ClassVar[bool] = False
    """It has a `call`: it acts on calls over HTTP/2."""
    ends: ClassVar[bool] = False
    """It may set `wake_at` or `ending`."""
    http: ClassVar[bool] = False
    """It acts on HTTP requests, so that an incomplete head of one must be held."""
    responds: ClassVar[bool] = False
    """It acts on HTTP responses, so that an incomplete head of one must be held."""

    def __init__(self) -> None:
        self.wake_at = NEVER
        """When it wants `wake` to be called."""
        self.ending: Ending | None = None
        """Set by any hook: the connection ends."""
        self.gone = False
        """The fault has ended; what it has begun to edit is edited to its end, but not damaged any more."""

    def request(self, exchange: Exchange, now: float) -> Answer | None:
        """A request has arrived, its head complete; what to answer in place of the service."""
        return None

    def edit(self, direction: int, exchange: Exchange, now: float) -> Edit | None:
        """What to do to a message that goes in this direction, its head complete: the request, or the final response
        (`exchange.response`).
        """
        return None

    def upgraded(self, exchange: Exchange) -> None:
        """The connection is a WebSocket since this request; told to a `frames` toxic once."""

    def frame(self, direction: int, piece: FramePiece, between: tuple[bool, bool]) -> Directed:
        """What goes on, and where, in place of a piece of a WebSocket frame. `between`: by direction, whether another
        frame may be put in here.
        """
        return [(direction, piece.data)]

    def call(self, call: Call, *, fresh: bool) -> Touch | None:
        """What it does to a call, asked once of each. `fresh`: the service has not seen it yet, so that it may be
        answered in its place.
        """
        return None

    @property
    def amid(self) -> bool:
        """It has begun to drop a message that goes on: a `frames` toxic is asked until the end, though it is gone."""
        return False

    def not_http(self, kind: str) -> None:
        """The connection carries no HTTP/1.1 (any more), so that an `http` toxic cannot touch it; `kind` is the name of
        the count that says why.
        """

    def shapes(self, direction: int) -> bool:
        """Whether data of this direction goes through `shape`; always the same answer."""
        return False

    def shape(self, direction: int, exchange: Exchange | None, at: float, data: bytes) -> Chunks:
        """When and what to send of data that came at this instant: in order, instants never falling.

        `exchange` is what the bytes belong to; None if the connection is not HTTP.
        """
        return [(at, data)]

    def window(self, direction: int) -> int:
        """How many bytes may wait for it before nothing more is read."""
        return limits.PROXY_DELAYED

    def end(self, direction: int, at: float) -> float:
        """When the end of a direction that came at this instant, after all data, may be passed on."""
        return at

    def wake(self, now: float) -> None:
        """`wake_at` has come; it must be set anew."""

    def closed(self) -> None:
        """The connection is over, or the fault is off."""

    def leave(self, now: float) -> None:
        """The fault ends while the connection is open; `ending` may be set."""


class Fault:
    """One run on one proxy."""

    type: ClassVar[str]
    refuses = False
    """While it is on nothing listens at the proxy's address."""

    def __init__(self, parameters: Mapping[str, Any], seed: int) -> None:
        """Raises ParameterError. Parameters that the fault does not know are ignored: they were validated before."""
        self.seed = seed
        self.effect = Effect()
        self._connections = 0
        self.probability = number(parameters, "probability", 1.0, 0.0, 1.0)
        self.match = Match(parameters)
        sample = parameters.get("sample")
        self.sample = None if sample is None else Sample(sample, seed)

    def began(self) -> None:
        """It is on from now on; with a pulse, again."""

    def replaced(self) -> None:
        """It ends because another took its place: the connections that it has touched go on."""

    def attach(self, client: Client, now: float) -> Toxic | None:
        """What it does to one more connection, the oldest first; None if it does not touch it."""
        position = self._connections
        self._connections += 1
        if self.probability == 0 or not self.match.connection(client.address):
            return None
        return self.toxic(position, client, now)

    def toxic(self, position: int, client: Client, now: float) -> Toxic | None:
        """The toxic of the connection that is number `position` since the fault began."""
        raise NotImplementedError

    def picks_connection(self, position: int, client: Client) -> bool:
        """Whether sample and chance pick this connection."""
        if self.sample is not None and not self.sample.has(client.address, position):
            self.effect.add("control")
            return False
        return self.hits(position)

    def picks_request(self, position: int, count: int, client: Client, exchange: Exchange | Call) -> bool:
        """Whether matcher, sample and chance pick this request, number `count` on its connection."""
        if not self.match.request(exchange.head):
            return False
        if self.sample is not None and not self.sample.has(client.address, position, exchange.head):
            self.effect.add("control")
            return False
        return self.hits(position, count) or self.passed()

    def passed(self) -> bool:
        """Count a request that was looked at and let through; False."""
        self.effect.add("passed")
        return False

    def hits(self, *position: int | str) -> bool:
        """Whether chance picks this position; never with probability 0."""
        return self.probability == 1 or (self.probability > 0 and draw(self.seed, *position) < self.probability)


_DIRECTIONS = {"downstream": (DOWNSTREAM,), "upstream": (UPSTREAM,), "both": (UPSTREAM, DOWNSTREAM)}


def directions(parameters: Mapping[str, Any]) -> tuple[int, ...]:
    """The parameter `direction`. Raises ParameterError."""
    return _DIRECTIONS[word(parameters, "direction", *_DIRECTIONS)]
