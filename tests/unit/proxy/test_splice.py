"""Bulk that the kernel moves: it begins, ends and breaks as bytes do that we relay, and a fault catches it."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import random
import socket
import time
from collections.abc import AsyncIterator, Callable

import pytest

from raftchaos import limits
from raftchaos.proxy.commands import DOWNSTREAM, UPSTREAM
from raftchaos.proxy.process import ProxyProcess
from tests.unit.proxy.engine_driver import Driver, fault
from tests.unit.proxy.proxy_world import boot, listener, request

BLOCK = random.Random(1).randbytes(1 << 20)
LONG = 200  # MiB
PATIENCE = 30.0


def sha256(blocks: int) -> str:
    digest = hashlib.sha256()
    for _ in range(blocks):
        digest.update(BLOCK)
    return digest.hexdigest()


def test_the_bytes_of_a_body_may_pass_unseen_but_for_its_last() -> None:
    driver = Driver()
    driver.client(request("PUT", "/", Content_Length="1000"))
    assert driver.engine.untouched(UPSTREAM) == 999
    assert driver.engine.untouched(DOWNSTREAM) == 0, "nothing is known of the response yet"
    driver.engine.passed(UPSTREAM, 900)
    driver.client(b"x" * 100)
    driver.service(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n")
    assert driver.engine.untouched(UPSTREAM) == 0, "the next request is looked at"
    driver.engine.passed(DOWNSTREAM, 49)
    driver.service(b"y")
    driver.run(driver.engine.set_faults([fault("http_error", statusCode=503)], driver.now))
    driver.client(request("GET", "/"))
    assert b" 503 " in driver.sent[DOWNSTREAM], "a fault finds the next request"


def test_what_is_followed_or_under_a_fault_does_not_pass_unseen() -> None:
    driver = Driver()
    driver.client(request("GET", "/"))
    driver.service(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffff\r\nxx")
    assert driver.engine.untouched(DOWNSTREAM) == 0
    other = Driver()
    other.service(b"\x00" * 100)
    assert other.engine.untouched(DOWNSTREAM) > limits.PROXY_SPLICE_LEAST, "it is not HTTP"
    other.run(other.engine.set_faults([fault("bandwidth", kilobytesPerSecond=1)], other.now))
    assert other.engine.untouched(DOWNSTREAM) == 0
    other.run(other.engine.set_faults([], other.now))
    assert other.engine.untouched(DOWNSTREAM) > 0


class Bulk:
    """A service: answers GET /N with N MiB and PUT with the hash of the body; keeps connections open."""

    def __init__(self) -> None:
        self.writers: list[asyncio.StreamWriter] = []
        self.broken = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        try:
            while (asked := await read_head(reader)) is not None:
                method, target, length = asked
                if method == "PUT":
                    text = (await digest_of(reader, length)).encode()
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(text), text))
                    continue
                blocks = int(target[1:])
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (blocks << 20))
                for _ in range(blocks):
                    writer.write(BLOCK)
                    await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            self.broken.set()
        finally:
            writer.close()


async def read_head(reader: asyncio.StreamReader) -> tuple[str, str, int] | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise
        return None
    line, *fields = head.strip().lower().split("\r\n")
    length = dict(each.split(": ") for each in fields).get("content-length", "0")
    return line.split(" ")[0].upper(), line.split(" ")[1], int(length)


async def digest_of(
    reader: asyncio.StreamReader, length: int, each: Callable[[int], object] = lambda left: None
) -> str:
    digest = hashlib.sha256()
    while length:
        data = await reader.read(min(length, 1 << 20))
        if not data:
            raise ConnectionResetError(f"it ended {length} bytes too early")
        digest.update(data)
        length -= len(data)
        each(length)
    return digest.hexdigest()


class Stage:
    """A bulk service behind a proxy process."""

    def __init__(self, process: ProxyProcess, service: Bulk, port: int) -> None:
        self.process, self.service, self.port = process, service, port
        self.writers: list[asyncio.StreamWriter] = []

    def pipes(self) -> int:
        """How many ends of pipes the process has."""
        folder, found = f"/proc/{self.process.pid}/fd", 0
        for fd in os.listdir(folder):
            with contextlib.suppress(FileNotFoundError):
                found += os.readlink(f"{folder}/{fd}").startswith("pipe:")
        return found

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not condition():  # noqa: ASYNC110 - it is a fact of another process
                await asyncio.sleep(0.005)

    async def counted(self) -> int:
        """Bytes from the service, as the proxy counts them."""
        return int((await self.process.stats())["bulk"]["bytes_down"])

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.writers.append(writer)
        return reader, writer


@pytest.fixture
async def stage(process: ProxyProcess) -> AsyncIterator[Stage]:
    service = Bulk()
    server = await asyncio.start_server(service.serve, "127.0.0.1", 0)
    with listener() as sock:
        upstream, own = (each.getsockname()[1] for each in (server.sockets[0], sock))
        await process.add_proxy("bulk", f"127.0.0.1:{own}", f"127.0.0.1:{upstream}", sock)
        opened = Stage(process, service, own)
        yield opened
        await process.remove_proxy("bulk")
    for writer in [*opened.writers, *service.writers]:
        writer.transport.abort()
    server.close()


async def test_a_long_response_comes_whole_and_the_next_request_is_known(stage: Stage) -> None:
    before, seen = stage.pipes(), 0

    def look(left: int) -> None:
        nonlocal seen
        seen = max(seen, stage.pipes() - before)

    async with asyncio.timeout(PATIENCE):
        reader, writer = await stage.connect()
        writer.write(request("GET", f"/{LONG}"))
        head = await reader.readuntil(b"\r\n\r\n")
        assert await digest_of(reader, LONG << 20, look) == sha256(LONG)
        assert seen >= 2, "the kernel moved it"
        assert await stage.counted() == len(head) + (LONG << 20)
        await stage.process.inject("run", "http_error", "bulk", {"statusCode": 503}, 1, boot() + 60)
        writer.write(request("GET", "/1"))
        assert b" 503 " in await reader.readuntil(b"\r\n\r\n")
        writer.close()
    await stage.until(lambda: stage.pipes() == before)


async def test_an_upload_to_a_slow_service_comes_whole_and_holds_little(stage: Stage) -> None:
    """Both ends pause: what is on its way stands in the kernel, and the process does not grow."""
    blocks = 100
    async with asyncio.timeout(PATIENCE):
        small = (await stage.process.figures())["rss_bytes"]
        reader, writer = await stage.connect()
        writer.write(request("PUT", "/", Content_Length=str(blocks << 20)))
        for number in range(blocks):
            writer.write(BLOCK)
            await writer.drain()
            if number % 25 == 20:
                await asyncio.sleep(0.1)
        head = await reader.readuntil(b"\r\n\r\n")
        assert b" 200 " in head
        assert (await reader.readexactly(64)).decode() == sha256(blocks)
        assert (await stage.process.figures())["rss_bytes"] < small + 30 * 1024 * 1024
        writer.close()


async def test_a_slow_reader_gets_all_and_the_process_holds_little(stage: Stage) -> None:
    blocks = 60
    async with asyncio.timeout(PATIENCE):
        reader, writer = await stage.connect()
        small = (await stage.process.figures())["rss_bytes"]
        writer.write(request("GET", f"/{blocks}"))
        await reader.readuntil(b"\r\n\r\n")
        counted = 0
        while not counted or counted != await stage.counted():  # until everything is full
            counted = await stage.counted()
            await asyncio.sleep(0.1)
        assert counted < blocks << 20
        assert (await stage.process.figures())["rss_bytes"] < small + 10 * 1024 * 1024
        assert await digest_of(reader, blocks << 20) == sha256(blocks)
        writer.close()


async def test_a_fault_that_begins_and_ends_amid_bulk_changes_no_byte(stage: Stage) -> None:
    before = stage.pipes()
    async with asyncio.timeout(PATIENCE):
        reader, writer = await stage.connect()
        writer.write(request("GET", "/400"))
        await reader.readuntil(b"\r\n\r\n")
        reading = asyncio.create_task(digest_of(reader, 400 << 20))
        await stage.until(lambda: stage.pipes() > before)
        await stage.process.inject("run", "latency", "bulk", {"latencyMs": 20}, 1, boot() + 60)
        assert stage.pipes() == before, "it was caught at once"
        assert not reading.done()
        effect = await stage.process.recover("run")
        assert await reading == sha256(400)
        assert effect["connections"] == 1
        writer.close()


async def test_a_reset_amid_bulk_bites_at_once(stage: Stage) -> None:
    before = stage.pipes()
    async with asyncio.timeout(PATIENCE):
        reader, writer = await stage.connect()
        writer.write(request("GET", "/100000"))
        reading = asyncio.create_task(digest_of(reader, 100000 << 20))
        await stage.until(lambda: stage.pipes() > before)
        began = time.monotonic()
        await stage.process.inject("run", "reset_peer", "bulk", {}, 1, boot() + 60)
        with pytest.raises(ConnectionResetError):
            await reading
        assert time.monotonic() - began < 0.3
        await stage.service.broken.wait()
        assert stage.pipes() == before
        writer.close()


async def test_a_bandwidth_limit_bites_amid_bulk(stage: Stage) -> None:
    before = stage.pipes()
    async with asyncio.timeout(PATIENCE):
        reader, writer = await stage.connect()
        writer.write(request("GET", "/100000"))
        reading = asyncio.create_task(digest_of(reader, 100000 << 20))
        await stage.until(lambda: stage.pipes() > before)
        await stage.process.inject("run", "bandwidth", "bulk", {"kilobytesPerSecond": 100}, 1, boot() + 60)
        counted = await stage.counted()
        await asyncio.sleep(0.3)
        assert await stage.counted() - counted < limits.PROXY_BUFFER * 3, "what is taken from the service"
        reading.cancel()
        writer.transport.abort()
        await stage.service.broken.wait()


@pytest.mark.parametrize("who", ["client", "service"])
async def test_a_connection_that_breaks_amid_bulk_breaks_on_the_other_side(stage: Stage, who: str) -> None:
    before = stage.pipes()
    async with asyncio.timeout(PATIENCE):
        reader, writer = await stage.connect()
        writer.write(request("GET", "/100000"))
        reading = asyncio.create_task(digest_of(reader, 100000 << 20))
        await stage.until(lambda: stage.pipes() > before)
        breaking = writer if who == "client" else stage.service.writers[0]
        sock = breaking.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        breaking.transport.abort()
        if who == "client":
            await stage.service.broken.wait()
            reading.cancel()
        else:
            with pytest.raises(ConnectionResetError):
                await reading
        await stage.until(lambda: stage.pipes() == before)
        writer.close()


async def test_an_end_amid_bulk_is_passed_on_and_the_other_half_stays_open(process: ProxyProcess) -> None:
    """Bytes of no known protocol, and a service that answers only when it has read all."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(hashlib.sha256(await reader.read()).hexdigest().encode())
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server, asyncio.timeout(PATIENCE):
        with listener() as sock:
            upstream, own = (each.getsockname()[1] for each in (server.sockets[0], sock))
            await process.add_proxy("raw", f"127.0.0.1:{own}", f"127.0.0.1:{upstream}", sock)
            reader, writer = await asyncio.open_connection("127.0.0.1", own)
            data = b"\x00" + BLOCK * 50
            writer.write(data)
            writer.write_eof()
            assert (await reader.read()).decode() == hashlib.sha256(data).hexdigest()
            assert (await process.stats())["raw"]["bytes_up"] == len(data)
            writer.close()
            await process.remove_proxy("raw")
