"""The protocol part of one connection: events in, commands out; no socket, no clock.

As long as no fault is on, bytes are relayed as they come and the messages in them are only followed (`track`), so that
a fault that begins in the middle of a kept-alive connection knows where the next request starts and which responses
are still to come. With a fault, `receive` decides about each request and each piece of data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from raftchaos import limits
from raftchaos.proxy.commands import DOWNSTREAM, UPSTREAM, Close, Command, Connect, Ending, Reset, Wake
from raftchaos.proxy.conversation import Conversation
from raftchaos.proxy.delayline import NEVER, Budget
from raftchaos.proxy.pipes import Pipes
from raftchaos.proxy.stats import Stats
from raftchaos.proxy.toxic import Client, Fault, Toxic


class Engine:
    """One connection through a proxy. After a Close or Reset it says nothing more."""

    __slots__ = (
        "_attached",
        "_client",
        "_enders",
        "_linger_until",
        "_messages",
        "_pipes",
        "_toxics",
        "_wake",
        "ended",
        "half_close",
        "passive",
        "track",
    )

    def __init__(self, stats: Stats, budget: Budget) -> None:
        self._client = Client("")
        self._pipes = Pipes(budget)
        self._messages = Conversation(stats, self._pipes, self._look)
        self._toxics: dict[Fault, Toxic | None] = {}
        self._attached: list[Toxic] = []  # those of them that touch this connection
        self._enders: list[Toxic] = []  # those of them that may end it
        self._linger_until = NEVER  # while closing: until when the client may close first
        self._wake = NEVER  # the instant of the last Wake
        self.ended = False
        self.half_close = True
        """Either end of the client's connection may end its direction alone; with TLS both end together."""
        self.passive = True
        """Bytes are relayed as they come: `track` may be used in place of `receive`."""
        self.track: Callable[[int, bytes, float], bool] = self._messages.track
        """Data while `passive`: relay it as it is."""

    # ---- events

    def open(self, faults: Iterable[Fault], now: float, client: str = "") -> list[Command]:
        """A client has connected, from this IP address, to a proxy on which these faults are on."""
        out: list[Command] = []
        self._client = Client(client)
        self._attach(faults, now, out)
        self._client = Client(client, fresh=False)
        self._settle(now, out)
        if not self.ended:
            out.insert(0, Connect())
        return out

    def receive(self, direction: int, data: bytes, now: float) -> list[Command]:
        """Data from the source of `direction`."""
        out: list[Command] = []
        if self.ended:
            return out
        if direction == UPSTREAM:
            self._messages.from_client(data, now, out)
        else:
            self._messages.from_service(data, now, out)
        self._settle(now, out)
        return out

    def eof(self, direction: int, now: float) -> list[Command]:
        """The source of `direction` sends nothing more."""
        out: list[Command] = []
        if self.ended:
            return out
        if direction == UPSTREAM:
            if self._messages.client_ended(now, out):
                self._pipes.ended[UPSTREAM] = True
        elif not self._messages.service_ended(Ending.CLOSE, now, out):
            self._pipes.ended[DOWNSTREAM] = True
        if not self.half_close and (direction == UPSTREAM or self._pipes.ended[DOWNSTREAM]):
            self._end(Ending.CLOSE, out)
        self._settle(now, out)
        return out

    def failed(self, direction: int, now: float) -> list[Command]:
        """The source of `direction` has broken its connection. A client that did so waits for nothing any more."""
        out: list[Command] = []
        if self.ended:
            return out
        if direction == UPSTREAM:
            self._finish(Reset(), out)
            return out
        self._pipes.ended[UPSTREAM] = True
        if not self._messages.service_ended(Ending.BREAK, now, out):
            self._pipes.broken = True
            self._pipes.ended[DOWNSTREAM] = True
        self._settle(now, out)
        return out

    def wake(self, now: float) -> list[Command]:
        """The instant of the last Wake has come. Too early or too often does no harm."""
        out: list[Command] = []
        self._wake = NEVER
        self._settle(now, out)
        return out

    def set_faults(self, faults: Iterable[Fault], now: float) -> list[Command]:
        """The faults on this proxy are these now. What one that goes held back is sent at once."""
        out: list[Command] = []
        if not self.ended:
            self._attach(faults, now, out)
            self._settle(now, out)
        return out

    def drop(self) -> None:
        """Both sockets are gone, without a command of this engine."""
        if not self.ended:
            self._finish(Reset(), [])

    @property
    def answers(self) -> bool:
        """Requests may be answered here, so that a client that sends but does not read must be held back."""
        return bool(self._messages.toxics)

    @property
    def finishing(self) -> bool:
        """The client's connection has no half that is open: it may go while what it has sent is still on its way."""
        return not self.half_close and all(self._pipes.ended)

    # ---- bulk

    def untouched(self, direction: int) -> int:
        """How many bytes from the source of `direction` may now be relayed without being seen; 0 or less: none."""
        return self._messages.untouched(direction) if self.passive else 0

    def passed(self, direction: int, count: int) -> None:
        """So many of them were."""
        self._messages.passed(direction, count)

    # ---- faults

    def _attach(self, faults: Iterable[Fault], now: float, out: list[Command]) -> None:
        before = self._toxics
        self._toxics = {fault: before[fault] if fault in before else self._new_toxic(fault, now) for fault in faults}
        for fault, toxic in before.items():
            if toxic is not None and fault not in self._toxics:
                toxic.gone = True
                toxic.leave(now)
                toxic.closed()
                self._end(toxic.ending, out)
                if self.ended:
                    return
        self._attached = toxics = [toxic for toxic in self._toxics.values() if toxic is not None]
        self._enders = [toxic for toxic in toxics if toxic.ends]
        self._messages.set_toxics(toxics, now, out)
        self._pipes.set_toxics(toxics, now, out)

    def _new_toxic(self, fault: Fault, now: float) -> Toxic | None:
        toxic = fault.attach(self._client, now)
        if toxic is not None and self._messages.kind:
            toxic.not_http(self._messages.kind)
        return toxic

    # ---- what follows

    def _settle(self, now: float, out: list[Command]) -> None:
        """What follows from every event: timers, data that is due, ends, pauses."""
        if self.ended:
            return
        messages, pipes = self._messages, self._pipes
        if messages.owed:
            messages.settle(now, out)
        if self._enders or messages.ending is not None:
            self._ask_toxics(now, out)
            self._end(messages.ending, out)
            if self._is_over():
                return
        full = messages.crowded(UPSTREAM) or (self.answers and pipes.full(DOWNSTREAM))
        full_down = messages.crowded(DOWNSTREAM)
        settles = full or full_down or not pipes.idle()
        if settles:
            pipes.settle(UPSTREAM, now, full, out)
            pipes.settle(DOWNSTREAM, now, full_down, out)
        if messages.leaving:
            messages.let_go(now)
        if settles:
            if self._enders:
                self._ask_toxics(now, out)  # data that waited for one may have reached the next
            if self._is_over() or (True in pipes.shut and self._over(now, out)):
                return
        self._look()
        self._ask_to_wake(out)

    def _ask_toxics(self, now: float, out: list[Command]) -> None:
        """Wake the toxics whose time it is, and end the connection if one says so."""
        for toxic in self._enders:
            if toxic.wake_at <= now:
                toxic.wake(now)
            self._end(toxic.ending, out)
            if self.ended:
                return

    def _end(self, ending: Ending | None, out: list[Command]) -> None:
        """A fault ends the connection. The first one that does so counts."""
        if ending is None or self.ended:
            return
        pipes = self._pipes
        if ending is Ending.RESET:
            self._finish(Reset(), out)
        elif ending is Ending.HANG_UP:
            self._finish(Close(), out)
        elif not all(pipes.ended):
            pipes.broken = ending is Ending.BREAK
            pipes.ended = [True, True]
            self._messages.closing = True

    def _ask_to_wake(self, out: list[Command]) -> None:
        earliest = self._pipes.next()
        if self._messages.owed or self._linger_until != NEVER:
            earliest = min(earliest, self._messages.next(), self._linger_until)
        for toxic in self._enders:
            earliest = min(earliest, toxic.wake_at)
        if earliest < self._wake:
            self._wake = earliest
            out.append(Wake(earliest))

    def _over(self, now: float, out: list[Command]) -> bool:
        """Whether the connection is over now that one direction is."""
        pipes = self._pipes
        if pipes.broken and pipes.shut[DOWNSTREAM]:
            self._finish(Reset(), out)
        elif all(pipes.shut) or self._linger_until <= now:
            self._finish(Close(), out)
        elif self._messages.closing and pipes.shut[DOWNSTREAM] and self._linger_until == NEVER:
            self._linger_until = now + limits.PROXY_LINGER
        return self.ended

    def _is_over(self) -> bool:
        return self.ended

    def _look(self) -> None:
        """Find out whether `track` will do."""
        self.passive = not self._attached and self._pipes.idle() and self._messages.quiet()

    def _finish(self, how: Close | Reset, out: list[Command]) -> None:
        self.ended = True
        out.append(how)
        self._pipes.drop()
        self._messages.drop()
        for toxic in self._attached:
            toxic.closed()
        self._toxics = {}
        self._attached = []
        self._enders = []
