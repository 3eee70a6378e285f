"""The API of real servers on loopback, as the client sees it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import aclosing
from typing import Any

import pytest

from raftchaos.client import Client, new_task_id, parse_peers, transport
from raftchaos.errors import (
    Busy,
    Conflict,
    Halted,
    InvalidDocument,
    NoQuorum,
    NotFound,
    OutcomeUnknown,
    RaftchaosError,
    Unreachable,
    UsageError,
)
from tests.unit.api.fake_peer import Served, TaskDriver, until

Document = dict[str, Any]


# ---- reads


def joiner(name: str) -> dict[str, str]:
    """What a new peer asks for."""
    return {"name": name, "directory": "e" * 32, "raftAddress": "127.0.0.1:8001", "apiAddress": "127.0.0.1:8000"}


async def test_status_says_who_leads_and_what_is_there(served: Served) -> None:
    status = await served.client.status()
    assert status["name"] == "node-1"
    assert (status["leader"], status["term"], status["role"]) == ("node-1", 3, "leader")
    assert status["quorum"] == {
        "voters": ["node-1", "node-2", "node-3"],
        "reachable": ["node-1", "node-2", "node-3"],
        "missing": 0,
        "hasQuorum": True,
    }
    assert status["nodes"]["active"] == 3
    assert (status["halted"], status["halts"], status["stale"]) == (False, [], False)
    assert status["index"] == served.peers[0].applied_index
    assert status["stateHash"] == served.peers[0].state_hash()


async def test_without_a_quorum_reads_answer_and_say_that_they_may_be_stale(served: Served) -> None:
    served.peers[0].quorum = False
    status = await served.client.status(peer=served.addresses[0])
    assert status["stale"]
    assert "1 peer is missing for a majority of 3" in status["staleReason"]
    assert status["ready"] is False
    with pytest.raises(NoQuorum):
        await served.client.status(peer=served.addresses[0], strong=True)


async def test_a_strong_read_waits_for_what_was_committed(served: Served, document: Document) -> None:
    served.peers[1].lagging = True
    task = await served.client.submit(document, task_id="t-1")
    async with Client([served.addresses[1]]) as other:
        with pytest.raises(NotFound):
            await other.task("t-1")
        assert (await other.task("t-1", strong=True))["id"] == task["id"]


async def test_a_client_reads_its_own_writes_at_another_peer(served: Served, document: Document) -> None:
    served.peers[1].lagging = True
    async with Client(served.addresses[:2]) as client:
        await client.submit(document, task_id="t-1")
        await served.stop(0)
        reading = asyncio.create_task(client.task("t-1"))
        await asyncio.sleep(0.1)  # the peer is asked while it lags behind
        served.peers[1].catch_up()
        assert (await reading)["id"] == "t-1"


async def test_nodes(served: Served) -> None:
    nodes = await served.client.nodes()
    assert [node["name"] for node in nodes] == ["node-1", "node-2", "node-3"]
    assert [node["leader"] for node in nodes] == [True, False, False]
    assert (await served.client.node("node-2"))["proxies"] == ["payments"]
    with pytest.raises(NotFound, match="node-9"):
        await served.client.node("node-9")


async def test_drain_undrain_and_remove(served: Served) -> None:
    assert (await served.client.drain("node-2"))["drained"] is True
    assert (await served.client.undrain("node-2"))["drained"] is False
    assert (await served.client.promote("node-2"))["role"] == "voter"
    await served.client.remove_node("node-2")
    assert [node["name"] for node in await served.client.nodes()] == ["node-1", "node-3"]
    with pytest.raises(NotFound):
        await served.client.drain("node-2")


async def test_faults_and_metrics(served: Served) -> None:
    faults = {fault["type"]: fault for fault in await served.client.faults()}
    assert set(faults) >= {"latency", "http_error", "reset_peer"}
    assert "latencyMs" in faults["latency"]["parameters"]["properties"]
    assert "raftchaos_is_leader 1.0" in await served.client.metrics()


# ---- tasks


async def test_a_task_from_submit_to_its_end(served: Served, document: Document) -> None:
    submitted = await served.client.submit(document)
    task = submitted["id"]
    assert task.startswith("slow-payments-")
    assert submitted["status"] == "pending"
    assert submitted["targets"] == ["node-1", "node-2", "node-3"]
    driver = TaskDriver(served.log, task)
    driver.plan("node-1", "node-2", "node-3")
    driver.start("node-1")
    running = await served.client.task(task)
    assert (running["status"], running["currentStep"]) == ("running", 1)
    (step,) = running["steps"]
    assert step["status"] == "running"
    assert step["faults"][0]["type"] == "latency"
    assert [run["status"] for run in step["runs"]] == ["active", "planned", "planned"]
    assert (await served.client.status())["activeFaults"][0]["run"] == driver.run_id("node-1")
    driver.end("node-1")
    for node in ("node-2", "node-3"):
        driver.start(node)
        driver.end(node)
    driver.finish()
    ended = await served.client.task(task)
    assert (ended["status"], ended["verdict"], ended["progress"]) == ("completed", "passed", 1.0)
    assert [run["effects"][0]["touched"] for run in ended["steps"][0]["runs"]] == [7, 7, 7]
    assert running.keys() <= ended.keys()
    assert step.keys() <= ended["steps"][0].keys()
    assert step["runs"][0].keys() == ended["steps"][0]["runs"][0].keys()


async def test_the_same_submit_again_changes_nothing(served: Served, document: Document) -> None:
    first = await served.client.submit(document, task_id="t-1")
    second = await served.client.submit(document, task_id="t-1")
    assert first["submittedMs"] == second["submittedMs"]
    assert len((await served.client.tasks())["tasks"]) == 1


async def test_a_document_that_is_wrong_is_told_with_all_its_problems(served: Served, document: Document) -> None:
    document["spec"] = {"steps": [{"name": "slow", "scenario": "latencyy", "durationSeconds": -1}], "colour": "red"}
    with pytest.raises(InvalidDocument) as caught:
        await served.client.submit(document)
    paths = {problem["path"] for problem in caught.value.details["problems"]}
    assert any("durationSeconds" in path for path in paths)
    assert any("colour" in path for path in paths)
    assert served.peers[0].writes == 0


async def test_a_scenario_travels_with_its_orchestration(served: Served, document: Document) -> None:
    scenario = {
        "apiVersion": "raftchaos.io/v1",
        "kind": "ChaosScenario",
        "metadata": {"name": "very-slow"},
        "spec": {"faults": [{"type": "latency", "parameters": {"latencyMs": 900}}]},
    }
    document["spec"] = {"steps": [{"name": "slow", "scenario": "very-slow", "durationSeconds": 1}]}
    task = await served.client.submit(document, scenarios=[scenario])
    assert task["steps"][0]["faults"][0]["parameters"]["latencyMs"] == 900
    inside = await served.client.submit({"orchestration": document, "scenarios": [scenario]})
    assert inside["id"].startswith("slow-payments-")


async def test_preview_changes_nothing(served: Served, document: Document) -> None:
    preview = await served.client.preview(document)
    assert preview["index"] == served.peers[0].applied_index
    assert served.peers[0].writes == 0
    assert (await served.client.tasks())["tasks"] == []


async def test_cancel_pause_and_resume(served: Served, document: Document) -> None:
    await served.client.submit(document, task_id="t-1")
    assert (await served.client.pause("t-1"))["status"] == "paused"
    assert (await served.client.resume_task("t-1"))["status"] == "pending"
    cancelled = await served.client.cancel("t-1", reason="enough")
    assert (cancelled["status"], cancelled["final"], cancelled["reason"]) == ("recovering", "cancelled", "enough")
    with pytest.raises(NotFound):
        await served.client.cancel("t-2")


async def test_pages_of_tasks(served: Served, document: Document) -> None:
    ids = [(await served.client.submit(document, task_id=f"t-{number}"))["id"] for number in range(7)]
    for task in ids[:3]:
        await served.client.cancel(task)
        TaskDriver(served.log, task).finish()
    found: list[str] = []
    after = ""
    while True:
        page = await served.client.tasks(limit=2, after=after)
        found += [task["id"] for task in page["tasks"]]
        after = page["next"]
        if not after:
            break
    assert found == ["t-6", "t-5", "t-4", "t-3", "t-2", "t-1", "t-0"]
    with pytest.raises(UsageError):
        await served.client.tasks(after="t-99")


# ---- halt, proxies, join


async def test_halt_and_resume(served: Served, document: Document) -> None:
    answer = await served.client.halt("something burns")
    assert answer["logged"] is True
    assert answer["told"] == ["node-1", "node-2", "node-3"]
    status = await served.client.status()
    assert status["halted"] is True
    assert [(halt["id"], halt["reason"]) for halt in status["halts"]] == [(answer["id"], "something burns")]
    with pytest.raises(Halted, match="halted"):
        await served.client.submit(document)
    with pytest.raises(NotFound):
        await served.client.resume(["halt-other"])
    assert (await served.client.resume())["lifted"] == [answer["id"]]
    assert (await served.client.status())["halted"] is False


async def test_halt_works_without_a_quorum(served: Served) -> None:
    for peer in served.peers:
        peer.quorum = False
    answer = await served.client.halt("cut off")
    assert answer["logged"] is False
    status = await served.client.status()
    assert (status["halted"], status["stale"]) == (True, True)
    with pytest.raises(NoQuorum):
        await served.client.resume()


async def test_proxies_belong_to_the_peer_that_is_asked(served: Served) -> None:
    client, second = served.client, served.addresses[1]
    added = await client.add_proxy("orders", "127.0.0.1:9000", "127.0.0.1:9001")
    assert (added["node"], added["listen"], added["stats"]["bytesUp"]) == ("node-1", "127.0.0.1:9000", 100)
    assert await client.add_proxy("orders", "127.0.0.1:9000", "127.0.0.1:9001") == added
    with pytest.raises(Conflict):
        await client.add_proxy("orders", "127.0.0.1:9000", "127.0.0.1:9002")
    assert await client.proxies(peer=second) == []
    assert [proxy["name"] for proxy in await client.proxies()] == ["orders"]
    await client.remove_proxy("orders")
    with pytest.raises(NotFound):
        await client.remove_proxy("orders")
    ended = await client.add_proxy("tls", "127.0.0.1:9003", "127.0.0.1:9001", certificate="/a.crt", key="/a.key")
    assert ended["certificate"] == "/a.crt"
    assert "/a.key" not in str(ended), "where the key is, is nobody's business"


async def test_join(served: Served) -> None:
    joined = await served.client.join({**joiner("node-4"), "observer": True})
    assert joined["cluster"] == served.peers[0].cluster
    assert joined["members"]["node-4"] == "127.0.0.1:8001"
    with pytest.raises(Conflict):
        await served.client.join(joiner("node-1"))


# ---- peers in turn


async def test_a_dead_peer_is_passed_over(served: Served) -> None:
    await served.stop(0)
    assert (await served.client.status())["name"] == "node-2"


async def test_a_write_goes_to_a_peer_that_has_a_quorum(served: Served, document: Document) -> None:
    served.peers[0].quorum = False
    assert (await served.client.submit(document, task_id="t-1"))["id"] == "t-1"


async def test_without_any_quorum_a_write_says_who_is_missing(served: Served, document: Document) -> None:
    for peer in served.peers:
        peer.quorum = False
    with pytest.raises(NoQuorum, match="1 peer is missing for a majority of 3") as caught:
        await served.client.submit(document)
    assert caught.value.details["quorum"]["missing"] == 1
    assert caught.value.spec.definite


async def test_an_unknown_outcome_is_repeated_with_the_same_id(served: Served, document: Document) -> None:
    for peer in served.peers:
        peer.error = OutcomeUnknown("the leader changed")
    submitting = asyncio.create_task(served.client.submit(document, task_id="t-1"))
    await until(lambda: all(peer.writes for peer in served.peers))
    for peer in served.peers:
        peer.error = None
    assert (await submitting)["id"] == "t-1"
    assert len(served.peers[0].state.tasks) == 1


async def test_an_outcome_that_stays_unknown_is_said(served: Served, document: Document) -> None:
    served.peers[0].error = OutcomeUnknown("the leader changed")
    served.peers[1].error = served.peers[2].error = NoQuorum("no majority")
    async with Client(served.addresses, timeout=0.5) as client:
        with pytest.raises(OutcomeUnknown, match="may have been carried out"):
            await client.submit(document)


async def test_a_busy_peer_is_tried_again(served: Served, document: Document) -> None:
    served.peers[0].error = Busy("256 proposals are in flight")
    async with Client(served.addresses[:1]) as client:
        submitting = asyncio.create_task(client.submit(document, task_id="t-1"))
        await until(lambda: served.peers[0].writes >= 2)
        served.peers[0].error = None
        assert (await submitting)["id"] == "t-1"


async def test_nobody_there() -> None:
    async with Client(["127.0.0.1:1"]) as client:
        with pytest.raises(Unreachable, match=r"127\.0\.0\.1:1: Connection refused"):
            await client.status()


async def test_whoever_is_no_peer_is_passed_over(served: Served) -> None:
    """Some other HTTP server, and something that speaks no HTTP."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = await reader.readline()
        body = b"" if b"/nodes" in first else b"<html>"
        status = b"404 Not Found" if b"/nodes" in first else b"200 OK"
        writer.write(b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body))
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        other = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with Client([other, served.addresses[1]]) as client:
            assert (await client.status())["name"] == "node-2"
        async with Client([other]) as client:
            for asking in (client.status, client.nodes):
                with pytest.raises(Unreachable, match="is this the API address of a raftchaos peer") as caught:
                    await asking()
                assert other in str(caught.value)


async def test_a_defect_of_a_peer_is_told_without_its_inside(served: Served, document: Document) -> None:
    served.peers[0].crash = ValueError("secret inside")
    with pytest.raises(RaftchaosError) as caught:
        await served.client.submit(document)
    assert caught.value.spec.code == "internal"
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("text", ["nohost", ":1", "a:", "a:0", "a:99999", "a:b"])
def test_what_is_no_peer_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_peers(text)


def test_peers_are_read_from_a_list() -> None:
    assert parse_peers("a:1, http://b:2/,") == ["a:1", "b:2"]


def test_task_ids_are_the_name_and_chance() -> None:
    one, two = (new_task_id({"metadata": {"name": "x"}}) for _ in range(2))
    assert one.startswith("x-")
    assert one != two
    assert new_task_id({"metadata": {"name": "NOT OK"}}).startswith("task-")


# ---- events


async def test_watch_tells_everything_until_the_task_ends(served: Served, document: Document) -> None:
    await served.client.submit(document, task_id="t-1")
    seen: list[Document] = []

    async def watch() -> None:
        async with aclosing(served.client.watch("t-1", after="0")) as events:
            async for event in events:
                seen.append(event)  # noqa: PERF401 - what was seen so far matters

    watching = asyncio.create_task(watch())
    driver = TaskDriver(served.log, "t-1")
    driver.plan("node-1", "node-2", "node-3")
    for node in ("node-1", "node-2", "node-3"):
        driver.start(node)
        driver.end(node)
    driver.finish()
    await asyncio.wait_for(watching, 10)
    assert seen[0]["type"] == "taskSubmitted"
    assert (seen[-1]["type"], seen[-1]["data"]["to"]) == ("taskStatus", "completed")
    statuses = [event["data"]["to"] for event in seen if event["node"] == "node-2"]
    assert statuses == ["planned", "granted", "active", "succeeded"]


async def test_watch_goes_on_at_another_peer_without_loss_or_repeat(served: Served, document: Document) -> None:
    await served.client.submit(document, task_id="t-1")
    driver = TaskDriver(served.log, "t-1")
    driver.plan("node-1", "node-2", "node-3")
    seen: list[str] = []
    half = asyncio.Event()

    async def watch() -> None:
        async with aclosing(served.client.watch("t-1", after="0")) as events:
            async for event in events:
                seen.append(event["id"])
                if event["node"] == "node-1" and event["data"].get("to") == "succeeded":
                    half.set()

    watching = asyncio.create_task(watch())
    driver.start("node-1")
    driver.end("node-1")
    await asyncio.wait_for(half.wait(), 10)
    await served.stop(0)
    for node in ("node-2", "node-3"):
        driver.start(node)
        driver.end(node)
    driver.finish()
    await asyncio.wait_for(watching, 10)
    assert seen == [
        f"{event.index}-{event.number}" for event in served.peers[1].machine.events.after(0, 0) if event.task == "t-1"
    ]


async def test_a_stream_passes_over_dead_and_frozen_peers(
    served: Served, document: Document, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also with more of them than there is patience for: whoever has not been tried may answer."""
    monkeypatch.setattr(transport, "ATTEMPT", 0.2)
    await served.client.submit(document, task_id="t-1")
    with socket.create_server(("127.0.0.1", 0)) as frozen, socket.create_server(("127.0.0.1", 0)) as gone:
        dead = [f"127.0.0.1:{one.getsockname()[1]}" for one in (gone, frozen)]
        gone.close()
        async with (
            Client([*dead, served.addresses[0]], timeout=0.1) as client,
            aclosing(client.events(task="t-1", after="0")) as events,
        ):
            assert (await asyncio.wait_for(anext(events), 10))["type"] == "taskSubmitted"
        async with Client(dead, timeout=0.1) as client, aclosing(client.events()) as events:
            with pytest.raises(Unreachable) as caught:
                await asyncio.wait_for(anext(events), 10)
    assert all(address in str(caught.value) for address in dead)


async def test_wait_returns_the_end_and_tells_every_change(served: Served, document: Document) -> None:
    await served.client.submit(document, task_id="t-1")
    updates: list[str] = []
    waiting = asyncio.create_task(served.client.wait("t-1", on_update=lambda view: updates.append(view["status"])))
    await until(lambda: updates)
    await served.client.cancel("t-1")
    TaskDriver(served.log, "t-1").finish()
    ended = await asyncio.wait_for(waiting, 10)
    assert (ended["status"], ended["verdict"]) == ("cancelled", "inconclusive")
    assert updates[0] == "pending"
    assert (await served.client.wait("t-1"))["status"] == "cancelled"


async def test_wait_ends_with_its_time(served: Served, document: Document) -> None:
    await served.client.submit(document, task_id="t-1")
    with pytest.raises(TimeoutError):
        await served.client.wait("t-1", timeout=0.2)


async def test_a_gap_is_told_and_the_end_is_found_all_the_same(served: Served, document: Document) -> None:
    await served.client.submit(document, task_id="t-1")
    waiting = asyncio.create_task(served.client.wait("t-1"))
    await asyncio.sleep(0.1)
    await served.client.cancel("t-1")
    for peer in served.peers:
        peer.lagging = True
    TaskDriver(served.log, "t-1").finish()
    for peer in served.peers:
        peer.restore_from_snapshot()
    await served.client.drain("node-1")  # an event, behind the gap
    assert (await asyncio.wait_for(waiting, 10))["status"] == "cancelled"


async def test_watching_a_task_that_has_ended_ends_at_once(served: Served, document: Document) -> None:
    await served.client.submit(document, task_id="t-1")
    await served.client.cancel("t-1")
    TaskDriver(served.log, "t-1").finish()
    assert [event async for event in served.client.watch("t-1")] == []
    assert [event["type"] async for event in served.client.watch("t-1", after="0")][-1] == "taskStatus"
    last = served.peers[0].applied_index
    await served.client.drain("node-1")
    assert [event async for event in served.client.watch("t-1", after=str(last))] == []


async def test_events_give_up_when_nobody_is_left(served: Served) -> None:
    async with Client(served.addresses[:1], timeout=0.5) as client:
        watching = asyncio.create_task(anext(client.events()))
        await asyncio.sleep(0.1)
        await served.stop(0)
        with pytest.raises(Unreachable):
            await asyncio.wait_for(watching, 10)


async def test_a_break_loses_no_event_even_if_none_was_seen_yet(served: Served) -> None:
    async with aclosing(served.client.events()) as events:
        following = asyncio.ensure_future(anext(events))
        await until(lambda: served.servers[0]._context.streams == 1)
        for peer in served.peers:
            peer.lagging = True
        await served.stop(0)
        await served.peers[1].drain_node("node-3", True)
        served.peers[2].catch_up()
        event = await asyncio.wait_for(following, 10)
    assert (event["type"], event["node"]) == ("nodeStatus", "node-3")


# ---- a peer that is frozen: the kernel takes the connection, nobody answers


@pytest.fixture
def frozen() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"127.0.0.1:{listening.getsockname()[1]}"


async def test_a_frozen_peer_is_passed_over(served: Served, frozen: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raftchaos.client.calls.READ", 0.1)
    async with Client([frozen, *served.addresses]) as client:
        assert (await client.status())["name"] == "node-1"


async def test_a_frozen_peer_does_not_hold_up_a_halt(
    served: Served, frozen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raftchaos.client.OTHERS", 0.1)
    async with Client([frozen, *served.addresses], timeout=60.0) as client, asyncio.timeout(4):
        assert (await client.halt("stop"))["told"] == ["node-1", "node-2", "node-3"]


async def test_waiting_at_a_frozen_stream_ends_with_the_task(
    served: Served, document: Document, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raftchaos.client.LOOK_AGAIN", 0.1)
    await served.client.submit(document, task_id="t-1")
    waiting = asyncio.create_task(served.client.wait("t-1"))
    await until(lambda: served.servers[0]._context.streams == 1)
    for event_log in (peer.machine.events for peer in served.peers):
        event_log._subscribers.clear()  # the streams hear nothing any more
    await served.client.cancel("t-1")
    TaskDriver(served.log, "t-1").finish()
    assert (await asyncio.wait_for(waiting, 10))["status"] == "cancelled"
