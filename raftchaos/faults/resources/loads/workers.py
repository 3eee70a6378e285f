"""Processes below a helper: copies of it that do one thing, or stress-ng. They end with it, however it ends."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from typing import Final

from raftchaos.faults.resources.loads import LoadFailed

_PR_SET_PDEATHSIG: Final = 1
_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_STOPS_WITHIN: Final = 0.3
_LOOK: Final = 0.01


def end_with(parent: int) -> None:
    """Let the kernel kill this process when its parent ends. Ends at once if that has happened already."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


class Workers:
    """Copies of this process, which must have one thread."""

    def __init__(self) -> None:
        self._pids: list[int] = []

    def add(self, work: Callable[[], None]) -> None:
        """One more; it runs `work`, which never returns unless it fails."""
        parent = os.getpid()
        pid = os.fork()
        if pid:
            self._pids.append(pid)
            return
        try:
            end_with(parent)
            work()
        finally:
            os._exit(1)

    def check(self) -> None:
        """Raises `LoadFailed` if one has ended."""
        for pid in list(self._pids):
            with contextlib.suppress(ChildProcessError):
                if os.waitpid(pid, os.WNOHANG)[0]:
                    self._pids.remove(pid)
                    raise LoadFailed(f"process {pid} of the load has ended")

    def stop(self) -> None:
        """End them all, and wait for it, so that what they used is counted."""
        for pid in self._pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for pid in self._pids:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)
        self._pids.clear()


class StressNg:
    """stress-ng with its own workers."""

    def __init__(self, arguments: Sequence[str]) -> None:
        self._command = ["stress-ng", "--quiet", *arguments]
        self._process: subprocess.Popen[bytes] | None = None

    @staticmethod
    def installed() -> bool:
        """Whether this machine has it."""
        return shutil.which("stress-ng") is not None

    def start(self) -> None:
        """Start it; it ends with this process. Raises OSError."""
        parent = os.getpid()
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            preexec_fn=lambda: end_with(parent),
        )

    def check(self) -> None:
        """Raises `LoadFailed` if it has ended."""
        if self._process is not None and self._process.poll() is not None:
            raise LoadFailed(f"stress-ng has ended with exit code {self._process.returncode}")

    def stop(self) -> None:
        """Let it end its workers; what does not end in time is killed with this process."""
        if self._process is None:
            return
        self._process.terminate()
        until = time.monotonic() + _STOPS_WITHIN
        while self._process.poll() is None and time.monotonic() < until:
            time.sleep(_LOOK)
        self._process = None
