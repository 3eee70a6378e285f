"""The executor and the undo plans against the real proxy process: what is measured is what a client sees."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from raftchaos.agent.proxies import NodeProxies, split_address
from raftchaos.clock import SystemClock
from raftchaos.faults import build_faults
from raftchaos.faults.base import Host
from raftchaos.faults.by_hand import Recovered, recover_all
from raftchaos.faults.executor import FaultExecutor
from raftchaos.faults.undo import UndoJournal
from raftchaos.faults.undo_plan import Undoer
from raftchaos.model.faults import FAULTS
from raftchaos.model.resolved import ResolvedFault, ResolvedStep
from raftchaos.proxy.control import control_socket_path
from raftchaos.proxy.process import ProxyProcess

CLOCK = SystemClock()
RUN = "t/1/0/a/1"


@dataclass
class Standing:
    standing: bool = True
    lease_end: float = float("inf")


class Stage:
    """An HTTP service, a real proxy process in front of it, and an executor."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.proxy = ProxyProcess(control_socket_path(data_dir, "proxy"), CLOCK)
        self.proxies = NodeProxies(data_dir, control=self.proxy)
        host = Host(proxy=self.proxy, data_dir=data_dir)
        faults = build_faults(host, ("http_error", "latency", "reset_peer"))
        self.executor = FaultExecutor(
            host, node="a", clock=CLOCK, reaper=Standing(), proxies=self.proxies.names, faults=faults
        )
        self.address = ("", 0)

    async def open(self) -> None:
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self.server.sockets[0].getsockname()[1]
        await self.proxy.start()
        await self.proxies.open()
        self.address = split_address((await self.proxies.add("web", "127.0.0.1:0", f"127.0.0.1:{port}")).listen)
        self.proxy.set_lease(CLOCK.boot() + 600)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
            await writer.drain()
        writer.close()

    async def get(self) -> tuple[str, float]:
        """The status that a client gets ("reset" for a reset), and how long it took."""
        began = CLOCK.boot()
        try:
            reader, writer = await asyncio.open_connection(*self.address)
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            answer = await reader.read()
            writer.close()
        except ConnectionResetError:
            return "reset", CLOCK.boot() - began
        return answer[9:12].decode(), CLOCK.boot() - began

    async def start(self, fault: str, **parameters: object) -> None:
        complete = FAULTS[fault].parameters.model_validate(parameters).complete()
        step = ResolvedStep("s", fault, (ResolvedFault(fault, complete),), 60.0)
        await self.executor.start(RUN, step, await self.executor.resolve(step), 7, lambda: CLOCK.boot() + 600)

    async def close(self) -> None:
        await self.proxy.stop()
        self.proxies.close()
        self.server.close()
        self.executor.close()


@pytest.fixture
async def stage(data_dir: Path) -> AsyncIterator[Stage]:
    made = Stage(data_dir)
    await made.open()
    yield made
    await made.close()


FAULTY = [("latency", {"latencyMs": 300.0}), ("http_error", {"statusCode": 503}), ("reset_peer", {})]


def bitten(fault: str, seen: tuple[str, float]) -> bool:
    status, took = seen
    return {"latency": status == "200" and took >= 0.3, "http_error": status == "503", "reset_peer": status == "reset"}[
        fault
    ]


@pytest.mark.parametrize(("fault", "parameters"), FAULTY)
async def test_a_fault_is_felt_counted_and_taken_back(stage: Stage, fault: str, parameters: dict[str, object]) -> None:
    assert (await stage.get())[0] == "200"
    await stage.start(fault, **parameters)
    assert bitten(fault, await stage.get())
    recovery = await stage.executor.recover(RUN)
    assert recovery.ok
    assert recovery.effects[0]["touched"] >= 1
    assert not bitten(fault, await stage.get())


@pytest.mark.parametrize(("fault", "parameters"), FAULTY)
async def test_an_undo_plan_takes_it_back_without_main(stage: Stage, fault: str, parameters: dict[str, object]) -> None:
    await stage.start(fault, **parameters)
    assert bitten(fault, await stage.get())
    journal = UndoJournal(stage.data_dir)
    with journal.lock(5):
        assert await asyncio.to_thread(Undoer(journal, "reaper").undo_open) == {}
    journal.close()
    assert not bitten(fault, await stage.get())
    assert stage.executor.undone()[RUN][0]["touched"] >= 1
    assert (await stage.executor.recover(RUN)).effects[0]["touched"] >= 1


async def test_what_is_on_is_taken_back_by_hand(stage: Stage) -> None:
    await stage.start("http_error", statusCode=503)
    assert (await stage.get())[0] == "503"
    assert await asyncio.to_thread(recover_all, stage.data_dir) == Recovered((RUN,), {})
    assert (await stage.get())[0] == "200"
    assert stage.executor.undone()[RUN][0]["touched"] >= 1  # main notices
    assert await asyncio.to_thread(recover_all, stage.data_dir) == Recovered((), {})
