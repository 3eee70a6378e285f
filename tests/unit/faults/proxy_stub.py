"""A proxy process in a thread: the real control socket and frames, a set of keys as its faults."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from pathlib import Path
from typing import Any

import msgpack


class ProxyThread:
    """Answers `recover`. `silent` makes it take requests and answer none; `refusing` makes it answer an error."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.on: set[str] = set()
        self.silent = False
        self.refusing = False
        self.asked: list[str] = []
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        self._listener.listen()
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def close(self) -> None:
        """End it, as a process that was killed: its socket file stays."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self._open.append(connection)
                self._threads.append(threading.Thread(target=self._serve, args=(connection,)))
                self._threads[-1].start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError, struct.error):
            while True:
                (length,) = struct.unpack(">I", connection.recv(4, socket.MSG_WAITALL))
                answer = self._answer(msgpack.unpackb(connection.recv(length, socket.MSG_WAITALL)))
                if answer is not None:
                    payload = msgpack.packb(answer)
                    connection.sendall(struct.pack(">I", len(payload)) + payload)

    def _answer(self, request: dict[str, Any]) -> dict[str, Any] | None:
        self.asked.append(request["run"])
        if self.silent:
            return None
        if self.refusing:
            return {"id": request["id"], "ok": False, "error": "cannot"}
        self.on.discard(request["run"])
        return {"id": request["id"], "ok": True, "effect": {"touched": 5, "bytes": 100}}
