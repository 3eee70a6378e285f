"""clock_offset: a command under libfaketime. What it has touched are the processes that see the wrong clock."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from raftchaos.faults.resources import marks
from raftchaos.faults.resources.loads import LoadFailed
from raftchaos.faults.resources.loads.workers import end_with

_BEGINS_WITHIN: Final = 0.5
_LOOK: Final = 0.02
_LOOK_AGAIN: Final = 0.5
_STOPS_WITHIN: Final = 0.3


class FaketimeLoad:
    """`Load`. Parameters: `command` (words), `offsetSeconds`, `library` (path of libfaketime)."""

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        self._command = [str(word) for word in parameters["command"]]
        self._offset = float(parameters["offsetSeconds"])
        self._library = str(parameters["library"])
        self._process: subprocess.Popen[bytes] | None = None
        self._seen: set[int] = set()

    def start(self) -> None:
        """Start the command; it has begun once it has the library, or has ended."""
        parent = os.getpid()
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env={**os.environ, **self._environment()},
            process_group=0,
            preexec_fn=lambda: end_with(parent),
        )
        until = time.monotonic() + _BEGINS_WITHIN
        while not self._seen and self._process.poll() is None and time.monotonic() < until:
            time.sleep(_LOOK)
            self._look()
        if self._process.poll():
            raise LoadFailed(f"{self._command[0]} ended with exit code {self._process.returncode}")

    def work(self) -> float:
        """See which processes of the command have the library."""
        self._look()
        if self._process is not None:
            self._process.poll()
        return _LOOK_AGAIN

    def stop(self) -> None:
        """End the command; what does not end in time is killed by the undo step."""
        if self._process is None or self._process.poll() is not None:
            return
        os.killpg(self._process.pid, signal.SIGTERM)
        until = time.monotonic() + _STOPS_WITHIN
        while self._process.poll() is None and time.monotonic() < until:
            time.sleep(_LOOK)

    def effect(self) -> dict[str, int]:
        """Processes that were seen under the wrong clock. A program that does not use the C library is not."""
        return {"touched": len(self._seen), "processes": len(self._seen)}

    def _environment(self) -> dict[str, str]:
        """See faketime(1). Clocks that only measure spans are left right, or waiting would not end."""
        return {
            "LD_PRELOAD": self._library,
            "FAKETIME": f"{self._offset:+f}",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_NO_CACHE": "1",
        }

    def _look(self) -> None:
        for pid in marks.bearers(os.environ[marks.MARK]):
            if pid not in self._seen and pid != os.getpid():
                try:
                    if self._library in Path(f"/proc/{pid}/maps").read_text(errors="replace"):
                        self._seen.add(pid)
                except OSError:
                    continue  # it has ended meanwhile
