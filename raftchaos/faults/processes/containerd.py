"""The containers of a containerd, by one read for each of its namespaces: the gRPC call Containers.List."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterable, Iterator
from typing import Any, Final

from raftchaos import limits

SOCKETS: Final = ("/run/containerd/containerd.sock", "/run/k3s/containerd/containerd.sock")
NAME_LABELS: Final = ("nerdctl/name", "io.kubernetes.container.name")
"""Labels in which the clients of containerd keep the name that people gave."""
_TASKS: Final = "/run/containerd/io.containerd.runtime.v2.task"
"""Running containers stand here, in a folder for each namespace."""
_METHOD: Final = "/containerd.services.containers.v1.Containers/List"
_LABELS_FIELD: Final = 2


def containers(place: str) -> list[tuple[str, dict[str, str]]]:
    """Id and labels of every container of every namespace that has a running one. Raises OSError and ValueError."""
    try:
        namespaces = sorted(os.listdir(_TASKS))
    except FileNotFoundError:
        return []
    import h2.exceptions

    try:
        return [each for namespace in namespaces for each in listed(_call(place, namespace))]
    except h2.exceptions.H2Error as error:
        raise OSError(f"it does not speak HTTP/2 as it should: {error}") from None


def listed(answer: bytes) -> list[tuple[str, dict[str, str]]]:
    """Id and labels of the containers in a ListContainersResponse. Raises ValueError."""
    found = []
    for number, container in fields(answer):
        if number == 1:
            id_, labels = "", {}
            for part, value in fields(container):
                if part == 1:
                    id_ = value.decode()
                elif part == _LABELS_FIELD:
                    entry = dict(fields(value))
                    labels[entry.get(1, b"").decode()] = entry.get(2, b"").decode()
            found.append((id_, labels))
    return found


def fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """The fields of a protobuf message that hold bytes, text or messages; numbers are left out. Raises ValueError."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        kind, length = tag & 7, {1: 8, 5: 4}.get(tag & 7, 0)
        if kind == 0:
            _, at = _varint(message, at)
        elif kind in (1, 5):
            at += length
        elif kind == 2:
            length, at = _varint(message, at)
            if at + length > len(message):
                raise ValueError("it answered a message that is cut off")
            yield tag >> 3, message[at : at + length]
            at += length
        else:
            raise ValueError("it answered something that is no protobuf message")


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data) and shift < 64:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if not byte & 0x80:
            return value, at
    raise ValueError("it answered a number that is cut off")


def _call(place: str, namespace: str) -> bytes:
    """One unary gRPC call with an empty request."""
    import h2.config
    import h2.connection

    end = time.monotonic() + limits.RUNTIME_ANSWER
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(limits.RUNTIME_ANSWER)
        connection.connect(place)
        stream = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="utf-8"))
        stream.initiate_connection()
        stream.send_headers(
            1,
            [
                (":method", "POST"), (":scheme", "http"), (":path", _METHOD), (":authority", "localhost"),
                ("content-type", "application/grpc"), ("te", "trailers"), ("containerd-namespace", namespace),
            ],
        )  # fmt: skip
        stream.send_data(1, b"\0\0\0\0\0", end_stream=True)
        body, status = b"", ""
        while True:
            connection.sendall(stream.data_to_send())
            connection.settimeout(max(end - time.monotonic(), 0.001))
            data = connection.recv(65_536)
            if not data:
                raise OSError("it closed the connection")
            for event in stream.receive_data(data):
                part, status, ended = _take(stream, event, status)
                body += part
                if len(body) > limits.RUNTIME_LIST:
                    raise ValueError(f"it answered more than {limits.RUNTIME_LIST} bytes")
                if ended:
                    return _message(body, status)


def _take(stream: Any, event: Any, status: str) -> tuple[bytes, str, bool]:
    import h2.events

    if isinstance(event, h2.events.DataReceived):
        stream.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        return event.data or b"", status, False
    if isinstance(event, h2.events.ResponseReceived | h2.events.TrailersReceived):
        return b"", _status(event.headers or (), status), False
    if isinstance(event, h2.events.StreamReset | h2.events.ConnectionTerminated):
        raise OSError("it broke off the call")
    return b"", status, isinstance(event, h2.events.StreamEnded)


def _status(headers: Iterable[tuple[str | bytes, str | bytes]], before: str) -> str:
    """The gRPC status among the headers or trailers of an answer."""
    for name, value in headers:
        if name in ("grpc-status", b"grpc-status"):
            return value if isinstance(value, str) else value.decode()
    return before


def _message(body: bytes, status: str) -> bytes:
    if status != "0" or len(body) < 5 or body[0] != 0:
        raise ValueError(f"its answer has the gRPC status {status or 'none'}")
    return body[5 : 5 + int.from_bytes(body[1:5], "big")]
