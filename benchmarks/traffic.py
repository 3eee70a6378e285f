"""What the benchmark of the proxy sends: a service, and closed loops and bulk against it, on uvloop."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import cast

REQUEST = b"GET /item/42 HTTP/1.1\r\nHost: localhost:8080\r\nUser-Agent: bench/1\r\nAccept: */*\r\n\r\n"
BODY = b"x" * 64
RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY)
PLAIN_REQUEST = b"\x00" + REQUEST[1:]
PLAIN_RESPONSE = b"\x00" + RESPONSE[1:]
ECHO = b"E" * 64
BULK = b"B" * (256 * 1024)
_CONNECTS = 64  # at a time
_PATIENCE = 30.0


class ServiceSide(asyncio.Protocol):
    """Answers each whole request; echoes what begins with `E`; sends bulk to what begins with `B`."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.bulk = False

    def data_received(self, data: bytes) -> None:
        if data[:1] == b"E":
            self.transport.write(data)
        elif data[:1] == b"B":
            self.resume_writing()
        else:
            self.transport.write(RESPONSE if data[:1] == b"G" else PLAIN_RESPONSE)

    def pause_writing(self) -> None:
        self.bulk = False

    def resume_writing(self) -> None:
        self.bulk = True
        while self.bulk and not self.transport.is_closing():
            self.transport.write(BULK)


class Load(asyncio.Protocol):
    """Sends a message, waits for `size` bytes and a pause of seconds, and sends it again."""

    def __init__(self, message: bytes, size: int, times: list[float], pause: float = 0.0) -> None:
        self.message, self.size, self.times, self.pause = message, size, times, pause
        self.missing = size
        self.answered = self.broken = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.send()

    def send(self) -> None:
        if not self.transport.is_closing():
            self.missing, self.sent = self.size, time.perf_counter()
            self.transport.write(self.message)

    def data_received(self, data: bytes) -> None:
        self.missing -= len(data)
        if self.missing <= 0:
            self.answered = True
            self.times.append(time.perf_counter() - self.sent)
            if self.pause:
                asyncio.get_running_loop().call_later(self.pause, self.send)
            else:
                self.send()

    def connection_lost(self, exc: Exception | None) -> None:
        self.broken = True


class Drain(asyncio.BufferedProtocol):
    """Asks for bulk and counts it; the last arrival is remembered, so that a rate is not that of half a chunk."""

    def __init__(self) -> None:
        self.received, self.at = 0, 0.0
        self.began = asyncio.Event()
        self._buffer = bytearray(1 << 20)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast(asyncio.Transport, transport).write(b"B")

    def get_buffer(self, sizehint: int) -> bytearray:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.received += nbytes
        self.began.set()
        self.at = time.perf_counter()


async def serve() -> None:
    """The service process; prints its port."""
    server = await asyncio.get_running_loop().create_server(ServiceSide, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


async def opened(
    port: int, connections: int, message: bytes, size: int, times: list[float], *, spread: float = 0, pause: float = 0
) -> list[Load]:
    """So many loops, begun over `spread` seconds, each with a pause after each round trip; all have had an answer, for
    a proxy still connects when its client has been connected. Those that wait very long are told on stderr.
    """
    loop = asyncio.get_running_loop()
    found: list[Load] = []
    while len(found) < connections:
        count = 1 if spread else min(_CONNECTS, connections - len(found))
        made = [
            loop.create_connection(lambda: Load(message, size, times, pause), "127.0.0.1", port) for _ in range(count)
        ]
        found += [protocol for _, protocol in await asyncio.gather(*made)]
        if spread:
            await asyncio.sleep(spread / connections)
    end = time.monotonic() + _PATIENCE
    while not all(each.answered for each in found):
        if time.monotonic() > end:
            missing = sum(not each.answered for each in found)
            print(f"{missing} of {connections} connections had no answer in {_PATIENCE:g} s", file=sys.stderr)
            break
        await asyncio.sleep(0.01)
    return found


async def close(loops: list[Load]) -> None:
    """End them. Raises SystemExit if one had ended by itself: then nothing else is true, either."""
    broken = sum(each.broken for each in loops)
    for each in loops:
        each.transport.abort()
    await asyncio.sleep(0.05)
    if broken:
        raise SystemExit(f"{broken} of {len(loops)} connections broke")


async def load(
    port: int, connections: int, seconds: float, message: bytes, size: int, *, spread: float = 0, pause: float = 0
) -> list[float]:
    """Round-trip times, in seconds, of a closed loop on so many connections; see `opened`."""
    times: list[float] = []
    loops = await opened(port, connections, message, size, times, spread=spread, pause=pause)
    await asyncio.sleep(seconds / 10)
    times.clear()
    await asyncio.sleep(seconds)
    result = list(times)
    await close(loops)
    return result


async def bulk(port: int, seconds: float, warm_up: float | None = None) -> tuple[float, int]:
    """Bytes a second from the service on one connection, and all bytes that came."""
    transport, drain = await asyncio.get_running_loop().create_connection(Drain, "127.0.0.1", port)
    async with asyncio.timeout(10):
        await drain.began.wait()
    await asyncio.sleep(seconds / 10 if warm_up is None else warm_up)
    before, begin = drain.received, drain.at
    await asyncio.sleep(seconds)
    rate = (drain.received - before) / max(drain.at - begin, 1e-9)
    transport.abort()
    await asyncio.sleep(0.05)
    return rate, drain.received
