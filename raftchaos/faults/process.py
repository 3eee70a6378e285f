"""Main's side of the reaper: keeps one standing, tells it the lease, and knows whether anything may be injected."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from raftchaos.clock import Clock
from raftchaos.errors import MachineUnusable
from raftchaos.faults.reaper import read_process
from raftchaos.faults.reaper_socket import Frames, frame, short_path
from raftchaos.faults.watching import start_of

log = logging.getLogger(__name__)

_ANSWER_TIMEOUT: Final = 2.0
_CONNECT_TIMEOUT: Final = 5.0
_OLD_REAPER_PATIENCE: Final = 5.0
"""How long a reaper of an earlier main may take to leave after it was asked, before it is killed."""
_POLL: Final = 0.02
_RESTART_FIRST: Final = 0.05
_RESTART_LAST: Final = 1.0


def reaper_command(data_dir: Path) -> list[str]:
    """The command that starts a reaper for a data directory. It finds main by the file that main wrote there."""
    return [sys.executable, "-m", "raftchaos.faults.reaper", "--data-dir", str(data_dir)]


def reaper_lock_path(data_dir: Path) -> Path:
    """The file whose lock says that a reaper stands."""
    return data_dir / "undo" / "reaper.lock"


def reaper_stands(data_dir: Path) -> bool:
    """Whether some process holds the reaper's lock."""
    try:
        fd = os.open(reaper_lock_path(data_dir), os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


class _Gone(Exception):
    """The connection to the reaper ended, or it does not answer."""


class _Link:
    """One connection to a reaper: one request at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._answers: asyncio.Queue[dict[str, Any]] = asyncio.Queue(16)
        self._turn = asyncio.Lock()
        self._number = 0

    async def read(self) -> None:
        """Take answers until the connection ends; then raises `_Gone`."""
        frames = Frames()
        while True:
            try:
                data = await self._reader.read(4096)
                answers = frames.feed(data)
            except (OSError, ValueError) as error:
                raise _Gone(str(error)) from error
            if not data:
                raise _Gone("it has ended")
            for answer in answers:
                await self._answers.put(answer)

    async def ask(self, do: str, **fields: Any) -> dict[str, Any]:
        """Send a request and wait for its answer. Raises `_Gone` if none comes."""
        async with self._turn:
            self._number += 1
            try:
                self._writer.write(frame({"id": self._number, "do": do, **fields}))
                async with asyncio.timeout(_ANSWER_TIMEOUT):
                    await self._writer.drain()
                    while (answer := await self._answers.get()).get("id") != self._number:
                        continue
            except (OSError, TimeoutError) as error:
                raise _Gone(f"it does not answer ({error or type(error).__name__})") from error
            return answer

    def close(self) -> None:
        self._writer.close()


class ReaperProcess:
    """Supervises the reaper of one data directory. `run` is its life; the rest may be called from the loop's thread.

    `on_change` is called when it starts or ceases to stand.
    """

    def __init__(self, data_dir: Path, clock: Clock, *, on_change: Callable[[], None] = lambda: None) -> None:
        self._data_dir = data_dir
        self._clock = clock
        self._on_change = on_change
        self._main = (os.getpid(), start_of(os.getpid()))
        self._child: subprocess.Popen[bytes] | None = None
        self._link: _Link | None = None
        self._pid = 0
        self._wanted_end = 0.0
        self._known_end = 0.0
        self._told = asyncio.Event()
        self._up = asyncio.Event()
        self._stopping = asyncio.Event()
        self._problem = "it has not started yet"

    # ---- what main asks

    @property
    def standing(self) -> bool:
        """A reaper of this main stands and answers."""
        return self._link is not None

    @property
    def pid(self) -> int:
        """Its process; 0 if none stands."""
        return self._pid if self.standing else 0

    @property
    def lease_end(self) -> float:
        """The end of the lease that the reaper has confirmed to know. Nothing is injected after it."""
        return self._known_end if self.standing else 0.0

    def on_renewed(self, end: float, epoch: int) -> None:
        """The lease keeper's listener: tell the reaper."""
        self.tell_lease(end)

    def on_lapsed(self, epoch: int) -> None:
        """The lease keeper's listener: the reaper knows the end and acts by itself."""

    def tell_lease(self, end: float) -> None:
        """Tell the reaper the end of the lease, in seconds of `Clock.boot()`, without waiting."""
        if end > self._wanted_end:
            self._wanted_end = end
            self._told.set()

    async def wait_standing(self, timeout: float) -> None:
        """Return once a reaper stands. Raises `MachineUnusable` with the reason if none does in time."""
        try:
            async with asyncio.timeout(timeout):
                await self._up.wait()
        except TimeoutError:
            raise MachineUnusable(
                f"the reaper process of {self._data_dir} does not stand after {timeout:g} s: {self._problem}",
                hint="nothing is injected without it; see the lines of the reaper on standard error",
            ) from None

    async def stop(self) -> bool:
        """Ask the reaper to end, because main is about to. False if something is not undone: then it stays, and undoes
        it after main's end."""
        self._stopping.set()
        link = self._link
        if link is None:
            return False
        try:
            answer = await link.ask("stop")
        except _Gone:
            return False
        if answer.get("ok") and self._child is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                await asyncio.to_thread(self._child.wait, _ANSWER_TIMEOUT)
        return bool(answer.get("ok"))

    # ---- its life

    async def run(self) -> None:
        """Keep a reaper standing until `stop` or cancellation. A cancelled supervisor leaves its reaper standing."""
        await asyncio.to_thread(self._write_main)
        pause = _RESTART_FIRST
        while not self._stopping.is_set():
            began = self._clock.boot()
            try:
                await self._one_life()
            except* (_Gone, OSError) as group:
                self._problem = "; ".join(str(error) for error in group.exceptions)
            if self._stopping.is_set():
                return
            log.warning("the reaper is gone (%s); starting another", self._problem)
            pause = _RESTART_FIRST if self._clock.boot() - began > _RESTART_LAST else min(pause * 2, _RESTART_LAST)
            await asyncio.sleep(pause)

    async def _one_life(self) -> None:
        reader, writer = await self._find_or_start()
        link = _Link(reader, writer)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(link.read())
                hello = await link.ask("hello")
                if (hello.get("main_pid"), hello.get("main_start")) != self._main:
                    await self._send_away(link, hello)
                self._pid, self._known_end = int(hello["pid"]), float(hello["lease_end"])
                self._link = link
                self._told.set()
                self._up.set()
                self._on_change()
                await self._tell(link)
        except* _Gone:
            if self._link is link and not self._stopping.is_set():
                await self._kill(self._pid)  # it may only be frozen: a silent reaper is none
            raise
        finally:
            link.close()
            self._link, self._known_end = None, 0.0
            self._up.clear()
            self._on_change()

    async def _tell(self, link: _Link) -> None:
        while True:
            await self._told.wait()
            self._told.clear()
            if self._wanted_end <= self._known_end:
                continue
            answer = await link.ask("lease", end=self._wanted_end)
            if answer.get("ok"):
                renewed = self._known_end <= self._clock.boot()
                self._known_end = float(answer["lease_end"])
                if renewed:
                    self._on_change()
            else:
                self._problem = str(answer.get("error"))
                await asyncio.sleep(0.1)
                self._told.set()

    async def _find_or_start(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection to the reaper that stands, else to a new one."""
        if not reaper_stands(self._data_dir):
            await asyncio.to_thread(self._spawn)
        deadline = self._clock.boot() + _CONNECT_TIMEOUT
        while True:
            try:
                return await self._connect()
            except OSError as error:
                if self._child is not None and self._child.poll() is not None and not reaper_stands(self._data_dir):
                    raise _Gone(f"it ended with exit code {self._child.returncode}") from error
                if self._clock.boot() > deadline:
                    await self._kill(read_process(reaper_lock_path(self._data_dir))[0])
                    raise _Gone(f"its socket does not answer: {error}") from error
            await asyncio.sleep(_POLL)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        with short_path(self._data_dir) as path:
            return await asyncio.open_unix_connection(path)

    async def _send_away(self, link: _Link, hello: dict[str, Any]) -> None:
        """A reaper of an earlier main: it leaves when all is undone, or when we ask it to; then ours takes over."""
        answer = await link.ask("retire")
        if not answer.get("ok"):
            raise _Gone(str(answer.get("error")))
        deadline = self._clock.boot() + _OLD_REAPER_PATIENCE
        while reaper_stands(self._data_dir):
            if self._clock.boot() > deadline:
                await self._kill(int(hello["pid"]))
            await asyncio.sleep(_POLL)
        raise _Gone("the one of an earlier start has left")

    async def _kill(self, pid: int) -> None:
        """End a reaper that does not answer: undoing is idempotent, so nothing is lost by it."""
        if (pid, start_of(pid)) == read_process(reaper_lock_path(self._data_dir)) and reaper_stands(self._data_dir):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if self._child is not None and self._child.pid == pid:
            with contextlib.suppress(subprocess.TimeoutExpired):
                await asyncio.to_thread(self._child.wait, _ANSWER_TIMEOUT)

    def _spawn(self) -> None:
        if self._child is not None and self._child.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._child.wait(_ANSWER_TIMEOUT)
        self._child = subprocess.Popen(
            [*reaper_command(self._data_dir), "--lease-end", repr(self._wanted_end)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )

    def _write_main(self) -> None:
        folder = self._data_dir / "undo"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        new = folder / "main.new"
        new.write_text(f"{self._main[0]} {self._main[1]}\n")
        new.replace(folder / "main")
