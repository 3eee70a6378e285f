"""How the peer's processes are: for its health, its leader, and its metrics."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import Callable
from pathlib import Path

import psutil

from raftchaos import limits
from raftchaos.agent.agent import Agent
from raftchaos.analytics.analyst.process import AnalystProcess
from raftchaos.clock import Clock
from raftchaos.consensus.replica import Replica
from raftchaos.core.machine import ReplicatedState
from raftchaos.core.meter import Meter
from raftchaos.core.service_records import Health
from raftchaos.errors import RaftchaosError
from raftchaos.faults.process import ReaperProcess
from raftchaos.proxy.process import ProxyProcess
from raftchaos.telemetry.metrics import ProcessUse


class Vitals:
    """Watches the event loop and the disk, and asks the other parts how they are."""

    def __init__(
        self,
        data_dir: Path,
        *,
        clock: Clock,
        replica: Replica,
        machine: ReplicatedState,
        agent: Agent,
        reaper: ReaperProcess,
        proxy: ProxyProcess,
        analyst: AnalystProcess,
    ) -> None:
        self._data_dir, self._clock = data_dir, clock
        self._replica, self._machine, self._agent = replica, machine, agent
        self._reaper, self._proxy, self._analyst = reaper, proxy, analyst
        self._main = psutil.Process()
        self._late = 0.0
        self._disk_full = False
        self._proxy_use: ProcessUse | None = None

    def unwell(self) -> list[str]:
        """Why this node should be given no new runs, in plain words; the leader is told with every ping."""
        reasons = list(self._agent.problems())
        if not self._proxy.ready:
            reasons.append("its proxy process is being started again")
        if not self._reaper.standing:
            reasons.append("its reaper process is being started again")
        if self._late > limits.LOOP_LATE:
            reasons.append(f"its event loop was late by more than {limits.LOOP_LATE:g} s")
        if self._disk_full:
            reasons.append(f"less than {limits.DISK_FREE // 2**20} MiB are free on the disk of its data directory")
        return reasons

    def health(self) -> Health:
        """For /healthz and /readyz."""
        live = not self._replica.stopped.is_set() and not self._machine.incompatible
        status = self._replica.status()
        reasons = self.unwell()
        if self._machine.incompatible:
            reasons.insert(0, self._machine.incompatible)
        elif not live:
            reasons.insert(0, f"its replica has stopped: {self._replica.failure}")
        elif status.leader is None:
            reasons.insert(0, "it sees no leader")
        elif not status.ready:
            reasons.insert(0, "it has not caught up with the log yet")
        return Health(live, live and status.ready, tuple(reasons))

    async def run(self, meter: Meter) -> None:
        """Measure how late the loop is, and how full the disk, until cancelled."""
        due = self._clock.boot() + limits.LOOP_PROBE
        while True:
            await asyncio.sleep(limits.LOOP_PROBE)
            now = self._clock.boot()
            late = max(0.0, now - due)
            meter.loop_late(late)
            self._late = max(late, self._late * limits.LOOP_LATE_MEMORY)
            with contextlib.suppress(OSError):
                self._disk_full = shutil.disk_usage(self._data_dir).free < limits.DISK_FREE
            due = self._clock.boot() + limits.LOOP_PROBE

    # ---- what the processes use

    async def look_at_processes(self) -> None:
        """Ask the proxy process for its figures; they are shown at the scrape that follows."""
        self._proxy_use = None
        with contextlib.suppress(RaftchaosError, KeyError):
            figures = await self._proxy.figures()
            self._proxy_use = ProcessUse(figures["cpu_seconds"], int(figures["rss_bytes"]))

    def processes(self) -> dict[str, Callable[[], ProcessUse | None]]:
        """What each process uses now, by component."""
        return {
            "main": lambda: _use(self._main),
            "proxy": lambda: self._proxy_use,
            "reaper": lambda: _use_of(self._reaper.pid),
            "analyst": lambda: _use_of(self._analyst.pid),
        }


def _use_of(pid: int | None) -> ProcessUse | None:
    if not pid:
        return None
    try:
        return _use(psutil.Process(pid))
    except psutil.Error:
        return None


def _use(process: psutil.Process) -> ProcessUse | None:
    try:
        with process.oneshot():
            times = process.cpu_times()
            return ProcessUse(times.user + times.system, process.memory_info().rss)
    except psutil.Error:
        return None
