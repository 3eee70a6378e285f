"""The fault of WebSocket messages by events; frames are written and read by a library of others."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from aiohttp._websocket.helpers import websocket_mask
from hypothesis import given, settings
from hypothesis import strategies as st

from raftchaos.proxy.commands import DOWNSTREAM, UPSTREAM, Close
from tests.unit.proxy.engine_driver import Driver, fault
from tests.unit.proxy.proxy_world import request
from tests.unit.proxy.test_http_faults import cuts

UPGRADE = request(
    "GET", "/chat", Connection="Upgrade", Upgrade="websocket", Sec_WebSocket_Extensions="permessage-deflate"
)
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
MASK = b"\x0a\x0b\x0c\x0d"
TEXT, CONTINUED, CLOSE, PING = 1, 0, 8, 9


def frame(payload: bytes, opcode: int = TEXT, *, masked: bool = False, last: bool = True, rsv: int = 0) -> bytes:
    """RFC 6455, 5.2."""
    size = len(payload)
    length = bytes([size]) if size < 126 else b"\x7e" + (size % 65536).to_bytes(2, "big")
    if size > 65535:
        length = b"\x7f" + size.to_bytes(8, "big")
    head = bytes([(0x80 if last else 0) | rsv | opcode, length[0] | (0x80 if masked else 0)]) + length[1:]
    if not masked:
        return head + payload
    data = bytearray(payload)
    websocket_mask(MASK, data)
    return head + MASK + bytes(data)


def frames(data: bytes) -> list[tuple[int, bytes]]:
    """(opcode, payload) of each frame; fails if the last one is not whole."""
    found = []
    while data:
        size, start = data[1] & 0x7F, 2
        if size > 125:
            start = 4 if size == 126 else 10
            size = int.from_bytes(data[2:start], "big")
        mask = data[start : start + 4] if data[1] & 0x80 else b""
        payload = bytearray(data[start + len(mask) : start + len(mask) + size])
        assert len(payload) == size
        if mask:
            websocket_mask(mask, payload)
        found.append((data[0] & 0x0F, bytes(payload)))
        data = data[start + len(mask) + size :]
    return found


def opened(*faults: Any, before: bool = True) -> Driver:
    """A connection after its upgrade; `before`: the faults were on already."""
    driver = Driver(faults if before else ())
    driver.client(UPGRADE)
    driver.service(SWITCHED)
    if not before:
        driver.set_faults(*faults)
    driver.sent = [b"", b""]
    return driver


@pytest.mark.parametrize("before", [True, False])
def test_messages_are_dropped_whole(before: bool) -> None:
    drop = fault("websocket", action="drop", probability=0.5, seed=4)
    driver = opened(drop, before=before)
    for number in range(40):
        driver.service(frame(b"%d" % number, last=False) + frame(b"", PING) + frame(b"!" * 300, CONTINUED))
        driver.client(frame(b"hello", masked=True))
    got = frames(driver.sent[DOWNSTREAM])
    firsts = [int(payload) for opcode, payload in got if opcode == TEXT]
    assert 10 < len(firsts) < 30
    assert [payload for opcode, payload in got if opcode == CONTINUED] == [b"!" * 300] * len(firsts)
    assert sum(opcode == PING for opcode, _ in got) == 40, "control frames are no messages"
    assert frames(driver.sent[UPSTREAM]) == [(TEXT, b"hello")] * 40
    assert drop.effect.report() == {"touched": 40 - len(firsts), "messages": 40 - len(firsts), "passed": len(firsts)}


def test_a_connection_without_compression_is_asked_for() -> None:
    driver = Driver([fault("websocket")])
    driver.client(UPGRADE)
    assert b"permessage-deflate" not in driver.sent[UPSTREAM]
    assert b"Upgrade: websocket" in driver.sent[UPSTREAM]


def test_compressed_messages_are_not_dropped_as_later_ones_need_them() -> None:
    drop = fault("websocket", action="drop", probability=1.0)
    driver = opened(drop, before=False)
    driver.service(frame(b"x", rsv=0x40))
    assert frames(driver.sent[DOWNSTREAM]) == [(TEXT, b"x")]
    assert drop.effect.report() == {"touched": 0, "skipped_deflate": 1}


def test_messages_are_delayed_in_order() -> None:
    slow = fault("websocket", action="delay", delayMs=500, probability=0.5, seed=2)
    driver = opened(slow)
    for number in range(20):
        driver.service(frame(b"%d" % number))
    now = [int(payload) for _, payload in frames(driver.sent[DOWNSTREAM])]
    assert now == list(range(len(now)))
    driver.advance(0.6)
    assert [int(payload) for _, payload in frames(driver.sent[DOWNSTREAM])] == list(range(20))
    assert slow.effect.report()["touched"] > 3


def test_messages_are_damaged_within() -> None:
    damage = fault("websocket", action="corrupt", rate=0.05, direction="both", probability=1.0)
    driver = opened(damage)
    driver.service(frame(b"a" * 1000))
    driver.client(frame(b"b" * 1000, masked=True))
    for direction, letter in ((DOWNSTREAM, b"a"), (UPSTREAM, b"b")):
        ((_, payload),) = frames(driver.sent[direction])
        wrong = sum(byte != letter[0] for byte in payload)
        assert payload[0] != letter[0]
        assert 20 < wrong < 100
    assert damage.effect.report()["messages"] == 2


def test_both_ends_get_the_close_code() -> None:
    close = fault("websocket", action="close", closeCode=4001, probability=1.0)
    driver = opened(close)
    driver.client(frame(b"question", masked=True))
    driver.service(frame(b"answer"))
    assert frames(driver.sent[DOWNSTREAM]) == [(CLOSE, (4001).to_bytes(2, "big"))]
    assert frames(driver.sent[UPSTREAM])[1:] == [(CLOSE, (4001).to_bytes(2, "big"))]
    assert driver.over is Close
    half = opened(fault("websocket", action="close", probability=1.0))
    half.client(frame(b"question", masked=True)[:7])
    half.service(frame(b"answer"))
    assert len(half.sent[UPSTREAM]) == 7, "nothing is put into a frame"


def test_only_the_connections_that_match_are_touched() -> None:
    drop = fault("websocket", match={"path": "/other"}, probability=1.0)
    driver = opened(drop)
    driver.service(frame(b"x"))
    assert frames(driver.sent[DOWNSTREAM]) == [(TEXT, b"x")]
    error = fault("http_error")
    late = opened(error, before=False)
    late.client(frame(b"x", masked=True))
    assert error.effect.report() == {"touched": 0, "skipped_websock": 1}


def test_what_the_client_sends_behind_its_request_is_not_lost() -> None:
    for kind in ([], [fault("websocket", direction="upstream", probability=1.0)]):
        driver = Driver(kind)
        driver.client(UPGRADE + frame(b"early", masked=True)[:3])
        driver.service(SWITCHED + frame(b"welcome"))
        driver.client(frame(b"early", masked=True)[3:] + frame(b"", PING, masked=True))
        got = driver.sent[UPSTREAM].partition(b"\r\n\r\n")[2]
        assert frames(got) == ([] if kind else [(TEXT, b"early")]) + [(PING, b"")]
        assert driver.sent[DOWNSTREAM] == SWITCHED + frame(b"welcome")


MESSAGES = st.lists(st.tuples(st.booleans(), st.integers(0, 70_000), st.booleans()), max_size=8)
PLACES = st.lists(st.integers(0, 300_000), max_size=20)


@given(MESSAGES, PLACES, st.integers(0, 1 << 30))
@settings(max_examples=100, deadline=None)
def test_a_fault_that_comes_and_goes_leaves_whole_frames(messages, places, seed) -> None:
    chance = random.Random(seed)
    drop = fault("websocket", seed, probability=0.5)
    driver = opened(drop, before=False)
    sent = [frame(json.dumps([n, "x" * size]).encode(), TEXT if text else 2, last=whole)
            for n, (text, size, whole) in enumerate(messages)]  # fmt: skip
    for piece in cuts(b"".join(sent), places):
        driver.set_faults(*([drop] if chance.random() < 0.5 else []))
        driver.service(piece)
    driver.set_faults()
    got = frames(driver.sent[DOWNSTREAM])
    numbers = [json.loads(payload)[0] for _, payload in got]
    assert numbers == sorted(set(numbers))
    assert len(numbers) + drop.effect.report()["touched"] == len(messages)
