"""The protocol part alone: no socket, its own clock, arbitrary chunks."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftchaos import limits
from raftchaos.proxy.chance import ParameterError, draw
from raftchaos.proxy.commands import DOWNSTREAM, UPSTREAM, Close, Reset
from raftchaos.proxy.faults import FAULTS
from raftchaos.proxy.toxic import Fault
from tests.unit.proxy.engine_driver import Driver, fault
from tests.unit.proxy.proxy_world import request

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
GET = request("GET", "/")


def always_503() -> Fault:
    return fault("http_error", statusCode=503, body="no")


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({cut % (len(data) + 1) for cut in cuts} | {0, len(data)})
    return [data[a:b] for a, b in itertools.pairwise(places) if a < b]


cuts = st.lists(st.integers(0, 10_000), max_size=25)
bodies = st.binary(max_size=60)
requests = st.builds(
    request,
    st.sampled_from(["GET", "POST", "HEAD", "PUT", "DELETE"]),
    st.sampled_from(["/", "/a?b=c", "/x%20y"]),
    bodies,
    chunked=st.booleans(),
)
responses = st.one_of(
    st.builds(lambda body: b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body), bodies),
    st.builds(
        lambda body: (
            b"HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n%s0\r\n\r\n"
            % (b"%x;a=b\r\n%s\r\n" % (len(body), body) if body else b"")
        ),
        bodies,
    ),
    st.just(b"HTTP/1.1 204 No Content\r\n\r\n"),
    st.just(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n"),
)


def inert_faults() -> list[Fault]:
    return [fault(kind, probability=0) for kind in sorted(FAULTS)]


@given(
    st.one_of(st.lists(requests, max_size=4).map(b"".join), st.binary(max_size=200)),
    st.one_of(st.lists(responses, max_size=4).map(b"".join), st.binary(max_size=200)),
    cuts,
    cuts,
    st.integers(0, 2),
    st.randoms(use_true_random=False),
)
@settings(max_examples=300, deadline=None)
def test_without_an_active_fault_the_bytes_are_the_same(up, down, up_cuts, down_cuts, mode, order) -> None:
    """No fault, faults of probability 0, and faults that come and go without acting: every byte passes, in order."""
    driver = Driver(inert_faults() if mode else [])
    left = [pieces(up, up_cuts), pieces(down, down_cuts)]
    while left[0] or left[1]:
        direction = order.choice([d for d in (UPSTREAM, DOWNSTREAM) if left[d]])
        driver.data(direction, left[direction].pop(0))
        if mode == 2:
            driver.set_faults(*(inert_faults() if order.random() < 0.5 else []))
    driver.eof(UPSTREAM)
    driver.eof(DOWNSTREAM)
    assert driver.sent == [up, down]
    assert driver.over is Close
    assert driver.budget.held == 0


@given(st.lists(st.tuples(requests, responses), min_size=1, max_size=8), cuts, cuts, st.integers(0, 1 << 32))
@settings(max_examples=300, deadline=None)
def test_each_request_is_answered_once_and_in_order(exchanges, up_cuts, down_cuts, seed) -> None:
    """Pipelined requests, some answered by the fault: the service sees exactly the others, the client all in order."""
    plan = [draw(seed, 0, number) < 0.5 for number in range(len(exchanges))]
    driver = Driver([fault("http_error", seed, statusCode=500, body="bad", probability=0.5)])
    for data in pieces(b"".join(sent for sent, _ in exchanges), up_cuts):
        driver.client(data)
    passed = [one for one, hit in zip(exchanges, plan, strict=True) if not hit]
    assert driver.sent[UPSTREAM] == b"".join(sent for sent, _ in passed)
    answers = [(head_response(reply) if sent.startswith(b"HEAD") else reply) for sent, reply in passed]
    for data in pieces(b"".join(answers), down_cuts):
        driver.service(data)
    left, expected = iter(answers), b""
    for (sent, _), hit in zip(exchanges, plan, strict=True):
        expected += injected(500, b"bad", head=sent.startswith(b"HEAD")) if hit else next(left)
    assert driver.sent[DOWNSTREAM] == expected
    assert driver.stats.requests == len(exchanges)


def head_response(reply: bytes) -> bytes:
    """The reply as it is to HEAD: without its body."""
    interim = b"HTTP/1.1 100 Continue\r\n\r\n" if reply.startswith(b"HTTP/1.1 100") else b""
    return interim + reply.removeprefix(interim).partition(b"\r\n\r\n")[0] + b"\r\n\r\n"


def injected(status: int, body: bytes, *, head: bool = False, connection: str = "keep-alive") -> bytes:
    reasons = {500: b"Internal Server Error", 503: b"Service Unavailable"}
    return (
        b"HTTP/1.1 %d %s\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\nConnection: %s\r\n\r\n"
        % (status, reasons[status], len(body), connection.encode())
    ) + (b"" if head else body)


@given(cuts, st.integers(0, 400), st.booleans())
@settings(max_examples=200, deadline=None)
def test_a_fault_that_comes_and_goes_leaves_the_connection_whole(up_cuts, when, pipelined) -> None:
    """On and off at any byte: every request gets exactly one answer, in order, and none is seen by halves."""
    sent = b"".join(request("POST", f"/{n}", b"x" * n, chunked=n % 2 == 1) for n in range(8))
    driver = Driver()
    on = False
    given_bytes = 0
    answered_by_service = 0
    for data in pieces(sent, up_cuts):
        given_bytes += len(data)
        if (given_bytes > when) != on:
            on = not on
            driver.set_faults(*([always_503()] if on else []))
        driver.client(data)
        if not pipelined:
            answered_by_service += serve(driver, answered_by_service)
    serve(driver, answered_by_service)
    driver.set_faults()
    serve(driver, driver.sent[UPSTREAM].count(b" HTTP/1.1\r\n"))
    total = driver.sent[DOWNSTREAM].count(b"HTTP/1.1 200") + driver.sent[DOWNSTREAM].count(b"HTTP/1.1 503")
    assert total == 8
    seen = [n for n in range(8) if b"POST /%d " % n in driver.sent[UPSTREAM]]
    assert driver.sent[UPSTREAM] == b"".join(request("POST", f"/{n}", b"x" * n, chunked=n % 2 == 1) for n in seen)


def serve(driver: Driver, already: int) -> int:
    """The service answers the requests that it has whole, beyond those answered already."""
    whole = sum(request("POST", f"/{n}", b"x" * n, chunked=n % 2 == 1) in driver.sent[UPSTREAM] for n in range(8))
    for _ in range(whole - already):
        driver.service(OK)
    return max(0, whole - already)


@given(st.binary(max_size=300), st.binary(max_size=300), cuts, cuts)
@settings(max_examples=200, deadline=None)
def test_garbage_under_all_faults_never_raises(up, down, up_cuts, down_cuts) -> None:
    driver = Driver([always_503(), fault("latency", jitterMs=50), fault("reset_peer", afterMs=500)])
    for data in pieces(up, up_cuts):
        driver.client(data)
        driver.advance(0.01)
    for data in pieces(down, down_cuts):
        driver.service(data)
    driver.advance(0.6)
    assert driver.over is Reset
    assert driver.budget.held == 0


def test_latency_keeps_order_and_throughput() -> None:
    slow = fault("latency", latencyMs=100, direction="upstream")
    driver = Driver([slow])
    for number in range(20):
        driver.client(bytes([200 + number]))
        driver.advance(0.01)
    driver.eof(UPSTREAM)
    assert not driver.shut[UPSTREAM]
    driver.advance(1)
    assert driver.sent[UPSTREAM] == bytes(range(200, 220))
    assert [round(at - 1000, 6) for at, _, _ in driver.times] == [round(0.1 + n / 100, 6) for n in range(20)]
    assert driver.shut[UPSTREAM], "the end comes after the data"
    assert slow.effect.report() == {
        "touched": 20, "bursts": 20, "connections": 1, "bytes": 20, "delayedMs": 2000
    }  # fmt: skip


def test_jitter_never_reorders_and_stays_in_its_range() -> None:
    driver = Driver([fault("latency", latencyMs=50, jitterMs=50)])
    for number in range(100):
        driver.service(bytes([number]))
    driver.advance(0.2)
    assert driver.sent[DOWNSTREAM] == bytes(range(100))
    assert all(0 <= at - 1000 <= 0.1 + 1e-9 for at, _, _ in driver.times)
    assert len({at for at, _, _ in driver.times}) > 3


def test_a_whole_response_is_delayed_alike_and_counted_once() -> None:
    slow = fault("latency", latencyMs=100, jitterMs=80, direction="both")
    driver = Driver([slow])
    driver.client(GET)
    driver.advance(1)
    for byte in OK:
        driver.service(bytes([byte]))
    driver.advance(1)
    assert driver.sent == [GET, OK]
    assert len({at for at, direction, _ in driver.times if direction == DOWNSTREAM}) == 1
    assert slow.effect.report()["touched"] == slow.effect.report()["requests"] == 1


def test_what_is_held_is_released_when_the_fault_goes() -> None:
    driver = Driver([fault("latency", latencyMs=60_000)])
    driver.client(GET)
    driver.service(OK)
    driver.eof(DOWNSTREAM)
    assert driver.sent[DOWNSTREAM] == b""
    driver.set_faults()
    assert driver.sent[DOWNSTREAM] == OK
    assert driver.shut[DOWNSTREAM]


def test_reading_pauses_when_too_much_is_held() -> None:
    driver = Driver([fault("latency", latencyMs=1000)])
    driver.budget.held = limits.PROXY_DELAYED_TOTAL
    driver.service(b"x" * limits.PROXY_BUFFER)
    assert not driver.paused[DOWNSTREAM]
    driver.service(b"x")
    assert driver.paused[DOWNSTREAM]
    driver.advance(2)
    assert not driver.paused[DOWNSTREAM]


def test_a_reset_of_the_service_comes_after_its_data() -> None:
    driver = Driver([fault("latency", latencyMs=100)])
    driver.service(b"\x00last words")
    driver.run(driver.engine.failed(DOWNSTREAM, driver.now))
    driver.advance(0.05)
    assert driver.over is None
    driver.advance(0.1)
    assert driver.sent[DOWNSTREAM] == b"\x00last words"
    assert driver.over is Reset


def test_expect_continue_is_answered_so_that_the_body_can_be_swallowed() -> None:
    driver = Driver([always_503()])
    post = request("POST", "/", b"12345", Expect="100-continue")
    driver.client(post[:-5])
    assert driver.sent[DOWNSTREAM] == b"HTTP/1.1 100 Continue\r\n\r\n"
    driver.client(b"12345")
    assert driver.sent[DOWNSTREAM].endswith(injected(503, b"no"))
    driver.set_faults()
    driver.client(GET)
    assert driver.sent[UPSTREAM] == GET


@pytest.mark.parametrize("line", ["Connection: close", None])
def test_a_connection_that_is_not_kept_alive_is_closed_after_the_answer(line) -> None:
    driver = Driver([always_503()])
    driver.client(b"GET / HTTP/1.1\r\n" + line.encode() + b"\r\n\r\n" if line else b"GET / HTTP/1.0\r\n\r\n")
    assert driver.sent[DOWNSTREAM] == injected(503, b"no", connection="close")
    assert driver.shut[DOWNSTREAM]
    driver.client(b"more")
    assert driver.sent[UPSTREAM] == b""
    driver.advance(limits.PROXY_LINGER)
    assert driver.over is Close


def test_an_upgraded_connection_is_plain_bytes() -> None:
    for faults in ((), (always_503(),)):
        driver = Driver()
        driver.client(request("GET", "/", Connection="Upgrade", Upgrade="websocket"))
        driver.client(GET)
        assert GET not in driver.sent[UPSTREAM], "what follows waits for the response"
        assert driver.paused[UPSTREAM]
        driver.service(b"HTTP/1.1 101 Switching Protocols\r\n\r\n\x81")
        assert not driver.paused[UPSTREAM]
        driver.set_faults(*faults)
        driver.client(GET)
        assert driver.sent[UPSTREAM].endswith(GET + GET)
        assert driver.sent[DOWNSTREAM].endswith(b"\x81")


def test_a_refused_upgrade_stays_http() -> None:
    driver = Driver()
    driver.client(request("GET", "/", Connection="Upgrade, HTTP2-Settings", Upgrade="h2c") + GET)
    driver.set_faults(always_503())
    driver.service(OK)
    driver.client(GET)
    driver.service(OK)
    assert driver.sent[DOWNSTREAM] == OK + OK + injected(503, b"no")


def test_a_stream_that_is_not_http_is_counted_and_left_alone() -> None:
    kinds = {
        b"\x16\x03\x01\x02\x00\x01": "skipped_tls",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n": "skipped_http2",
        b"PING\r\n": "skipped_not_http",
        b"GET key\r\n": "skipped_not_http",
    }
    for first, kind in kinds.items():
        error = always_503()
        driver = Driver([error])
        driver.client(first)
        driver.service(b"answer")
        assert driver.sent == [first, b"answer"]
        assert error.effect.report() == {"touched": 0, kind: 1}
        later = always_503()
        driver.set_faults(error, later)
        driver.client(GET)
        assert driver.sent[UPSTREAM] == first + GET
        assert later.effect.report() == {"touched": 0, kind: 1}


def test_a_service_that_speaks_first_is_not_http() -> None:
    error = always_503()
    driver = Driver([error])
    driver.service(b"220 mail\r\n")
    driver.client(b"GET")
    assert driver.sent == [b"GET", b"220 mail\r\n"]
    assert error.effect.report()["skipped_not_http"] == 1


def test_unanswered_requests_are_bounded() -> None:
    driver = Driver()
    for _ in range(limits.PROXY_PIPELINE):
        driver.client(GET)
    driver.client(GET)
    assert driver.paused[UPSTREAM]
    driver.service(OK)
    driver.service(OK)
    driver.service(OK)
    assert not driver.paused[UPSTREAM]


def test_reset_peer_waits_and_touches_open_connections() -> None:
    reset = fault("reset_peer", afterMs=200)
    driver = Driver()
    driver.client(b"\x00")
    driver.set_faults(reset)
    driver.advance(0.1)
    assert driver.over is None
    driver.advance(0.2)
    assert driver.over is Reset
    assert reset.effect.report() == {"touched": 1, "connections": 1}


@pytest.mark.parametrize(
    ("kind", "parameters"),
    [
        ("latency", {"latencyMs": -1}),
        ("latency", {"latencyMs": "5"}),
        ("latency", {"latencyMs": float("nan")}),
        ("latency", {"direction": "sideways"}),
        ("http_error", {"statusCode": 200}),
        ("http_error", {"statusCodes": [500, "x"]}),
        ("http_error", {"body": b"x"}),
        ("reset_peer", {"probability": 1.5}),
        ("reset_peer", {"afterMs": True}),
    ],
)
def test_parameters_are_checked(kind, parameters) -> None:
    with pytest.raises(ParameterError):
        FAULTS[kind](parameters, 1)
