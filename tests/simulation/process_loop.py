"""An event loop for each simulated process, so that one can be frozen or killed without the others noticing.

Its time is its machine's clock, which drifts. Threads do not exist: what is handed to one happens a moment later on the
loop, and is frozen or killed with it. Sockets are those of the simulated network.
"""

# mypy: disable-error-code="override"
# The types of asyncio's own loop need more generics than this one has uses for.

from __future__ import annotations

import asyncio
import contextlib
import heapq
import math
import random
from collections import deque
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from tests.simulation.world import World

if TYPE_CHECKING:
    from tests.simulation.network import Network

TURN = 0.00002  # seconds that one turn of a loop takes
ROUNDS = 8  # of what asyncio would do in several turns, but at one instant: events are what a simulation costs
RESOLUTION = 1e-6  # a timer that is due by so little is due now


class _Task(asyncio.Task[Any]):
    """asyncio keeps tasks and futures in sets, whose order would be that of addresses in memory."""

    number = 0

    def __hash__(self) -> int:
        return self.number


class _Future(asyncio.Future[Any]):
    """See `_Task`."""

    number = 0

    def __hash__(self) -> int:
        return self.number


class ProcessLoop(asyncio.AbstractEventLoop):
    """The loop of the main process of one machine."""

    def __init__(
        self,
        world: World,
        network: Network,
        machine: str,
        *,
        offset: float,
        rate: float,
        chance: random.Random,
        crashed: Callable[[BaseException | str], None],
    ) -> None:
        """Its time is `offset + rate * true time`. `crashed` is told of exceptions that nobody handles."""
        self.world, self.network, self.machine = world, network, machine
        self.frozen = False
        self.dead = False
        self.thawed_at = 0.0
        self.after_turn: Callable[[], None] = lambda: None
        self.slowest_disk: Callable[[], float] = lambda: 0.004
        """Seconds that work in a thread takes at most now."""
        self._offset, self._rate, self._chance, self._crashed = offset, rate, chance, crashed
        self._ready: deque[asyncio.Handle] = deque()
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._count = 0
        self._due = math.inf
        self._tasks: dict[asyncio.Task[Any], None] = {}
        self._threads: dict[asyncio.Future[Any], Callable[[], Any]] = {}

    # ---- time

    def time(self) -> float:
        """Seconds of this machine's monotonic clock."""
        return self._offset + self._rate * self.world.now

    def _arm(self, delay: float) -> None:
        due = self.world.now + max(delay, TURN)  # time passes while anything is done
        if due < self._due and not self.dead:
            self._due = due
            self.world.at(due - self.world.now, self._turn, due)

    def _turn(self, due: float) -> None:
        if due != self._due or self.dead:
            return  # an earlier turn was asked for meanwhile, and has taken place
        self._due = math.inf
        if self.frozen:
            return
        now = self.time() + RESOLUTION
        while self._timers and self._timers[0][0] <= now:
            handle = heapq.heappop(self._timers)[2]
            if not handle.cancelled():
                self._ready.append(handle)
        for _ in range(ROUNDS):
            if self._ready:
                self._run_ready()
        self.after_turn()
        self._arm_next()

    def _run_ready(self) -> None:
        asyncio._set_running_loop(self)
        try:
            for _ in range(len(self._ready)):
                handle = self._ready.popleft()
                if not handle.cancelled():
                    handle._run()
        finally:
            asyncio._set_running_loop(None)

    def _arm_next(self) -> None:
        if self._ready:
            self._arm(TURN)
        elif self._timers:
            self._arm((self._timers[0][0] - self.time()) / self._rate)

    # ---- freezing and killing

    def freeze(self) -> None:
        """SIGSTOP: nothing runs, everything that arrives waits."""
        self.frozen = True

    def thaw(self) -> None:
        """SIGCONT."""
        self.frozen = False
        self.thawed_at = self.world.now
        self._arm(TURN)

    def kill(self, *, silently: bool = False) -> None:
        """SIGKILL; `silently` if there is no kernel any more that could tell the other sides of its connections.

        Work in threads was done a moment ago, or never. What the code does on the way out changes nothing: its files
        are closed by the kernel anyway, and all else asks whether the process lives.
        """
        self.finish_threads()
        self.dead = True
        self.network.process_died(self, silently=silently)
        for task in list(self._tasks):
            task.cancel()
        for _ in range(50):
            if not self._ready:
                break
            self._run_ready()
        for task in self._tasks:
            task._log_destroy_pending = False  # type: ignore[attr-defined]  # a killed process ends no task

    def finish_threads(self) -> None:
        """What threads were doing has just been done, or is never begun."""
        threads, self._threads = self._threads, {}
        for work in threads.values():
            if self._chance.random() < 0.5:
                with contextlib.suppress(Exception):
                    work()

    # ---- what asyncio asks

    def call_soon(self, callback: Callable[..., Any], *args: Any, context: Any = None) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        self._arm(TURN)
        return handle

    def call_soon_threadsafe(self, callback: Callable[..., Any], *args: Any, context: Any = None) -> asyncio.Handle:
        return self.call_soon(callback, *args, context=context)

    def call_later(
        self, delay: float, callback: Callable[..., Any], *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[..., Any], *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        self._count += 1
        heapq.heappush(self._timers, (when, self._count, handle))
        self._arm((when - self.time()) / self._rate)
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """It is passed over when it is due."""

    def create_future(self) -> asyncio.Future[Any]:
        self._count += 1
        future = _Future(loop=self)
        future.number = self._count
        return future

    def create_task(self, coro: Coroutine[Any, Any, Any], *, name: Any = None, context: Any = None) -> Any:
        self._count += 1
        task = _Task.__new__(_Task)
        task.number = self._count  # before asyncio puts it into a set of its own
        task.__init__(coro, loop=self, name=name, context=context)  # type: ignore[misc]
        self._tasks[task] = None
        task.add_done_callback(lambda done: self._tasks.pop(done, None))
        return task

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = self.create_future()
        self._threads[future] = lambda: func(*args)
        self.call_later(self._chance.uniform(0.0001, self.slowest_disk()), self._end_thread, future)
        return future

    def _end_thread(self, future: asyncio.Future[Any]) -> None:
        work = self._threads.pop(future, None)
        if work is not None:
            self._finish(future, work)

    def _finish(self, future: asyncio.Future[Any], work: Callable[[], Any]) -> None:
        try:
            result = work()
        except Exception as error:  # noqa: BLE001 - as in a thread: it goes to whoever waits
            if not future.cancelled():
                future.set_exception(error)
        else:
            if not future.cancelled():
                future.set_result(result)

    async def create_server(self, protocol_factory: Any, host: Any = None, port: Any = None, **_: Any) -> Any:
        return self.network.listen(self, f"{host}:{port}", protocol_factory)

    async def create_connection(self, protocol_factory: Any, host: Any = None, port: Any = None, **_: Any) -> Any:
        return await self.network.connect(self, f"{host}:{port}", protocol_factory)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if not self.dead:
            self._crashed(context.get("exception") or str(context.get("message")))

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return not self.dead

    def is_closed(self) -> bool:
        return self.dead
