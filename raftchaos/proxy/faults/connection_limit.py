"""connection_limit: connections beyond so many that are open are reset at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from raftchaos import limits
from raftchaos.proxy.chance import number
from raftchaos.proxy.commands import Ending
from raftchaos.proxy.connection_fault import ConnectionFault, ConnectionToxic
from raftchaos.proxy.toxic import Client


class ConnectionLimitToxic(ConnectionToxic["ConnectionLimit"]):
    """One connection that counts."""

    __slots__ = ()

    ends: ClassVar[bool] = True

    def closed(self) -> None:
        if self.ending is None:
            self.fault.open -= 1


class ConnectionLimit(ConnectionFault):
    """`maxConnections`."""

    type: ClassVar[str] = "connection_limit"

    def __init__(self, parameters: Mapping[str, Any], seed: int) -> None:
        super().__init__(parameters, seed)
        self._most = int(number(parameters, "maxConnections", -1, 0, limits.PROXY_CONNECTIONS))
        self.open = 0
        """How many are open now that count."""

    def touch(self, position: int, client: Client, now: float) -> ConnectionLimitToxic:
        toxic = ConnectionLimitToxic(self, position)
        if client.fresh and self.open >= self._most:
            self.effect.touch("connections")
            toxic.ending = Ending.RESET
        else:
            self.open += 1
        return toxic
