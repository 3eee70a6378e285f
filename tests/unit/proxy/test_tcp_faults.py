"""Each fault of plain connections by events: no socket, its own clock."""

from __future__ import annotations

import itertools
import math
import statistics

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftchaos import limits
from raftchaos.proxy.chance import Damage
from raftchaos.proxy.commands import DOWNSTREAM, UPSTREAM, Close, Reset
from raftchaos.proxy.delayline import Budget
from raftchaos.proxy.faults import FAULTS
from raftchaos.proxy.stats import Stats
from tests.unit.proxy.engine_driver import Driver, fault

DATA = b"\x00" + bytes(range(1, 256)) * 40


def delays(**parameters: object) -> list[float]:
    """Delays in milliseconds of 4000 bursts."""
    slow = fault("latency", seed=5, **parameters)
    return [1000 * slow.delay(0, number) for number in range(4000)]  # type: ignore[attr-defined]


def test_latency_follows_its_distribution() -> None:
    uniform = delays(latencyMs=100, jitterMs=40)
    assert 60 <= min(uniform) < 62
    assert 138 < max(uniform) <= 140
    for name in ("normal", "pareto"):
        drawn = delays(latencyMs=100, jitterMs=20, distribution=name)
        assert abs(statistics.mean(drawn) - 100) < 2, name
    normal = delays(latencyMs=100, jitterMs=20, distribution="normal")
    assert abs(statistics.stdev(normal) - 20) < 1
    pareto = sorted(delays(latencyMs=100, jitterMs=20, distribution="pareto"))
    assert abs(min(pareto) - (100 - 20 / math.sqrt(3))) < 1, "a pareto distribution has a shortest value"
    assert pareto[2000] < 97, "most are shorter than the mean"
    assert pareto[-4] > 250, "few are very long"


def test_latency_follows_measured_quantiles() -> None:
    points = [{"percent": 50, "latencyMs": 10}, {"percent": 90, "latencyMs": 50}, {"percent": 99, "latencyMs": 400}]
    drawn = sorted(delays(quantiles=points))
    assert (drawn[0], drawn[-1]) == (10, 400)
    assert abs(drawn[2000] - 10) < 2
    assert abs(drawn[3600] - 50) < 5
    assert abs(drawn[2800] - 30) < 3, "evenly between two points"


def test_bandwidth_is_kept_within_three_percent_and_holds_the_sender_back() -> None:
    driver = Driver([fault("bandwidth", kilobytesPerSecond=100)])
    left = 200 * 1024
    while left or driver.wake_at is not None:
        while left and not driver.paused[DOWNSTREAM]:
            driver.service(b"x" * 4096)
            left -= 4096
        assert driver.budget.held <= limits.PROXY_SHAPED
        driver.advance(0.005)
    took = driver.times[-1][0] - 1000
    assert abs(took - 200 * 1024 / 100_000) < 0.03 * took
    gaps = [b - a for (a, _, _), (b, _, _) in itertools.pairwise(driver.times)]
    assert max(gaps) < 0.03, "it flows evenly"
    driver.client(b"at once")
    assert driver.sent[UPSTREAM] == b"at once"


def test_bandwidth_may_be_shared_as_a_link_is() -> None:
    link = fault("bandwidth", kilobytesPerSecond=10, sharedBy="proxy")
    stats, one = Stats(), Driver([link])
    other = Driver([link], stats=stats)
    one.service(b"x" * 5_000)
    other.service(b"y" * 5_000)
    for driver in (one, other):
        driver.advance(1.001)
    assert one.times[-1][0] - 1000 <= 0.51
    assert 0.95 < other.times[-1][0] - 1000 <= 1.001


def test_slow_close_passes_the_end_on_late_and_at_once_when_it_goes() -> None:
    slow = fault("slow_close", delayMs=500)
    driver = Driver([slow])
    driver.service(b"\x00last")
    driver.eof(DOWNSTREAM)
    driver.eof(UPSTREAM)
    assert driver.sent[DOWNSTREAM] == b"\x00last"
    assert driver.shut == [True, False], "only the service's end is late"
    driver.advance(0.49)
    assert not driver.shut[DOWNSTREAM]
    driver.advance(0.02)
    assert driver.over is Close
    assert slow.effect.report() == {"touched": 1, "ends": 1}
    held = Driver([slow])
    held.eof(DOWNSTREAM)
    held.set_faults()
    assert held.shut[DOWNSTREAM]


def test_timeout_holds_and_resumes_as_a_network_that_heals() -> None:
    dead = fault("timeout", direction="both", timeoutMs=0)
    driver = Driver([dead])
    driver.client(b"\x00question")
    driver.service(DATA)
    driver.eof(DOWNSTREAM)
    driver.advance(3600)
    assert driver.sent == [b"", b""]
    assert driver.over is None
    driver.set_faults()
    assert driver.sent == [b"\x00question", DATA]
    assert driver.shut == [False, True]
    assert dead.effect.report() == {"touched": 1, "connections": 1, "bytes": 9 + len(DATA)}


def test_timeout_holds_the_sender_back() -> None:
    driver = Driver([fault("timeout", timeoutMs=0)])
    sent = 0
    while not driver.paused[DOWNSTREAM]:
        driver.service(DATA)
        sent += len(DATA)
    assert sent < limits.PROXY_SHAPED + 2 * len(DATA)
    driver.set_faults()
    assert not driver.paused[DOWNSTREAM]
    assert len(driver.sent[DOWNSTREAM]) == sent


def test_timeout_closes_after_its_time_or_in_the_end() -> None:
    driver = Driver([fault("timeout", timeoutMs=700)])
    driver.service(b"\x00lost")
    driver.advance(0.69)
    assert driver.over is None
    driver.advance(0.02)
    assert driver.over is Close
    assert driver.sent[DOWNSTREAM] == b""
    closing = Driver([fault("timeout", timeoutMs=0, afterwards="close")])
    closing.service(b"\x00lost")
    closing.set_faults()
    assert closing.over is Close
    assert closing.sent[DOWNSTREAM] == b""


def test_reset_peer_may_wait_for_the_first_byte() -> None:
    driver = Driver([fault("reset_peer", afterMs=100, since="firstByte")])
    driver.advance(10)
    assert driver.over is None
    driver.client(b"\x00")
    driver.advance(0.09)
    assert driver.over is None
    driver.advance(0.02)
    assert driver.over is Reset
    assert driver.sent == [b"", b""], "what it waited for does not arrive"


def test_reset_peer_may_wait_for_the_first_byte_of_one_side() -> None:
    driver = Driver([fault("reset_peer", since="firstByte", direction="downstream")])
    driver.client(b"\x00asked")
    driver.advance(10)
    assert (driver.over, driver.sent[UPSTREAM]) == (None, b"\x00asked")
    driver.service(b"\x00answer")
    assert driver.over is Reset
    assert driver.sent[DOWNSTREAM] == b""


def test_a_timeout_that_another_replaces_closes_nothing_and_loses_nothing() -> None:
    old, new = (fault("timeout", timeoutMs=0, afterwards="close") for _ in range(2))
    driver = Driver([old])
    driver.service(b"\x00held")
    old.replaced()
    driver.set_faults(old, new)
    driver.set_faults(new)
    assert (driver.over, driver.sent[DOWNSTREAM]) == (None, b"")
    driver.set_faults()
    assert driver.over is Close


def test_slicer_cuts_into_pieces_with_pauses() -> None:
    cut = fault("slicer", averageBytes=100, variationBytes=50, delayMs=2)
    driver = Driver([cut])
    driver.service(DATA[:5000])
    driver.advance(2)
    sizes = [len(piece) for _, _, piece in driver.times]
    assert driver.sent[DOWNSTREAM] == DATA[:5000]
    assert all(50 <= size <= 150 for size in sizes[:-1])
    assert len(set(sizes)) > 10
    starts = [at for at, _, _ in driver.times]
    assert all(b - a > 0.0019 for a, b in itertools.pairwise(starts))
    assert cut.effect.report() == {"touched": len(sizes), "pieces": len(sizes), "connections": 1}


@pytest.mark.parametrize("pieces", [1, 3, 977])
def test_limit_data_lets_exactly_so_much_through(pieces: int) -> None:
    limit = fault("limit_data", limitBytes=1000)
    driver = Driver([limit])
    for start in range(0, 1954, 1954 // pieces):
        if driver.over is None:
            driver.service(DATA[start : start + 1954 // pieces])
    assert driver.sent[DOWNSTREAM] == DATA[:1000]
    assert driver.over is Close
    assert limit.effect.report() == {"touched": 1, "connections": 1, "bytes": 1000}


def test_limit_data_ends_after_what_another_fault_still_holds() -> None:
    driver = Driver([fault("limit_data", limitBytes=10), fault("latency", latencyMs=100)])
    driver.service(DATA)
    assert driver.over is None
    driver.advance(0.2)
    assert driver.sent[DOWNSTREAM] == DATA[:10]
    assert driver.over is Close


def test_limit_time_counts_from_the_first_byte() -> None:
    driver = Driver([fault("limit_time", limitMs=300)])
    driver.advance(5)
    driver.client(b"\x00")
    driver.advance(0.29)
    driver.service(DATA)
    assert driver.sent[DOWNSTREAM] == DATA
    driver.advance(0.02)
    assert driver.over is Close


@given(st.floats(0, 1), st.lists(st.integers(1, 300), max_size=30), st.integers(0, 1 << 32))
@settings(max_examples=60, deadline=None)
def test_damage_does_not_depend_on_how_a_stream_is_cut(rate: float, sizes: list[int], seed: int) -> None:
    cut, whole = Damage(rate, "randomBytes", seed, 3), Damage(rate, "randomBytes", seed, 3)
    parts = [cut.apply(bytes(size)) for size in sizes]
    data, count = whole.apply(bytes(sum(sizes)))
    assert b"".join(part for part, _ in parts) == data
    assert sum(number for _, number in parts) == count == len(data) - data.count(0)
    assert rate > 0 or count == 0
    assert rate < 1 or count == len(data)


@pytest.mark.parametrize("mode", ["bitFlips", "randomBytes"])
def test_corrupt_changes_the_part_of_the_bytes_that_it_says(mode: str) -> None:
    damage = fault("corrupt", mode=mode, rate=0.02)
    driver = Driver([damage])
    for _ in range(10):
        driver.service(DATA)
    pairs = list(zip(driver.sent[DOWNSTREAM], DATA * 10, strict=True))
    changed = [(a, b) for a, b in pairs if a != b]
    assert abs(len(changed) / len(pairs) - 0.02) < 0.003
    assert damage.effect.report() == {"touched": len(changed), "bytes": len(changed), "connections": 1}
    if mode == "bitFlips":
        assert all((a ^ b).bit_count() == 1 for a, b in changed)


def test_corrupt_may_lose_data() -> None:
    driver = Driver([fault("corrupt", mode="truncation", rate=1)])
    driver.service(b"\x00123456789")
    driver.service(b"abcd")
    assert driver.sent[DOWNSTREAM] == b"\x001234ab"


def test_refuse_takes_the_listener_down_or_resets_those_that_it_picks() -> None:
    assert fault("refuse").refuses
    assert not fault("refuse", probability=0.5).refuses
    some = fault("refuse", match={"clientAddress": "192.0.2.0/24"})
    assert not some.refuses
    assert Driver([some]).over is Reset
    assert Driver([some], address="198.51.100.1").over is None
    opened = Driver()
    opened.set_faults(some)
    opened.client(b"\x00")
    assert opened.sent[UPSTREAM] == b"\x00", "open connections live on"
    assert some.effect.report() == {"touched": 1, "connections": 1}


def test_connection_limit_counts_those_that_are_open() -> None:
    limit = fault("connection_limit", maxConnections=2)
    before = [Driver(), Driver(), Driver()]
    for driver in before:
        driver.set_faults(limit)
    assert all(driver.over is None for driver in before), "what is open lives on, even if it is too much"
    assert Driver([limit]).over is Reset
    before[0].eof(UPSTREAM)
    before[0].eof(DOWNSTREAM)
    assert Driver([limit]).over is Reset
    before[1].run(before[1].engine.failed(UPSTREAM, 1000.0))
    taken = Driver([limit])
    assert taken.over is None
    assert Driver([limit]).over is Reset
    assert limit.effect.report() == {"touched": 3, "connections": 3}


@pytest.mark.parametrize("order", [("latency", "timeout"), ("timeout", "latency"), ("latency", "slicer", "timeout")])
def test_the_end_of_one_fault_leaves_what_others_hold(order: tuple[str, ...]) -> None:
    """Whatever comes first: without the slow one the dead one still holds, without that everything is there."""
    faults = {kind: fault(kind, **({"timeoutMs": 0} if kind == "timeout" else {})) for kind in order}
    driver = Driver(list(faults.values()))
    driver.service(DATA)
    driver.advance(0.05)
    for kind in order:
        if kind != "timeout":
            del faults[kind]
            driver.set_faults(*faults.values())
            assert driver.sent[DOWNSTREAM] == b""
            driver.service(DATA)
            driver.advance(5)
            assert driver.sent[DOWNSTREAM] == b"", kind
    driver.set_faults()
    assert driver.sent[DOWNSTREAM] == DATA * len(order)
    assert driver.budget.held == 0


SHAPING = st.lists(
    st.sampled_from(["latency", "bandwidth", "slicer", "slow_close", "timeout", "limit_time"]),
    unique=True,
    max_size=4,
)


@given(
    SHAPING, SHAPING, st.lists(st.tuples(st.booleans(), st.binary(min_size=1, max_size=400)), max_size=20), st.data()
)
@settings(max_examples=150, deadline=None)
def test_faults_that_only_hold_lose_nothing(first, then, pieces, data) -> None:
    """Whatever comes and goes, in the end every byte has arrived, in order, once."""
    known = {kind: fault(kind, direction="both") for kind in ("latency", "bandwidth", "slicer", "slow_close")}
    known["timeout"] = fault("timeout", direction="both", timeoutMs=0)
    known["limit_time"] = fault("limit_time", limitMs=600_000)
    driver = Driver([known[kind] for kind in first])
    expected = [b"", b""]
    for down, piece in pieces:
        driver.data(DOWNSTREAM if down else UPSTREAM, b"\x00" + piece)
        expected[down] += b"\x00" + piece
        driver.advance(data.draw(st.floats(0, 0.2)))
        if data.draw(st.integers(0, 3)) == 0:
            driver.set_faults(*[known[kind] for kind in then])
    driver.eof(UPSTREAM)
    driver.eof(DOWNSTREAM)
    driver.set_faults()
    assert driver.sent == expected
    assert driver.over is Close
    assert driver.budget.held == 0


@pytest.mark.parametrize("kind", sorted(FAULTS))
def test_probability_0_is_exactly_inert(kind: str) -> None:
    inert = fault(kind, probability=0)
    assert not inert.refuses
    driver = Driver([inert])
    assert driver.engine.passive, "it costs nothing either"
    driver.client(b"GET / HTTP/1.1\r\n\r\n")
    driver.service(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    driver.client(DATA)
    driver.service(DATA)
    driver.advance(3600)
    assert driver.over is None
    assert inert.effect.report() == {"touched": 0}


def test_the_budget_of_all_connections_is_given_back() -> None:
    budget = Budget()
    assert budget.held == 0
    driver = Driver([fault("timeout", timeoutMs=0)])
    driver.service(DATA)
    assert driver.budget.held == len(DATA)
    driver.run(driver.engine.failed(UPSTREAM, driver.now))
    assert driver.budget.held == 0
