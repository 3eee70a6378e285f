"""The proxy process as an operating-system process: started by us, or found running."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from raftchaos.errors import MachineUnusable


class Child:
    """A process, held by a pidfd so that a signal never meets another process that has its number."""

    def __init__(self, pid: int, popen: subprocess.Popen[bytes] | None) -> None:
        """Raises ProcessLookupError if there is no such process."""
        self.pid = pid
        self._popen = popen
        self._pidfd = os.pidfd_open(pid)
        self._exited = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._pidfd, self._gone)

    @classmethod
    def start(cls, socket_path: Path, log_path: Path | None, arguments: Sequence[str] = ()) -> Self:
        """Start a proxy process in a session of its own, so that nothing that is sent to main's group meets it.

        Its messages go to `log_path`, or nowhere. Raises MachineUnusable.
        """
        command = [sys.executable, "-m", "raftchaos.proxy", "--socket", os.fspath(socket_path), *arguments]
        try:
            with open(log_path or os.devnull, "ab") as log:
                popen = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
                )
        except OSError as error:
            raise MachineUnusable(f"the proxy process cannot be started: {error}") from None
        return cls(popen.pid, popen)

    @property
    def alive(self) -> bool:
        """Whether it has not ended."""
        return not self._exited.is_set()

    async def ended(self) -> None:
        """Wait until the process has ended."""
        await self._exited.wait()

    def kill(self) -> None:
        """SIGKILL, if it still runs."""
        if self.alive:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    async def end(self, timeout: float) -> None:
        """Wait for its end, kill it after `timeout` seconds, and let go of it. Killed too if the wait is broken off."""
        try:
            async with asyncio.timeout(timeout):
                await self.ended()
        except TimeoutError:
            self.kill()
            await self.ended()
        finally:
            self.kill()
            self.release()

    def release(self) -> None:
        """Let go of the process, dead or alive. Idempotent."""
        if self._pidfd >= 0:
            self._loop.remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1

    def _gone(self) -> None:
        self._loop.remove_reader(self._pidfd)
        if self._popen is not None:
            self._popen.wait()  # it has ended: this returns at once
        self._exited.set()

    def detach(self) -> None:
        """It goes on without us, and its end is nobody's business any more."""
        self.release()
        if self._popen is not None:
            self._popen.returncode = 0  # else Python warns that it still runs
