"""The resolver of dns_answer, as a load of a helper process: it answers what is to be replaced, and passes the rest on.

It enters the namespace, listens on loopback there, one port for each name server, and then turns the questions to it.
Standard library only.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import struct
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from raftchaos.faults.network import places
from raftchaos.faults.network.dns import Replacement, parse, replaced
from raftchaos.faults.network.places import CommandFailed, Place, PlaceGone
from raftchaos.faults.network.redirect import OWN, redirect_text
from raftchaos.faults.resources.loads import LoadFailed

_LOOK: Final = 0.05
_WAITING: Final = 256
"""Questions that wait for a server; the oldest is given up."""
_PATIENCE: Final = 5.0
_STREAMS: Final = 64
_DNS: Final = 53


@dataclass(slots=True)
class _Passed:
    """A question that was passed on."""

    listener: socket.socket
    client: Any
    since: float


class DnsAnswerLoad:
    """`resources.loads.Load`. Parameters: `inode` and `path` of the namespace, `table`, `comment`, `deadline`,
    `servers`, and those of a `Replacement`."""

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        self._order = parameters
        self._by = Replacement(
            tuple(parameters["names"]),
            tuple(parameters["addresses"]),
            str(parameters["error"]),
            int(parameters["ttlSeconds"]),
        )
        self._servers = [str(server) for server in parameters["servers"]]
        self._selector = selectors.DefaultSelector()
        self._passed: dict[socket.socket, _Passed] = {}
        self._streams = threading.Semaphore(_STREAMS)
        self._counts = {"touched": 0, "passed": 0}
        self._counting = threading.Lock()

    def start(self) -> None:
        """Enter the namespace, listen, turn the questions here."""
        place = Place(int(self._order["inode"]), str(self._order["path"]))
        try:
            if not place.own:
                places.enter(place)
            ports = [(server, self._listen(server)) for server in self._servers]
            left = float(self._order["deadline"]) - time.clock_gettime(time.CLOCK_BOOTTIME)
            text = redirect_text(str(self._order["table"]), str(self._order["comment"]), ports, max(left, 0.0))
            places.run(places.own(), ["nft", "-f", "-"], text)
        except (CommandFailed, PlaceGone) as error:
            raise LoadFailed(str(error)) from None

    def work(self) -> float:
        """Answer what has come."""
        for key, _ in self._selector.select(_LOOK):
            with contextlib.suppress(OSError):
                key.data(key.fileobj)
        late = time.monotonic() - _PATIENCE
        for sock in [sock for sock, passed in self._passed.items() if passed.since < late]:
            self._give_up(sock)
        return 0.0

    def stop(self) -> None:
        """The sockets go with the process, the table with the undo step."""
        self._selector.close()

    def effect(self) -> dict[str, int]:
        """Answers that were replaced, and questions that were passed on."""
        with self._counting:
            return dict(self._counts)

    # ---- sockets

    def _listen(self, server: str) -> int:
        """Listen for the questions to one server; the port."""
        family = socket.AF_INET6 if ":" in server else socket.AF_INET
        here = "::1" if ":" in server else "127.0.0.1"
        stream = socket.create_server((here, 0), family=family, backlog=_STREAMS)
        port = int(stream.getsockname()[1])
        datagrams = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        datagrams.bind((here, port))
        stream.setblocking(False)
        self._selector.register(datagrams, selectors.EVENT_READ, lambda sock: self._ask(sock, server))
        self._selector.register(stream, selectors.EVENT_READ, lambda sock: self._accept(sock, server))
        return port

    def _ask(self, listener: socket.socket, server: str) -> None:
        message, client = listener.recvfrom(4096)
        answer = self._answer(message)
        if answer is None:
            while len(self._passed) >= _WAITING:
                self._give_up(next(iter(self._passed)))
            upstream = _towards(server, socket.SOCK_DGRAM)
            upstream.send(message)
            self._passed[upstream] = _Passed(listener, client, time.monotonic())
            self._selector.register(upstream, selectors.EVENT_READ, self._pass_back)
        elif answer:
            listener.sendto(answer, client)

    def _pass_back(self, upstream: socket.socket) -> None:
        passed = self._passed[upstream]
        try:
            passed.listener.sendto(upstream.recv(65_535), passed.client)
        finally:
            self._give_up(upstream)

    def _give_up(self, upstream: socket.socket) -> None:
        del self._passed[upstream]
        self._selector.unregister(upstream)
        upstream.close()

    def _accept(self, listener: socket.socket, server: str) -> None:
        client, _ = listener.accept()
        if not self._streams.acquire(blocking=False):
            client.close()
            return
        threading.Thread(target=self._stream, args=(client, server), daemon=True).start()

    def _stream(self, client: socket.socket, server: str) -> None:
        """The questions of one TCP connection, one after the other (RFC 7766)."""
        try:
            with contextlib.suppress(OSError, struct.error), client:
                client.settimeout(_PATIENCE)
                while True:
                    message = _receive(client)
                    answer = self._answer(message)
                    if answer is None:
                        with _towards(server, socket.SOCK_STREAM) as upstream:
                            _send(upstream, message)
                            answer = _receive(upstream)
                    if answer:
                        _send(client, answer)
        finally:
            self._streams.release()

    def _answer(self, message: bytes) -> bytes | None:
        """What `replaced` says; counted."""
        question = parse(message)
        answer = None if question is None else replaced(question, self._by)
        with self._counting:
            self._counts["passed" if answer is None else "touched"] += 1
        return answer


def _towards(server: str, kind: int) -> socket.socket:
    """A socket to a name server that the table lets go there."""
    family, _, _, _, address = socket.getaddrinfo(server, _DNS, type=kind, flags=socket.AI_NUMERICHOST)[0]
    sock = socket.socket(family, kind)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, OWN)
        sock.settimeout(_PATIENCE)
        sock.connect(address)
    except OSError:
        sock.close()
        raise
    return sock


def _receive(sock: socket.socket) -> bytes:
    (size,) = struct.unpack(">H", sock.recv(2, socket.MSG_WAITALL))
    return sock.recv(size, socket.MSG_WAITALL)


def _send(sock: socket.socket, message: bytes) -> None:
    sock.sendall(struct.pack(">H", len(message)) + message)
