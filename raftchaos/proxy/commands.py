"""What the protocol part of a connection asks of whoever has its sockets.

Bytes flow in two directions, and a direction is all that a command has to name: UPSTREAM from the client to the
service, DOWNSTREAM from the service to the client.
"""

from __future__ import annotations

from enum import Enum
from typing import Final, NamedTuple

UPSTREAM: Final = 0
DOWNSTREAM: Final = 1


class Connect(NamedTuple):
    """Connect to the service; until that is done nothing is read from the client."""


class Send(NamedTuple):
    """Write `data` to where `direction` leads."""

    direction: int
    data: bytes


class Shutdown(NamedTuple):
    """Close the sending half of the socket to which `direction` leads, after what was sent."""

    direction: int


class Pause(NamedTuple):
    """Read no more from where `direction` comes from."""

    direction: int


class Resume(NamedTuple):
    """Read again from where `direction` comes from."""

    direction: int


class Wake(NamedTuple):
    """Call `Engine.wake` at this instant (CLOCK_BOOTTIME seconds). An earlier one takes the place of a later one."""

    at: float


class Close(NamedTuple):
    """Close both sockets, after what was sent."""


class Reset(NamedTuple):
    """Close both sockets at once, the client's with RST; what was not sent yet is lost."""


Command = Connect | Send | Shutdown | Pause | Resume | Wake | Close | Reset


class Ending(Enum):
    """How a fault ends a connection."""

    CLOSE = "after what waits, it is closed"
    BREAK = "after what waits, it is reset"
    HANG_UP = "it is closed at once; what waits is lost"
    RESET = "it is reset at once; what waits is lost"
