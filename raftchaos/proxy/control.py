"""The control socket: frames, where it lies, and calls that block.

A frame is four bytes of length, big-endian, and a msgpack map of at most `limits.CONTROL_FRAME` bytes. The reaper uses
this module alone; it imports nothing heavy.
"""

from __future__ import annotations

import array
import hashlib
import os
import socket
import struct
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgpack

from raftchaos import limits
from raftchaos.errors import ProxyUnavailable, Refused

HEADER = struct.Struct(">I")
ANCILLARY = socket.CMSG_SPACE(limits.CONTROL_FDS * array.array("i").itemsize)
_LONGEST_PATH = 100  # the kernel takes 107 bytes


class BadFrame(ValueError):
    """Bytes that are no frame; the connection is of no use any more."""


def encode(message: Mapping[str, Any]) -> bytes:
    """A message as a frame. Raises BadFrame if it is too large."""
    body = msgpack.packb(message)
    if len(body) > limits.CONTROL_FRAME:
        raise BadFrame(f"a message of {len(body)} bytes, at most {limits.CONTROL_FRAME} are taken")
    return HEADER.pack(len(body)) + bytes(body)


def body_length(header: bytes) -> int:
    """Length of the message that follows these four bytes. Raises BadFrame."""
    length: int = HEADER.unpack(header)[0]
    if not 0 < length <= limits.CONTROL_FRAME:
        raise BadFrame(f"a frame of {length} bytes was announced, at most {limits.CONTROL_FRAME} are taken")
    return length


def decode(body: bytes) -> dict[str, Any]:
    """The message of a frame. Raises BadFrame."""
    try:
        message = msgpack.unpackb(body, strict_map_key=True)
    except (ValueError, msgpack.UnpackException, RecursionError) as error:
        raise BadFrame(f"no message: {error}") from None
    if not isinstance(message, dict) or not all(isinstance(key, str) for key in message):
        raise BadFrame("the message is no map with names as keys")
    return message


def control_socket_path(data_dir: Path, name: str) -> Path:
    """Where the control socket `name` of a peer lies: in its data directory, or, as the kernel takes only short paths,
    in a private folder under /run or /tmp that is named after it.
    """
    path = data_dir.absolute() / name
    if len(os.fsencode(path)) <= _LONGEST_PATH:
        return path
    digest = hashlib.sha256(os.fsencode(data_dir.absolute())).hexdigest()[:16]
    base = Path("/run") if os.access("/run", os.W_OK) else Path("/tmp")
    folder = base / f"raftchaos-{os.getuid()}-{digest}"
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if status.st_uid != os.getuid() or status.st_mode & 0o077 or not folder.is_dir() or folder.is_symlink():
        raise PermissionError(f"{folder} belongs to somebody else or is open to others")
    return folder / name


def received_fds(ancillary: Iterable[tuple[int, int, bytes]]) -> list[int]:
    """The file descriptors that came with a message."""
    fds = array.array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
    return list(fds)


def _receive(sock: socket.socket, size: int, deadline: float) -> bytes:
    parts: list[bytes] = []
    while size:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the proxy process did not answer in time")
        sock.settimeout(left)
        part = sock.recv(min(size, 65536))
        if not part:
            raise ConnectionError("the proxy process closed the connection")
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def call_all(
    path: Path, requests: Sequence[Mapping[str, Any]], *, timeout: float = limits.CONTROL_CALL
) -> list[dict[str, Any]]:
    """Make these calls over one connection, blocking for at most `timeout` seconds in all; their answers in order.

    Raises ProxyUnavailable if the proxy process does not answer, Refused if it declines one.
    """
    deadline = time.monotonic() + timeout
    answers = []
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(timeout)
            sock.connect(os.fspath(path))
            for number, request in enumerate(requests):
                sock.sendall(encode({**request, "id": number}))
                answer = decode(_receive(sock, body_length(_receive(sock, HEADER.size, deadline)), deadline))
                if answer.get("id") != number:
                    raise BadFrame("an answer to another question")
                if answer.get("ok") is not True:
                    raise Refused(str(answer.get("error", "the proxy process declined")))
                answers.append(answer)
    except (OSError, BadFrame) as error:
        gone = isinstance(error, (FileNotFoundError, ConnectionRefusedError))
        message = f"the proxy process at {path} cannot be asked: {error}"
        raise ProxyUnavailable(message, details={"gone": gone}) from None
    return answers


def recover(path: Path, runs: Iterable[str], *, timeout: float = limits.CONTROL_CALL) -> dict[str, dict[str, int]]:
    """End these runs in the proxy process; what each did. For the reaper: no event loop, nothing else imported.

    Idempotent. Raises ProxyUnavailable, with `details["gone"]` True if no process listens there: then no fault of it is
    left either.
    """
    names = list(runs)
    answers = call_all(path, [{"do": "recover", "run": run} for run in names], timeout=timeout)
    return {run: answer["effect"] for run, answer in zip(names, answers, strict=True)}
