"""Counters of one proxy."""

from __future__ import annotations

from raftchaos.proxy.cells import Folding


class Stats:
    """Counters of one proxy since its process started; `active` is how many connections are open."""

    __slots__ = (
        "active",
        "bytes_down",
        "bytes_up",
        "cells",
        "connections",
        "refused",
        "requests",
        "unsent",
        "upstream_errors",
    )

    def __init__(self, cells: Folding | None = None) -> None:
        self.cells = cells or Folding()
        """Where the ends of requests are counted, of all proxies together."""
        self.connections = 0
        self.active = 0
        self.refused = 0
        self.requests = 0
        self.bytes_up = 0
        self.bytes_down = 0
        self.upstream_errors = 0
        self.unsent = [0, 0]
        """By direction: what of its bytes a fault holds or has dropped."""

    def report(self) -> dict[str, int]:
        """All counters by name."""
        counters = {name: getattr(self, name) for name in self.__slots__ if name not in ("cells", "unsent")}
        up, down = self.unsent
        return {**counters, "sent_up": self.bytes_up - up, "sent_down": self.bytes_down - down}
