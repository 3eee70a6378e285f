"""The fault of gRPC calls by events; both ends of the connection are a library of others."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Sequence
from typing import Any

import h2.events
import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.exceptions import StreamClosedError
from h2.settings import SettingCodes, Settings
from hypothesis import given, settings
from hypothesis import strategies as st

from raftchaos.proxy.commands import DOWNSTREAM, UPSTREAM, Reset
from raftchaos.proxy.delayline import DelayLine
from raftchaos.proxy.toxic import Fault
from tests.unit.proxy.engine_driver import Driver, fault
from tests.unit.proxy.test_http_faults import cuts

Events = dict[int, list[Any]]


def message(data: bytes) -> bytes:
    """A gRPC message with its prefix."""
    return b"\0" + len(data).to_bytes(4, "big") + data


class Call:
    """What one end of a call has got."""

    def __init__(self) -> None:
        self.head: dict[str, str] = {}
        self.trailers: dict[str, str] = {}
        self.data = b""
        self.ended = False
        self.reset: int | None = None

    @property
    def messages(self) -> list[bytes]:
        found, data = [], self.data
        while len(data) >= 5:
            size = int.from_bytes(data[1:5], "big")
            found.append(data[5 : 5 + size])
            data = data[5 + size :]
        assert not data
        return found


class Wire:
    """A client and a service of h2 with a proxy between them, and bytes that are cut anywhere."""

    def __init__(self, *faults: Fault, places: Sequence[int] = (), table: int | None = None) -> None:
        self.driver = Driver(list(faults))
        own = {"header_encoding": "utf-8", "validate_inbound_headers": True}
        self.client = H2Connection(H2Configuration(client_side=True, **own))
        self.service = H2Connection(H2Configuration(client_side=False, **own))
        if table is not None:
            self.client.local_settings = Settings(client=True, initial_values={SettingCodes.HEADER_TABLE_SIZE: table})
        self.places = list(places)
        self.got: tuple[dict[int, Call], dict[int, Call]] = ({}, {})  # of the client, of the service
        self.read = [0, 0]
        self.client.initiate_connection()
        self.service.initiate_connection()
        self.pump()

    def pump(self) -> None:
        """Carry everything until nothing more is said."""
        while True:
            said = False
            for direction, end in ((UPSTREAM, self.client), (DOWNSTREAM, self.service)):
                data = end.data_to_send()
                for piece in cuts(data, self.places):
                    self.driver.data(direction, piece)
                said = said or bool(data)
            if not self.deliver() and not said:
                return

    def deliver(self) -> bool:
        """Hand over what the proxy has sent."""
        said = False
        for direction, end in ((UPSTREAM, self.service), (DOWNSTREAM, self.client)):
            data = self.driver.sent[direction][self.read[direction] :]
            self.read[direction] += len(data)
            said = said or bool(data)
            for event in end.receive_data(data) if data else ():
                self.note(end, self.got[direction == UPSTREAM], event)
        return said

    def note(self, end: H2Connection, calls: dict[int, Call], event: Any) -> None:
        stream = getattr(event, "stream_id", None)
        if not stream:
            return
        call = calls.setdefault(stream, Call())
        if isinstance(event, (h2.events.RequestReceived, h2.events.ResponseReceived)):
            call.head = dict(event.headers)
        elif isinstance(event, h2.events.TrailersReceived):
            call.trailers = dict(event.headers)
        elif isinstance(event, h2.events.DataReceived):
            call.data += event.data
            if event.flow_controlled_length:
                end.increment_flow_control_window(event.flow_controlled_length)
                with contextlib.suppress(StreamClosedError):
                    end.increment_flow_control_window(event.flow_controlled_length, stream)
        elif isinstance(event, h2.events.StreamEnded):
            call.ended = True
        elif isinstance(event, h2.events.StreamReset):
            call.reset = event.error_code

    def begin(self, path: str = "/shop.Cart/Add", **metadata: str) -> int:
        stream = self.client.get_next_available_stream_id()
        head = [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "shop")]
        head += [("content-type", "application/grpc"), ("te", "trailers"), *metadata.items()]
        self.client.send_headers(stream, head)
        self.pump()
        return stream

    def say(self, end: H2Connection, stream: int, *messages: bytes, last: bool = False, padding: int = 0) -> None:
        for data in messages:
            left = message(data)
            while left:
                size = min(end.local_flow_control_window(stream) - padding - 1, end.max_outbound_frame_size - 300)
                assert size > 0, "the window stays shut"
                end.send_data(stream, left[:size], pad_length=padding or None)
                left = left[size:]
                self.pump()
        if last:
            end.end_stream(stream)
        self.pump()

    def respond(self, stream: int, *messages: bytes, status: str = "0") -> None:
        self.service.send_headers(stream, [(":status", "200"), ("content-type", "application/grpc"), ("x-n", "1")])
        self.say(self.service, stream, *messages)
        self.service.send_headers(stream, [("grpc-status", status), ("x-end", "y")], end_stream=True)
        self.pump()

    def unary(self, path: str = "/shop.Cart/Add", data: bytes = b"q", **metadata: str) -> Call:
        """One call; what the client got. The service echoes."""
        stream = self.begin(path, **metadata)
        got = self.got[0].setdefault(stream, Call())
        if not got.ended:
            self.say(self.client, stream, data, last=True)
        else:
            self.client.reset_stream(stream)
            self.pump()
        asked = self.got[1].get(stream)
        if asked is not None and asked.ended:
            assert asked.messages == [data]
            self.respond(stream, data)
        return got


def is_whole(call: Call, data: bytes) -> bool:
    return call.messages == [data] and call.trailers == {"grpc-status": "0", "x-end": "y"} and call.head["x-n"] == "1"


def test_a_status_in_place_of_the_service() -> None:
    wire = Wire()
    for _ in range(5):
        assert is_whole(wire.unary(), b"q")
    wire.driver.set_faults(
        error := fault("grpc", status="NOT_FOUND", message="50% é", match={"path": "*/Add"}, nameFault=True)
    )
    for _ in range(3):
        got = wire.unary(secret="s" * 50)
        assert got.head["grpc-status"] == "5"
        assert got.head["grpc-message"] == "50%25 %C3%A9"
        assert got.head["raftchaos-fault"] == "grpc"
        assert is_whole(wire.unary("/shop.Cart/Get", b"other", secret="s" * 50), b"other")
    assert error.effect.report() == {"touched": 3, "calls": 3}
    wire.driver.set_faults()
    for n in range(5):
        assert is_whole(wire.unary(secret=f"s{n}"), b"q")
    assert len(wire.got[1]) == 13, "the service has not seen the others"


def test_a_call_that_is_answered_while_the_client_still_sends() -> None:
    wire = Wire(fault("grpc", match={"path": "/up/*"}))
    for _ in range(40):  # more than the window of the connection, which must be given back
        stream = wire.begin("/up/Load")
        assert wire.got[0][stream].head["grpc-status"] == "14"
    for _ in range(40):
        stream = wire.client.get_next_available_stream_id()
        wire.client.send_headers(
            stream, [(":method", "POST"), (":scheme", "http"), (":path", "/up/Load"), (":authority", "a"),
                     ("content-type", "application/grpc+proto")]
        )  # fmt: skip
        wire.client.send_data(stream, b"x" * 10_000, pad_length=9)
        wire.pump()
    assert wire.client.outbound_flow_control_window == 65_535
    assert is_whole(wire.unary(data=b"z" * 100_000), b"z" * 100_000)


@pytest.mark.parametrize(("direction", "status"), [("downstream", "ABORTED"), ("downstream", None), ("upstream", 4)])
def test_a_stream_is_cut_after_so_many_messages(direction: str, status: str | int | None) -> None:
    wire = Wire()
    stream = wire.begin("/chat/Both")
    wire.service.send_headers(stream, [(":status", "200"), ("content-type", "application/grpc")])
    wire.say(wire.service, stream, b"before" * 10)
    given = {} if status is None else {"status": status}
    cut = fault("grpc", action="abort", afterMessages=3, direction=direction, match={"path": "/chat/*"}, **given)
    wire.driver.set_faults(cut)
    source = wire.service if direction == "downstream" else wire.client
    source.send_data(stream, b"".join(message(b"%d" % n) for n in range(6)))
    wire.pump()
    at_client, at_service = wire.got[0][stream], wire.got[1][stream]
    assert at_service.reset == 8
    if direction == "downstream":
        assert at_client.messages == [b"before" * 10, b"0", b"1", b"2"]
    else:
        assert at_service.messages == [b"0", b"1", b"2"]
    if status is None:
        assert at_client.reset == 2
    else:
        assert at_client.trailers["grpc-status"] == ("10" if status == "ABORTED" else "4")
    assert cut.effect.report() == {"touched": 1, "calls": 1}
    wire.driver.set_faults()
    for _ in range(3):
        assert is_whole(wire.unary(), b"q")
    assert source.outbound_flow_control_window == 65_535


def test_messages_are_delayed_without_holding_up_other_calls() -> None:
    slow = fault("grpc", action="delay", delayMs=500, match={"path": "/slow/*"}, nameFault=True)
    wire = Wire()
    wire.unary()
    wire.driver.set_faults(slow)
    late = wire.unary("/slow/One", x_y="1")
    assert not late.data
    assert is_whole(wire.unary(), b"q")
    wire.driver.advance(0.49)
    wire.pump()
    assert not late.data
    wire.driver.advance(0.02)
    wire.pump()
    assert is_whole(late, b"q")
    assert late.ended
    assert late.head["raftchaos-fault"] == "grpc"
    assert slow.effect.report() == {"touched": 1, "messages": 1, "delayedMs": 500}
    last = wire.unary("/slow/Two")
    wire.driver.set_faults()
    wire.pump()
    assert is_whole(last, b"q"), "what it held goes at once"
    assert wire.driver.budget.held == 0


def test_what_one_call_brings_costs_no_look_at_all_that_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    wire = Wire(fault("grpc", action="delay", delayMs=500, direction="both"))
    streams = []
    for _ in range(80):
        streams.append(wire.begin())
        wire.client.send_data(streams[-1], message(b"q"), end_stream=True)
        wire.pump()
    looks: list[float] = []
    due = DelayLine.due

    def counted(line: DelayLine, now: float) -> list[Any]:
        looks.append(now)
        return due(line, now)

    monkeypatch.setattr(DelayLine, "due", counted)
    wire.client.ping(b"anything")
    wire.pump()
    assert not looks
    wire.driver.advance(0.6)
    wire.pump()
    assert len(looks) < 4 * len(streams)
    assert all(wire.got[1][stream].messages == [b"q"] for stream in streams)
    assert wire.driver.budget.held == 0


def test_what_waits_for_a_call_that_is_given_up_is_given_back() -> None:
    wire = Wire(fault("grpc", action="delay", delayMs=5000, jitterMs=100))
    for _ in range(20):
        stream = wire.begin()
        wire.service.send_headers(stream, [(":status", "200"), ("content-type", "application/grpc")])
        wire.say(wire.service, stream, b"x" * 20_000)
        wire.client.reset_stream(stream)
        wire.pump()
        assert wire.got[1][stream].reset == 0
    assert wire.service.outbound_flow_control_window == 65_535
    assert wire.driver.budget.held == 0


def test_the_service_may_close_while_a_response_waits() -> None:
    wire = Wire(fault("grpc", action="delay", delayMs=300))
    late = wire.unary()
    wire.driver.eof(DOWNSTREAM)
    assert not wire.driver.shut[DOWNSTREAM]
    wire.driver.advance(0.4)
    wire.deliver()
    assert is_whole(late, b"q")
    assert wire.driver.shut[DOWNSTREAM]


def test_a_client_that_wants_no_table_and_padding() -> None:
    wire = Wire(fault("grpc", match={"path": "/x/*"}), table=0)
    assert wire.unary("/x/y").head["grpc-status"] == "14"
    for _ in range(3):
        assert is_whole(wire.unary(), b"q")
    cut = fault("grpc", action="abort", afterMessages=50, direction="both")
    wire.driver.set_faults(cut)
    for _ in range(30):
        stream = wire.begin()
        wire.say(wire.client, stream, b"y" * 20_000, padding=200, last=True)
        assert wire.got[1][stream].messages == [b"y" * 20_000]
        wire.respond(stream, b"r")
    assert wire.client.outbound_flow_control_window == 65_535


def test_what_is_no_grpc_is_not_touched() -> None:
    error = fault("grpc")
    wire = Wire(error)
    stream = wire.client.get_next_available_stream_id()
    wire.client.send_headers(
        stream, [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a")], end_stream=True
    )
    wire.pump()
    assert wire.got[1][stream].ended
    assert error.effect.report() == {"touched": 0}
    for first, kind in ((b"\x16\x03\x01", "skipped_tls"), (b"SSH-2.0\r\n", "skipped_not_http")):
        other = fault("grpc")
        driver = Driver([other])
        driver.client(first)
        assert other.effect.report() == {"touched": 0, kind: 1}
    http = fault("http_error")
    wire.driver.set_faults(http)
    assert http.effect.report() == {"touched": 0, "skipped_http2": 1}


def test_the_service_may_speak_first() -> None:
    error, driver = fault("grpc"), Driver()
    service = H2Connection(H2Configuration(client_side=False))
    service.initiate_connection()
    hello = service.data_to_send()
    driver.service(hello[:5])
    driver.service(hello[5:])
    driver.set_faults(error)
    client = H2Connection(H2Configuration(client_side=True))
    client.initiate_connection()
    client.send_headers(1, [(":method", "POST"), (":scheme", "http"), (":path", "/a/b"), (":authority", "a"),
                            ("content-type", "application/grpc")])  # fmt: skip
    driver.client(client.data_to_send())
    events = client.receive_data(driver.sent[DOWNSTREAM])
    assert any(isinstance(event, h2.events.StreamEnded) for event in events)
    assert error.effect.report()["calls"] == 1


@pytest.mark.parametrize("touched", [False, True])
def test_what_breaks_the_rules_is_relayed_as_it_is(touched: bool) -> None:
    error = fault("grpc", match={"path": "/x/*"})
    wire = Wire(error)
    wire.unary("/x/y" if touched else "/y")
    before = [len(sent) for sent in wire.driver.sent]
    bad = b"\0\0\1\1\4\0\0\0\x63\xff" + b"rest"  # an index that the table does not have
    wire.driver.client(bad)
    if touched:
        assert wire.driver.over is Reset, "the table of the other end is not that of the sender any more"
        return
    wire.driver.client(b"more")
    wire.driver.service(b"nothing of sense")
    assert wire.driver.sent[UPSTREAM][before[0] :] == bad + b"more"
    assert wire.driver.sent[DOWNSTREAM][before[1] :] == b"nothing of sense"
    assert error.effect.report() == {"touched": 0, "skipped_not_http": 1}


def test_more_streams_than_are_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raftchaos.limits.HTTP2_STREAMS", 10)
    wire = Wire(fault("grpc", match={"path": "/x/*"}))
    wire.unary("/x/y")
    streams = [wire.begin() for _ in range(12)]
    assert [wire.got[0].get(stream, Call()).reset for stream in streams] == [None] * 10 + [7] * 2
    wire.respond(streams[0])
    plain = Wire()
    streams = [plain.begin() for _ in range(12)]
    for stream in streams:
        plain.respond(stream, b"a")
        assert is_whole(plain.got[0][stream], b"a")


PLACES = st.lists(st.integers(0, 60_000), max_size=12)
KINDS: list[dict[str, Any]] = [
    {"action": "status"},
    {"action": "abort", "afterMessages": 1},
    {"action": "abort", "afterMessages": 1, "status": 14, "direction": "upstream"},
    {"action": "delay", "delayMs": 50, "jitterMs": 50, "direction": "both"},
]


@given(
    PLACES, st.sampled_from(KINDS), st.integers(0, 1 << 30), st.lists(st.integers(0, 40_000), min_size=1, max_size=8)
)
@settings(max_examples=60, deadline=None)
def test_a_fault_that_comes_and_goes_leaves_a_whole_connection(places, kind, seed, sizes) -> None:
    chance = random.Random(seed)
    touches = fault("grpc", seed, probability=0.5, **kind)
    wire = Wire(places=places)
    for size in sizes:
        wire.driver.set_faults(*([touches] if chance.random() < 0.6 else []))
        stream = wire.begin(some=f"thing{size % 3}")
        if wire.got[0].get(stream, Call()).ended:
            continue
        size = min(size, 15_000)
        wire.say(wire.client, stream, b"c" * size)
        if chance.random() < 0.5:
            wire.driver.set_faults()
            wire.pump()
        if wire.got[0].setdefault(stream, Call()).reset is not None or wire.got[0][stream].ended:
            continue
        wire.client.end_stream(stream)
        wire.pump()
        wire.driver.advance(0.2)
        wire.pump()
        at_service = wire.got[1][stream]
        assert at_service.messages == [b"c" * size]
        if at_service.reset is None:
            wire.service.send_headers(stream, [(":status", "200"), ("content-type", "application/grpc"), ("x-n", "1")])
            wire.say(wire.service, stream, b"s" * size)
            if wire.got[1][stream].reset is None:
                wire.service.send_headers(stream, [("grpc-status", "0"), ("x-end", "y")], end_stream=True)
            wire.pump()
            wire.driver.advance(0.2)
            wire.pump()
            assert wire.got[0][stream].messages == [b"s" * size]
    wire.driver.set_faults()
    wire.pump()
    assert is_whole(wire.unary(data=b"end"), b"end")
    assert wire.client.outbound_flow_control_window == wire.service.outbound_flow_control_window == 65_535
    assert wire.driver.budget.held == 0
