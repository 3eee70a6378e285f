"""Requests as cells: counts, statuses, latencies with what faults add, names without identifiers."""

from __future__ import annotations

import pytest

from raftchaos import limits
from raftchaos.core.cells import Cell
from raftchaos.core.histogram import ACCURACY
from raftchaos.proxy.cells import Folding, endpoint_of
from raftchaos.proxy.http1 import parse_request
from raftchaos.proxy.stats import Stats
from tests.unit.proxy.engine_driver import Driver, fault
from tests.unit.proxy.proxy_world import World
from tests.unit.proxy.test_process import until

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def ask(target: str, method: str = "GET") -> bytes:
    return f"{method} {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode()


def closed(driver: Driver) -> Cell:
    return Cell.decode(driver.stats.cells.close(1_700_000_000, {}).encode())


def test_a_request_takes_from_its_head_to_the_end_of_its_response() -> None:
    driver = Driver()
    for _ in range(3):
        driver.client(ask("/cart/17?x=1"))
        driver.advance(0.2)
        driver.service(OK[:-1])
        driver.advance(0.05)
        driver.service(OK[-1:])
    driver.client(ask("/cart/18"))
    driver.service(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n")
    driver.client(ask("/lost"))
    driver.engine.drop()
    cell = closed(driver)
    assert cell.counts["type"] == {"request": (5, 2)}
    assert cell.counts["endpoint"] == {"GET /cart/{id}": (4, 1), "GET /lost": (1, 1)}
    assert cell.counts["status"] == {"200": (3, 0), "503": (1, 1)}
    assert cell.counts["protocol"] == {"http": (5, 2)}
    assert cell.latencies[""].count == 4
    assert cell.latencies["GET /cart/{id}"].quantile(0.75) == pytest.approx(250, rel=2 * ACCURACY)
    assert len(cell.samples) + cell.unsampled == 5
    assert closed(driver).counts == {}, "the next second begins anew"


@pytest.mark.parametrize("parameters", [{"latencyMs": 400}, {"latencyMs": 400, "direction": "upstream"}])
def test_what_a_fault_adds_counts(parameters: dict[str, object]) -> None:
    driver = Driver([fault("latency", **parameters)])
    driver.client(ask("/a"))
    driver.advance(0.4)
    driver.service(OK)
    driver.advance(0.4)
    assert b"ok" in driver.sent[1]
    assert closed(driver).latencies[""].quantile(0.5) >= 400 * (1 - ACCURACY)


def test_the_answer_of_a_fault_counts_with_its_status() -> None:
    driver = Driver([fault("http_error")])
    driver.client(ask("/a"))
    cell = closed(driver)
    ((status, counts),) = cell.counts["status"].items()
    assert driver.sent[1][9:12].decode() == status
    assert counts[0] == 1


def test_a_response_without_a_length_ends_with_its_connection() -> None:
    driver = Driver()
    driver.client(ask("/a"))
    driver.service(b"HTTP/1.1 200 OK\r\n\r\nsome")
    driver.advance(0.1)
    driver.eof(1)
    cell = closed(driver)
    assert cell.counts["status"] == {"200": (1, 0)}
    assert cell.latencies[""].quantile(0.5) == pytest.approx(100, rel=2 * ACCURACY)


def test_what_faults_did_is_counted_by_fault_and_type() -> None:
    folding = Folding()
    folding.fault("r", "rate_limit")
    folding.fault("s", "bandwidth")
    folding.close(1, {"r": {"touched": 5}, "s": {"touched": 100, "connections": 1}})
    cell = folding.close(2, {"r": {"touched": 8}, "s": {"touched": 900, "connections": 3}})
    assert cell.counts["fault"] == {"rate_limit": (3, 0), "bandwidth": (2, 0)}
    assert cell.counts["type"] == {"rate_limited": (3, 0), "shaped": (2, 0)}


def test_the_busiest_endpoints_are_kept_and_everything_is_bounded() -> None:
    folding = Folding()
    for place in range(3000):
        letters = "".join(chr(97 + place // 26**power % 26) for power in range(3))
        folding.ended(parse_request(ask(f"/x/{letters}")), 200, 0.01)
    for _ in range(10):
        folding.ended(parse_request(ask("/x/aaa")), 200, 0.01)
    cell = folding.close(1, {})
    assert len(cell.counts["endpoint"]) <= limits.EVENT_ENDPOINTS + 1
    assert sum(count for count, _ in cell.counts["endpoint"].values()) == cell.events == 3010
    assert cell.counts["endpoint"]["GET /x/aaa"] == (11, 0)
    assert len(cell.samples) == limits.CELL_SAMPLES
    assert Cell.decode(cell.encode()).encode() == cell.encode()


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/", "GET /"),
        ("/orders/42/items", "GET /orders/{id}/items"),
        ("/u/3f2504e0-4f89-11d3-9a0c-0305e82c3301", "GET /u/{id}"),
        ("/t/deadbeef01", "GET /t/{id}"),
        ("/api/v1/checkout", "GET /api/v1/checkout"),
        ('/a"b\n', "GET /a'b?"),
        ("/" + "/long" * 100, ("GET //long" + "/long" * 100)[: limits.ENDPOINT]),
    ],
)
def test_identifiers_are_folded(path: str, name: str) -> None:
    assert endpoint_of("GET", path) == name


async def test_a_process_sends_a_cell_a_second(world: World) -> None:
    """What clients asked for stands in the cells of these seconds, with the latency that a fault gave it."""
    cells: list[Cell] = []

    def requests() -> int:
        cells.extend(map(Cell.decode, world.process.take_cells()))
        return sum(cell.counts.get("type", {}).get("request", (0, 0))[0] for cell in cells)

    for _ in range(20):
        await world.get()
    run = await world.inject("latency", latencyMs=300)
    for _ in range(3):
        await world.get()
    await world.process.recover(run)
    await until(lambda: requests() >= 23)
    assert requests() == 23
    latencies = [cell.latencies[""] for cell in cells if "" in cell.latencies]
    whole = latencies[0]
    for histogram in latencies[1:]:
        whole.merge(histogram)
    assert whole.quantile(0.5) < 300 * (1 - ACCURACY) <= whole.quantile(1.0)
    assert sum(count for bucket, count in whole.counts.items() if count) == 23
    assert sum(cell.counts.get("type", {}).get("shaped", (0, 0))[0] for cell in cells) == 3
    assert [cell.at for cell in cells] == sorted({cell.at for cell in cells})


def test_all_proxies_fold_into_one_cell() -> None:
    folding = Folding()
    for driver in (Driver(stats=Stats(folding)), Driver(stats=Stats(folding))):
        driver.client(ask("/a"))
        driver.service(OK)
    assert folding.close(1, {}).counts["endpoint"] == {"GET /a": (2, 0)}
