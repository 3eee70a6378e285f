"""Starts a peer as a child process, and ends it with everything that it started.

For the demonstration and the Python quick start, which run peers on this machine without a person at hand. A peer has
helper processes in sessions of their own that outlive it when it is killed; each inherits a mark in its environment,
so that all of them can be found and ended by their process ids.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import os
import secrets
import signal
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

from raftchaos.errors import MachineUnusable
from raftchaos.identity.local import forget_socket, socket_of

MARK = "RAFTCHAOS_LAUNCHED"
"""Environment variable that names the launch a process belongs to."""

READY_TIMEOUT = 30.0
STOP_TIMEOUT = 10.0
GRACE = 2.0  # for helpers, to end by themselves after their peer
_POLL = 0.02
_YOUNG = 5.0  # seconds within which a process may still be in its start
_EXECVE = 1.0  # as long as its start is waited for
_KTHREADD = 2  # the parent of all kernel threads, which have no environment
_LOG_SHOWN = 2_000


_PORTS = range(12_000, 32_000)  # below those that the kernel gives to outgoing connections
_given: set[int] = set()


def free_port() -> int:
    """A loopback port that nobody listens on now, another one at each call.

    The kernel gives none of these to a connection, so it stays free while whoever is to listen there is restarted.
    """
    while True:
        port = secrets.choice(_PORTS)
        if port in _given:
            continue
        with socket.socket() as sock, contextlib.suppress(OSError):
            sock.bind(("127.0.0.1", port))
            _given.add(port)
            return port


def new_mark(family: str = "") -> str:
    """A mark that nothing carries yet; within a family, so that `marked(family)` finds it too."""
    own = secrets.token_hex(8)
    return f"{family}.{own}" if family else own


def marked(mark: str) -> list[psutil.Process]:
    """The processes of this machine that run and carry the mark, or a mark of its family."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            theirs = _environment(process).get(MARK, "")
            if (theirs == mark or theirs.startswith(f"{mark}.")) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def _environment(process: psutil.Process) -> dict[str, str]:
    """Of a process, also of one that is just being started: amid execve it has none, on a busy machine for a while.

    Raises psutil.Error.
    """
    end = time.monotonic() + _EXECVE
    while not (found := process.environ()) and time.monotonic() < end:
        starts = time.time() - process.create_time() < _YOUNG and process.status() != psutil.STATUS_ZOMBIE
        if not starts or process.ppid() == _KTHREADD:
            break
        time.sleep(_POLL)
    return found


def kill_marked(mark: str) -> None:
    """SIGKILL at once for every process that carries the mark. The last resort, for when nothing can be awaited."""
    _signal(marked(mark), signal.SIGKILL)


async def end_marked(mark: str, *, grace: float = GRACE) -> list[int]:
    """Ends every process that carries the mark and has not gone by itself within `grace` seconds: asks, then kills.

    Returns the pids of those that had to be ended.
    """
    found = await _wait_gone(await asyncio.to_thread(marked, mark), grace)
    for number in (signal.SIGCONT, signal.SIGTERM):
        _signal(found, number)
    left = await _wait_gone(found, grace)
    _signal(left, signal.SIGKILL)
    await _wait_gone(left, GRACE)  # SIGKILL needs no grace, only time to be seen
    return [process.pid for process in found]


def _signal(processes: Sequence[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.send_signal(number)  # checks that the pid was not reused


async def _wait_gone(processes: Sequence[psutil.Process], seconds: float) -> list[psutil.Process]:
    end = time.monotonic() + seconds
    while True:
        left = [process for process in processes if _runs(process)]
        if not left or time.monotonic() > end:
            return left
        await asyncio.sleep(_POLL)


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


class Child:
    """A child process with a log file, in a session of its own so that Ctrl-C reaches only us."""

    def __init__(self, name: str, words: Sequence[str], log: Path, *, family: str = "") -> None:
        self.name = name
        self.words = list(words)
        self.log = log
        self.mark = new_mark(family)
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        """Process id of the running child. Raises RuntimeError before the start."""
        if self._process is None:
            raise RuntimeError("the process was not started")
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process itself (not only its helpers) runs."""
        return self._process is not None and self._process.returncode is None

    async def start(self, *, stdout: int | None = None) -> asyncio.subprocess.Process:
        """Starts the process; its output goes to the log, or its stdout where `stdout` says.

        Raises `MachineUnusable` if the log cannot be written.
        """
        try:
            self.log.parent.mkdir(parents=True, exist_ok=True)
            opened = self.log.open("ab")
        except OSError as error:
            raise MachineUnusable(
                f"the log {self.log} of {self.name} cannot be written: {error.strerror}",
                hint="choose a folder that this user may write",
            ) from error
        with opened as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                *self.words,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log if stdout is None else stdout,
                stderr=log,
                start_new_session=True,
                env={**os.environ, MARK: self.mark},
            )
        return self._process

    async def kill(self) -> None:
        """SIGKILL for the process alone; its helpers are left as they are."""
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()

    async def stop(self, *, timeout: float = STOP_TIMEOUT, grace: float = GRACE) -> list[int]:
        """Ends the process, and whatever of its helpers has not gone `grace` seconds later.

        Returns the pids of the helpers that had to be ended.
        """
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()
            try:
                await asyncio.wait_for(self._process.wait(), timeout)
            except TimeoutError:
                await self.kill()
        return await end_marked(self.mark, grace=grace)

    def said(self) -> str:
        """The end of what it wrote to its log."""
        with contextlib.suppress(OSError):
            return self.log.read_text(errors="replace")[-_LOG_SHOWN:].strip()
        return ""

    async def wait_answers(self, address: str, path: str, *, timeout: float = READY_TIMEOUT) -> None:
        """Waits until a GET of `path` at `HOST:PORT` is answered with 200.

        Raises `MachineUnusable` with what the process said if it ends, or does not answer in `timeout` seconds.
        """
        end = time.monotonic() + timeout
        while not await asyncio.to_thread(answers, address, path):
            if not self.running:
                raise self.failed("ended while it started")
            if time.monotonic() > end:
                raise self.failed(f"was not ready within {timeout:.0f} s")
            await asyncio.sleep(_POLL)

    def failed(self, what: str) -> MachineUnusable:
        """The error that the process did `what`, with the end of what it said."""
        said = self.said()
        told = f"; it said:\n{said}" if said else ", and said nothing"
        return MachineUnusable(f"{self.name} {what}{told}", hint=f"what {self.name} said tells why")


class PeerProcess(Child):
    """`raftchaos peer` on loopback ports of its own, with its data in a folder that the caller owns."""

    def __init__(self, name: str, directory: Path, *, join: str | None = None, family: str = "") -> None:
        self.listen = f"127.0.0.1:{free_port()}"
        self.data_dir = directory / name
        words = [
            *("-m", "raftchaos.cli.main", "peer"),
            *("--name", name),
            *("--listen", self.listen),
            *("--raft-listen", f"127.0.0.1:{free_port()}"),
            *("--data-dir", str(self.data_dir)),
        ]
        if join is not None:
            words += ["--join", join]
        super().__init__(name, words, directory / f"{name}.log", family=family)

    async def wait_ready(self, *, timeout: float = READY_TIMEOUT) -> None:
        """Waits until the peer has caught up and sees a leader. Raises `MachineUnusable`."""
        await self.wait_answers(self.listen, "/readyz", timeout=timeout)

    async def stop(self, *, timeout: float = STOP_TIMEOUT, grace: float = GRACE) -> list[int]:
        """Ends it as any child, and takes its socket away if it had to be killed."""
        ended = await super().stop(timeout=timeout, grace=grace)
        forget_socket(self.listen)
        return ended


class LocalConnection(http.client.HTTPConnection):
    """HTTP over the Unix socket of a peer of this user; `address` is what it is called in the request."""

    def __init__(self, path: Path, address: str, *, timeout: float) -> None:
        host, _, port = address.rpartition(":")
        super().__init__(host.strip("[]"), int(port), timeout=timeout)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def answers(address: str, path: str, *, timeout: float = 2.0) -> bool:
    """Whether a GET of `path` at HOST:PORT, or at the socket of the peer there, is answered with 200. Blocks."""
    host, _, port = address.rpartition(":")
    local = socket_of(address)
    if local is None:
        connection = http.client.HTTPConnection(host.strip("[]"), int(port), timeout=timeout)
    else:
        connection = LocalConnection(local, address, timeout=timeout)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
