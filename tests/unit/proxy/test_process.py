"""The proxy process and its main: start, loss, adoption, and everything that is said between them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import socket
import stat
import struct
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from raftchaos import limits
from raftchaos.clock import SystemClock
from raftchaos.errors import FaultRefused, MachineUnusable, ProxyUnavailable, Refused, UsageError
from raftchaos.proxy import control
from raftchaos.proxy.client import ProxyClient
from raftchaos.proxy.faults import FAULTS
from raftchaos.proxy.process import ProxyProcess
from raftchaos.proxy.server import open_control_socket
from raftchaos.proxy.specs import FaultSpec
from tests.unit.proxy.proxy_world import World, boot, listener, read_response, request


async def until(condition, timeout: float = 15.0) -> None:
    async with asyncio.timeout(timeout):
        while not condition():  # noqa: ASYNC110 (what other processes do sets no event)
            await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def connected(path: Path) -> AsyncIterator[ProxyClient]:
    client = await ProxyClient.connect(path)
    try:
        yield client
    finally:
        client.close()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
async def test_a_lost_process_is_replaced_with_its_ports_and_faults(world: World, number: signal.Signals) -> None:
    run = await world.inject("http_error")
    assert (await world.get())[0] == 503
    before = (await world.process.effects())[run]["touched"]
    old = world.process.pid
    os.kill(old, number)
    await until(lambda: not world.process.ready)
    reader, writer = await world.connect()  # the port is still there: the connection waits for the next process
    await until(lambda: world.process.ready)
    assert world.process.pid != old
    writer.write(request("GET", "/"))
    assert (await read_response(reader))[0] == 503
    assert world.process.restarts == 1
    assert (await world.process.recover(run))["touched"] == before + 1
    assert (await world.get())[0] == 200


async def test_faults_of_a_lost_process_count_as_recovered(world: World) -> None:
    run = await world.inject("http_error")
    os.kill(world.process.pid, signal.SIGKILL)
    await until(lambda: not world.process.ready)
    await world.process.recover(run)
    await until(lambda: world.process.ready)
    assert (await world.get())[0] == 200


async def test_main_dies_and_the_next_one_adopts(socket_path: Path, tmp_path: Path) -> None:
    """The proxy goes on relaying, keeps its ports, and what the dead main wanted is off under the next."""
    first = ProxyProcess(socket_path, SystemClock(), log_path=tmp_path / "log")
    await first.start()
    async with World.open(first) as world:
        run = await world.inject("http_error")
        reader, writer = await world.connect()
        pid = first.pid
        await first.stop(shutdown=False)
        for sock in world.sockets.values():
            sock.close()
        writer.write(request("GET", "/"))
        assert (await read_response(reader))[0] == 503, "it goes on without main"
        world.process = second = ProxyProcess(socket_path, SystemClock(), log_path=tmp_path / "log")
        await second.start()
        assert second.pid == pid
        assert set(await second.proxies()) == {"web", "echo"}
        taken = await second.take_sockets()
        assert taken["web"].getsockname()[1] == world.ports["web"]
        for name, spec in (await second.proxies()).items():
            await second.add_proxy(name, spec.listen, spec.upstream, taken[name])
        writer.write(request("GET", "/"))
        assert (await read_response(reader))[0] == 200
        assert (await second.effects())[run]["touched"] == 1
        os.kill(pid, signal.SIGKILL)
        await until(lambda: not second.ready)
        await until(lambda: second.ready)
        assert (await world.get())[0] == 200, "the sockets that were taken over serve the next process"
        for sock in taken.values():
            sock.close()
        await second.stop()


async def test_a_process_of_another_release_makes_room(socket_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = ProxyProcess(socket_path, SystemClock())
    await first.start()
    async with World.open(first) as world:
        pid = first.pid
        await first.stop(shutdown=False)
        monkeypatch.setattr("raftchaos.proxy.process.VERSION", "999")
        world.process = second = ProxyProcess(socket_path, SystemClock())
        await second.start()
        assert second.pid != pid
        for name, sock in (await second.take_sockets()).items():
            server = world.upstreams[name]
            await second.add_proxy(name, f"127.0.0.1:{world.ports[name]}", server, sock)
            world.sockets[name].close()
            world.sockets[name] = sock  # type: ignore[assignment]
        assert (await world.get())[0] == 200
        await second.stop()


async def test_a_frozen_main_does_not_matter(world: World) -> None:
    """A controlling client that is stopped holds up neither traffic, nor other clients, nor the end of its lease."""
    code = (
        "import sys, time; from pathlib import Path; from raftchaos.proxy import control\n"
        "end = time.clock_gettime(time.CLOCK_BOOTTIME) + 1.0\n"
        "fault = dict(run='r', fault='http_error', proxy='web', parameters={}, seed=1, lease_end=end)\n"
        "control.call_all(Path(sys.argv[1]), [dict(do='hello', role='main'), dict(do='inject', **fault)])\n"
        "print('ready', flush=True); time.sleep(60)\n"
    )
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, world.process.socket_path, stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    assert await asyncio.wait_for(child.stdout.readline(), 10) == b"ready\n"
    child.send_signal(signal.SIGSTOP)
    try:
        assert (await world.get())[0] == 503
        begin = boot()
        while (await world.get())[0] == 503:
            assert boot() < begin + 3
            await asyncio.sleep(0.02)
        effects = await asyncio.to_thread(control.recover, Path(world.process.socket_path), ["r"])
        assert effects["r"]["touched"] >= 1
    finally:
        child.kill()
        await child.wait()


async def test_a_process_without_main_ends_after_its_time(socket_path: Path) -> None:
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "raftchaos.proxy", "--socket", socket_path, "--orphan-seconds", "0.5"
    )
    await until(socket_path.exists)
    async with connected(socket_path) as main:
        await main.hello()
        await asyncio.sleep(1)
        assert child.returncode is None, "a main is there"
    async with connected(socket_path) as reaper:
        await reaper.hello(role="reaper")
        await until(lambda: child.returncode is not None)
    assert child.returncode == 0
    with pytest.raises(ProxyUnavailable):
        await ProxyClient.connect(socket_path)


async def test_the_control_socket_is_private_and_taken_once(process: ProxyProcess, socket_path: Path) -> None:
    assert stat.S_IMODE(os.stat(socket_path).st_mode) == 0o600
    with pytest.raises(MachineUnusable, match="another proxy process answers"):
        open_control_socket(socket_path)
    code = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "raftchaos.proxy", "--socket", socket_path, stderr=subprocess.DEVNULL
    )
    assert await asyncio.wait_for(code.wait(), 20) == MachineUnusable.spec.exit_code
    assert process.ready


def test_a_stale_socket_is_replaced_and_a_foreign_file_is_not(tmp_path: Path) -> None:
    path = tmp_path / "proxy.sock"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    open_control_socket(path).close()
    path.unlink()
    path.write_text("mine")
    with pytest.raises(MachineUnusable, match="is no socket"):
        open_control_socket(path)
    assert path.read_text() == "mine"


def test_a_long_data_directory_gets_a_short_socket(tmp_path: Path) -> None:
    assert control.control_socket_path(tmp_path, "proxy.sock") == tmp_path / "proxy.sock"
    deep = tmp_path / ("x" * 90)
    path = control.control_socket_path(deep, "proxy.sock")
    try:
        assert len(str(path)) <= 100
        assert path == control.control_socket_path(deep, "proxy.sock")
        assert path != control.control_socket_path(deep / "y", "proxy.sock")
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    finally:
        path.parent.rmdir()
        control.control_socket_path(deep / "y", "proxy.sock").parent.rmdir()


GARBAGE = {
    "a huge frame": struct.pack(">I", 1 << 31),
    "an empty frame": struct.pack(">I", 0),
    "no msgpack": struct.pack(">I", 4) + b"\xc1\xc1\xc1\xc1",
    "no map": struct.pack(">I", 1) + b"\x01",
    "a pickle": b"\x80\x04\x95" + b"x" * 100,
    "half a frame": struct.pack(">I", 100) + b"x",
    "no number": control.encode({"do": "hello"}),
    "depth": struct.pack(">I", 100_000) + b"\x91" * 100_000,
    "random": random.Random(1).randbytes(5000),
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)
async def test_garbage_on_the_control_socket_closes_that_connection_only(process: ProxyProcess, garbage: bytes) -> None:
    reader, writer = await asyncio.open_unix_connection(process.socket_path)
    writer.write(garbage)
    writer.write_eof()
    assert await asyncio.wait_for(reader.read(), limits.CONTROL_CALL + 5) == b""
    writer.close()
    assert await process.effects() == {}
    assert process.restarts == 0


async def test_requests_that_make_no_sense_are_declined(world: World, socket_path: Path) -> None:
    async with connected(socket_path) as client:
        spec = FaultSpec("r", "latency", "web", {}, 1, boot() + 60)
        bad = [
            ("fly", {}, "nothing that a proxy process does"),
            ("lease", {"end": "soon"}, "end is 'soon'"),
            ("lease", {"end": float("nan")}, "end is nan"),
            ("lease", {"end": 1.0, "lease": "cat"}, "lease is 'cat', expected one of node, main"),
            ("recover", {}, "run is None"),
            ("set_faults", {"faults": 1}, "no list of maps"),
            ("set_faults", {"faults": [{}]}, "run is None"),
            ("inject", {**spec.fields(), "seed": "x"}, "seed is 'x'"),
            ("inject", {**spec.fields(), "fault": "meteor"}, "no fault of the proxy"),
            ("inject", {**spec.fields(), "proxy": "nowhere"}, "no proxy 'nowhere'"),
            ("inject", {**spec.fields(), "parameters": {"latencyMs": -5}}, "latencyMs is -5"),
            ("inject", {**spec.fields(), "lease_end": 1.0}, "lease ended"),
            ("add_proxy", {"name": "x", "listen": "127.0.0.1:1", "upstream": "127.0.0.1:2"}, "0 file descriptors"),
        ]
        for do, fields, message in bad:
            with pytest.raises(Refused, match=message):
                await client.call(do, **fields)
        with socket.socket() as unbound, pytest.raises(Refused, match="no listening TCP socket"):
            await client.call_with_fds(
                "add_proxy", {"name": "x", "listen": "127.0.0.1:1", "upstream": "127.0.0.1:2"}, [unbound.fileno()]
            )
        with pytest.raises(Refused, match="other values"), listener() as sock:
            await world.process.add_proxy("web", "127.0.0.1:1", "127.0.0.1:2", sock)
        await client.inject(spec)
        await client.inject(spec)
        with pytest.raises(FaultRefused, match="with other values"):
            await client.inject(FaultSpec("r", "latency", "web", {"latencyMs": 5}, 1, boot() + 60))
        assert (await client.hello())["faults"] == ["r"]
    assert (await world.get())[0] == 200


async def test_a_recovery_that_overtakes_its_injection_wins(world: World, socket_path: Path) -> None:
    assert control.recover(socket_path, ["late"]) == {"late": {}}
    with pytest.raises(FaultRefused, match="is over"):
        await world.process.inject("late", "http_error", "web", {}, 1, boot() + 60)


async def test_the_whole_table_can_be_replaced(world: World, socket_path: Path) -> None:
    def spec(run: str, **fields: object) -> FaultSpec:
        values = {"fault": "http_error", "proxy": "web", "parameters": {}, "seed": 1, "lease_end": boot() + 60}
        return FaultSpec(run, **{**values, **fields})  # type: ignore[arg-type]

    async with connected(socket_path) as client:
        kept = spec("a")
        refused = await client.set_faults([kept, spec("b", proxy="echo"), spec("c", fault="?")])
        assert refused == {"c": f"'?' is no fault of the proxy, expected one of {', '.join(sorted(FAULTS))}"}
        assert (await world.get())[0] == 503
        assert await client.set_faults([kept]) == {}
        assert (await world.get())[0] == 503
        assert (await client.effects())["a"]["touched"] == 2, "what stays keeps its counters"
        assert "lease ended" in (await client.set_faults([spec("d", lease_end=boot() - 1)]))["d"]
        assert (await client.hello())["faults"] == []
        assert await client.set_faults([spec("a")]) == {"a": "a is over; a run does not begin twice"}
        await client.forget("a")
        assert "a" not in await client.effects()


def test_the_blocking_client_says_when_nobody_listens(tmp_path: Path) -> None:
    with pytest.raises(ProxyUnavailable) as caught:
        control.recover(tmp_path / "none.sock", ["r"])
    assert caught.value.details["gone"] is True


def test_the_reaper_s_part_imports_nothing_heavy() -> None:
    code = "import sys, raftchaos.proxy.control; print(*[m for m in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"asyncio", "httptools", "uvloop", "pydantic", "ssl"} & set(loaded)


async def test_a_service_that_is_down_resets_the_client(world: World) -> None:
    with listener() as sock, listener() as unused:
        port = unused.getsockname()[1]
        unused.close()
        await world.process.add_proxy("down", f"127.0.0.1:{sock.getsockname()[1]}", f"127.0.0.1:{port}", sock)
        world.ports["down"] = sock.getsockname()[1]
        with pytest.raises(ConnectionResetError):
            await world.get(name="down")
        assert (await world.process.stats())["down"]["upstream_errors"] == 1
        await world.process.remove_proxy("down")
        await world.process.remove_proxy("down")
        assert "down" not in await world.process.stats()


async def test_a_client_that_does_not_read_holds_only_itself(world: World) -> None:
    """The proxy buffers a bounded amount for it, and goes on with others."""
    reader, writer = await world.connect("echo")
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    chunk = b"x" * 65536
    sent = 0
    with contextlib.suppress(TimeoutError):
        while sent < 256 * 1024 * 1024:
            writer.write(chunk)
            async with asyncio.timeout(1):
                await writer.drain()
            sent += len(chunk)
    assert sent < 128 * 1024 * 1024
    assert (await world.get())[0] == 200
    assert (await world.process.figures())["rss_bytes"] < 200 * 1024 * 1024
    writer.transport.abort()
    with contextlib.suppress(ConnectionError):
        await reader.read()


async def test_a_client_that_does_not_read_its_errors_is_held_back(world: World) -> None:
    await world.inject("http_error", body="e" * 4000)
    reader, writer = await world.connect()
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    sent = 0
    with contextlib.suppress(TimeoutError):
        while sent < 300_000:
            writer.write(request("GET", "/") * 100)
            async with asyncio.timeout(1):
                await writer.drain()
            sent += 100
    assert sent < 300_000
    assert (await world.process.figures())["rss_bytes"] < 200 * 1024 * 1024
    writer.transport.abort()
    with contextlib.suppress(ConnectionError):
        await reader.read()


async def test_a_bad_address_is_refused(world: World) -> None:
    with listener() as sock:
        for listen, upstream in (("nowhere", "127.0.0.1:1"), ("127.0.0.1:1", "127.0.0.1:0"), ("a:1", "b:99999")):
            with pytest.raises(UsageError):
                await world.process.add_proxy("bad", listen, upstream, sock)
