"""Runs a peer as this process."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib.util
import logging
import signal
import sys

from raftchaos.agent.data_directory import DataDirectory
from raftchaos.clock import SystemClock
from raftchaos.config import PeerSettings
from raftchaos.core.machine import ReplicatedState
from raftchaos.errors import MachineUnusable, RaftchaosError, Refused
from raftchaos.peer.assembly import Assembly
from raftchaos.peer.membership import open_replica

LOGGER = logging.getLogger(__name__)


def run_peer(settings: PeerSettings) -> int:
    """Run a peer until it is told to end (SIGTERM, SIGINT). Returns 0; raises RaftchaosError with what ended it."""
    logging.basicConfig(
        level=settings.log_level.upper(),
        stream=sys.stderr,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    if settings.insecure:
        LOGGER.warning("--insecure: whoever reaches %s or %s commands this peer", settings.listen, settings.raft_listen)
    with asyncio.Runner(loop_factory=_event_loop) as runner:
        runner.run(_run(settings))
    return 0


def _event_loop() -> asyncio.AbstractEventLoop:
    """uvloop's where it can be had."""
    if importlib.util.find_spec("uvloop") is None:
        return asyncio.new_event_loop()
    import uvloop

    return uvloop.new_event_loop()


async def _run(settings: PeerSettings) -> None:
    clock = SystemClock()
    directory = DataDirectory(settings.data_dir)
    try:
        identity = directory.begin(settings.name, clock)
        machine = ReplicatedState()
        replica = await open_replica(settings, directory, machine)
        assembly = Assembly(settings, identity, replica, machine, clock)
        await _live(settings, assembly)
    finally:
        directory.close()


async def _live(settings: PeerSettings, assembly: Assembly) -> None:
    graceful = False
    try:
        await assembly.start()
        gc.collect()
        gc.freeze()  # what is there now stays; it need not be looked at again
        LOGGER.info("%s serves its API at %s and Raft at %s", settings.name, settings.listen, settings.raft_listen)
        running = asyncio.create_task(assembly.run())
        try:
            await _until_end(assembly, running)
        finally:
            if not running.done():
                with contextlib.suppress(TimeoutError):
                    await assembly.stop()
                graceful = True
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await _first_error(running)
    finally:
        await assembly.close(graceful=graceful)
    LOGGER.info("%s has ended", settings.name)


async def _until_end(assembly: Assembly, running: asyncio.Task[None]) -> None:
    """Returns when somebody ends the peer. Raises what else ends it."""
    wake, asked = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def ask(number: signal.Signals) -> None:
        LOGGER.info("%s: ending", number.name)
        asked.set()
        wake.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ask, number)
    assembly.replica.on_change(wake.set)
    assembly.replica.on_applied(wake.set)
    running.add_done_callback(lambda _: wake.set())
    while not asked.is_set():
        await wake.wait()
        wake.clear()
        if running.done():
            await _first_error(running)
        _check(assembly)


def _check(assembly: Assembly) -> None:
    """Raises what this peer cannot go on with."""
    replica = assembly.replica
    if assembly.machine.incompatible:
        raise MachineUnusable(assembly.machine.incompatible, hint="upgrade this peer to the release of the others")
    if replica.removed:
        raise Refused(
            f"{replica.name} was removed from the cluster",
            hint="to let it join again, give it an empty data directory and --join",
        )
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
