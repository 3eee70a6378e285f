"""CPUs are kept busy for a part of their time, by stress-ng where it is installed."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final

from raftchaos.faults.resources import tree
from raftchaos.faults.resources.loads.workers import StressNg, Workers

_SLICE: Final = 0.05
"""Seconds within which the part holds."""
_LOOK: Final = 0.2
_ROUNDS: Final = 500


class CpuLoad:
    """`workers` processes that are busy for `percent` of their time."""

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        self._workers = int(parameters["workers"])
        self._part = float(parameters["percent"]) / 100
        self._below: Workers | StressNg = Workers()

    def start(self) -> None:
        """Start them."""
        if StressNg.installed():
            percent = max(round(self._part * 100), 1)
            self._below = StressNg(["--cpu", str(self._workers), "--cpu-load", str(percent)])
            self._below.start()
            return
        workers = self._below = Workers()
        for _ in range(self._workers):
            workers.add(self._burn)

    def work(self) -> float:
        """They work by themselves."""
        self._below.check()
        return _LOOK

    def stop(self) -> None:
        """End them."""
        self._below.stop()

    def effect(self) -> dict[str, int]:
        """CPU milliseconds burnt."""
        burnt = tree.cpu_ms()
        return {"cpu_ms": burnt, "touched": (burnt + 999) // 1000}

    def _burn(self) -> None:
        while True:
            began, used = time.monotonic(), time.process_time()
            while time.process_time() - used < self._part * _SLICE and time.monotonic() - began < _SLICE:
                for _ in range(_ROUNDS):
                    pass
            rest = began + _SLICE - time.monotonic()
            if rest > 0 and self._part < 1:
                time.sleep(rest)
