"""What follows a connection that speaks another protocol than HTTP/1.1, and lets toxics touch what is in it."""

from __future__ import annotations

from collections.abc import Sequence

from raftchaos.proxy.commands import Command
from raftchaos.proxy.delayline import NEVER
from raftchaos.proxy.toxic import Toxic


class Followed:
    """Both directions of one connection. The hooks do nothing here."""

    __slots__ = ()

    broken = False
    """It can be followed no further: from here on it is plain bytes."""
    lost = False
    """It can be followed no further, and plain bytes would not be understood: it must end."""
    held = 0
    """How many frames wait for their instant."""

    def follow(self, direction: int, data: bytes) -> None:
        """Data that is relayed as it is."""

    def data(self, direction: int, data: bytes, now: float, out: list[Command]) -> None:
        """Data that toxics may touch."""

    def set_toxics(self, toxics: Sequence[Toxic], now: float, out: list[Command]) -> None:
        """These act from now on."""

    def drop(self) -> None:
        """The connection is over."""

    @property
    def unfinished(self) -> bool:
        """Whether `follow` will not do, though no toxic is there."""
        return False

    def release(self, direction: int, now: float, out: list[Command]) -> None:
        """The direction ends: relay what is held of something incomplete."""

    def settle(self, now: float, out: list[Command]) -> None:
        """Relay what is due."""

    def next(self) -> float:
        """When something is due."""
        return NEVER

    def full(self, direction: int) -> bool:
        """Whether too much waits in this direction."""
        return False
