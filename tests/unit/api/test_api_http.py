"""The API as bytes on a socket: problems, bounds, hostile input, streams that nobody reads."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from raftchaos import limits
from raftchaos.api import ApiServer
from raftchaos.api.callers import Door
from raftchaos.api.routes import ROUTES, Role
from raftchaos.clock import SystemClock
from raftchaos.errors import MachineUnusable, NoQuorum, OutcomeUnknown
from raftchaos.model.event_stream import Decoder, Message
from raftchaos.model.events import Event, EventType
from tests.unit.api.fake_peer import Served, TaskDriver, until

API = "/api/v1"


@pytest.fixture
async def http(served: Served) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(f"http://{served.addresses[0]}") as session:
        yield session


async def problem(response: aiohttp.ClientResponse, status: int, code: str) -> dict[str, Any]:
    assert response.status == status
    assert response.content_type == "application/problem+json"
    body: dict[str, Any] = json.loads(await response.read())
    assert body.keys() == {"type", "title", "status", "detail", "code", "hint", "details", "definite"}
    assert (body["status"], body["code"]) == (status, code)
    assert body["detail"]
    return body


# ---- problems


async def test_unknown_paths_and_wrong_methods_are_problems(http: aiohttp.ClientSession) -> None:
    async with http.get("/api/v1/nothing") as response:
        await problem(response, 404, "not-found")
    async with http.get("/" + "x" * 3000) as response:
        assert len((await problem(response, 404, "not-found"))["detail"]) < 300
    async with http.put(f"{API}/status") as response:
        assert "GET" in (await problem(response, 405, "usage"))["hint"]
        assert "GET" in response.headers["Allow"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b'{"document": NaN, "id": "x"}',
        b'{"id": "x"}',
        b'{"document": {}, "id": 5}',
        b'{"document": {}, "id": "a/b"}',
        b'{"document": {}, "id": ""}',
        b'{"document": {}, "id": "x", "surprise": 1}',
        b'{"document": "kind: ChaosOrchestration", "id": "x"}',
        b'{"document": {"a": 1' + b"0" * 5000 + b'}, "id": "x"}',
        b'{"document": ' + b"[" * 100 + b"]" * 100 + b', "id": "x"}',
        b"[" * 200_000,
        b'{"a":' * 50_000,
    ],
)
async def test_bodies_that_are_no_submission_are_refused(
    http: aiohttp.ClientSession, served: Served, body: bytes
) -> None:
    async with http.post(f"{API}/tasks", data=body, headers={"Content-Type": "application/json"}) as response:
        await problem(response, 400, "usage")
    assert served.peers[0].writes == 0


async def test_a_submission_without_an_id_gets_one(http: aiohttp.ClientSession) -> None:
    document = {
        "apiVersion": "raftchaos.io/v1",
        "kind": "ChaosOrchestration",
        "metadata": {"name": "checkout"},
        "spec": {"steps": [{"name": "test", "scenario": "latency"}]},
    }
    found = set()
    for _ in range(2):
        async with http.post(f"{API}/tasks", json={"document": document}) as response:
            assert response.status == 201
            found.add((await response.json())["id"])
    assert len(found) == 2
    assert all(task.startswith("checkout-") for task in found)


@pytest.mark.parametrize("document", [None, 5, [], {}, {"kind": "Pod"}, {"orchestration": None}])
async def test_documents_that_are_none_are_refused(http: aiohttp.ClientSession, document: object) -> None:
    async with http.post(f"{API}/tasks", json={"document": document, "id": "x"}) as response:
        assert (await problem(response, 422, "invalid-document"))["details"]["problems"]
    async with http.post(f"{API}/tasks/preview", json={"document": document}) as response:
        await problem(response, 422, "invalid-document")


async def test_a_body_that_is_too_large_is_refused(http: aiohttp.ClientSession) -> None:
    async with http.post(f"{API}/tasks", json={"document": {"x": "y" * limits.HTTP_BODY}, "id": "x"}) as response:
        await problem(response, 413, "too-large")


async def test_a_document_that_is_too_large_is_refused(http: aiohttp.ClientSession) -> None:
    body = {"document": {"x": "y" * limits.DOCUMENT}, "id": "x"}
    async with http.post(f"{API}/tasks", json=body) as response:
        assert "262,144" in (await problem(response, 422, "invalid-document"))["detail"]


@pytest.mark.parametrize("path", ["halt", "tasks/x/cancel", "tasks", "proxies"])
async def test_half_a_character_is_no_text(http: aiohttp.ClientSession, served: Served, path: str) -> None:
    body = b'{"reason": "\\ud800", "document": {"\\udfff": 1}, "id": "x", "name": "a", "listen": "b", "upstream": "c"}'
    async with http.post(f"{API}/{path}", data=body, headers={"Content-Type": "application/json"}) as response:
        assert "surrogate" in (await problem(response, 400, "usage"))["detail"]
    assert not served.peers[0].halts_held
    async with http.post(
        f"{API}/halt", data=b'{"reason": "\\ud83d\\ude00"}', headers={"Content-Type": "application/json"}
    ) as response:
        assert response.status < 300


async def test_a_body_must_say_that_it_is_json(http: aiohttp.ClientSession, served: Served) -> None:
    async with http.post(f"{API}/halt", data=b'{"reason": "x"}', headers={"Content-Type": "text/plain"}) as response:
        await problem(response, 400, "usage")
    assert not served.peers[0].halts_held


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=x", "limit=99999", "limit=-1", "after=nobody", "consistency=some", "atLeast=x"]
)
async def test_queries_that_mean_nothing_are_refused(http: aiohttp.ClientSession, query: str) -> None:
    async with http.get(f"{API}/tasks?{query}") as response:
        await problem(response, 400, "usage")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/proxies", {"name": "", "listen": "h:1", "upstream": "h:2"}),
        ("/proxies", {"name": "a", "listen": "h:1", "upstream": "h:2", "certificate": 1, "key": "/a"}),
        ("/proxies", {"name": "a", "listen": "nowhere", "upstream": "h:2"}),
        ("/proxies", {"name": "a", "listen": "h:1", "upstream": "h:99999"}),
        ("/proxies", {"name": "a", "listen": "h:1"}),
        ("/resume", {"halts": "all"}),
        ("/resume", {"halts": [1]}),
        ("/halt", {"reason": "x" * 10_000}),
        ("/halt", {"reason": 5}),
        ("/join", {"name": "n", "directory": "d", "raftAddress": "x", "apiAddress": "h:1"}),
        ("/join", {"name": "n", "directory": "é" * 32, "raftAddress": "h:2", "apiAddress": "h:1"}),
        ("/join", {"name": "n"}),
    ],
)
async def test_fields_that_are_wrong_are_refused(http: aiohttp.ClientSession, path: str, body: dict[str, Any]) -> None:
    async with http.post(API + path, json=body) as response:
        await problem(response, 400, "usage")


async def test_a_defect_is_a_problem_without_a_traceback(
    http: aiohttp.ClientSession, served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    served.peers[0].crash = KeyError("an inner name")
    async with http.post(f"{API}/nodes/node-1/drain") as response:
        body = await problem(response, 500, "internal")
    assert "inner" not in json.dumps(body)
    assert "an inner name" in caplog.text


async def test_a_write_without_a_quorum_is_503_and_definite(http: aiohttp.ClientSession, served: Served) -> None:
    served.peers[0].quorum = False
    async with http.post(f"{API}/nodes/node-1/drain") as response:
        body = await problem(response, 503, NoQuorum.spec.code)
        assert response.headers["Retry-After"] == "1"
    assert body["definite"] is True
    assert "not reachable: node-2, node-3" in body["detail"]
    assert body["details"]["quorum"]["missing"] == 1


async def test_a_write_that_hangs_is_answered_in_time(
    http: aiohttp.ClientSession, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang(*_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(served.peers[0], "drain_node", hang)
    async with http.post(f"{API}/nodes/node-1/drain") as response:
        assert (await problem(response, 503, OutcomeUnknown.spec.code))["definite"] is False


# ---- probes, metrics, description


async def test_probes(http: aiohttp.ClientSession, served: Served) -> None:
    for path in ("/healthz", "/readyz"):
        async with http.get(path) as response:
            assert response.status == 200
    served.peers[0].quorum = False
    async with http.get("/healthz") as response:
        assert response.status == 200
    async with http.get("/readyz") as response:
        assert response.status == 503
        assert (await response.json())["reasons"] == ["it sees no leader"]
    served.peers[0].live = False
    async with http.get("/healthz") as response:
        assert response.status == 503


async def test_metrics_have_the_type_that_prometheus_wants(http: aiohttp.ClientSession) -> None:
    async with http.get("/metrics") as response:
        assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"


async def test_the_description_is_the_table_of_routes(http: aiohttp.ClientSession) -> None:
    async with http.get(f"{API}/openapi.json") as response:
        described = await response.json()
    operations = {(method.upper(), path) for path, methods in described["paths"].items() for method in methods}
    assert operations == {(route.method, route.path) for route in ROUTES}
    assert len({one["operationId"] for methods in described["paths"].values() for one in methods.values()}) == len(
        ROUTES
    )
    schemas = described["components"]["schemas"]
    references = re.findall(r'"#/components/schemas/(\w+)"', json.dumps(described))
    assert {"ChaosOrchestration", "ChaosScenario", "Problem"} <= set(references) <= schemas.keys()
    submit = described["paths"][f"{API}/tasks"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert submit["required"] == ["document"]


def test_every_route_has_a_role_and_what_changes_something_is_for_no_viewer() -> None:
    assert len({(route.method, route.path) for route in ROUTES}) == len(ROUTES)
    for route in ROUTES:
        if route.method != "GET" and not route.path.endswith(("/preview", "/join")):  # a join proves a token
            assert route.role in (Role.OPERATOR, Role.ADMIN)


# ---- streams


async def messages(response: aiohttp.ClientResponse, count: int) -> list[Message]:
    decoder, found = Decoder(), list[Message]()
    async with asyncio.timeout(10):
        async for piece in response.content.iter_any():
            found += decoder.feed(piece)
            if len(found) >= count:
                break
    return found


async def test_a_stream_goes_on_after_its_last_id(
    http: aiohttp.ClientSession, served: Served, document: dict[str, Any]
) -> None:
    async with http.get(f"{API}/events", params={"after": "0-0"}) as response:
        assert response.content_type == "text/event-stream"
        first = (await messages(response, 3))[:3]
    async with http.get(f"{API}/events", headers={"Last-Event-ID": first[1].id}) as response:
        assert (await messages(response, 1))[0] == first[2]
    assert json.loads(first[2].data)["id"] == first[2].id
    async with http.get(f"{API}/events", headers={"Last-Event-ID": "nonsense"}) as response:
        await problem(response, 400, "usage")


async def test_a_stream_of_one_task_holds_no_other(
    http: aiohttp.ClientSession, served: Served, document: dict[str, Any]
) -> None:
    for task in ("t-1", "t-2"):
        await served.client.submit(document, task_id=task)
        TaskDriver(served.log, task).plan("node-1")
    async with http.get(f"{API}/events", params={"after": "0", "task": "t-2"}) as response:
        found = await messages(response, 2)
    assert {json.loads(message.data)["task"] for message in found} == {"t-2"}


async def test_the_number_of_streams_is_bounded(
    served: Served, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "EVENT_STREAMS", 2)
    first, second = await http.get(f"{API}/events"), await http.get(f"{API}/events")
    async with http.get(f"{API}/events") as response:
        await problem(response, 503, "busy")
    first.close()
    second.close()

    async def free() -> bool:
        async with http.get(f"{API}/events") as response:
            return response.status == 200

    async with asyncio.timeout(10):
        while not await free():  # noqa: ASYNC110 - the server notices by itself that its readers are gone
            await asyncio.sleep(0.05)


async def test_a_silent_stream_has_heartbeats(http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "EVENT_HEARTBEAT", 0.05)
    monkeypatch.setattr("raftchaos.api.streams.LOOK_AROUND", 0.05)
    async with http.get(f"{API}/events") as response, asyncio.timeout(10):
        data = b""
        while data.count(b": still here") < 3:
            data += await response.content.readany()


async def test_a_reader_that_takes_nothing_is_cut_off(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "EVENT_STREAM_WRITE", 0.2)
    host, _, port = served.addresses[0].rpartition(":")
    with socket.create_connection((host, int(port))) as reader:
        reader.sendall(f"GET {API}/events HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        context = served.servers[0]._context
        await until(lambda: context.streams == 1)
        places = itertools.count(served.peers[0].applied_index + 1)

        def flooded() -> bool:
            event = Event(next(places), 0, EventType.HALTED, 0, data={"reason": "x" * 100_000})
            served.peers[0].machine.events.add([event])
            return context.streams == 0

        await until(flooded, 60)


async def test_stopping_ends_the_streams_at_once(served: Served, http: aiohttp.ClientSession) -> None:
    async with http.get(f"{API}/events") as response:
        await until(lambda: served.servers[0]._context.streams == 1)
        await served.servers[0].stop()
        async with asyncio.timeout(5):
            await response.content.read()


# ---- the port


async def test_a_port_in_use_is_told_with_its_address(served: Served) -> None:
    host, _, port = served.addresses[0].rpartition(":")
    with pytest.raises(MachineUnusable, match=f"{served.addresses[0]}.*another program listens there"):
        await ApiServer(served.peers[0], SystemClock()).start(host, int(port), Door(insecure=True))


async def test_an_address_of_another_machine_is_told(served: Served) -> None:
    with pytest.raises(MachineUnusable, match=r"203\.0\.113\.1:1234"):
        await ApiServer(served.peers[0], SystemClock()).start("203.0.113.1", 1234, Door(insecure=True))
    with pytest.raises(MachineUnusable, match="no-such-host"):
        await ApiServer(served.peers[0], SystemClock()).start("no-such-host.invalid", 1234, Door(insecure=True))


def test_the_page_about_the_api_names_every_route() -> None:
    page = (Path(__file__).parents[3] / "docs" / "api.md").read_text()
    for route in ROUTES:
        assert f"| {route.method} | `{route.path.removeprefix(API)}` |" in page, route.path


# ---- what is no HTTP


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"a" * 20000 + b"\r\n\r\n",
        b"\x16\x03\x01garbage\r\n\r\n",
        b"FOO / HTTP/1.1\r\n\r\n",
    ],
)
async def test_what_is_no_http_is_answered_and_fills_no_log(
    served: Served, sent: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    host, port = served.addresses[0].split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(sent)
    answer = await asyncio.wait_for(reader.readline(), 10)
    writer.close()
    assert b" 400 " in answer
    assert [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")] == []


@pytest.mark.parametrize(
    "path", ["/tasks/t-1/pause", "/tasks/t-1/resume", "/nodes/node-1/drain", "/nodes/node-1/undrain"]
)
async def test_a_request_that_takes_nothing_says_so(http: aiohttp.ClientSession, path: str) -> None:
    async with http.post(API + path, json={"reason": "x"}) as response:
        assert "'reason'" in (await problem(response, 400, "usage"))["detail"]
    async with http.post(API + path, json=5) as response:
        await problem(response, 400, "usage")


async def test_an_ended_task_is_at_the_last_step_that_began(
    served: Served, http: aiohttp.ClientSession, document: dict[str, Any]
) -> None:
    step = document["spec"]["steps"][0]
    document["spec"]["steps"] = [step, {**step, "name": "never"}, {**step, "name": "nor this"}]
    await served.client.submit(document, task_id="t-1")
    driver = TaskDriver(served.log, "t-1")
    driver.plan("node-1", "node-2", "node-3")
    driver.start("node-1")
    await served.client.cancel("t-1")
    driver.end("node-1")
    driver.finish()
    ended = await served.client.task("t-1")
    assert (ended["status"], ended["currentStep"], ended["stepCount"]) == ("cancelled", 1, 3)
    for word in ("pause", "resume"):
        async with http.post(f"{API}/tasks/t-1/{word}") as response:
            told = await problem(response, 409, "conflict")
        assert f"has ended (cancelled), so it cannot be {word}d" in told["detail"]


async def test_an_ended_task_of_very_many_steps_claims_no_number_of_them(
    served: Served, document: dict[str, Any]
) -> None:
    step = document["spec"]["steps"][0]
    document["spec"]["steps"] = [{**step, "name": f"the step with the number {n}"} for n in range(200)]
    await served.client.submit(document, task_id="t-1")
    await served.client.cancel("t-1")
    TaskDriver(served.log, "t-1").finish()
    ended = await served.client.task("t-1")
    assert "steps" in ended["shed"]
    assert (ended["currentStep"], ended["stepCount"]) == (0, 0)
