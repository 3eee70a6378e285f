"""toxiproxy's API over its port: its statuses, texts and shapes; and which faults its toxics become."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
from yarl import URL

from raftchaos import limits
from raftchaos.agent.proxies import NodeProxies
from raftchaos.api.toxiproxy.server import ToxiproxyServer
from raftchaos.api.toxiproxy.toxics import DISABLED, read_toxic, with_attributes
from raftchaos.clock import SystemClock
from raftchaos.core.interfaces import MAIN_LEASE
from raftchaos.errors import Halted, ProxyUnavailable, UsageError
from raftchaos.faults import build_faults
from raftchaos.faults.base import Host
from raftchaos.faults.executor import FaultExecutor
from raftchaos.faults.own import OwnFaults
from raftchaos.faults.twin import InMemoryProxy
from raftchaos.peer.caller_proxies import PeerCallerProxies
from raftchaos.proxy.faults import FAULTS

UP = "127.0.0.1:9"
TYPES = ("latency", "bandwidth", "slow_close", "timeout", "reset_peer", "slicer", "limit_data", "refuse")


class Recording(InMemoryProxy):
    """Keeps with which parameters each fault was put on, and under which lease."""

    def __init__(self) -> None:
        super().__init__(SystemClock())
        self.parameters: dict[str, Mapping[str, Any]] = {}

    async def inject(self, run: str, fault: str, proxy: str, parameters: Mapping[str, Any], *rest: Any) -> None:
        assert rest[-1] == MAIN_LEASE
        await super().inject(run, fault, proxy, parameters, *rest)
        self.parameters[run] = parameters

    def on(self) -> list[tuple[str, Mapping[str, Any]]]:
        return [(fault, self.parameters[run]) for run, (fault, _) in self.faults.items()]


class Reaper:
    standing = True
    lease_end = 0.0


class Api:
    """A peer without a cluster and its port for toxiproxy's clients."""

    def __init__(self, data_dir: Path) -> None:
        self.proxy = Recording()
        self.halted = False
        self.busy: set[str] = set()
        host = Host(proxy=self.proxy, data_dir=data_dir)
        self.executor = FaultExecutor(
            host,
            node="a",
            clock=SystemClock(),
            reaper=Reaper(),
            proxies=lambda: self.node.names(),
            faults=build_faults(host, TYPES),
        )
        self.own = OwnFaults(self.executor, self.proxy, SystemClock(), incarnation=1, check=self.check)
        self.node = NodeProxies(data_dir, control=self.proxy, in_use=self.own.uses_target)
        self.server = ToxiproxyServer(PeerCallerProxies(self.node, self.own, of_tasks=lambda one: one in self.busy))
        self.url = ""

    def check(self) -> None:
        if self.halted:
            raise Halted("the cluster is halted")

    async def call(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        async with aiohttp.ClientSession() as session:
            told = {"headers": headers} if headers else {}
            data = {"data": body} if isinstance(body, bytes) else {"json": body} if body is not None else {}
            async with session.request(method, URL(self.url + path, encoded=True), **data, **told) as answer:
                text = await answer.text()
                return answer.status, await answer.json() if "json" in answer.content_type else text

    async def create(self, name: str = "web", **more: Any) -> Any:
        status, view = await self.call("POST", "/proxies", {"name": name, "upstream": UP, **more})
        assert status == 201
        return view

    async def add(self, type_: str, **more: Any) -> Any:
        status, view = await self.call("POST", "/proxies/web/toxics", {"type": type_, **more})
        assert status == 200, view
        return view


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    made = Api(tmp_path)
    await made.node.open()
    made.url = f"http://127.0.0.1:{await made.server.start('127.0.0.1', 0)}"
    running = asyncio.create_task(made.own.run())
    yield made
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await made.server.stop()
    made.node.close()
    made.executor.close()


async def test_the_version_is_one_for_which_clients_say_patch(api: Api) -> None:
    status, answer = await api.call("GET", "/version")
    major, minor, patch = (int(part) for part in answer["version"].split("."))
    assert status == 200
    assert (major, minor) >= (2, 6)
    assert patch >= 0


async def test_a_proxy_is_created_changed_and_removed(api: Api) -> None:
    assert await api.call("GET", "/proxies") == (200, {})
    made = await api.create("mysql_master")
    listen = made["listen"]
    view = {"name": "mysql_master", "listen": listen, "upstream": UP, "enabled": True, "toxics": []}
    assert made == view
    assert listen.startswith("127.0.0.1:")
    assert await api.call("GET", "/proxies") == (200, {"mysql_master": view})
    assert await api.call("GET", "/proxies/mysql_master") == (200, view)
    for method in ("POST", "PATCH"):
        assert await api.call(method, "/proxies/mysql_master", {}) == (200, view), "an update keeps what it omits"
        changed = await api.call(method, "/proxies/mysql_master", {"upstream": "127.0.0.1:10"})
        assert changed == (200, {**view, "upstream": "127.0.0.1:10"})
        assert await api.call(method, "/proxies/mysql_master", {"Upstream": UP, "listen": None}) == (200, view)
    assert await api.call("DELETE", "/proxies/mysql_master") == (204, "")
    assert await api.call("GET", "/proxies") == (200, {})


async def test_a_proxy_that_is_disabled_refuses_and_is_a_fault_that_ends(api: Api) -> None:
    made = await api.create(enabled=False)
    assert made["enabled"] is False
    assert api.proxy.on() == [(wanted.type, wanted.parameters) for wanted in DISABLED]
    assert (await api.call("PATCH", "/proxies/web", {"upstream": "127.0.0.1:10"}))[1]["enabled"] is False
    assert len(api.proxy.faults) == 2, "also when it relays elsewhere"
    assert (await api.call("POST", "/proxies/web", {"enabled": True}))[1]["enabled"] is True
    assert api.proxy.faults == {}
    await api.call("POST", "/proxies/web", {"enabled": False})
    await api.add("latency")
    assert (await api.call("POST", "/reset"))[0] == 204
    assert api.proxy.faults == {}
    assert (await api.call("GET", "/proxies/web"))[1]["enabled"] is True


@pytest.mark.parametrize(
    ("type_", "attributes", "fault", "parameters"),
    [
        ("latency", {"latency": 250, "jitter": 20}, "latency", {"latencyMs": 250, "jitterMs": 20}),
        ("latency", {}, "latency", {"latencyMs": 0, "jitterMs": 0}),
        ("bandwidth", {"rate": 64}, "bandwidth", {"kilobytesPerSecond": 64}),
        ("bandwidth", {}, "timeout", {}),
        ("slow_close", {"delay": 1000}, "slow_close", {"delayMs": 1000}),
        ("timeout", {"timeout": 500}, "timeout", {"timeoutMs": 500, "afterwards": "close"}),
        ("reset_peer", {"timeout": 7}, "reset_peer", {"afterMs": 7, "since": "firstByte"}),
        (
            "slicer",
            {"average_size": 64, "size_variation": 32, "delay": 10},
            "slicer",
            {"averageBytes": 64, "variationBytes": 32, "delayMs": 0.01},
        ),
        (
            "slicer",
            {"average_size": 10**6, "size_variation": 10**5},
            "slicer",
            {"averageBytes": 65536, "variationBytes": 65535, "delayMs": 0},
        ),
        ("limit_data", {"bytes": 4096}, "limit_data", {"limitBytes": 4096}),
    ],
)
@pytest.mark.parametrize("stream", ["upstream", "downstream"])
def test_a_toxic_becomes_the_fault_that_does_the_same(
    type_: str, attributes: dict[str, int], fault: str, parameters: dict[str, Any], stream: str
) -> None:
    body = {"type": type_, "stream": stream, "toxicity": 0.25, "attributes": attributes}
    toxic = with_attributes(read_toxic(body), body)
    assert toxic.name == f"{type_}_{stream}"
    assert toxic.view()["attributes"].items() >= attributes.items()
    (wanted,) = toxic.faults()
    assert wanted.type == fault
    assert wanted.parameters == {"probability": 0.25, "direction": stream, **parameters}
    FAULTS[fault](wanted.parameters, 1)


async def test_a_toxic_is_added_read_changed_and_removed(api: Api) -> None:
    await api.create()
    view = {
        "attributes": {"latency": 100, "jitter": 0},
        "name": "latency_downstream",
        "type": "latency",
        "stream": "downstream",
        "toxicity": 1,
    }
    assert await api.add("latency", attributes={"latency": 100}) == view
    second = await api.add("latency", name="other", stream="upstream", toxicity=0.5)
    assert await api.call("GET", "/proxies/web/toxics") == (200, [second, view]), "those to the service first"
    assert (await api.call("GET", "/proxies/web"))[1]["toxics"] == [second, view]
    assert await api.call("GET", "/proxies/web/toxics/latency_downstream") == (200, view)
    for method, more in (("POST", {"jitter": 5}), ("PATCH", {"latency": 70})):
        status, view = await api.call(method, "/proxies/web/toxics/latency_downstream", {"attributes": more})
        assert status == 200
    assert view["attributes"] == {"latency": 70, "jitter": 5}
    status, view = await api.call("PATCH", "/proxies/web/toxics/latency_downstream", {"toxicity": 0.1, "name": "new"})
    assert (view["attributes"], view["toxicity"]) == ({"latency": 70, "jitter": 5}, 0.1)
    assert view["name"] == "latency_downstream", "neither name nor type nor stream changes"
    assert sorted(parameters["latencyMs"] for _, parameters in api.proxy.on()) == [0, 70]
    assert await api.call("DELETE", "/proxies/web/toxics/latency_downstream") == (204, "")
    assert await api.call("GET", "/proxies/web/toxics") == (200, [second])
    assert len(api.proxy.faults) == 1
    await api.add("latency")
    assert (await api.call("DELETE", "/proxies/web"))[0] == 204
    assert api.proxy.faults == {}
    await api.create()
    assert await api.call("GET", "/proxies/web/toxics") == (200, [])


@pytest.mark.parametrize("name", ["{x}", "a b?#", "%", "é"])
async def test_a_toxic_of_any_name_can_be_removed(api: Api, name: str) -> None:
    await api.create()
    await api.add("latency", name=name)
    assert await api.call("DELETE", f"/proxies/web/toxics/{quote(name, safe='')}") == (204, "")


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "error"),
    [
        ("POST", "/proxies", {}, 400, "missing required field: name"),
        ("POST", "/proxies", {"name": "", "upstream": UP}, 400, "missing required field: name"),
        ("POST", "/proxies", {"name": "x"}, 400, "missing required field: upstream"),
        ("POST", "/proxies", {"name": "web", "upstream": UP}, 409, "proxy already exists"),
        ("POST", "/proxies", {"name": "a b", "upstream": UP}, 400, "found the proxy name"),
        ("POST", "/proxies", {"name": "x", "upstream": "nowhere"}, 400, "found the address 'nowhere'"),
        ("POST", "/proxies", {"name": "x", "upstream": UP, "listen": "192.0.2.1:1"}, 500, "cannot listen on"),
        ("POST", "/proxies", {"name": 5, "upstream": UP}, 400, "bad request body: name is 5"),
        ("POST", "/proxies", {"name": "x", "upstream": UP, "enabled": 1}, 400, "bad request body: enabled is 1"),
        ("POST", "/proxies", [], 400, "bad request body"),
        ("POST", "/proxies", b"", 400, "bad request body"),
        ("POST", "/proxies", b"{", 400, "bad request body"),
        ("POST", "/proxies", b"\xff", 400, "bad request body"),
        ("POST", "/proxies", b"[" * 100_000, 400, "bad request body"),
        ("POST", "/proxies", b"[" * 30 + b"]" * 30, 400, "bad request body"),
        ("POST", "/proxies", b" " * (limits.DOCUMENT + 1), 413, "bad request body: it is larger"),
        ("GET", "/proxies/none", None, 404, "proxy not found"),
        ("PATCH", "/proxies/none", {}, 404, "proxy not found"),
        ("DELETE", "/proxies/none", None, 404, "proxy not found"),
        ("GET", "/proxies/none/toxics", None, 404, "proxy not found"),
        ("POST", "/proxies/none/toxics", {}, 404, "proxy not found"),
        ("GET", "/proxies/none/toxics/x", None, 404, "proxy not found"),
        ("GET", "/proxies/web/toxics/x", None, 404, "toxic not found"),
        ("PATCH", "/proxies/web/toxics/x", {}, 404, "toxic not found"),
        ("DELETE", "/proxies/web/toxics/x", None, 404, "toxic not found"),
        ("POST", "/proxies/web/toxics", {}, 400, "invalid toxic type"),
        ("POST", "/proxies/web/toxics", {"type": "meteor"}, 400, "invalid toxic type"),
        (
            "POST",
            "/proxies/web/toxics",
            {"type": "meteor", "stream": "sideways"},
            400,
            "stream was invalid, can be either upstream or downstream",
        ),
        ("POST", "/proxies/web/toxics", {"type": "timeout", "attributes": {"timeout": 5}}, 409, "toxic already exists"),
        ("POST", "/proxies/web/toxics", {"type": "latency", "attributes": {"latency": -1}}, 400, "latency is -1"),
        ("POST", "/proxies/web/toxics", {"type": "latency", "attributes": {"latency": 1.5}}, 400, "latency is 1.5"),
        ("POST", "/proxies/web/toxics", {"type": "latency", "attributes": {"latency": "9"}}, 400, 'latency is "9"'),
        ("POST", "/proxies/web/toxics", {"type": "latency", "attributes": [1]}, 400, "attributes is no object"),
        ("POST", "/proxies/web/toxics", {"type": "latency", "toxicity": 1.5}, 400, "toxicity is 1.5"),
        ("POST", "/proxies/web/toxics", {"type": "slicer"}, 400, "average_size is 0"),
        (
            "POST",
            "/proxies/web/toxics",
            {"type": "slicer", "attributes": {"average_size": 9, "size_variation": 9}},
            400,
            "size_variation is 9",
        ),
        ("POST", "/proxies/web/toxics", {"type": "latency", "name": "a/b"}, 400, 'name is "a/b"'),
        ("PATCH", "/proxies/web/toxics/timeout_downstream", {"attributes": {"timeout": -3}}, 400, "timeout is -3"),
        ("POST", "/populate", {}, 400, "bad request body"),
        ("POST", "/populate", [{"name": "a", "upstream": UP}, {"name": "b"}], 400, "upstream at proxy 2"),
        ("POST", "/populate", [{"name": "a", "upstream": UP}] * 2, 400, "two proxies have one name"),
        ("GET", "/nothing", None, 404, "not found"),
        ("PUT", "/proxies", {}, 405, "method not allowed"),
    ],
)
async def test_what_makes_no_sense_is_refused_and_changes_nothing(
    api: Api, method: str, path: str, body: Any, status: int, error: str
) -> None:
    await api.create()
    await api.add("timeout")
    before = await api.call("GET", "/proxies")
    found, answer = await api.call(method, path, body)
    assert found == status
    assert set(answer) == {"error", "status"}
    assert answer["status"] == status
    assert error in answer["error"]
    if "bad" not in error and status in (404, 409):
        assert answer["error"] == error
    assert await api.call("GET", "/proxies") == before


async def test_populate_adds_keeps_and_replaces(api: Api) -> None:
    web = await api.create()
    await api.add("latency")
    body = [{"name": "web", "listen": web["listen"], "upstream": UP}, {"name": "new", "upstream": UP, "enabled": False}]
    status, answer = await api.call("POST", "/populate", body)
    assert status == 201
    assert [(one["name"], one["enabled"], len(one["toxics"])) for one in answer["proxies"]] == [
        ("web", True, 1),
        ("new", False, 0),
    ]
    status, answer = await api.call("POST", "/populate", [{**body[0], "upstream": "127.0.0.1:10"}])
    assert answer["proxies"] == [{**web, "upstream": "127.0.0.1:10"}], "another one, without toxics"
    assert [name for name, _ in api.proxy.on()] == [wanted.type for wanted in DISABLED]


async def test_a_proxy_that_cannot_be_disabled_is_not_created(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: Any) -> None:
        raise ProxyUnavailable("it has just ended")

    monkeypatch.setattr(api.proxy, "inject", fail)
    status, _ = await api.call("POST", "/proxies", {"name": "web", "upstream": UP, "enabled": False})
    assert status == 503
    assert (await api.call("GET", "/proxies"))[1] == {}


async def test_an_update_with_empty_addresses_keeps_them(api: Api) -> None:
    view = await api.create(listen="localhost:0")
    assert await api.call("PATCH", "/proxies/web", {"listen": "", "upstream": ""}) == (200, view)


async def test_a_halt_takes_toxics_off_and_refuses_new_ones(api: Api) -> None:
    await api.create()
    await api.add("latency")
    await api.call("PATCH", "/proxies/web", {"enabled": False})
    api.halted = True
    async with asyncio.timeout(10):
        while api.proxy.faults:
            api.own.wake()
            await asyncio.sleep(0.01)
    status, view = await api.call("GET", "/proxies/web")
    assert (view["enabled"], view["toxics"]) == (True, [])
    for method, path, body in (
        ("POST", "/proxies/web/toxics", {"type": "latency"}),
        ("PATCH", "/proxies/web", {"enabled": False}),
    ):
        status, answer = await api.call(method, path, body)
        assert (status, answer) == (409, {"error": "the cluster is halted", "status": 409})
    status, _ = await api.call("POST", "/proxies", {"name": "off", "upstream": UP, "enabled": False})
    assert status == 409
    assert list((await api.call("GET", "/proxies"))[1]) == ["web"]
    assert (await api.call("POST", "/reset"))[0] == 204


async def test_a_proxy_that_a_task_uses_stays_as_it_is(api: Api) -> None:
    made = await api.create()
    toxic = await api.add("latency")
    api.busy.add("proxy:web")
    for method, body in (("DELETE", None), ("PATCH", {"upstream": "127.0.0.1:10"})):
        status, answer = await api.call(method, "/proxies/web", body)
        assert status == 409
        assert "a run of a task" in answer["error"]
    assert await api.call("GET", "/proxies/web") == (200, {**made, "toxics": [toxic]})
    assert (await api.call("PATCH", "/proxies/web", {"enabled": False}))[0] == 200, "that changes no address"
    assert (await api.call("POST", "/populate", [{"name": "web", "upstream": UP}]))[0] == 201


async def test_toxics_are_bounded(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "TOXICS", 2)
    await api.create()
    for name in ("a", "b"):
        await api.add("latency", name=name)
    status, answer = await api.call("POST", "/proxies/web/toxics", {"type": "latency"})
    assert (status, answer["error"]) == (409, "this peer has 2 toxics, the most there may be")


async def test_browsers_are_turned_away(api: Api) -> None:
    for path in ("/version", "/nothing"):
        status, answer = await api.call("GET", path, **{"User-Agent": "Mozilla/5.0 (X11; Linux x86_64)"})
        assert (status, answer) == (403, "User agent not allowed\n")


def test_an_attribute_is_a_whole_number_however_it_is_written() -> None:
    body = {"TYPE": "latency", "Attributes": {"Latency": 5.0, "other": 1, "jitter": None}}
    toxic = with_attributes(read_toxic(body), body)
    assert toxic.attributes == {"latency": 5, "jitter": 0}
    with pytest.raises(UsageError):
        with_attributes(toxic, {"attributes": {"latency": True}})
