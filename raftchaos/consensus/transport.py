"""The Raft port: one TCP connection between two peers, frames of bounded size, on asyncio.

Whoever connects is nobody until it has said who it is in time, in one small frame, for this cluster. Nothing that it
sends before changes anything. A frame is handed on only while its connection is the peer's present one, and nothing is
sent again on the next one.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from raftchaos import limits
from raftchaos.consensus import certified, codec, handshake, messages
from raftchaos.consensus.config import PeerTls
from raftchaos.consensus.connection import Connection
from raftchaos.consensus.handshake import Complaints, Hello, Identity, Refusal
from raftchaos.consensus.node import PeerNode, split_address
from raftchaos.consensus.seams import PeerTransport
from raftchaos.errors import MachineUnusable, UsageError
from raftchaos.identity.entrance import Entrance

logger = logging.getLogger(__name__)

ATTEMPT: Final = 0.25  # an attempt is given up after this: the kernel repeats a lost SYN only after a second
ATTEMPT_TLS: Final = 1.0
GUESTS: Final = limits.NODES  # a voter that was away may be met by every observer, and by one voter whom it needs
RETRY_FIRST: Final = 0.05
RETRY_MOST: Final = 0.4
YIELD: Final = 1.0  # the peer with the lesser name lets the other one connect this long before it tries itself
ACCEPT_STEPS: Final = 4  # turns of the loop from the arrival of a connection to its protocol, and one more


class TcpTransport(PeerTransport):
    """Connections to the other peers of the cluster. `start()` before use, `await close()` after."""

    def __init__(
        self,
        identity: Identity,
        *,
        listen: str,
        silence: float,
        rng: random.Random,
        tls: PeerTls | None = None,
    ) -> None:
        super().__init__()
        self.identity, self.silence = identity, silence
        self.complaints = Complaints()
        self.refused_by: dict[str, Refusal] = {}
        """Why each peer declined this one's last attempt; emptied when it connects."""
        self.leaderless: Callable[[], bool] = lambda: False
        """Says whether this peer knows no leader. Then it may lag so far that it does not know a member of today, or
        only one that had its name before, whom it has to hear all the same: that one may need its vote, or be the
        leader.
        """
        self.configuration: Callable[[], int] = lambda: 0
        """The entry that tells this peer who is a member."""
        self.refused: Callable[[], None] = lambda: None
        """Called when a peer has declined this one."""
        self.failed: Callable[[BaseException], None] | None = None
        """Called when a message could not be handled for a reason that lies in this replica."""
        self._listen, self._random = listen, rng
        self._tls = tls
        self._entrance: Entrance | None = None
        self._nodes: dict[str, PeerNode] = {}
        self._directories: dict[str, str] = {}
        self._connections: dict[str, Connection] = {}
        self._strangers: dict[Connection, None] = {}
        self._open: dict[Connection, None] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._watch: asyncio.Task[None] | None = None
        self._closed = False
        self._encoded: tuple[dict[str, Any], bytes] = ({}, b"")

    # ---- starting and closing

    async def start(self) -> None:
        """Bind and begin to connect. Raises MachineUnusable that names the address."""
        host, port = split_address(self._listen)
        loop = asyncio.get_running_loop()
        factory: Callable[[], asyncio.Protocol] = partial(Connection, self, None)
        try:
            if self._tls is not None:
                self._entrance = Entrance(self._tls.server, factory, complain=self._handshake_failed)
                await self._entrance.start(host, port, backlog=limits.HANDSHAKES_OPEN)
            else:
                self._server = await loop.create_server(factory, host, port, backlog=limits.HANDSHAKES_OPEN)
        except OSError as error:
            raise MachineUnusable(
                f"cannot listen for other peers on {self._listen}: {error.strerror or error}",
                hint="another process may use the port; choose a free one with --raft-listen HOST:PORT",
            ) from error
        self._watch = loop.create_task(self._watch_connections())
        for node in list(self._nodes.values()):
            self._begin(node)

    async def close(self) -> None:
        """Close everything and wait until it is closed."""
        self._end()
        if self._server is not None:
            for listening in self._server.sockets:  # asyncio loses what it is accepting while its server closes
                asyncio.get_running_loop().remove_reader(listening)
            await self._accepted()
            self._server.close()
            await self._server.wait_closed()
            await self._accepted()
        tasks = [*self._tasks.values(), *self._ending] + ([self._watch] if self._watch else [])
        await asyncio.gather(*tasks, return_exceptions=True)
        self._tasks.clear()
        if self._entrance is not None:
            await self._entrance.wait_closed()
        while self._open:
            await next(iter(self._open)).gone.wait()

    async def _accepted(self) -> None:
        """What was accepted before is a connection by now."""
        for _ in range(ACCEPT_STEPS):
            await asyncio.sleep(0)

    def destroy(self) -> None:
        """Close everything at once."""
        self._end()
        if self._server is not None:
            self._server.close()

    def _end(self) -> None:
        self._closed = True
        for task in [*self._tasks.values(), self._watch]:
            if task is not None:
                task.cancel()
        if self._entrance is not None:
            self._entrance.close()
        for connection in list(self._open):
            connection.abort()

    @property
    def ready(self) -> bool:
        """PySyncObj asks before its first tick; binding is `start()`'s."""
        return True

    # ---- what Raft calls

    def addNode(self, node: PeerNode) -> None:
        """Keep a connection to this peer; connect anew if its address changed."""
        self._nodes[node.name] = node
        if self._watch is not None and not self._closed:
            self._begin(node)

    def _begin(self, node: PeerNode) -> None:
        if node.name not in self._tasks:
            self._tasks[node.name] = asyncio.get_running_loop().create_task(self._keep_connected(node))

    def dropNode(self, node: PeerNode) -> None:
        """No longer connect to this peer, nor let it connect."""
        self._nodes.pop(node.name, None)
        self._directories.pop(node.name, None)
        self.refused_by.pop(node.name, None)
        task = self._tasks.pop(node.name, None)
        if task is not None:
            task.cancel()
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)
        connection = self._connections.get(node.name)
        if connection is not None:
            connection.close()

    def send(self, node: PeerNode, message: dict[str, Any]) -> bool:
        """Send if connected; a peer that does not take its messages loses its connection."""
        connection = self._connections.get(node.name)
        if connection is None:
            return False
        if message is not self._encoded[0]:  # many followers are sent the same append
            self._encoded = message, codec.dumps(message)
        return connection.send(self._encoded[1])

    def pending(self, node: PeerNode) -> int:
        """Bytes that wait to be sent to this peer."""
        connection = self._connections.get(node.name)
        return connection.pending if connection is not None else 0

    # ---- connecting

    async def _keep_connected(self, node: PeerNode) -> None:
        """The peer with the greater name connects; the other tries, too, when that has not worked for a while (its
        address may be the one that changed).
        """
        wait = RETRY_FIRST
        lesser = self.identity.name < node.name
        if lesser:
            await asyncio.sleep(YIELD)
        while True:
            connection = self._connections.get(node.name)
            if connection is not None:
                await connection.gone.wait()
                wait = RETRY_FIRST
                await asyncio.sleep(YIELD if lesser else 0)
                continue
            await self._attempt(node)
            await asyncio.sleep(wait * (0.5 + self._random.random()))
            wait = min(2 * wait, RETRY_MOST)

    async def _attempt(self, node: PeerNode) -> None:
        loop = asyncio.get_running_loop()
        tls = self._tls.client if self._tls is not None else None
        made, stands = Connection(self, node), False
        try:
            host, port = split_address(node.address)
            async with asyncio.timeout(ATTEMPT_TLS if tls else ATTEMPT):
                await loop.create_connection(
                    lambda: made, host, port, ssl=tls, server_hostname=node.name if tls else None
                )
            stands = True
            async with asyncio.timeout(ATTEMPT_TLS):
                await made.settled.wait()
        except (OSError, TimeoutError, UsageError) as error:
            self.unsuccessful(node, error)  # it is tried again
        finally:
            if not (stands and made.greeted):  # a late answer may be read before the time is up, and yet be too late
                made.give_up()

    def unsuccessful(self, node: PeerNode, error: BaseException | None) -> None:
        """An attempt to connect failed; without an error if the other side just closed it after the handshake, which
        is how a server declines a certificate in TLS 1.3 (asyncio does not send its alert).

        `refused_by` and the list of connected peers tell the user; a reason that lies in certificates or clocks goes
        into the log, too, since nothing gets better by itself.
        """
        if self._tls is None or self._closed or node.name in self._connections:
            return
        why = self._tls.explain(error) if error is not None else ""
        if error is None and node.name not in self.refused_by:
            why = "it closed the connection after the TLS handshake; if it declines our certificate, its log says why"
        known = self.refused_by.get(node.name)
        if why and (known is None or known.why != why):
            self.refused_by[node.name] = Refusal(why)
            logger.warning("cannot connect to %s at %s: %s", node.name, node.address, why)

    def _handshake_failed(self, address: object, error: BaseException) -> None:
        assert self._tls is not None
        self.complaints.closed(address, self._tls.explain(error) or "it did not finish its TLS handshake")

    # ---- what connections report

    def opened(self, connection: Connection) -> None:
        """A connection stands; it is a stranger until it is greeted. Too many strangers: the oldest goes."""
        self._open[connection] = None
        if self._closed:
            connection.abort()
        elif connection.node is None:
            if len(self._strangers) >= limits.HANDSHAKES_OPEN:
                oldest = next(iter(self._strangers))
                self.complaints.closed(oldest.peername, "too many connections that do not say who they are")
                oldest.abort()
            self._strangers[connection] = None
        else:
            connection.write(self.identity.hello(connection.node.name))

    def greet(self, connection: Connection, body: memoryview) -> bool:
        """The first frame of a connection. True if it is the peer's present one from now on."""
        try:
            hello = certified.parse(connection, body, self.identity, self._tls)
            handshake.judge(hello, self.identity)
            certified.check(connection, hello.identity, self.identity, self._tls)
            node = self._admit(connection, hello)
        except ValueError as error:
            self.complaints.closed(connection.peername, "it does not speak raftchaos", str(error)[:200])
            return False
        except Refusal as refusal:
            if connection.node is not None:
                if connection.node.name not in self._connections:  # else it has come by itself meanwhile
                    self.refused_by[connection.node.name] = refusal
                    self.refused()
            else:
                self.complaints.closed(connection.peername, refusal.why)
                told = {"type": "refused", "reason": refusal.why, "configuration": self.configuration()}
                connection.write(handshake.frame(told))
            return False
        if connection.node is None:
            connection.node = node
            connection.write(self.identity.hello(None))
        connection.incarnation = hello.identity.incarnation
        self._strangers.pop(connection, None)
        return self._take(connection, node)

    def _admit(self, connection: Connection, hello: Hello) -> PeerNode:
        """The member that speaks. Raises Refusal."""
        speaker = hello.identity
        node = self._nodes.get(speaker.name)
        if node is None:
            if not self.leaderless() or len(self._guests()) >= GUESTS:
                raise Refusal(handshake.NOT_A_MEMBER)
            return PeerNode(speaker.name, speaker.address)
        if connection.node is not None and connection.node.name != speaker.name:
            raise Refusal(f"expected {connection.node.name}, {speaker.name} answered")
        known = self._directories.get(speaker.name, speaker.directory_id)
        if known != speaker.directory_id and not self.leaderless():
            raise Refusal(f"the name {speaker.name} belongs to another data directory; remove the old peer first")
        # A peer without a leader may lag behind a removal and a join under the same name, and the newcomer may lead.
        self._directories[speaker.name] = speaker.directory_id
        if connection.node is None and node.address != speaker.address:
            node.address = speaker.address
        return node

    def _guests(self) -> list[Connection]:
        """Connections of peers of this cluster that this one does not know as members."""
        return [each for name, each in self._connections.items() if name not in self._nodes]

    def _take(self, connection: Connection, node: PeerNode) -> bool:
        """Of two connections that both peers opened at once, both keep the one of the greater name."""
        old = self._connections.get(node.name)
        if old is not None:
            same_life = old.incarnation == connection.incarnation
            if same_life and not old.closing and self._opener(old, node) > self._opener(connection, node):
                return False
            self.lost(old)
            old.abort()
        self._connections[node.name] = connection
        self.refused_by.pop(node.name, None)
        return self._tell(self._onNodeConnected, node)

    def _tell(self, callback: Callable[..., None], *arguments: Any) -> bool:
        """Call into Raft. What it cannot handle is the end of this replica, not of a connection."""
        try:
            callback(*arguments)
        except Exception as error:
            if self.failed is None:
                raise
            self.failed(error)
            return False
        return True

    def _opener(self, connection: Connection, node: PeerNode) -> str:
        return self.identity.name if connection.outgoing else node.name

    def deliver(self, connection: Connection, body: memoryview) -> bool:
        """A later frame. False if the connection is not the peer's present one or the frame makes no sense."""
        node = connection.node
        if node is None or self._connections.get(node.name) is not connection:
            return False
        try:
            message = messages.check(codec.loads(body))
        except ValueError as error:
            kind = f"{node.name} sent a message that makes no sense"
            self.complaints.closed(connection.peername, kind, str(error)[:200])
            return False
        return self._tell(self._onMessageReceived, node, message)

    def ended(self, connection: Connection) -> None:
        """The connection is closed on both sides."""
        self._open.pop(connection, None)
        self.lost(connection)

    def lost(self, connection: Connection) -> None:
        """A connection is gone, or replaced."""
        self._strangers.pop(connection, None)
        node = connection.node
        if node is not None and self._connections.get(node.name) is connection:
            del self._connections[node.name]
            if not self._closed:
                self._tell(self._onNodeDisconnected, node)

    async def _watch_connections(self) -> None:
        """Signs of life on quiet connections; those that stay silent are closed, strangers after the handshake time."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self.silence / 4)
            now = loop.time()
            for connection in list(self._connections.values()):
                if now - connection.heard_at > self.silence:
                    connection.abort()
                elif now - connection.wrote_at > self.silence / 4:
                    connection.write(handshake.ALIVE)
            for connection in self._guests():
                if not self.leaderless():
                    connection.close()  # it is told that it is no member when it comes back
            for connection in list(self._strangers):
                if now - connection.opened_at > limits.HANDSHAKE - self.silence / 4:  # before the next look
                    self.complaints.closed(connection.peername, "it did not say who it is in time")
                    connection.abort()
