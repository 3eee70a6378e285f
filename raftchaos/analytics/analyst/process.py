"""Main's side of the analyst process: started on first use, fed without waiting, started again when it is gone."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import sys
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from raftchaos import limits
from raftchaos.analytics.analyst.messages import Garbled, Messages, encode
from raftchaos.errors import AnalystUnavailable, error_of_code

log = logging.getLogger("raftchaos.analytics")


class AnalystProcess:
    """Tells an analyst process what happens here, and asks it questions.

    Nothing here waits for it but `ask`: what it is told stands in a bounded queue; when that is full the oldest is
    dropped, and counted. If it ends or garbles its words it is killed and, after a pause that grows, started again;
    what was recorded up to its last save is read back then.
    """

    def __init__(self, data_dir: Path, node: str) -> None:
        self._command = [sys.executable, "-m", "raftchaos.analytics.analyst", "--data-dir", str(data_dir)]
        self._command += ["--node", node]
        self._queue: deque[bytes] = deque()
        self._news = asyncio.Event()
        self._wanted = asyncio.Event()
        self._asked: dict[int, asyncio.Future[Any]] = {}
        self._number = 0
        self._up = False
        self.pid: int | None = None
        """Process id of the present process."""
        self.report: Mapping[str, Any] = {}
        """What it said last of its own accord; empty while it is not there."""
        self.dropped = 0
        """What it was not told since the queue was full."""
        self.restarts = 0

    # ---- what others call

    def tell(self, message: Mapping[str, Any], *, start: bool = True) -> None:
        """Tell it something, without waiting. Without `start` a process that is not there is not started for it: it
        hears of it once there is another reason."""
        self._put(encode(message))
        if start:
            self._wanted.set()

    async def ask(self, what: str, *, timeout: float = limits.ANALYST_ANSWER, **fields: Any) -> Any:
        """The answer to a question. Raises AnalystUnavailable if none comes in time, and what the analyst refuses."""
        if len(self._asked) >= limits.ANALYST_QUESTIONS:
            raise AnalystUnavailable(f"{len(self._asked)} questions wait for the analyst process")
        self._number += 1
        number, future = self._number, asyncio.get_running_loop().create_future()
        self._asked[number] = future
        try:
            self._put(encode({"ask": number, "what": what, "with": fields}))
            self._wanted.set()
            async with asyncio.timeout(timeout):
                return await future
        except TimeoutError:
            raise AnalystUnavailable(f"the analyst process did not answer {what!r} within {timeout:g} s") from None
        finally:
            del self._asked[number]

    def _put(self, data: bytes) -> None:
        if len(self._queue) >= limits.ANALYST_QUEUE:
            self._queue.popleft()
            self.dropped += 1
        self._queue.append(data)
        self._news.set()

    # ---- its life

    async def run(self) -> None:
        """Start the process when there is something for it, and again when it is gone, until cancelled."""
        pause = 0.0
        while True:
            await self._wanted.wait()
            try:
                self._up = False
                reason = await self._live()
            except OSError as error:
                reason = str(error)
            self._lost(reason)
            pause = limits.ANALYST_PAUSE if self._up else min(limits.ANALYST_PAUSE_MOST, 2 * pause + 1.0)
            await asyncio.sleep(pause)

    async def _live(self) -> str:
        """One process from its start to its end; why it ended. It ends with us."""
        ours, theirs = socket.socketpair()
        with contextlib.ExitStack() as stack:
            stack.callback(theirs.close)
            stack.callback(ours.close)
            process = await asyncio.create_subprocess_exec(
                *self._command,
                "--socket",
                str(theirs.fileno()),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
                env={**os.environ, **dict.fromkeys(limits.ONE_THREAD, "1")},
            )
            theirs.close()
            self.pid = process.pid
            ours.setblocking(False)
            try:
                return await self._talk(ours)
            finally:
                with contextlib.suppress(OSError):
                    ours.shutdown(socket.SHUT_RDWR)  # it saves what it has, and ends
                await _ended(process)

    async def _talk(self, sock: socket.socket) -> str:
        writing = asyncio.get_running_loop().create_task(self._write(sock))
        try:
            await self._read(sock)
        except (OSError, Garbled) as error:
            return str(error)
        finally:
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
        return "it has ended"

    async def _write(self, sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._news.wait()
            while self._queue:
                await loop.sock_sendall(sock, self._queue.popleft())
            self._news.clear()

    async def _read(self, sock: socket.socket) -> None:
        loop, messages = asyncio.get_running_loop(), Messages()
        while data := await loop.sock_recv(sock, 65_536):
            for message in messages.feed(data):
                self._up = True
                self._take(message)

    def _take(self, message: Mapping[str, Any]) -> None:
        if "report" in message:
            self.report = dict(message["report"])
            return
        future = self._asked.get(message.get("answer", 0))
        if future is None or future.done():
            return
        if "error" in message:
            future.set_exception(error_of_code(str(message["error"]), str(message["message"])))
        else:
            future.set_result(message.get("found"))

    def _lost(self, reason: str) -> None:
        """The process is gone: nobody waits for it, and what it knew by itself is known no more."""
        log.warning("the analyst process is gone, another is started: %s", reason)
        self.pid, self.report = None, {}
        self.restarts += 1
        for future in self._asked.values():
            if not future.done():
                future.set_exception(AnalystUnavailable(f"the analyst process is gone: {reason}"))


async def _ended(process: asyncio.subprocess.Process) -> None:
    """Wait for its end, and end it if it does not come."""
    try:
        async with asyncio.timeout(limits.ANALYST_END):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
    except asyncio.CancelledError:
        process.kill()
        raise
