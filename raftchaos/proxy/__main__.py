"""`python -m raftchaos.proxy`: the data plane as a process. Started by the peer; not meant to be started by hand."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import importlib.util
import json
import logging
import os
import resource
import signal
import sys
from pathlib import Path

from raftchaos import limits
from raftchaos.clock import SystemClock
from raftchaos.errors import RaftchaosError
from raftchaos.proxy.dataplane import DataPlane
from raftchaos.proxy.guard import guard_reaper
from raftchaos.proxy.server import ControlServer


def main() -> int:
    """Run until told to stop; the exit code."""
    parser = argparse.ArgumentParser(prog="raftchaos.proxy", description="the data plane of a raftchaos peer")
    parser.add_argument("--socket", required=True, type=Path, help="path of the control socket")
    parser.add_argument(
        "--orphan-seconds", type=float, default=limits.PROXY_ORPHAN, help="end after this long without a main"
    )
    parser.add_argument("--reaper-command", default="[]", help="what starts a reaper, as a JSON list")
    parser.add_argument("--reaper-lock", type=Path, help="the file that a standing reaper has locked")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    prepare_process()
    try:
        with asyncio.Runner(loop_factory=event_loop) as runner:
            runner.run(serve(arguments))
    except RaftchaosError as error:
        logging.getLogger("raftchaos.proxy").error("%s", error)
        return error.spec.exit_code
    return 0


async def serve(arguments: argparse.Namespace) -> None:
    """The control server and the data plane, until SIGTERM, `shutdown`, or nobody has been its main for long."""
    plane = DataPlane(SystemClock())
    server = ControlServer(plane, arguments.socket, orphan=arguments.orphan_seconds)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, server.stop)
    gc.collect()
    gc.freeze()  # what is there now stays; it need not be looked at again
    command = json.loads(arguments.reaper_command)
    if not command or arguments.reaper_lock is None:
        await server.run()
        return
    async with asyncio.TaskGroup() as group:
        guard = group.create_task(guard_reaper(plane.table, command, arguments.reaper_lock))
        try:
            await server.run()
        finally:
            guard.cancel()


def event_loop() -> asyncio.AbstractEventLoop:
    """uvloop's where it can be had."""
    if importlib.util.find_spec("uvloop") is None:
        return asyncio.new_event_loop()
    import uvloop

    return uvloop.new_event_loop()


def prepare_process() -> None:
    """As many open files as we may have; never the real-time priority of main."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if os.sched_getscheduler(0) != os.SCHED_OTHER:
        with contextlib.suppress(PermissionError):
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


if __name__ == "__main__":
    sys.exit(main())
