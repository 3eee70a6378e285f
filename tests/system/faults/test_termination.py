"""Proxies that end TLS, as clients of TLS see them: their faults, how connections end, new certificates, restarts."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from raftchaos import limits
from raftchaos.clock import SystemClock
from raftchaos.errors import RaftchaosError
from raftchaos.identity.termination import check_certificate
from raftchaos.proxy.listeners import listen_address, open_listener
from raftchaos.proxy.process import ProxyProcess
from tests.unit.proxy.certificates import write_certificate
from tests.unit.proxy.engine_driver import complete
from tests.unit.proxy.proxy_world import Service, boot, read_response, request

LARGE = os.urandom(1) * 3_000_000
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass
class World:
    """A proxy process, and a certificate for its proxies."""

    process: ProxyProcess
    files: tuple[str, str]
    runs: int = 0
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    @property
    def authority(self) -> bytes:
        return Path(self.files[0]).read_bytes()

    async def connect(self, port: int, name: str = "shop.test") -> Streams:
        context = ssl.create_default_context(cafile=self.files[0])
        context.set_alpn_protocols(["h2", "http/1.1"])
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=name)
        self.writers.append(writer)
        return reader, writer

    async def until(self, condition: Callable[[], Awaitable[bool]]) -> None:
        """Wait for something of another process."""
        async with asyncio.timeout(20):
            while not await condition():  # noqa: ASYNC110 - it tells no events
                await asyncio.sleep(0.05)

    async def until_over(self) -> None:
        """Wait until no connection is open."""

        async def over() -> bool:
            return not (await self.process.stats())["shop"]["active"]

        await self.until(over)

    async def inject(self, kind: str, **parameters: Any) -> str:
        self.runs += 1
        run = f"task/0/0/node/{self.runs}"
        await self.process.inject(run, kind, "shop", complete(kind, {"probability": 1.0, **parameters}), 7, boot() + 60)
        return run

    async def proxy(self, sock: Any, port: int) -> int:
        address = listen_address(sock)
        await self.process.add_proxy("shop", address, f"127.0.0.1:{port}", sock, *self.files)
        return int(address.rpartition(":")[2])


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    process = ProxyProcess(tmp_path / "proxy.sock", SystemClock(), log_path=tmp_path / "proxy.log")
    await process.start()
    yield World(process, write_certificate(tmp_path))
    await process.stop()


@pytest.fixture
async def serve(world: World) -> AsyncIterator[Callable[[Callable[..., Awaitable[None]]], Awaitable[int]]]:
    """Starts a plain service with the proxy in front of it; the port of the proxy."""
    servers = []
    sock = open_listener("127.0.0.1:0")

    async def start(handler: Callable[..., Awaitable[None]]) -> int:
        servers.append(await asyncio.start_server(handler, "127.0.0.1", 0))
        return await world.proxy(sock, servers[0].sockets[0].getsockname()[1])

    yield start
    for writer in world.writers:
        writer.transport.abort()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
    await world.process.remove_proxy("shop")
    for server in servers:
        server.close()
    sock.close()


async def asked(streams: Streams) -> int:
    streams[1].write(request("GET", "/"))
    return (await read_response(streams[0]))[0]


async def test_http_error_latency_and_reset(world: World, serve: Any) -> None:
    port = await serve(Service().serve)
    streams = await world.connect(port)
    assert streams[1].get_extra_info("ssl_object").selected_alpn_protocol() == "http/1.1"
    assert await asked(streams) == 200
    run = await world.inject("http_error", statusCode=503)
    assert await asked(streams) == 503
    assert (await world.process.recover(run))["requests"] == 1
    run = await world.inject("latency", latencyMs=400)
    begin = time.monotonic()
    assert await asked(streams) == 200
    assert 0.4 <= time.monotonic() - begin < 1.2
    await world.process.recover(run)
    assert await asked(streams) == 200
    await world.inject("reset_peer")
    with pytest.raises(ConnectionResetError):
        await asyncio.wait_for(streams[0].readexactly(1), 5)


async def test_grpc(world: World) -> None:
    async def echo(asked: bytes, context: Any) -> bytes:
        return asked

    server = grpc.aio.server()
    handlers = {"Echo": grpc.unary_unary_rpc_method_handler(echo)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("shop.Cart", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    with open_listener("127.0.0.1:0") as sock:
        own = await world.proxy(sock, port)
        trusted = grpc.ssl_channel_credentials(world.authority)
        options = [("grpc.ssl_target_name_override", "shop.test")]
        async with grpc.aio.secure_channel(f"127.0.0.1:{own}", trusted, options) as channel:
            call = channel.unary_unary("/shop.Cart/Echo")
            assert await call(LARGE[:1_000_000], timeout=20) == LARGE[:1_000_000]
            run = await world.inject("grpc", status="UNAUTHENTICATED")
            assert await call(b"q", timeout=20).code() is grpc.StatusCode.UNAUTHENTICATED
            assert (await world.process.recover(run))["calls"] == 1
            assert await call(b"q", timeout=20) == b"q"
        await world.process.remove_proxy("shop")
    await server.stop(None)


@pytest.mark.parametrize("latency", [0, 300])
async def test_an_end_comes_after_all_that_was_sent(world: World, serve: Any, latency: int) -> None:
    got: asyncio.Queue[bytes] = asyncio.Queue()

    async def service(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if (await reader.readexactly(1)) == b"<":
            got.put_nowait(await reader.read(-1))
        else:
            writer.write(LARGE)
        writer.close()
        await writer.wait_closed()

    port = await serve(service)
    if latency:
        await world.inject("latency", latencyMs=latency, direction="both")
    reader, writer = await world.connect(port)
    writer.write(b">")
    assert await asyncio.wait_for(reader.read(-1), 20) == LARGE
    writer.close()
    reader, writer = await world.connect(port)
    writer.write(b"<" + LARGE)
    writer.close()
    assert await asyncio.wait_for(got.get(), 20) == LARGE

    await world.until_over()


async def test_a_client_that_reads_slowly_gets_all_though_the_service_has_closed(world: World, serve: Any) -> None:
    async def service(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(1)
        writer.write(LARGE[:400_000])  # that the proxy takes at once, and the client's socket does not
        writer.close()

    def read_slowly() -> int:
        raw = socket.socket()
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1000)
        raw.settimeout(20)
        raw.connect(("127.0.0.1", port))
        with ssl.create_default_context(cafile=world.files[0]).wrap_socket(raw, server_hostname="shop.test") as client:
            client.sendall(b">")
            received = len(client.recv(1))
            time.sleep(limits.PROXY_LINGER + 1)
            while part := client.recv(65536):
                received += len(part)
            return received

    port = await serve(service)
    assert await asyncio.to_thread(read_slowly) == 400_000


async def test_what_a_client_has_sent_arrives_though_it_has_gone_before_the_service_was_reached(world: World) -> None:
    def order(port: int) -> None:
        raw = socket.create_connection(("127.0.0.1", port), 20)
        with ssl.create_default_context(cafile=world.files[0]).wrap_socket(raw, server_hostname="shop.test") as client:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
            client.sendall(b"order")
            client.setblocking(False)
            with contextlib.suppress(ssl.SSLWantReadError):
                client.unwrap()
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 0)  # both in one segment
            client.settimeout(20)
            with contextlib.suppress(OSError):
                client.unwrap()

    def accepted() -> bytes:
        service.accept()[0].close()
        connection = service.accept()[0]  # its first attempt was dropped; the kernel makes another after a second
        with connection:
            connection.settimeout(20)
            return b"".join(iter(lambda: connection.recv(100), b""))

    with open_listener("127.0.0.1:0") as sock, socket.socket() as service:
        service.bind(("127.0.0.1", 0))
        service.listen(0)
        service.settimeout(20)
        with socket.create_connection(service.getsockname()):  # who fills the backlog
            await asyncio.to_thread(order, await world.proxy(sock, service.getsockname()[1]))
            assert await asyncio.to_thread(accepted) == b"order"
            await world.until_over()
        await world.process.remove_proxy("shop")


async def test_new_certificates_and_a_new_process(world: World, serve: Any, tmp_path: Path) -> None:
    port = await serve(Service().serve)
    old = await world.connect(port)
    (tmp_path / "tls.key").write_bytes(b"half")  # a renewal that is under way
    os.utime(tmp_path / "tls.key", ns=(1, 1))
    assert await asked(await world.connect(port)) == 200
    write_certificate(tmp_path, "new.test")
    assert await asked(await world.connect(port, "new.test")) == 200
    assert await asked(old) == 200
    pid = world.process.pid
    assert pid is not None
    os.kill(pid, 9)

    async def another() -> bool:
        return world.process.pid != pid and world.process.ready

    await world.until(another)
    assert await asked(await world.connect(port, "new.test")) == 200


async def test_who_speaks_no_tls_is_hung_up_on(world: World, serve: Any) -> None:
    port = await serve(Service().serve)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request("GET", "/"))
    world.writers.append(writer)
    with contextlib.suppress(ConnectionResetError):
        assert b"HTTP" not in await asyncio.wait_for(reader.read(-1), 10)
    assert await asked(await world.connect(port)) == 200


def test_certificates_are_checked(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    certificate, key = write_certificate(tmp_path / "a")
    other = write_certificate(tmp_path / "b")[1]
    check_certificate("", "")
    check_certificate(certificate, key)
    for files, said in (
        ((certificate, ""), "both or none"),
        (("tls.crt", key), "absolute"),
        ((str(tmp_path / "none"), key), "cannot be read"),
        ((certificate, other), "does not belong"),
        ((key, key), "cannot be used"),
        ((certificate, certificate), "holds secrets|cannot be used"),
    ):
        with pytest.raises(RaftchaosError, match=said):
            check_certificate(*files)
    Path(key).chmod(0o644)
    with pytest.raises(RaftchaosError, match="0644"):
        check_certificate(certificate, key)
