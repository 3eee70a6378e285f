"""What this peer tells its analyst: what its proxies relayed, what happened in the cluster, which faults are on."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from raftchaos import limits
from raftchaos.analytics.analyst.process import AnalystProcess
from raftchaos.core.interfaces import ProxyControl
from raftchaos.model.events import Event, EventType
from raftchaos.model.runs import ENDED, RunStatus

_ENDED = frozenset(map(str, ENDED))


class Recorder:
    """Feeds the analyst of one peer; nothing here waits for it."""

    def __init__(self, analyst: AnalystProcess, proxy: ProxyControl, node: str) -> None:
        self._analyst, self._proxy, self._node = analyst, proxy, node
        self._faults: dict[str, dict[str, Any]] = {}

    async def run(self) -> None:
        """Hand on the cells of the proxies, a second after the other, until cancelled."""
        while True:
            await asyncio.sleep(limits.CELL_SECONDS)
            for cell in self._proxy.take_cells():
                self._analyst.tell({"cell": cell})

    def on_event(self, event: Event) -> None:
        """Something happened in the cluster: that of another node's runs is another peer's to record."""
        if event.type is EventType.RUN_STATUS:
            if event.node == self._node:
                self._on_run(event)
            return
        self._tell(event, str(event.type))

    def _on_run(self, event: Event) -> None:
        status = str(event.data["to"])
        if status == event.data["from"]:
            return
        if status == RunStatus.ACTIVE:
            self._faults[event.run] = {"id": event.run, "start": event.wall_ms / 1000, "nodes": [self._node]}
        elif status in _ENDED and event.run in self._faults:
            ended = {**self._faults.pop(event.run), "end": event.wall_ms / 1000}
            self._analyst.tell({"faults": [ended]}, start=False)
        if self._faults:
            self._analyst.tell({"faults": list(self._faults.values())}, start=False)
        self._tell(event, f"run_{status}")

    def _tell(self, event: Event, kind: str) -> None:
        fields: Mapping[str, Any] = {
            "type": kind,
            "at": event.wall_ms / 1000,
            "error": kind in ("run_failed", "run_recoveryFailed"),
        }
        self._analyst.tell({"event": {**fields, "node": event.node or self._node}}, start=False)
