"""Each fault of HTTP messages by events: no socket, its own clock, arbitrary cuts."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftchaos.proxy.commands import DOWNSTREAM, UPSTREAM, Close, Reset
from raftchaos.proxy.toxic import Fault
from tests.unit.proxy.engine_driver import Driver, fault
from tests.unit.proxy.proxy_world import request

GET = request("GET", "/")
BODY = b"0123456789" * 30


def response(body: bytes = BODY, *headers: str, status: str = "200 OK") -> bytes:
    lines = "".join(f"{line}\r\n" for line in headers).encode()
    return b"HTTP/1.1 %s\r\n%sContent-Length: %d\r\n\r\n%s" % (status.encode(), lines, len(body), body)


def chunked(body: bytes, size: int = 7) -> bytes:
    chunks = [body[start : start + size] for start in range(0, len(body), size)]
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\nX-Trailer: 1\r\n\r\n"


def read(data: bytes, method: str = "GET") -> tuple[int, dict[str, str], bytes, bytes]:
    """(status, headers, body, what follows) of a response as a strict client reads it."""
    head, _, rest = data.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    assert len(headers) == len(lines)
    if headers.get("transfer-encoding") == "chunked":
        body = b""
        while True:
            size, _, rest = rest.partition(b"\r\n")
            if int(size, 16) == 0:
                assert rest.startswith(b"\r\n") or b"\r\n\r\n" in rest
                return (
                    int(first.split()[1]),
                    headers,
                    body,
                    rest.partition(b"\r\n\r\n" if rest[:2] != b"\r\n" else b"\r\n")[2],
                )
            body += rest[: int(size, 16)]
            assert rest[int(size, 16) :].startswith(b"\r\n")
            rest = rest[int(size, 16) + 2 :]
    length = 0 if method == "HEAD" else int(headers["content-length"])
    assert len(rest) >= length
    return int(first.split()[1]), headers, rest[:length], rest[length:]


def exchange(driver: Driver, sent: bytes = GET, reply: bytes | None = None) -> bytes:
    """One request and its response; what the client got."""
    before, seen = len(driver.sent[DOWNSTREAM]), len(driver.sent[UPSTREAM])
    driver.client(sent)
    if len(driver.sent[UPSTREAM]) > seen:
        driver.service(response() if reply is None else reply)
    return driver.sent[DOWNSTREAM][before:]


def statuses(driver: Driver, number: int, sent: bytes = GET) -> list[int]:
    return [read(exchange(driver, sent))[0] for _ in range(number)]


def cuts(data: bytes, places: Sequence[int]) -> list[bytes]:
    ends = sorted({place % (len(data) + 1) for place in places} | {0, len(data)})
    return [data[a:b] for a, b in itertools.pairwise(ends) if a < b]


# ---- patterns of errors


def test_sequential_fails_the_first_requests_of_each_client() -> None:
    error = fault("http_error", pattern="sequential", errorsInRow=2)
    assert statuses(Driver([error]), 4) == [503, 503, 200, 200]
    assert statuses(Driver([error]), 2) == [200, 200], "the same client on another connection"
    assert statuses(Driver([error], address="192.0.2.2"), 3) == [503, 503, 200]
    assert error.effect.report() == {"touched": 4, "requests": 4, "passed": 5}


def test_sequential_by_header_and_again_and_again() -> None:
    error = fault("http_error", pattern="sequential", errorsInRow=1, passesInRow=2, per="header:X-User")
    driver = Driver([error])
    ann, bob = request("GET", "/", X_User="ann"), request("GET", "/", X_User="bob")
    assert statuses(driver, 5, ann) == [503, 200, 200, 503, 200]
    assert statuses(driver, 2, bob) == [503, 200]


def test_burst_gives_errors_in_rows() -> None:
    error = fault("http_error", seed=3, pattern="burst", errorsInRow=5, probability=0.05)
    found = [status != 200 for status in statuses(Driver([error]), 1000)]
    rows = [len(list(group)) for hit, group in itertools.groupby(found) if hit]
    assert all(row % 5 == 0 for row in rows[:-1])
    assert 20 < len(rows) < 60


# ---- timeout, rate limit


def test_http_timeout_holds_and_then_says_504() -> None:
    held = fault("http_timeout", holdMs=5000)
    driver = Driver([held])
    driver.client(GET)
    driver.advance(4.9)
    assert driver.sent == [b"", b""]
    driver.advance(0.2)
    assert read(driver.sent[DOWNSTREAM])[::3] == (504, b"")
    assert held.effect.report() == {"touched": 1, "requests": 1, "answered": 1}


def test_requests_behind_one_that_is_held_wait_for_it() -> None:
    driver = Driver([fault("http_timeout", holdMs=5000, match={"path": "/held"})])
    driver.client(request("GET", "/held") + GET + request("GET", "/held") + GET[:10])
    assert driver.paused[UPSTREAM]
    driver.client(GET[10:])
    driver.eof(UPSTREAM)
    driver.advance(5.1)
    assert driver.sent[UPSTREAM] == GET
    driver.service(response())
    driver.advance(5.1)
    assert driver.sent[UPSTREAM] == GET + GET
    assert driver.shut[UPSTREAM]
    driver.service(response())
    driver.eof(DOWNSTREAM)
    rest, found = driver.sent[DOWNSTREAM], []
    while rest:
        status, _, _, rest = read(rest)
        found.append(status)
    assert found == [504, 200, 504, 200]
    assert driver.over is Close


def test_http_timeout_lets_go_at_once_when_it_ends() -> None:
    driver = Driver([fault("http_timeout", holdMs=600_000)])
    driver.client(GET)
    driver.set_faults()
    assert read(driver.sent[DOWNSTREAM])[0] == 504
    assert read(exchange(driver))[0] == 504 or read(driver.sent[DOWNSTREAM])[3]


@pytest.mark.parametrize("broken", [False, True])
def test_http_timeout_answers_although_the_service_has_hung_up(broken: bool) -> None:
    """Services close connections on which nothing comes; the client still gets its 504."""
    driver = Driver([fault("http_timeout", holdMs=5000)])
    driver.client(GET)
    if broken:
        driver.run(driver.engine.failed(DOWNSTREAM, driver.now))
    else:
        driver.eof(DOWNSTREAM)
    assert driver.over is None
    driver.advance(5.1)
    assert read(driver.sent[DOWNSTREAM])[0] == 504
    if broken:
        assert driver.over is Reset
    else:
        assert driver.shut[DOWNSTREAM]


def test_rate_limit_is_a_token_bucket() -> None:
    limit = fault("rate_limit", requestsPerSecond=2, burst=3)
    driver = Driver([limit])
    assert statuses(driver, 5) == [200, 200, 200, 429, 429]
    assert read(exchange(driver))[1]["retry-after"] == "1"
    driver.advance(0.5)
    assert statuses(driver, 2) == [200, 429]
    driver.advance(100)
    assert statuses(driver, 4) == [200, 200, 200, 429]
    assert statuses(Driver([limit], now=driver.now, address="192.0.2.9"), 1) == [200]
    assert limit.effect.report() == {"touched": 5, "requests": 5, "passed": 8}


def test_rate_limit_per_route() -> None:
    driver = Driver([fault("rate_limit", requestsPerSecond=1, per="route")])
    assert statuses(driver, 2, request("GET", "/a?x=1")) == [200, 429]
    assert statuses(driver, 2, request("GET", "/b")) == [200, 429]
    assert statuses(driver, 1, request("GET", "/a?x=2")) == [429]


# ---- messages that are changed


def test_headers_are_set_and_removed() -> None:
    change = fault("http_headers", set={"X-New": "1", "Server": "other"}, remove=["Cache-Control"], nameFault=True)
    driver = Driver([change])
    reply = response(BODY, "Server: nginx", "Cache-Control: max-age=1", "cache-control: private", "Via: a")
    status, headers, body, rest = read(exchange(driver, reply=reply))
    assert (status, body, rest) == (200, BODY, b"")
    assert headers == {
        "via": "a",
        "content-length": "300",
        "x-new": "1",
        "server": "other",
        "raftchaos-fault": "http_headers",
    }
    assert change.effect.report() == {"touched": 1, "responses": 1}


def test_headers_of_requests_are_changed() -> None:
    driver = Driver([fault("http_headers", set={"Authorization": "none"}, remove="Cookie", direction="upstream")])
    driver.client(request("POST", "/a", b"body", Cookie="a=b", Authorization="secret"))
    assert driver.sent[UPSTREAM] == (
        b"POST /a HTTP/1.1\r\nHost: test\r\nContent-Length: 4\r\nAuthorization: none\r\n\r\nbody"
    )


def test_a_body_is_replaced() -> None:
    other = fault("http_replace", body="{}", contentType="application/json")
    driver = Driver([other])
    for reply in (response(BODY, "Content-Encoding: gzip", "Content-Type: text/html"), chunked(BODY), response(b"")):
        status, headers, body, rest = read(exchange(driver, reply=reply))
        if reply != response(b""):
            assert (status, body, rest) == (200, b"{}", b"")
            assert headers["content-type"] == "application/json"
            assert "content-encoding" not in headers
    assert other.effect.report() == {"touched": 2, "responses": 2, "passed": 1}
    assert read(driver.sent[DOWNSTREAM])[2] == b"{}"


@pytest.mark.parametrize("reply", [response(), chunked(BODY)])
def test_a_response_looks_complete_but_is_short(reply: bytes) -> None:
    driver = Driver([fault("http_partial", keepBytes=17)])
    for _ in range(3):
        assert read(exchange(driver, reply=reply))[2:] == (BODY[:17], b"")
    assert driver.over is None
    short = fault("http_partial", keepBytes=1000)
    assert read(exchange(Driver([short]), reply=response()))[2] == BODY
    assert short.effect.report() == {"touched": 0, "passed": 1}


@pytest.mark.parametrize(("ending", "how"), [("reset", Reset), ("close", Close)])
def test_a_response_breaks_off(ending: str, how: type) -> None:
    broken = fault("http_abort", afterBytes=50, ending=ending)
    driver = Driver([broken])
    got = exchange(driver)
    assert got == response()[: -len(BODY) + 50]
    assert driver.over is how
    assert broken.effect.report() == {"touched": 1, "responses": 1}
    chunks = Driver([fault("http_abort", afterBytes=50, ending=ending)])
    exchange(chunks, reply=chunked(BODY))
    assert chunks.over is how
    assert not chunks.sent[DOWNSTREAM].endswith(b"0\r\n\r\n")
    half = Driver([fault("http_abort", afterBytes=None)])
    assert exchange(half) == response()[: -len(BODY) // 2]


@pytest.mark.parametrize("reply", [response(), chunked(BODY)])
@pytest.mark.parametrize("mode", ["bitFlips", "randomBytes"])
def test_a_body_is_damaged_but_still_http(reply: bytes, mode: str) -> None:
    damage = fault("http_corrupt", rate=0.1, mode=mode)
    driver = Driver([damage])
    _, _, body, rest = read(exchange(driver, reply=reply))
    wrong = sum(a != b for a, b in zip(body, BODY, strict=True))
    assert rest == b""
    assert body[0] != BODY[0], "at least one byte"
    assert 10 < wrong < 60
    assert damage.effect.report() == {"touched": 1, "bodies": 1, "bytes": wrong}


def test_a_request_is_damaged() -> None:
    driver = Driver([fault("http_corrupt", rate=0, direction="upstream")])
    sent = request("POST", "/", b"hello", chunked=True)
    driver.client(sent)
    got = driver.sent[UPSTREAM]
    assert sum(a != b for a, b in zip(got, sent, strict=True)) == 1 if len(got) == len(sent) else b"chunked" in got


def test_what_an_ended_fault_has_begun_is_brought_to_its_end() -> None:
    """The head has told the client another length: the body must keep to it."""
    other = fault("http_replace", body="new")
    driver = Driver([other])
    driver.client(GET)
    reply = response()
    driver.service(reply[:-100])
    driver.set_faults()
    driver.service(reply[-100:])
    assert read(driver.sent[DOWNSTREAM])[2:] == (b"new", b"")
    assert read(exchange(driver))[2] == BODY


def test_an_abort_that_ends_before_its_byte_aborts_nothing() -> None:
    driver = Driver([fault("http_abort", afterBytes=250)])
    driver.client(GET)
    reply = response()
    driver.service(reply[:-100])
    driver.set_faults()
    driver.service(reply[-100:])
    assert driver.sent[DOWNSTREAM] == reply
    assert driver.over is None


def test_two_faults_change_one_message() -> None:
    replace, mark = fault("http_replace", body="x" * 90), fault("http_headers", set={"A": "b"})
    short = fault("http_partial", keepBytes=40)
    for order in itertools.permutations([replace, mark, short]):
        _, headers, body, rest = read(exchange(Driver(list(order))))
        assert headers["a"] == "b"
        assert set(body) == {ord("x")}
        assert (len(body), rest) == (int(headers["content-length"]), b"")


# ---- the response decides


def test_an_error_may_replace_what_the_service_said() -> None:
    error = fault("http_error", match={"status": "2xx"}, statusCode=500, body="no", nameFault=True)
    driver = Driver([error])
    status, headers, body, rest = read(exchange(driver, reply=chunked(BODY)))
    assert (status, body, rest) == (500, b"no", b"")
    assert headers["raftchaos-fault"] == "http_error"
    assert read(exchange(driver, reply=response(b"gone", status="404 Not Found")))[::2] == (404, b"gone")
    assert driver.sent[UPSTREAM] == GET + GET, "the service has seen both"
    assert error.effect.report() == {"touched": 1, "responses": 1}


def test_latency_of_a_route() -> None:
    slow = fault("latency", latencyMs=100, match={"path": "/slow/*"}, nameFault=True)
    driver = Driver([slow])
    fast = exchange(driver, request("GET", "/fast"))
    assert read(fast)[2] == BODY
    assert "raftchaos-fault" not in read(fast)[1]
    assert exchange(driver, request("GET", "/slow/a")) == b""
    assert exchange(driver, request("GET", "/fast")) == b"", "nothing overtakes"
    driver.advance(0.11)
    _, headers, body, rest = read(driver.sent[DOWNSTREAM][len(fast) :])
    assert (headers["raftchaos-fault"], body) == ("latency", BODY)
    assert read(rest)[2] == BODY
    assert slow.effect.report() == {"touched": 1, "requests": 1, "delayedMs": 100, "bytes": len(response()) + 26}


def test_latency_of_errors_only() -> None:
    slow = fault("latency", latencyMs=100, match={"status": [500, "4xx"]})
    driver = Driver([slow])
    assert exchange(driver)
    assert exchange(driver, reply=response(status="418 Teapot")) == b""
    driver.advance(0.2)
    assert slow.effect.report()["touched"] == 1


# ---- who is in it


def touched(kind: Fault, sent: bytes, address: str = "192.0.2.1") -> bool:
    before = kind.effect.report()["touched"]
    exchange(Driver([kind], address=address), sent)
    return kind.effect.report()["touched"] > before


@pytest.mark.parametrize(
    ("match", "hit", "missed"),
    [
        ({"method": ["GET", "put"]}, [GET, request("PUT", "/")], [request("POST", "/")]),
        ({"path": "/api/*"}, [request("GET", "/api/a/b?c=/d"), request("GET", "/%61pi/x")], [request("GET", "/ap")]),
        ({"path": ["*.png", "/b"]}, [request("GET", "/a.png"), request("GET", "/b")], [request("GET", "/b/")]),
        ({"header": {"x-user": "a*"}}, [request("GET", "/", X_User="ann")], [GET, request("GET", "/", X_User="bob")]),
        ({"query": {"q": "1"}}, [request("GET", "/?p=2&q=1")], [request("GET", "/?q=2"), request("GET", "/?p=1")]),
        ({"query": {"q": "*"}}, [request("GET", "/?q=")], [GET]),
        ({"bodyBytes": {"min": 5}}, [request("POST", "/", b"12345")], [request("POST", "/", b"1234"), GET]),
        ({"bodyBytes": {"max": 5}}, [request("POST", "/", b"12345"), GET], [request("POST", "/", b"123456")]),
        ({"bodyBytes": {"max": 5}}, [], [request("POST", "/", b"123", chunked=True)]),
        ({"method": "GET", "path": "/a"}, [request("GET", "/a")], [GET, request("POST", "/a")]),
    ],
)
def test_all_fields_must_match_and_any_value_of_a_list_may(match, hit, missed) -> None:
    error = fault("http_error", match=match)
    assert all(touched(error, sent) for sent in hit)
    assert not any(touched(error, sent) for sent in missed)


def test_matching_the_client() -> None:
    error = fault("http_error", match={"clientAddress": ["10.1.0.0/16", "2001:db8::7"]})
    assert touched(error, GET, "10.1.255.255")
    assert touched(error, GET, "::ffff:10.1.0.1"), "an IPv4 client of a socket for both"
    assert touched(error, GET, "2001:db8::7")
    assert not touched(error, GET, "10.2.0.0")
    assert not touched(error, GET, "2001:db8::8")


def test_a_sample_is_the_same_wherever_the_seed_is() -> None:
    def users(seed: int) -> list[bool]:
        error = fault("http_error", seed, sample={"percent": 10, "by": "cookie:sid"})
        found = [touched(error, request("GET", "/", Cookie=f"a=b; sid={number}")) for number in range(500)]
        assert not touched(error, GET), "who has no such cookie is not in it"
        report = error.effect.report()
        assert (report["touched"], report["control"]) == (sum(found), 501 - sum(found))
        return found

    assert users(1) == users(1) != users(2)
    assert 30 < sum(users(1)) < 75


def test_a_sample_of_clients_and_of_connections() -> None:
    reset = fault("reset_peer", sample={"percent": 50})
    addresses = [f"192.0.2.{number}" for number in range(100)]
    first, again = ([Driver([reset], address=one).over is Reset for one in addresses] for _ in range(2))
    assert first == again
    assert 30 < sum(first) < 70
    assert reset.effect.report() == {
        "touched": 2 * sum(first),
        "connections": 2 * sum(first),
        "control": 200 - 2 * sum(first),
    }
    each = fault("reset_peer", sample={"percent": 50, "by": "connection"})
    assert 30 < sum(Driver([each]).over is Reset for _ in range(100)) < 70


# ---- whatever comes

KINDS = ("http_headers", "http_replace", "http_partial", "http_corrupt", "http_error", "http_timeout", "rate_limit")
LETTERS = st.text("abc", max_size=30).map(str.encode)
MESSAGES = st.lists(
    st.tuples(
        st.builds(request, st.sampled_from(["GET", "POST", "HEAD"]), st.just("/"), LETTERS),
        st.one_of(st.builds(response, st.binary(max_size=60)), st.builds(chunked, st.binary(max_size=60))),
    ),
    min_size=1,
    max_size=5,
)
PLACES = st.lists(st.integers(0, 3_000), max_size=12)


@given(st.lists(st.sampled_from(KINDS), unique=True, max_size=3), MESSAGES, PLACES, PLACES, st.integers(0, 99))
@settings(max_examples=200, deadline=None)
def test_every_request_gets_one_whole_response_whatever_is_done_to_it(kinds, messages, up, down, seed) -> None:
    faults = [
        fault(kind, seed, probability=0.6, **({"holdMs": 50} if kind == "http_timeout" else {})) for kind in kinds
    ]
    driver = Driver(faults)
    for piece in cuts(b"".join(sent for sent, _ in messages), up):
        driver.client(piece)
        driver.advance(0.01)
    driver.advance(1)
    served = 0
    while (asked := [line for line in driver.sent[UPSTREAM].split(b"\r\n") if line.endswith(b" HTTP/1.1")])[served:]:
        answers = [
            reply.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" if b"HEAD" in line else reply
            for line, (_, reply) in list(zip(asked, messages, strict=False))[served:]
        ]
        served = len(asked)
        for piece in cuts(b"".join(answers), down):
            driver.service(piece)
            driver.advance(0.01)
        driver.advance(1)
    rest = driver.sent[DOWNSTREAM]
    for sent, _ in messages:
        method = sent.split(b" ")[0].decode()
        if method == "HEAD" and b"chunked" in rest.partition(b"\r\n\r\n")[0]:
            rest = rest.partition(b"\r\n\r\n")[2]
        else:
            rest = read(rest, method)[3]
    assert rest == b""
    assert driver.over is None


# ---- GraphQL


def ask(query: str, name: str | None = None, *, chunks: bool = False) -> bytes:
    body = json.dumps({"query": query, **({"operationName": name} if name else {})}).encode()
    return request("POST", "/graphql", body, chunked=chunks, Accept_Encoding="gzip")


def data(value: object) -> bytes:
    return response(json.dumps({"data": value}).encode(), "Content-Type: application/json; charset=utf-8")


@pytest.mark.parametrize("chunks", [False, True])
def test_a_graphql_operation_fails_by_its_name(chunks: bool) -> None:
    broken = fault("graphql", operation=["Check*"], message="no", code="DOWN")
    driver = Driver([broken])
    for sent, hit in (
        (ask("mutation Checkout { pay }", chunks=chunks), True),
        (ask("query A { a } mutation Check { b }", "Check", chunks=chunks), True),
        (ask("query Other { a }", chunks=chunks), False),
        (ask("{ a }", chunks=chunks), False),
        (request("POST", "/graphql", b"no json"), False),
        (request("GET", "/graphql?query=query+Check+%7Ba%7D"), True),
    ):
        body = json.loads(read(exchange(driver, sent, data({"a": 1})))[2])
        if hit:
            assert body == {"data": None, "errors": [{"message": "no", "extensions": {"code": "DOWN"}}]}
        else:
            assert body == {"data": {"a": 1}}
    assert b"Accept-Encoding" not in driver.sent[UPSTREAM].partition(b"no json")[0].rpartition(b"POST")[2]
    assert broken.effect.report() == {"touched": 3, "responses": 3}


def test_a_graphql_field_is_null() -> None:
    null = fault("graphql", operation="Cart", nullField="cart.items.price", nameFault=True)
    driver = Driver([null])
    items = [{"price": 5, "n": 1}, {"price": None, "n": 2}, {"price": 7, "n": 3}]
    reply = data({"cart": {"items": items, "total": 12}})
    driver.client(ask("query Cart { cart { items { price n } total } }"))
    for piece in cuts(reply, range(0, 400, 7)):
        assert driver.sent[DOWNSTREAM] == b""
        driver.service(piece)
    _, headers, body, rest = read(driver.sent[DOWNSTREAM])
    expected = [{"price": None, "n": n} for n in (1, 2, 3)]
    assert json.loads(body) == {"data": {"cart": {"items": expected, "total": 12}}}
    assert (headers["raftchaos-fault"], rest) == ("graphql", b"")
    other = data({"cart": None})
    assert exchange(driver, ask("query Cart { cart }"), other).endswith(other.partition(b"\r\n\r\n")[2])
    assert null.effect.report() == {"touched": 1, "responses": 1, "passed": 1}


def test_a_response_that_is_too_large_to_be_changed_passes() -> None:
    driver = Driver([fault("graphql", operation="Cart", nullField="a")])
    reply = data({"a": "x" * 2_000_000})
    assert exchange(driver, ask("query Cart { a }"), reply) == reply
    driver.client(ask("query Cart { a }"))
    driver.service(reply[:1000])
    driver.eof(DOWNSTREAM)
    assert driver.sent[DOWNSTREAM] == reply + reply[:1000]


def test_a_hostile_operation_or_response_takes_no_time() -> None:
    null = fault("graphql", operation="Cart", nullField=".".join("a" for _ in range(16)))
    driver = Driver([null])
    began = time.process_time()
    exchange(driver, ask("\n" * 200_000 + "query Cart { a }"), data({"a": 1}))
    assert time.process_time() - began < 5  # quadratic, it took minutes
    deep = b'{"data":' + b"[" * 900 + b"1" + b"]" * 900 + b"}"
    reply = response(deep, "Content-Type: application/json")
    assert exchange(driver, ask("query Cart { a }"), reply).endswith(deep)
