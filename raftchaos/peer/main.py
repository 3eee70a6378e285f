"""Runs a peer as this process."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib.util
import logging
import os
import signal
import sys
from collections.abc import Coroutine
from typing import Any, TypeVar

from raftchaos.agent.data_directory import DataDirectory
from raftchaos.clock import SystemClock
from raftchaos.config import PeerSettings
from raftchaos.core.machine import ReplicatedState
from raftchaos.errors import MachineUnusable, RaftchaosError
from raftchaos.faults.plugins import packages
from raftchaos.peer.assembly import Assembly
from raftchaos.peer.identity import PeerIdentity
from raftchaos.peer.joining import VARIABLE
from raftchaos.peer.membership import open_replica, removed

LOGGER = logging.getLogger(__name__)

T = TypeVar("T")


def run_peer(settings: PeerSettings) -> int:
    """Run a peer until it is told to end (SIGTERM, SIGINT). Returns 0; raises RaftchaosError with what ended it."""
    offered = os.environ.pop(VARIABLE, "")  # first of all: no child process inherits it
    logging.basicConfig(
        level=settings.log_level.upper(),
        stream=sys.stderr,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    packages.load()
    if settings.insecure:
        LOGGER.warning("--insecure: whoever reaches %s or %s commands this peer", settings.listen, settings.raft_listen)
    with asyncio.Runner(loop_factory=_event_loop) as runner:
        runner.run(_run(settings, offered))
    return 0


def _event_loop() -> asyncio.AbstractEventLoop:
    """uvloop's where it can be had."""
    if importlib.util.find_spec("uvloop") is None:
        return asyncio.new_event_loop()
    import uvloop

    return uvloop.new_event_loop()


class _Asked(Exception):
    """Somebody ends the peer before it has started."""


async def _run(settings: PeerSettings, offered: str) -> None:
    asked = asyncio.Event()
    _listen_to_signals(asked)
    clock = SystemClock()
    directory = DataDirectory(settings.data_dir)
    try:
        identity = directory.begin(settings.name, clock)
        keys = None
        if not settings.insecure:
            keys = PeerIdentity(settings, directory.path, identity.directory, clock, offered)
        machine = ReplicatedState()
        replica = await _unless(asked, open_replica(settings, directory, machine, keys))
        await _live(settings, Assembly(settings, directory, replica, machine, clock, keys), asked)
    except _Asked:
        LOGGER.info("%s has ended before it served anybody", settings.name)
    finally:
        directory.close()


def _listen_to_signals(asked: asyncio.Event) -> None:
    def ask(number: signal.Signals) -> None:
        LOGGER.info("%s: ending", number.name)
        asked.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ask, number)


async def _unless(asked: asyncio.Event, work: Coroutine[Any, Any, T]) -> T:
    """What `work` returns. Gives it up and raises _Asked once somebody ends the peer."""
    working, asking = asyncio.create_task(work), asyncio.create_task(asked.wait())
    try:
        await asyncio.wait((working, asking), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise _Asked
        return working.result()
    finally:
        working.cancel()
        asking.cancel()
        await asyncio.wait((working, asking))


async def _live(settings: PeerSettings, assembly: Assembly, asked: asyncio.Event) -> None:
    try:
        await _unless(asked, assembly.start())
    except BaseException:
        await assembly.close(with_proxies=assembly.started_proxies)
        raise
    gc.collect()
    gc.freeze()  # what is there now stays; it need not be looked at again
    LOGGER.info("%s serves its API at %s and Raft at %s", settings.name, settings.listen, settings.raft_listen)
    running = asyncio.create_task(assembly.run())
    crashed = False
    try:
        await _until_end(assembly, running, asked)
    except RaftchaosError:
        raise
    except BaseException:
        crashed = True  # as after a SIGKILL: the reaper takes back what is on, and the proxies go on relaying
        raise
    finally:
        try:
            await _end(assembly, running)
        finally:
            await assembly.close(with_proxies=not crashed)
    LOGGER.info("%s has ended", settings.name)


async def _end(assembly: Assembly, running: asyncio.Task[None]) -> None:
    if not running.done():
        with contextlib.suppress(TimeoutError, RaftchaosError):
            await assembly.stop()
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError, RaftchaosError):  # it ends for another reason, which is told
            await _first_error(running)


async def _until_end(assembly: Assembly, running: asyncio.Task[None], asked: asyncio.Event) -> None:
    """Returns when somebody ends the peer. Raises what else ends it."""
    wake = asyncio.Event()
    assembly.replica.on_change(wake.set)
    assembly.replica.on_applied(wake.set)
    running.add_done_callback(lambda _: wake.set())
    asking = asyncio.create_task(asked.wait())
    asking.add_done_callback(lambda _: wake.set())
    try:
        while not asked.is_set():
            await wake.wait()
            wake.clear()
            _check(assembly)  # first: whatever else went wrong then went wrong because of it
            if running.done():
                await _first_error(running)
    finally:
        asking.cancel()


def _check(assembly: Assembly) -> None:
    """Raises what this peer cannot go on with."""
    replica = assembly.replica
    if assembly.machine.incompatible:
        raise MachineUnusable(assembly.machine.incompatible, hint="upgrade this peer to the release of the others")
    if assembly.removed:
        raise removed(replica.name)
    if replica.stopped.is_set():
        if isinstance(replica.failure, RaftchaosError):
            raise replica.failure
        raise MachineUnusable(f"the replica of {replica.name} has stopped: {replica.failure}") from replica.failure


async def _first_error(running: asyncio.Task[None]) -> None:
    """Waits for the task; raises the first error within a group of errors."""
    try:
        await running
    except BaseExceptionGroup as group:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        raise error from group
