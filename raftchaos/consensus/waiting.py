"""Coroutines that wait until a condition of the replica is true."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from raftchaos.errors import NoQuorum


class Waiting:
    """Conditions are looked at after every tick and change; nobody polls."""

    def __init__(self) -> None:
        self._waiters: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []
        self._closed = False

    async def until(self, condition: Callable[[], bool]) -> None:
        """Return once `condition()` is true. The caller sets the timeout. Raises NoQuorum if the replica stops."""
        if condition():
            return
        if self._closed:
            raise NoQuorum("this peer is stopping")
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiter = (condition, future)
        self._waiters.append(waiter)
        try:
            await future
        finally:
            if waiter in self._waiters:
                self._waiters.remove(waiter)

    def check(self) -> None:
        """Wake everyone whose condition is true now."""
        if self._waiters:
            waiters, self._waiters = self._waiters, []
            for condition, future in waiters:
                if future.done():
                    continue
                if condition():
                    future.set_result(None)
                else:
                    self._waiters.append((condition, future))

    def close(self) -> None:
        """The replica stops: nothing will become true."""
        self._closed = True
        waiters, self._waiters = self._waiters, []
        for _, future in waiters:
            if not future.done():
                future.set_exception(NoQuorum("this peer is stopping"))
