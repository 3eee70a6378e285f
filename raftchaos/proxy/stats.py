"""Counters of one proxy."""

from __future__ import annotations


class Stats:
    """Counters of one proxy since its process started; `active` is how many connections are open."""

    __slots__ = ("active", "bytes_down", "bytes_up", "connections", "refused", "requests", "upstream_errors")

    def __init__(self) -> None:
        self.connections = 0
        self.active = 0
        self.refused = 0
        self.requests = 0
        self.bytes_up = 0
        self.bytes_down = 0
        self.upstream_errors = 0

    def report(self) -> dict[str, int]:
        """All counters by name."""
        return {name: getattr(self, name) for name in self.__slots__}
