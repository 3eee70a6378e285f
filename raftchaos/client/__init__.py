"""The typed HTTP client that the command line, the quick start and users share.

    async with Client(["127.0.0.1:7480", "127.0.0.1:7482"]) as client:
        task = await client.submit(document)
        view = await client.wait(task["id"])

Any peer answers everything, so the peers are tried in turn and the one that answered last is asked first. Every write
may be repeated: a task and a halt carry an id that is chosen here, the others change nothing when they come twice. What
a peer answers are plain dicts with the camelCase names of the API (docs/api.md); what it refuses is raised as the error
of `raftchaos.errors` with the same code.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing, suppress
from typing import Any

from raftchaos import limits
from raftchaos.client.access import AccessCalls
from raftchaos.client.analytics import AnalyticsCalls
from raftchaos.client.calls import Json, part
from raftchaos.client.transport import (
    ATTEMPT,
    DEFAULT_PEER,
    PAUSE,
    PREFIX,
    Broken,
    Request,
    Transport,
    parse_peers,
)
from raftchaos.client.ways import Credentials, NotSent
from raftchaos.errors import Busy, RaftchaosError, Unreachable
from raftchaos.model.names import is_name
from raftchaos.model.tasks import FINAL

LAST_WORDS = 1.0  # how long the events of a task that has ended are waited for
LOOK_AGAIN = 3.0  # a task is looked at after so many silent seconds: the stream may come from a frozen peer
OTHERS = 1.0  # how long a halt waits for the other peers once one has answered
BACKUP = 30.0  # a few megabytes, also over a slow line
MEMBERSHIP = limits.MEMBERSHIP_TIMEOUT + ATTEMPT

__all__ = ["DEFAULT_PEER", "Client", "Credentials", "Json", "new_task_id", "parse_peers"]


class Client(AccessCalls, AnalyticsCalls):
    """A client of one cluster.

    `peers` are API addresses (`HOST:PORT`), tried in turn; `timeout` is how long a call goes on trying, in seconds.
    `credentials` say who calls (`Credentials.of(TOKEN)`). Without them a peer of this user on this machine is asked
    over its Unix socket, and any other one plainly, which only a peer that runs with --insecure answers.
    All methods raise `Unreachable` if no peer answered, `NoQuorum` if the peers answered that there is no majority (the
    write certainly did not happen), `OutcomeUnknown` if nobody can tell, and whatever the cluster refused with.
    """

    def __init__(
        self, peers: Iterable[str] = (), *, timeout: float = 10.0, credentials: Credentials | None = None
    ) -> None:
        super().__init__(Transport(peers, timeout, credentials))

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connections. The client may be used again."""
        await self._transport.close()

    @property
    def peers(self) -> list[str]:
        """The API addresses that it tries."""
        return list(self._transport.peers)

    # ---- cluster and nodes -------------------------------------------------------------------------------------

    async def status(self, *, peer: str | None = None, strong: bool = False) -> Json:
        """What a peer (the first that answers, or `peer`) says about itself and the cluster.

        `strong` waits for the leader's state and raises NoQuorum without one.
        """
        return await self._get("/status", peer=peer, strong=strong)

    async def nodes(self) -> list[Json]:
        """All nodes, by name."""
        return list((await self._get("/nodes", fresh=True))["nodes"])

    async def node(self, name: str) -> Json:
        """One node with its live runs. Raises NotFound."""
        return await self._get(f"/nodes/{part(name)}", fresh=True)

    async def drain(self, name: str) -> Json:
        """Gives a node no new runs; present ones end. Returns the node."""
        return await self._send("POST", f"/nodes/{part(name)}/drain")

    async def undrain(self, name: str) -> Json:
        """Gives a drained node runs again. Returns the node."""
        return await self._send("POST", f"/nodes/{part(name)}/undrain")

    async def promote(self, name: str) -> Json:
        """Lets an observer vote. Returns the node. Raises Refused if enough peers vote already."""
        return await self._send("POST", f"/nodes/{part(name)}/promote", patience=MEMBERSHIP)

    async def remove_node(self, name: str) -> None:
        """Takes a node out of the cluster. Raises Refused while it lives and has runs."""
        await self._send("DELETE", f"/nodes/{part(name)}", patience=MEMBERSHIP)

    async def join(self, body: Mapping[str, Any]) -> Json:
        """Asks the cluster to take a new peer as a member: `{"cluster": id, "members": {name: address}, ...}`.

        `body` is as docs/api.md says. Raises Conflict if another data directory has the name.
        """
        return await self._send("POST", "/join", body, patience=MEMBERSHIP)

    async def metrics(self, *, peer: str | None = None) -> str:
        """The metrics of a peer in the Prometheus text format."""
        text: str = await self._transport.call(Request("GET", "/metrics", text=True), peer=peer)
        return text

    async def backup(self, *, strong: bool = False) -> bytes:
        """The replicated state as the content of a file for `raftchaos restore`; the file has its own checksum.

        `strong` waits for the leader's state and raises NoQuorum without one.
        """
        query = {"consistency": "strong"} if strong else {"atLeast": str(self._transport.index)}
        request = Request("GET", f"{PREFIX}/backup", query, raw=True)
        data: bytes = await self._transport.call(request, attempt=BACKUP, timeout=BACKUP)
        return data

    # ---- tasks -------------------------------------------------------------------------------------------------

    async def submit(
        self, document: Mapping[str, Any], *, scenarios: Sequence[Mapping[str, Any]] = (), task_id: str | None = None
    ) -> Json:
        """Hands in a `ChaosOrchestration` (parsed, not text) with the `ChaosScenario` documents that it names.

        Returns the task. Without `task_id` one is made of the document's name. Raises InvalidDocument (all problems at
        once), Halted, Refused, and Conflict for an id of another document.
        """
        body = {"document": document, "scenarios": list(scenarios), "id": task_id or new_task_id(document)}
        return await self._send("POST", "/tasks", body)

    async def preview(self, document: Mapping[str, Any], *, scenarios: Sequence[Mapping[str, Any]] = ()) -> Json:
        """What the document would do now, and whether it would be accepted; changes nothing."""
        return await self._send("POST", "/tasks/preview", {"document": document, "scenarios": list(scenarios)})

    async def tasks(self, *, limit: int = limits.PAGE_DEFAULT, after: str = "") -> Json:
        """A page of tasks, unfinished ones first, then the newest: `{"tasks": [...], "next": id or ""}`."""
        return await self._get("/tasks", {"limit": str(limit), "after": after}, fresh=True)

    async def task(self, task: str, *, strong: bool = False) -> Json:
        """One task with its steps and their runs. Raises NotFound."""
        return await self._get(f"/tasks/{part(task)}", strong=strong, fresh=True)

    async def cancel(self, task: str, *, reason: str = "") -> Json:
        """Recovers what is active and ends the task as cancelled. Returns the task."""
        return await self._send("POST", f"/tasks/{part(task)}/cancel", {"reason": reason})

    async def pause(self, task: str) -> Json:
        """Recovers what is active; `resume_task` plans the time that is left. Returns the task."""
        return await self._send("POST", f"/tasks/{part(task)}/pause")

    async def resume_task(self, task: str) -> Json:
        """Takes up a paused task. Returns the task."""
        return await self._send("POST", f"/tasks/{part(task)}/resume")

    async def wait(
        self, task: str, *, timeout: float | None = None, on_update: Callable[[Json], None] | None = None
    ) -> Json:
        """Waits until the task has ended and returns it. `on_update` gets the whole task whenever it has changed.

        Raises TimeoutError after `timeout` seconds (the task goes on).
        """
        changed = asyncio.Event()
        async with asyncio.timeout(timeout):
            view = await self._task_in_time(task)
            listening = asyncio.create_task(self._listen(task, str(view["index"]), changed))
            try:
                while True:
                    if on_update:
                        on_update(view)
                    if _ended(view):
                        return view
                    await _first_of(changed, listening)
                    changed.clear()
                    view = await self._task_in_time(task)
            finally:
                listening.cancel()
                await asyncio.wait([listening], timeout=LAST_WORDS)  # Ctrl-C ends the wait, whatever the stream does

    async def _listen(self, task: str, after: str, changed: asyncio.Event) -> None:
        """Sets `changed` at every event of the task, until it has ended."""
        async with aclosing(self.watch(task, after=after)) as events:
            async for _ in events:
                changed.set()

    # ---- events ------------------------------------------------------------------------------------------------

    async def watch(self, task: str, *, after: str | None = None) -> AsyncGenerator[Json, None]:
        """The events of one task until it has ended; from now on, or after the event id or index `after`.

        A dict of type `gap` says that events are missing; `task()` tells what is true.
        """
        view = await self._task_in_time(task)
        if after is None:
            after = str(view["index"])
        ended = _ended(view)
        if ended and int(after.partition("-")[0]) >= view["index"]:
            return
        async with aclosing(self.events(task=task, after=after)) as events:
            while True:
                # The end of a task that has ended may lie before `after`: then nothing more is to come.
                try:
                    async with asyncio.timeout(LAST_WORDS if ended else None):
                        event = await anext(events)
                except TimeoutError:
                    return
                yield event
                if event["type"] == "gap" and _ended(await self._task_in_time(task)):
                    return
                if event["type"] == "taskStatus" and event["data"].get("to") in FINAL:
                    return

    async def events(self, *, task: str | None = None, after: str | None = None) -> AsyncGenerator[Json, None]:
        """The events of the cluster (or of one task), for ever; a break goes on at the next peer that answers.

        Raises Unreachable once every peer was tried in vain and none has answered for the client's timeout.
        """
        loop = asyncio.get_running_loop()
        last, broken_since = after, None
        failed: dict[str, str] = {}
        while True:
            peer = self._transport.first
            try:
                async with aclosing(self._transport.stream(task, last)) as messages:
                    async for message in messages:
                        broken_since = None
                        failed.clear()
                        last = message.id or last
                        if message.event:
                            self._transport.saw(last)
                            yield json.loads(message.data)
            except (NotSent, Broken, Busy) as error:
                broken_since = loop.time() if broken_since is None else broken_since
                failed[peer] = str(error)
                if len(failed) >= len(self.peers) and loop.time() - broken_since > self._transport.timeout:
                    told = "; ".join(failed.values())
                    raise Unreachable(f"the event stream broke and no peer answered: {told}") from error
            self._transport.turn(peer)
            await asyncio.sleep(PAUSE)

    # ---- halt, resume, faults ----------------------------------------------------------------------------------

    async def halt(self, reason: str) -> Json:
        """Stops everything at once: `{"id", "logged", "told"}`. All known peers are told side by side; one suffices."""
        body = {"reason": reason, "id": f"halt-{secrets.token_hex(8)}"}
        asking = [asyncio.create_task(self._send("POST", "/halt", body, peer=peer)) for peer in self.peers]
        try:
            for first in asyncio.as_completed(asking):
                with suppress(RaftchaosError):
                    await first
                    await asyncio.wait(asking, timeout=OTHERS)  # a frozen peer must not hold up the answer
                    break
        finally:
            for one in asking:
                one.cancel()
            answers = await asyncio.gather(*asking, return_exceptions=True)
        good = [answer for answer in answers if isinstance(answer, dict)]
        if not good:
            raise next(error for error in answers if isinstance(error, BaseException))
        return {
            "id": body["id"],
            "logged": any(answer["logged"] for answer in good),
            "told": sorted({name for answer in good for name in answer["told"]}),
        }

    async def resume(self, halts: Sequence[str] | None = None) -> Json:
        """Lifts these halts, or all: `{"lifted": [ids]}`. Needs a quorum."""
        return await self._send("POST", "/resume", {} if halts is None else {"halts": list(halts)})

    async def faults(self) -> list[Json]:
        """The types of fault that the peer knows, with their parameters."""
        return list((await self._get("/faults"))["faults"])

    async def active_faults(self, *, peer: str | None = None) -> list[Json]:
        """What is on at `peer` (default: the first), as read back from its machine, beside its undo journal."""
        return list((await self._get("/faults/active", peer=peer or self.peers[0]))["faults"])

    # ---- proxies: they belong to one peer, so there is no other to turn to ------------------------------------

    async def proxies(self, *, peer: str | None = None) -> list[Json]:
        """The proxies of `peer` (default: the first of the client's peers)."""
        return list((await self._get("/proxies", peer=peer or self.peers[0]))["proxies"])

    async def add_proxy(
        self, name: str, listen: str, upstream: str, *, certificate: str = "", key: str = "", peer: str | None = None
    ) -> Json:
        """Starts a proxy on `peer` (default: the first), which ends TLS with the certificate and key in these files of
        the peer's machine, if they are named. Raises Conflict, MachineUnusable, UsageError."""
        body = {"name": name, "listen": listen, "upstream": upstream}
        if certificate or key:
            body |= {"certificate": certificate, "key": key}
        return await self._send("POST", "/proxies", body, peer=peer or self.peers[0])

    async def remove_proxy(self, name: str, *, peer: str | None = None) -> None:
        """Stops a proxy on `peer` (default: the first). Raises NotFound, and Refused while a fault is on in it."""
        await self._send("DELETE", f"/proxies/{part(name)}", peer=peer or self.peers[0])

    async def _task_in_time(self, task: str) -> Json:
        """The task; whoever waits for one outlives the moment in which no peer answers."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._transport.timeout
        while True:
            try:
                return await self.task(task)
            except Unreachable:
                if loop.time() + PAUSE >= deadline:
                    raise
            await asyncio.sleep(PAUSE)


def new_task_id(document: Mapping[str, Any]) -> str:
    """A task id nobody else has: the document's name and 32 random bits."""
    inner = document.get("orchestration", document)  # a submission holds the orchestration beside its scenarios
    metadata = inner.get("metadata") if isinstance(inner, Mapping) else None
    name = metadata.get("name") if isinstance(metadata, Mapping) else None
    return f"{name if isinstance(name, str) and is_name(name) else 'task'}-{secrets.token_hex(4)}"


async def _first_of(changed: asyncio.Event, listening: asyncio.Task[None]) -> None:
    """Returns at a change, or after a while without one. Raises what ended the listening."""
    waiting = asyncio.create_task(changed.wait())
    try:
        watched: set[asyncio.Task[Any]] = {waiting} if listening.done() else {waiting, listening}
        await asyncio.wait(watched, timeout=LOOK_AGAIN, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()
    if listening.done():
        listening.result()


def _ended(view: Json) -> bool:
    return view["status"] in FINAL
