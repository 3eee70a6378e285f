"""Who takes part in consensus: a peer's name is its identity, its address is only where to find it."""

from __future__ import annotations

from pysyncobj.node import Node

from raftchaos.errors import UsageError


class PeerNode(Node):  # type: ignore[misc]
    """A peer as PySyncObj sees it. Equal and hashed by name, so that an address may change under it."""

    def __init__(self, name: str, address: str) -> None:
        super().__init__(name, address=address)
        self.name = name
        """The peer's name; PySyncObj calls it `id`."""
        self._hash = hash(name)

    address: str
    """`HOST:PORT` of the peer's Raft port."""

    def __repr__(self) -> str:
        return f"PeerNode({self.name!r}, {self.address!r})"

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, PeerNode) and self.name == other.name)


def split_address(address: str) -> tuple[str, int]:
    """`HOST:PORT` or `[IPv6]:PORT` as host and port. Raises UsageError."""
    host, separator, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not separator or not host or not port.isdecimal() or not 0 <= int(port) <= 65535:
        raise UsageError(f"{address!r} is not an address: expected HOST:PORT, such as 127.0.0.1:7481")
    return host, int(port)
