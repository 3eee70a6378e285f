"""An event loop whose time jumps to the next timer: minutes of a protocol pass in milliseconds, always the same way."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any


class _JumpingSelector(selectors.DefaultSelector):  # type: ignore[misc,valid-type]
    """Waits for nothing: what the loop would have waited is added to its time."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise RuntimeError("every task waits for something that never comes")
        self.now += max(timeout, 0.0)
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self.jumping = _JumpingSelector()
        super().__init__(self.jumping)

    def time(self) -> float:
        return self.jumping.now


class VirtualClock:
    """The clocks of a machine in virtual time. `suspended` seconds pass on the clock and not for the loop's timers."""

    def __init__(self, offset: float = 1000.0) -> None:
        self.offset = offset

    def suspend(self, seconds: float) -> None:
        self.offset += seconds

    def boot(self) -> float:
        return asyncio.get_running_loop().time() + self.offset

    def wall(self) -> float:
        return 1_700_000_000.0 + asyncio.get_running_loop().time()


def run_virtually(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Runs a test in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(main())


async def until(condition: Callable[[], object], seconds: float = 30.0) -> None:
    """Waits in virtual time until the condition holds."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, "it did not happen in time"
        await asyncio.sleep(0.01)
