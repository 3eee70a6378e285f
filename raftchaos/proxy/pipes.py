"""The two directions of one connection below the messages: shaping, delaying, half-closing and back-pressure.

Each toxic that shapes is a stage with a line of its own, one after the other in the order in which the faults began. So
when one goes, what it holds goes on to the next, and what the others hold stays held.
"""

from __future__ import annotations

from collections.abc import Sequence

from raftchaos.proxy.commands import DOWNSTREAM, UPSTREAM, Command, Pause, Resume, Send, Shutdown
from raftchaos.proxy.delayline import NEVER, Budget, DelayLine
from raftchaos.proxy.messages import Exchange
from raftchaos.proxy.toxic import Toxic

DIRECTIONS = (UPSTREAM, DOWNSTREAM)


class Stage:
    """One toxic in one direction, and what waits for it."""

    __slots__ = ("line", "toxic")

    def __init__(self, toxic: Toxic, budget: Budget) -> None:
        self.toxic = toxic
        self.line = DelayLine(budget)


class Pipes:
    """What has been sent, what waits, and what has ended, in both directions."""

    __slots__ = ("_drained", "_paused", "_stages", "_toxics", "broken", "budget", "ended", "shut")

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self._paused = [False, False]
        self._drained: list[float | None] = [None, None]  # by direction: when its end came and nothing waited any more
        self._toxics: Sequence[Toxic] = ()
        self._stages: list[list[Stage]] = [[], []]  # by direction
        self.ended = [False, False]
        """By direction: nothing more is sent but what waits."""
        self.broken = False
        """The client's connection is reset, after what waits for it, as the service's is."""
        self.shut = [False, False]
        """By direction: its end has been passed on."""

    def idle(self) -> bool:
        """Nothing waits, nothing has ended, nothing is paused: there is nothing to settle."""
        up, down = self._stages
        return not (
            (up and self._waits(UPSTREAM))
            or (down and self._waits(DOWNSTREAM))
            or True in self.ended
            or True in self._paused
        )

    def _waits(self, direction: int) -> bool:
        for stage in self._stages[direction]:  # noqa: SIM110 - half the time of any(): this is done for each chunk
            if stage.line.chunks:
                return True
        return False

    def oldest(self, direction: int) -> Exchange | None:
        """What the bytes belong to that have waited longest in this direction; None if nothing waits."""
        for stage in reversed(self._stages[direction]):
            if stage.line.chunks:
                return stage.line.chunks[0][2]
        return None

    def set_toxics(self, toxics: Sequence[Toxic], now: float, out: list[Command]) -> None:
        """The toxics of this connection are these from now on. What one that is gone held goes on; new ones come last,
        whatever their place among these, or what the others hold would be overtaken.
        """
        self._toxics = toxics
        for direction in DIRECTIONS:
            before = self._stages[direction]
            kept = [stage for stage in before if stage.toxic in toxics]
            known = [stage.toxic for stage in kept]
            new = [toxic for toxic in toxics if toxic.shapes(direction) and toxic not in known]
            self._stages[direction] = kept + [Stage(toxic, self.budget) for toxic in new]
            index = len(kept)
            for stage in reversed(before):
                if stage in kept:
                    index -= 1
                    continue
                for _, data, exchange in stage.line.flush():
                    self._through(index, direction, exchange, now, data, now, out)

    def emit(self, direction: int, exchange: Exchange | None, data: bytes, now: float, out: list[Command]) -> None:
        """Send data, now or when the stages let it go. Nothing follows an end."""
        if not data or self.ended[direction]:
            return
        if self._stages[direction]:
            self._through(0, direction, exchange, now, data, now, out)
        else:
            out.append(Send(direction, data))

    def _through(
        self,
        index: int,
        direction: int,
        exchange: Exchange | None,
        at: float,
        data: bytes,
        now: float,
        out: list[Command],
    ) -> None:
        """Bytes come to stage `index` that left the one before at the instant `at`."""
        stages = self._stages[direction]
        while index < len(stages):
            stage = stages[index]
            index += 1
            line = stage.line
            chunks = stage.toxic.shape(direction, exchange, at, data)
            if len(chunks) == 1 and chunks[0][0] <= now and not line.chunks:
                at, data = chunks[0]
                continue
            for chunk_at, chunk in chunks:
                if chunk_at <= now and not line.chunks:
                    self._through(index, direction, exchange, chunk_at, chunk, now, out)
                else:
                    line.push(chunk_at, chunk, exchange)
            return
        out.append(Send(direction, data))

    def settle(self, direction: int, now: float, full: bool, out: list[Command]) -> None:
        """Send what is due and pass on an end. `full`: the messages, too, want reading to pause."""
        slack = True  # reading may go on after a pause
        for index, stage in enumerate(self._stages[direction]):
            line = stage.line
            if line.chunks and line.chunks[0][0] <= now:
                for at, data, exchange in line.due(now):
                    self._through(index + 1, direction, exchange, at, data, now, out)
            if line.held:
                window = stage.toxic.window(direction)
                full = full or line.full(window)
                slack = slack and line.held <= window // 2
        if self.ended[direction] and not self.shut[direction] and self._may_end(direction, now):
            self.shut[direction] = True
            if not (self.broken and direction == DOWNSTREAM):
                out.append(Shutdown(direction))
        if self._paused[direction] is full or (self._paused[direction] and not slack):
            return
        self._paused[direction] = full
        out.append(Pause(direction) if full else Resume(direction))

    def _may_end(self, direction: int, now: float) -> bool:
        if self._waits(direction):
            return False
        if self._drained[direction] is None:
            self._drained[direction] = now
        return self._end_at(direction) <= now

    def _end_at(self, direction: int) -> float:
        """When the end of a direction may be passed on; NEVER while data waits or nothing has ended."""
        drained = self._drained[direction]
        if drained is None or self.shut[direction]:
            return NEVER
        return max((toxic.end(direction, drained) for toxic in self._toxics), default=drained)

    def full(self, direction: int) -> bool:
        """Whether too much waits in this direction."""
        return any(stage.line.full(stage.toxic.window(direction)) for stage in self._stages[direction])

    def next(self) -> float:
        """When something may go."""
        earliest = NEVER
        for stages in self._stages:
            for stage in stages:
                if stage.line.chunks and stage.line.chunks[0][0] < earliest:
                    earliest = stage.line.chunks[0][0]
        if True in self.ended:
            earliest = min(earliest, self._end_at(UPSTREAM), self._end_at(DOWNSTREAM))
        return earliest

    def drop(self) -> None:
        """Forget what waits."""
        for stages in self._stages:
            for stage in stages:
                stage.line.flush()
        self._stages = [[], []]
        self._toxics = ()
