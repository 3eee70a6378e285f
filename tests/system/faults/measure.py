"""What a stranger sees of a network, run within a namespace: reads `[command, arguments]`, and answers, in JSON lines.

`serve` echoes TCP and UDP on a port, sends as fast as it can on the next one, swallows on the one after, and answers
every DNS question with 192.0.2.53 on port 53 of its address. The others are a client with a clock of its own.
"""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import sys
import threading
import time
from typing import Any

_SO_RCVBUFFORCE = 33
"""Of asm-generic/socket.h; Python has no name for it."""


def family_of(host: str) -> socket.AddressFamily:
    """By its address."""
    return socket.AF_INET6 if ":" in host else socket.AF_INET


# ---- the server


def serve(hosts: list[str], port: int) -> None:
    """Never returns; says "ready" once it listens."""
    for host in hosts:
        for number, handle in ((port, _echo), (port + 1, _send), (port + 2, _swallow)):
            listener = socket.create_server((host, number), family=family_of(host), backlog=64)
            _thread(_accept, listener, handle)
        for number, answer in ((port, lambda data: data), (53, dns_answer)):
            sock = socket.socket(family_of(host), socket.SOCK_DGRAM)
            sock.bind((host, number))
            _thread(_datagrams, sock, answer)
        _thread(_accept, socket.create_server((host, 53), family=family_of(host)), _dns_stream)
    print("ready", flush=True)
    threading.Event().wait()


def dns_answer(question: bytes) -> bytes:
    """An A record of 192.0.2.53 for whatever is asked (RFC 1035)."""
    record = b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 60, 4) + bytes([192, 0, 2, 53])
    return question[:2] + b"\x81\x80" + question[4:6] + b"\x00\x01\x00\x00\x00\x00" + question[12:] + record


def _thread(target: Any, *arguments: Any) -> None:
    threading.Thread(target=target, args=arguments, daemon=True).start()


def _accept(listener: socket.socket, handle: Any) -> None:
    while True:
        connection, _ = listener.accept()
        _thread(handle, connection)


def _echo(connection: socket.socket) -> None:
    with contextlib.suppress(OSError), connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while data := connection.recv(65_536):
            connection.sendall(data)


def _send(connection: socket.socket) -> None:
    with contextlib.suppress(OSError), connection:
        while True:
            connection.sendall(bytes(65_536))


def _swallow(connection: socket.socket) -> None:
    with contextlib.suppress(OSError), connection:
        total = 0
        while data := connection.recv(1 << 20):
            total += len(data)
            connection.send(struct.pack(">Q", total))


def _dns_stream(connection: socket.socket) -> None:
    with contextlib.suppress(OSError, struct.error), connection:
        while True:
            (size,) = struct.unpack(">H", connection.recv(2, socket.MSG_WAITALL))
            answer = dns_answer(connection.recv(size, socket.MSG_WAITALL))
            connection.sendall(struct.pack(">H", len(answer)) + answer)


def _datagrams(sock: socket.socket, answer: Any) -> None:
    while True:
        data, sender = sock.recvfrom(4096)
        sock.sendto(answer(data), sender)


# ---- the client


def connect(host: str, port: int, timeout: float = 0.5) -> dict[str, Any]:
    """One TCP connection and one echo."""
    began = time.monotonic()
    try:
        with socket.create_connection((host, port), timeout) as connection:
            connection.sendall(b"hello")
            said = connection.recv(16).decode()
    except OSError as error:
        said = type(error).__name__
    return {"said": said, "seconds": time.monotonic() - began}


def datagrams(host: str, port: int, count: int, timeout: float = 0.5) -> dict[str, Any]:
    """So many datagrams, of which some come back; errors of sending are told."""
    with socket.socket(family_of(host), socket.SOCK_DGRAM) as sock:
        sock.connect((host, port))
        sock.setblocking(False)
        errors, back, sent = [], 0, 0
        end = time.monotonic() + 30
        last = time.monotonic()
        while (sent < count or time.monotonic() - last < timeout) and back < count and time.monotonic() < end:
            if sent < count:
                try:
                    sock.send(b"%d" % sent)
                except OSError as error:
                    errors.append(type(error).__name__)
                sent += 1
                last = time.monotonic()
            for _ in range(2):
                with contextlib.suppress(BlockingIOError, ConnectionRefusedError):
                    sock.recv(64)
                    back += 1
                    last = time.monotonic()
            time.sleep(0.0005)
    return {"sent": sent, "back": back, "errors": sorted(set(errors))}


def copies(host: str, port: int, count: int, patience: float = 0.7) -> dict[str, int]:
    """Numbered datagrams: how many came back, copies included, and how many after one that was sent later."""
    with socket.socket(family_of(host), socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 1 << 22)
        sock.connect((host, port))
        sock.settimeout(patience)
        for number in range(count):
            sock.send(b"%d" % number)
            time.sleep(0.002)
        back = overtaken = latest = 0
        with contextlib.suppress(TimeoutError):
            while True:  # they wait in the buffer, in the order in which they came
                number = int(sock.recv(64))
                back += 1
                overtaken += number < latest
                latest = max(latest, number)
    return {"back": back, "overtaken": overtaken}


def round_trips(host: str, port: int, count: int) -> list[float]:
    """Seconds of so many echoes over one TCP connection."""
    found = []
    with socket.create_connection((host, port), 5) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(count):
            began = time.monotonic()
            connection.sendall(b"x")
            connection.recv(16)
            found.append(time.monotonic() - began)
    return found


def pull(host: str, port: int, seconds: float, after: float = 0.0) -> float:
    """Bytes a second that come in, those of the first `after` seconds left out."""
    with socket.create_connection((host, port + 1), 5) as connection:
        began = time.monotonic()
        total = counted = 0
        since = began
        while (now := time.monotonic()) < began + seconds:
            total += len(connection.recv(1 << 20))
            if now - began < after:
                counted, since = total, now
        return (total - counted) / (time.monotonic() - since)


def push(host: str, port: int, seconds: float) -> float:
    """Bytes a second that arrive at the other end, as it tells."""
    with socket.create_connection((host, port + 2), 5) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65_536)
        connection.settimeout(0.05)
        began = time.monotonic()
        told: list[tuple[float, int]] = []
        rest = b""
        while time.monotonic() < began + seconds:
            with contextlib.suppress(TimeoutError):
                connection.send(bytes(16_384))
            connection.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                rest += connection.recv(65_536)
            connection.settimeout(0.05)
            while len(rest) >= 8:
                told.append((time.monotonic(), struct.unpack(">Q", rest[:8])[0]))
                rest = rest[8:]
        first = next(entry for entry in told if entry[0] > began + seconds / 4)
        return (told[-1][1] - first[1]) / (told[-1][0] - first[0])


def ask_dns(
    server: str, name: str, kind: int = 1, timeout: float = 0.5, tcp: bool = False, source_port: int = 0
) -> dict[str, Any]:
    """One question; its code and the addresses that were answered."""
    words = b"".join(bytes([len(word)]) + word.encode() for word in name.split("."))
    question = b"\x12\x34\x01\x00\x00\x01" + bytes(6) + words + b"\0" + struct.pack(">HH", kind, 1)
    try:
        if tcp:
            with socket.create_connection((server, 53), timeout) as connection:
                connection.sendall(struct.pack(">H", len(question)) + question)
                answer = connection.recv(4096)[2:]
        else:
            with socket.socket(family_of(server), socket.SOCK_DGRAM) as sock:
                sock.settimeout(timeout)
                if source_port:
                    sock.bind(("", source_port))
                sock.connect((server, 53))
                sock.send(question)
                answer = sock.recv(4096)
    except OSError as error:
        return {"error": type(error).__name__}
    count = struct.unpack(">H", answer[6:8])[0]
    at = len(question)
    addresses = []
    for _ in range(count):
        kind_of, _, _, size = struct.unpack(">HHIH", answer[at + 2 : at + 12])
        data = answer[at + 12 : at + 12 + size]
        addresses.append(socket.inet_ntop(socket.AF_INET if kind_of == 1 else socket.AF_INET6, data))
        at += 12 + size
    return {"code": answer[3] & 15, "addresses": addresses}


COMMANDS = {each.__name__: each for each in (serve, connect, datagrams, copies, round_trips, pull, push, ask_dns)}

if __name__ == "__main__":
    for line in sys.stdin:
        name, arguments = json.loads(line)
        print(json.dumps(COMMANDS[name](**arguments)), flush=True)  # type: ignore[operator]
