"""An HTTP/2 connection: its streams and header tables, followed, and its calls touched by the toxics that act on them.

Bytes go on as they are until a fault does something. From then on the connection is `touched`: of streams only those
that both ends know are relayed, and the header blocks of a direction in which one was left out, put in or held are
written anew, for they refer to each other.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from raftchaos import limits
from raftchaos.proxy import http2
from raftchaos.proxy.calls import Call, Touch
from raftchaos.proxy.commands import DOWNSTREAM, UPSTREAM, Command
from raftchaos.proxy.delayline import NEVER, DelayLine
from raftchaos.proxy.followed import Followed
from raftchaos.proxy.http2 import Fields, Frame, NotHttp2
from raftchaos.proxy.pipes import DIRECTIONS, Pipes
from raftchaos.proxy.toxic import Toxic

_ACK = 0x1
_ANSWER: Fields = [(b":status", b"200"), (b"content-type", b"application/grpc")]


class _Way:
    """One direction."""

    __slots__ = ("blocks", "later", "out", "raw", "reader", "released", "rewriting")

    def __init__(self, preface: bytes) -> None:
        self.reader = http2.FrameReader(preface)
        self.blocks = http2.BlockReader()
        self.released = 0  # how much of the reader's part has been relayed already
        self.raw = False  # a DATA frame is under way that is relayed as it is
        self.rewriting = False  # header blocks are written anew
        self.out: list[bytes] = []  # what goes on with this event
        self.later: list[bytes] = []  # frames of ours that wait for the end of one that is relayed as it is

    @property
    def busy(self) -> bool:
        """Whether no frame may be put in here."""
        return self.raw or self.released > 0

    def put(self, data: bytes) -> None:
        """Whole frames, now or as soon as they may."""
        (self.later if self.busy else self.out).append(data)

    def taken(self) -> bytes:
        """What goes on."""
        if not self.busy:
            self.out += self.later
            self.later = []
        data, self.out = b"".join(self.out), []
        return data


class Http2(Followed):
    """The streams of one connection."""

    __slots__ = (
        "_bytes",
        "_calls",
        "_count",
        "_due",
        "_holding",
        "_last",
        "_pipes",
        "_touched",
        "_toxics",
        "_ways",
        "broken",
        "lost",
    )

    def __init__(self, pipes: Pipes) -> None:
        self._pipes = pipes
        self._ways = (_Way(http2.PREFACE), _Way(b""))
        self._calls: dict[int, Call] = {}  # open ones, by stream
        self._last = 0  # the stream that was opened last
        self._count = 0
        self._toxics: list[Toxic] = []
        self._touched = False
        self._holding: dict[Call, None] = {}  # calls of which frames wait
        self._bytes = [0, 0]  # of these frames, by direction
        self._due: list[tuple[float, int, int]] = []  # a heap of when some of them are due, stream and direction
        self.broken = False
        self.lost = False

    # ---- without toxics

    def follow(self, direction: int, data: bytes) -> None:
        way = self._ways[direction]
        try:
            for frame in way.reader.feed(data):
                call, _, _ = self._track(direction, frame)
                self._forget(call)
        except NotHttp2:
            self.broken = True
        way.released, way.raw = len(way.reader.part), way.reader.amid_data

    def _track(self, direction: int, frame: Frame) -> tuple[Call | None, Fields, list[int]]:
        """What is known after a frame: its call, header fields, and where messages end. Raises NotHttp2."""
        fields: Fields = []
        ends: list[int] = []
        call = self._calls.get(frame.stream)
        if frame.kind == http2.SETTINGS and not frame.flags & _ACK:
            self._ways[1 - direction].blocks.settings(frame.payload)
        elif frame.kind == http2.HEADERS:
            fields = self._ways[direction].blocks.fields(frame.payload)
            if direction == UPSTREAM and frame.stream > self._last:
                call = self._opened(frame.stream, fields)
        if call is not None:
            call.heads += direction == DOWNSTREAM and frame.kind == http2.HEADERS
            if frame.kind == http2.DATA and call.counters is not None:
                ends = call.counters[direction].ends(frame.payload)
            if frame.ends:
                call.closed[direction] = True
            elif frame.kind == http2.RST_STREAM:
                call.closed = [True, True]
        return call, fields, ends

    def _opened(self, stream: int, fields: Fields) -> Call | None:
        self._last = stream
        if len(self._calls) >= limits.HTTP2_STREAMS:
            if not self._touched:
                raise NotHttp2("more open streams than are followed")
            self._ways[DOWNSTREAM].put(http2.reset_frame(stream, http2.REFUSED_STREAM))  # to be tried again
            return None
        self._calls[stream] = call = Call(stream, self._count, fields)
        self._count += 1
        return call

    def _forget(self, call: Call | None) -> None:
        """Whether anything of a call is still to come."""
        if call is not None and all(call.closed) and not call.waits(UPSTREAM) and not call.waits(DOWNSTREAM):
            self._calls.pop(call.stream, None)

    # ---- with toxics

    def set_toxics(self, toxics: Sequence[Toxic], now: float, out: list[Command]) -> None:
        known, self._toxics = self._toxics, [toxic for toxic in toxics if toxic.calls]
        for call in list(self._calls.values()):
            if call.touch is not None and call.touch.gone:
                call.touch = None
                for direction in DIRECTIONS:
                    self._let_go(call, direction, NEVER)
            self._ask(call, [toxic for toxic in self._toxics if toxic not in known], fresh=False)
        self._send(now, out)
        if not self._toxics and not self._touched:
            for direction in DIRECTIONS:
                self._pipes.emit(direction, None, self._unsent(direction), now, out)

    @staticmethod
    def _ask(call: Call, toxics: Sequence[Toxic], *, fresh: bool) -> None:
        """Does one of these touch the call? `fresh`: the service has not seen it yet."""
        call.asked = True
        if call.touch is None:
            call.touch = next((touch for toxic in toxics if (touch := toxic.call(call, fresh=fresh))), None)
            call.passed = 0

    def data(self, direction: int, data: bytes, now: float, out: list[Command]) -> None:
        if not self._toxics and not self._touched:
            self.follow(direction, data)
            self._pipes.emit(direction, None, data, now, out)
            return
        way = self._ways[direction]
        left = b""
        try:
            for frame in way.reader.feed(data):
                left = frame.raw
                call, fields, ends = self._track(direction, frame)
                left = b""
                self._relay(direction, frame, call, fields, ends, now)
                self._forget(call)
                if not way.busy and way.later:
                    way.out.append(way.taken())
        except NotHttp2:
            self.broken, self.lost = True, self._touched
            way.out.append((left + way.reader.part)[way.released :])
            self._ways[1 - direction].out.append(self._unsent(1 - direction))
        self._send(now, out)

    def _relay(
        self, direction: int, frame: Frame, call: Call | None, fields: Fields, ends: list[int], now: float
    ) -> None:
        """What goes on of a frame."""
        way = self._ways[direction]
        known, way.released = way.released, 0
        if known or way.raw or not frame.stream or (call is None and not self._touched):
            # of a frame that began before the fault the other end has seen a part
            way.out.append(frame.raw[known:])
            way.raw = frame.kind == http2.DATA and not frame.last
            if call is not None:
                call.asked = True
        elif call is None:
            self._swallow(direction, frame)
        elif frame.kind == http2.HEADERS:
            self._headers(direction, frame, call, fields, now)
        elif frame.kind == http2.DATA:
            self._data(direction, frame, call, ends, now)
        elif frame.kind == http2.RST_STREAM:
            self._reset(direction, frame, call, now)
        else:
            way.put(frame.raw)

    def _swallow(self, direction: int, frame: Frame) -> None:
        """A frame of a stream that is over for the other end."""
        if frame.kind == http2.HEADERS:
            self._ways[direction].rewriting = True
        self._give_back(direction, frame.window)

    def _give_back(self, direction: int, amount: int, stream: int = 0) -> None:
        """The source of a direction may send so much more: what it sent reaches nobody who would say so."""
        if amount:
            self._touched = True
            self._ways[1 - direction].put(http2.window_frame(stream, amount))

    def _headers(self, direction: int, frame: Frame, call: Call, fields: Fields, now: float) -> None:
        way = self._ways[direction]
        if direction == UPSTREAM and not call.asked:
            self._ask(call, self._toxics, fresh=True)
        touch = call.touch
        if touch is not None and touch.at_once:
            way.rewriting = True
            self._finish(call, touch)
            return
        if direction == DOWNSTREAM and call.heads == 1 and touch is not None and touch.name:
            fields = fields + touch.name
            way.rewriting = True
        if call.waits(direction) or (frame.ends and touch is not None and _delays(touch, direction)):
            way.rewriting = True
            self._hold(call, direction, http2.headers_frame(call.stream, fields, end=frame.ends), frame, 0, now)
        elif way.rewriting:
            self._touched = True
            way.put(http2.headers_frame(call.stream, fields, end=frame.ends))
        else:
            way.put(frame.raw)

    def _data(self, direction: int, frame: Frame, call: Call, ends: list[int], now: float) -> None:
        way, touch = self._ways[direction], call.touch
        active = touch is not None and direction in touch.directions and call.is_grpc
        payload, cut = frame.payload, False
        if touch is not None and active and touch.after:
            cut = call.passed + len(ends) >= touch.after
            if cut:
                payload = payload[: ends[touch.after - call.passed - 1]]
            call.passed += len(ends)
        waits = call.waits(direction) or (touch is not None and active and touch.delays)
        if frame.first and not waits and not cut and (frame.last or not active):
            way.put(frame.raw)
            way.raw = not frame.last
            return
        self._give_back(direction, frame.window - len(frame.payload), call.stream)  # padding
        self._give_back(direction, frame.window - len(payload))
        sent = b""
        if payload or (frame.ends and not cut):
            sent = http2.data_frame(call.stream, payload, end=frame.ends and not cut)
        self._touched = True
        if waits:
            self._hold(call, direction, sent, frame, len(ends), now)
        elif sent:
            way.put(sent)
        if cut and touch is not None:
            self._finish(call, touch)

    def _finish(self, call: Call, touch: Touch) -> None:
        """Answer a call, or cut it: what comes of it from now on goes nowhere."""
        self._touched = True
        down, up = self._ways[DOWNSTREAM], self._ways[UPSTREAM]
        if touch.trailers is None:
            down.put(http2.reset_frame(call.stream, http2.INTERNAL_ERROR))
        else:
            down.rewriting = True
            fields = touch.trailers if call.heads else _ANSWER + touch.trailers
            down.put(http2.headers_frame(call.stream, fields, end=True))
        if not touch.at_once and not all(call.closed):
            up.put(http2.reset_frame(call.stream, http2.CANCEL))
        self._calls.pop(call.stream, None)
        touch.done()

    def _reset(self, direction: int, frame: Frame, call: Call, now: float) -> None:
        """One end gives a call up: what the other has sent and waits goes nowhere."""
        if call.waits(direction):
            self._hold(call, direction, frame.raw, frame, 0, now)
        else:
            self._ways[direction].put(frame.raw)
        line = call.lines[1 - direction]
        if line is not None:
            dropped = line.flush()
            self._bytes[1 - direction] -= sum(len(data) for _, data, _ in dropped)
            self._give_back(1 - direction, sum(http2.window_of(data) for _, data, _ in dropped))
            self._let_go(call, 1 - direction, now)

    # ---- what waits

    def _hold(self, call: Call, direction: int, data: bytes, frame: Frame, ended: int, now: float) -> None:
        """`data` goes on in place of `frame`, with which so many messages ended, once it is due."""
        self._touched = True
        touch, at = call.touch, now
        if touch is not None and call.counters is not None and _delays(touch, direction):
            count = call.counters[direction].count
            number = count - ended if frame.kind == http2.DATA and frame.payload else max(0, count - 1)
            at = touch.due(direction, number, now)
        line = call.lines[direction]
        if line is None:
            line = call.lines[direction] = DelayLine(self._pipes.budget)
        line.push(at, data)
        heapq.heappush(self._due, (line.chunks[-1][0], call.stream, direction))
        self._bytes[direction] += len(data)
        self._holding[call] = None

    def _let_go(self, call: Call, direction: int, now: float) -> None:
        line = call.lines[direction]
        if line is not None:
            for _, data, _ in line.due(now):
                self._bytes[direction] -= len(data)
                self._ways[direction].put(data)
        if not call.waits(UPSTREAM) and not call.waits(DOWNSTREAM):
            self._holding.pop(call, None)
            self._forget(call)
        if not self._holding:
            self._due.clear()

    @property
    def held(self) -> int:  # type: ignore[override]
        return len(self._holding)

    def settle(self, now: float, out: list[Command]) -> None:
        while self._due and self._due[0][0] <= now:
            _, stream, direction = heapq.heappop(self._due)
            if (call := self._calls.get(stream)) is not None:  # what it held may have gone before
                self._let_go(call, direction, now)
        self._send(now, out)

    def next(self) -> float:
        return self._due[0][0] if self._due else NEVER

    def full(self, direction: int) -> bool:
        held = self._bytes[direction]
        return held > limits.PROXY_BUFFER and (
            held > limits.PROXY_DELAYED or self._pipes.budget.held > limits.PROXY_DELAYED_TOTAL
        )

    def drop(self) -> None:
        for line in (line for call in self._holding for line in call.lines if line is not None):
            line.flush()
        self._holding = {}
        self._due.clear()
        self._calls = {}

    # ---- what goes on

    @property
    def unfinished(self) -> bool:
        return self._touched or any(len(way.reader.part) > way.released for way in self._ways)

    def release(self, direction: int, now: float, out: list[Command]) -> None:
        if direction == UPSTREAM:
            for call in list(self._holding):
                self._let_go(call, direction, NEVER)
        self._send(now, out)
        if not self._touched:
            self._pipes.emit(direction, None, self._unsent(direction), now, out)

    def _unsent(self, direction: int) -> bytes:
        """What is held of an incomplete frame; it counts as relayed then."""
        way = self._ways[direction]
        part, known = way.reader.part, way.released
        way.released = len(part)
        return part[known:]

    def _send(self, now: float, out: list[Command]) -> None:
        for direction, way in enumerate(self._ways):
            self._pipes.emit(direction, None, way.taken(), now, out)


def _delays(touch: Touch, direction: int) -> bool:
    return touch.delays and direction in touch.directions
