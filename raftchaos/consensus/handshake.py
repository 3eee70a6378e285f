"""The first frame of each direction of a connection: who speaks, and for which cluster.

Frames are a length of four bytes, big-endian, and that many bytes of msgpack. An empty frame is a sign of life.
"""

from __future__ import annotations

import logging
import struct
import time
from dataclasses import dataclass
from typing import Any, Final

from raftchaos.consensus import codec
from raftchaos.consensus.node import split_address
from raftchaos.core.minutes import MinuteCounts
from raftchaos.errors import UsageError

logger = logging.getLogger(__name__)

PROTOCOL: Final = 1
SIZE: Final = struct.Struct(">I")
HELLO_FRAME: Final = 4_096  # whoever has not said who it is may not send more than this
ALIVE: Final = SIZE.pack(0)
NOT_A_MEMBER: Final = "not a member of this cluster"
_UNSAID: Final = 2**63  # a peer of the first release does not say by which configuration it refuses: it is believed
_TOLD: Final = 20  # connections of one host in a minute


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a peer is on the wire."""

    cluster_id: str
    name: str
    directory_id: str
    """Made with the data directory: a peer that lost it is another one and may not use the old one's name."""
    incarnation: int
    address: str
    """`HOST:PORT` under which the others reach its Raft port."""

    def hello(self, to: str | None) -> bytes:
        """The frame that introduces this peer to the peer `to`."""
        fields = {
            "type": "hello",
            "protocol": PROTOCOL,
            "cluster": self.cluster_id,
            "name": self.name,
            "directory": self.directory_id,
            "incarnation": self.incarnation,
            "address": self.address,
            "to": to,
        }
        return frame(fields)


@dataclass(frozen=True, slots=True)
class Hello:
    """What the other side said first."""

    identity: Identity
    protocol: int
    to: str | None


class Refusal(Exception):
    """The other side declined, or is declined."""

    def __init__(self, why: str, configuration: int = 0) -> None:
        """`configuration` is the entry that tells the other side who is a member."""
        super().__init__(why)
        self.why, self.configuration = why, configuration


def frame(message: dict[str, Any]) -> bytes:
    """The message as a frame."""
    body = codec.dumps(message)
    return SIZE.pack(len(body)) + body


def parse(body: bytes | memoryview) -> Hello:
    """The hello in this frame. Raises ValueError for anything else and Refusal if it is a refusal."""
    fields = codec.loads(body)
    if not isinstance(fields, dict):
        raise ValueError("the first frame is not a hello")
    if fields.get("type") == "refused":
        configuration = fields.get("configuration", _UNSAID)
        raise Refusal(str(fields.get("reason"))[:200], configuration if isinstance(configuration, int) else _UNSAID)
    texts = [fields.get(name) for name in ("cluster", "name", "directory", "address")]
    numbers = [fields.get(name) for name in ("protocol", "incarnation")]
    to = fields.get("to")
    if fields.get("type") != "hello" or not all(isinstance(text, str) and text for text in texts):
        raise ValueError("the first frame is not a hello")
    if not all(isinstance(number, int) for number in numbers) or not isinstance(to, str | None):
        raise ValueError("the first frame is not a hello")
    cluster, name, directory, address = map(str, texts)
    try:
        split_address(address)
    except UsageError as error:
        raise ValueError(str(error)) from None
    return Hello(Identity(cluster, name, directory, int(fields["incarnation"]), address), int(fields["protocol"]), to)


def judge(hello: Hello, me: Identity) -> None:
    """Raises Refusal if this peer and that one do not belong together."""
    if hello.protocol != PROTOCOL:
        raise Refusal(f"protocol {hello.protocol} is not spoken here, only {PROTOCOL}")
    if hello.identity.cluster_id != me.cluster_id:
        raise Refusal("foreign cluster id")
    if hello.to not in (None, me.name):
        raise Refusal(f"this is {me.name}, not {hello.to}")
    if hello.identity.name == me.name:
        raise Refusal(f"another peer is called {me.name}")


class Complaints:
    """Says of every connection that was closed why, with its address; of a host that sends many, only of the first in
    each minute. The memory is bounded.
    """

    def __init__(self) -> None:
        self._hosts = MinuteCounts()

    def closed(self, peername: Any, kind: str, detail: str = "") -> None:
        """A connection from this socket address was closed for this reason."""
        host = str(peername[0]) if isinstance(peername, tuple) else "unknown address"
        told = self._hosts.note(host, time.monotonic())
        if told > _TOLD:
            return
        if told == _TOLD:
            logger.warning("more connections to the Raft port from %s are closed; they are told no more for now", host)
            return
        shown = f"{host}:{peername[1]}" if isinstance(peername, tuple) else host
        level = logging.INFO if kind == NOT_A_MEMBER else logging.WARNING  # a peer that joins is early at first
        logger.log(level, "closed a connection to the Raft port from %s: %s%s", shown, kind, detail and f" ({detail})")
