"""What stands around a proxy process in these tests."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Self

from raftchaos.clock import SystemClock
from raftchaos.proxy.listeners import open_listener
from raftchaos.proxy.process import ProxyProcess

LEASE = 60.0
_numbers = itertools.count()


def boot() -> float:
    return SystemClock().boot()


def listener() -> socket.socket:
    return open_listener("127.0.0.1:0")


@dataclass
class Request:
    line: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Service:
    """An HTTP service that remembers what it saw. `/chunked` answers in chunks; a body is answered with its length."""

    port: int = 0
    seen: list[Request] = field(default_factory=list)
    connections: int = 0
    tasks: set[asyncio.Task[Any]] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while (request := await read_request(reader, writer)) is not None:
                self.seen.append(request)
                writer.write(respond(request))
                await writer.drain()
        writer.close()


def respond(request: Request) -> bytes:
    method, target, _ = request.line.split(" ")
    if target == "/upgrade":
        return b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n"
    body = f"{method} {target} {len(request.body)}".encode()
    if target == "/chunked":
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        parts = b"".join(b"%x\r\n%s\r\n" % (1, bytes([c])) for c in body)
        return head if method == "HEAD" else head + parts + b"0\r\nX-Trailer: 1\r\n\r\n"
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
    return head if method == "HEAD" else head + body


async def read_request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter | None = None) -> Request | None:
    head = await reader.readuntil(b"\r\n\r\n") if not reader.at_eof() else b""
    if not head:
        return None
    line, *fields = head.decode().strip().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (text.partition(":") for text in fields)}
    if headers.get("expect") == "100-continue" and writer is not None:
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    return Request(line, headers, await read_body(reader, headers))


async def read_body(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
    if headers.get("transfer-encoding") == "chunked":
        body = b""
        while size := int((await reader.readline()).split(b";")[0], 16):
            body += await reader.readexactly(size)
            await reader.readexactly(2)
        while (await reader.readline()).strip():
            pass
        return body
    return await reader.readexactly(int(headers.get("content-length", 0)))


async def read_response(reader: asyncio.StreamReader, method: str = "GET") -> tuple[int, bytes]:
    """(status, body) of the next final response."""
    while True:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        line, *fields = head.strip().split("\r\n")
        status = int(line.split(" ")[1])
        if status == 100:
            continue
        headers = {name.lower(): value.strip() for name, _, value in (text.partition(":") for text in fields)}
        return status, b"" if method == "HEAD" or status == 101 else await read_body(reader, headers)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


@dataclass
class World:
    """A proxy process with the proxies `web` (HTTP) and `echo` (plain bytes)."""

    process: ProxyProcess
    service: Service
    ports: dict[str, int]
    sockets: dict[str, socket.socket]
    upstreams: dict[str, str]
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, process: ProxyProcess) -> AsyncIterator[Self]:
        service = Service()
        servers = {
            "web": await asyncio.start_server(service.serve, "127.0.0.1", 0),
            "echo": await asyncio.start_server(echo, "127.0.0.1", 0),
        }
        sockets = {name: listener() for name in servers}
        upstreams = {name: "%s:%d" % server.sockets[0].getsockname() for name, server in servers.items()}  # noqa: UP031
        for name in servers:
            own = f"127.0.0.1:{sockets[name].getsockname()[1]}"
            await process.add_proxy(name, own, upstreams[name], sockets[name])
        ports = {name: sock.getsockname()[1] for name, sock in sockets.items()}
        try:
            yield (world := cls(process, service, ports, sockets, upstreams))
        finally:
            for writer in world.writers:
                writer.transport.abort()  # what a fault holds back would be waited for
                await hang_up(writer)
            for name in servers:
                with contextlib.suppress(Exception):
                    await process.remove_proxy(name)
                servers[name].close()
                sockets[name].close()

    async def connect(self, name: str = "web") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.ports[name])
        self.writers.append(writer)
        return reader, writer

    async def inject(
        self, fault: str, proxy: str = "web", *, lease: float = LEASE, seed: int = 7, **parameters: Any
    ) -> str:
        run = f"task/0/0/node/{next(_numbers)}"
        await self.process.inject(run, fault, proxy, parameters, seed, boot() + lease)
        return run

    async def get(self, target: str = "/", name: str = "web") -> tuple[int, bytes]:
        """One request on a connection of its own."""
        reader, writer = await self.connect(name)
        try:
            writer.write(request("GET", target))
            return await read_response(reader)
        finally:
            await hang_up(writer)


async def hang_up(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


def request(method: str, target: str, body: bytes = b"", *, chunked: bool = False, **headers: str) -> bytes:
    lines = [
        f"{method} {target} HTTP/1.1",
        "Host: test",
        *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items()),
    ]
    if chunked:
        lines.append("Transfer-Encoding: chunked")
        half = len(body) // 2
        parts = [part for part in (body[:half], body[half:]) if part]
        body = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
    elif body:
        lines.append(f"Content-Length: {len(body)}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body
