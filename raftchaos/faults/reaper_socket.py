"""The reaper's control socket: frames of 4 bytes length (big-endian) and msgpack, small and synchronous.

hello  {}         -> {pid, main_pid, main_start, lease_end}
lease  {end}      -> {lease_end}   a lease that has ended is lapsed first, then the new one begins
stop   {}         -> {}            main is about to end by itself; refused while something is not undone
retire {}         -> {}            a new main takes over; refused while the old one lives
"""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgpack

NAME: Final = "reaper.sock"
FRAME_MAX: Final = 64 * 1024
_PATH_MAX: Final = 100  # the kernel takes 107 bytes
_CLIENTS_MAX: Final = 16

Answer = dict[str, Any]


@contextlib.contextmanager
def short_path(directory: Path, name: str = NAME) -> Any:
    """A path of a socket in `directory` that the kernel takes, however long the directory's own is."""
    path = str(directory / name)
    if len(os.fsencode(path)) <= _PATH_MAX:
        yield path
        return
    fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{fd}/{name}"
    finally:
        os.close(fd)


def frame(message: dict[str, Any]) -> bytes:
    """The bytes of one message."""
    payload: bytes = msgpack.packb(message)
    return struct.pack(">I", len(payload)) + payload


class Frames:
    """Takes bytes as they come and gives whole messages. Raises `ValueError` for anything else."""

    def __init__(self) -> None:
        self._buffer = b""

    def feed(self, data: bytes) -> list[dict[str, Any]]:
        """The messages that are whole now."""
        self._buffer += data
        messages = []
        while len(self._buffer) >= 4:
            (length,) = struct.unpack_from(">I", self._buffer)
            if length > FRAME_MAX:
                raise ValueError(f"found a frame of {length} bytes, at most {FRAME_MAX} are taken")
            if len(self._buffer) < 4 + length:
                break
            try:
                message = msgpack.unpackb(self._buffer[4 : 4 + length])
            except msgpack.exceptions.UnpackException as error:
                raise ValueError(str(error)) from None
            if not isinstance(message, dict):
                raise ValueError("found a message that is no map")
            messages.append(message)
            self._buffer = self._buffer[4 + length :]
        return messages


class ControlSocket:
    """The reaper's end: listens in the data directory and hands each message to `handle`."""

    def __init__(self, directory: Path, selector: selectors.BaseSelector, handle: Callable[[Answer], Answer]) -> None:
        self._directory = directory
        self._selector = selector
        self._handle = handle
        self._clients: dict[socket.socket, Frames] = {}
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with short_path(directory) as path:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)  # of a reaper that was killed; we hold the reaper's lock, so nobody listens there
            self._listener.bind(path)
            os.chmod(path, 0o600)
        self._listener.listen(_CLIENTS_MAX)
        self._listener.setblocking(False)
        selector.register(self._listener, selectors.EVENT_READ, self._accept)

    def close(self) -> None:
        """Close everything; clients see the end of the connection."""
        for client in list(self._clients):
            self._drop(client)
        with short_path(self._directory) as path, contextlib.suppress(OSError):
            os.unlink(path)
        self._selector.unregister(self._listener)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            client, _ = self._listener.accept()
            if len(self._clients) >= _CLIENTS_MAX:
                client.close()
                return
            client.settimeout(0.1)
            self._clients[client] = Frames()
            self._selector.register(client, selectors.EVENT_READ, lambda: self._read(client))

    def _read(self, client: socket.socket) -> None:
        try:
            data = client.recv(FRAME_MAX)
            if not data:
                self._drop(client)
                return
            for message in self._clients[client].feed(data):
                answer = {"id": message.get("id"), **self._handle(message)}
                client.sendall(frame(answer))
        except (OSError, ValueError):
            self._drop(client)

    def _drop(self, client: socket.socket) -> None:
        if self._clients.pop(client, None) is not None:
            self._selector.unregister(client)
            client.close()
