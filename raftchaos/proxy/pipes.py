"""The two directions of one connection below the messages: shaping, delaying, half-closing and back-pressure."""

from __future__ import annotations

from collections.abc import Sequence

from raftchaos import limits
from raftchaos.proxy.commands import DOWNSTREAM, UPSTREAM, Command, Pause, Resume, Send, Shutdown
from raftchaos.proxy.delayline import Budget, DelayLine
from raftchaos.proxy.messages import Exchange
from raftchaos.proxy.toxic import Toxic

DIRECTIONS = (UPSTREAM, DOWNSTREAM)


class Pipes:
    """What has been sent, what waits, and what has ended, in both directions."""

    __slots__ = ("_lines", "_paused", "broken", "ended", "shapers", "shut")

    def __init__(self, budget: Budget) -> None:
        self._lines = (DelayLine(budget), DelayLine(budget))
        self._paused = [False, False]
        self.shapers: Sequence[Toxic] = ()
        """The toxics through which all data goes, in this order."""
        self.ended = [False, False]
        """By direction: nothing more is sent but what waits."""
        self.broken = False
        """The service has reset its connection; so is the client's, after what waits for it."""
        self.shut = [False, False]
        """By direction: its end has been passed on."""

    def idle(self) -> bool:
        """Nothing waits, nothing has ended, nothing is paused: there is nothing to settle."""
        up, down = self._lines
        return not (up.chunks or down.chunks or True in self.ended or True in self._paused)

    def emit(self, direction: int, exchange: Exchange | None, data: bytes, now: float, out: list[Command]) -> None:
        """Send data, now or when the shapers let it go. Nothing follows an end."""
        if not data or self.ended[direction]:
            return
        line = self._lines[direction]
        if not self.shapers and not line.chunks:
            out.append(Send(direction, data))
            return
        chunks = [(now, data)]
        for toxic in self.shapers:
            chunks = toxic.shape(direction, exchange, chunks)
        for at, chunk in chunks:
            if at <= now and not line.chunks:
                out.append(Send(direction, chunk))
            else:
                line.push(at, chunk)

    def release(self, out: list[Command]) -> None:
        """Send everything that waits."""
        for direction in DIRECTIONS:
            out.extend(Send(direction, data) for data in self._lines[direction].flush())

    def settle(self, direction: int, now: float, full: bool, out: list[Command]) -> None:
        """Send what is due and pass on an end. `full`: the messages, too, want reading to pause."""
        line = self._lines[direction]
        if line.chunks:
            out.extend(Send(direction, data) for data in line.due(now))
        if self.ended[direction] and not line.chunks and not self.shut[direction]:
            self.shut[direction] = True
            if not (self.broken and direction == DOWNSTREAM):
                out.append(Shutdown(direction))
        full = full or line.full()
        if full and not self._paused[direction]:
            self._paused[direction] = True
            out.append(Pause(direction))
        elif self._paused[direction] and not full and line.held <= limits.PROXY_BUFFER // 2:
            self._paused[direction] = False
            out.append(Resume(direction))

    def full(self, direction: int) -> bool:
        """Whether too much waits in this direction."""
        return self._lines[direction].full()

    def next(self) -> float:
        """When something may go."""
        up, down = self._lines
        return min(up.next(), down.next())

    def drop(self) -> None:
        """Forget what waits."""
        for line in self._lines:
            line.flush()
        self.shapers = ()
