"""refuse: nothing listens any more; or, if only some connections are meant, they are reset as soon as they open."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from raftchaos.proxy.commands import Ending
from raftchaos.proxy.connection_fault import ConnectionFault, ConnectionToxic
from raftchaos.proxy.toxic import Client


class RefuseToxic(ConnectionToxic["Refuse"]):
    """Refuses one connection."""

    __slots__ = ()

    ends: ClassVar[bool] = True

    def __init__(self, fault: Refuse, position: int) -> None:
        super().__init__(fault, position)
        fault.effect.touch("connections")
        self.ending = Ending.RESET


class Refuse(ConnectionFault):
    """Open connections live on. Nobody counts whom the kernel refuses, so the effect counts the listener."""

    type: ClassVar[str] = "refuse"

    def __init__(self, parameters: Mapping[str, Any], seed: int) -> None:
        super().__init__(parameters, seed)
        self.refuses = self.probability == 1 and self.sample is None and not parameters.get("match")

    def began(self) -> None:
        """The listener is down."""
        self.effect.touch("listeners")

    def touch(self, position: int, client: Client, now: float) -> RefuseToxic | None:
        return RefuseToxic(self, position) if client.fresh and not self.refuses else None
