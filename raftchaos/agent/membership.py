"""Changes of the members: any peer is asked, the leader does them, one after the other.

A join is answered as soon as the leader has written the new peer's name and data directory into the registry; the
leader then brings the newcomer up to date and lets it vote. A newcomer that does not see itself among the voters in
time asks again, so a leader that is lost in between loses nothing. A removal is answered once it is done; it goes
before a join that is under way, as that one may wait for a peer that never comes.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

from raftchaos import limits
from raftchaos.agent.mailbox import Mailbox
from raftchaos.core.commands import AdmitNode, Command, RemoveNode, encode
from raftchaos.core.interfaces import Quorum, ReplicatedLog
from raftchaos.core.request_ids import RequestIds
from raftchaos.core.services import JoinRequest, no_quorum_message, raise_for_result
from raftchaos.core.state import ClusterState
from raftchaos.errors import (
    NoQuorum,
    NotFound,
    OutcomeUnknown,
    RaftchaosError,
    Refused,
    UsageError,
    error_of_code,
)

LOGGER = logging.getLogger(__name__)

ASK_FIELDS = {"request": str, "what": str, "name": str, "directory": str, "raft_address": str, "api_address": str}
ANSWER_FIELDS = {"request": str, "ok": bool, "code": str, "error": str, "hint": str}


class Membership:
    """Both sides of a change: the peer that is asked, and the leader that does it. One object a peer."""

    def __init__(
        self,
        *,
        log: ReplicatedLog,
        mailbox: Mailbox,
        state: Callable[[], ClusterState],
        request_ids: RequestIds,
    ) -> None:
        self._log = log
        self._state = state
        self._request_ids = request_ids
        self._waiting: dict[str, asyncio.Future[Mapping[str, Any]]] = {}
        self._asked: asyncio.Queue[tuple[str, dict[str, Any]]] = asyncio.Queue(limits.MEMBERSHIP_QUEUE)
        self._joining: OrderedDict[str, str] = OrderedDict()  # name and Raft address of who is to be let in
        self._served: OrderedDict[str, dict[str, Any] | None] = OrderedDict()  # request ids, and their answers
        self._wake = asyncio.Event()
        self._turn = asyncio.Lock()  # whoever changes the voters
        self._adding: asyncio.Task[None] | None = None
        mailbox.register("membership.ask", ASK_FIELDS, self._on_ask)
        mailbox.register("membership.answer", ANSWER_FIELDS, self._on_answer)

    # ---- the peer that is asked ---------------------------------------------------------------------------------

    async def join(self, request: JoinRequest, *, timeout: float) -> None:
        """Have the leader let this peer in. Raises Conflict if another data directory has its name, UsageError for
        what is no printable text, NoQuorum."""
        fields = {
            "what": "join",
            "name": request.name,
            "directory": request.directory,
            "raft_address": request.raft_address,
            "api_address": request.api_address,
        }
        await self._ask(fields, timeout)

    async def remove(self, name: str, *, timeout: float) -> None:
        """Have the leader take this peer out. Raises NotFound, Refused, NoQuorum."""
        fields = {"what": "remove", "name": name, "directory": "", "raft_address": "", "api_address": ""}
        known = name in self._state().nodes
        try:
            await self._ask(fields, timeout)
        except NotFound:
            if not known:
                raise
            # It was there and is not any more: the leader that removed it has gone, and its answer with it.

    async def _ask(self, fields: Mapping[str, str], timeout: float) -> None:
        """Ask whoever leads, again and again under one request id, until one answers: a leader that has the request
        already ignores the repetition or answers again, a new one takes it up."""
        strange = next((what for what, value in fields.items() if not value.isprintable()), None)
        if strange is not None:
            raise UsageError(f"found characters in the {strange.replace('_', ' ')} that cannot be printed")
        request = self._request_ids.next()
        answered: asyncio.Future[Mapping[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting[request] = answered
        message = {"type": "membership.ask", "request": request, **fields}
        try:
            async with asyncio.timeout(timeout):
                while not answered.done():
                    leader = self._log.status().leader
                    if leader is not None:
                        self._log.send(leader, message)
                    await asyncio.wait([answered], timeout=limits.MEMBERSHIP_RETRY)
        except TimeoutError:
            status = self._log.status()
            if not status.quorum.has_quorum:
                raise NoQuorum(no_quorum_message(status)) from None
            raise OutcomeUnknown(f"the leader did not answer within {timeout:.0f} s") from None
        finally:
            del self._waiting[request]
        answer = answered.result()
        if not answer["ok"]:
            raise error_of_code(answer["code"], answer["error"], hint=answer["hint"] or None)

    def _on_answer(self, sender: str, message: dict[str, Any]) -> None:
        answered = self._waiting.get(message["request"])
        if answered is not None and not answered.done():
            answered.set_result(message)

    # ---- the leader ---------------------------------------------------------------------------------------------

    def _on_ask(self, sender: str, message: dict[str, Any]) -> None:
        request = message["request"]
        if request in self._served:
            answer = self._served[request]
            if answer is not None:
                self._log.send(sender, answer)
            return
        try:
            self._asked.put_nowait((sender, message))
        except asyncio.QueueFull:
            return  # whoever asked asks again
        self._served[request] = None
        while len(self._served) > limits.MEMBERSHIP_QUEUE * 4:
            self._served.popitem(last=False)

    async def run(self) -> None:
        """Do what is asked for, one change after the other, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._serve())
            group.create_task(self._let_in())
            group.create_task(self._finish_removals())

    async def _serve(self) -> None:
        while True:
            sender, message = await self._asked.get()
            request, before = message["request"], self._log.status()
            try:
                if not before.leader_ready:
                    raise NoQuorum("this peer does not lead")
                if message["what"] == "join":
                    await self._admit(message)
                else:
                    await self._remove(message["name"])
            except RaftchaosError as error:
                now = self._log.status()
                if now.leader_ready and now.term == before.term:
                    self._answer(sender, request, error)
                else:  # no verdict of a leader: whoever asked asks the next one, which goes on from here
                    self._served.pop(request, None)
            else:
                self._answer(sender, request, None)

    def _answer(self, sender: str, request: str, error: RaftchaosError | None) -> None:
        answer = {
            "type": "membership.answer",
            "request": request,
            "ok": error is None,
            "code": "" if error is None else error.spec.code,
            "error": "" if error is None else error.message,
            "hint": "" if error is None else error.hint,
        }
        self._served[request] = answer
        self._log.send(sender, answer)

    async def _admit(self, message: Mapping[str, Any]) -> None:
        name, address = message["name"], message["raft_address"]
        voters = self._log.status().quorum.voters
        if name in voters and name not in self._state().nodes:
            # It may have voted; a peer with another data directory must not speak for it.
            raise Refused(
                f"{name} is being removed and still votes", hint=f"repeat `raftchaos node remove {name}`, then join"
            )
        await self._propose(AdmitNode(name, message["directory"], address, message["api_address"]))
        if name in voters:
            self._log.set_address(name, address)
        else:
            self._joining[name] = address
            self._wake.set()

    async def _remove(self, name: str) -> None:
        known, quorum = name in self._state().nodes, self._log.status().quorum
        if not known and name not in quorum.voters:
            raise NotFound(f"found no node {name!r}; known are {', '.join(sorted(self._state().nodes)) or 'none'}")
        if name in quorum.voters:
            _check_rest(name, quorum)  # before the registry forgets it, so that nothing is done by halves
        if self._adding is not None:
            self._adding.cancel()
        async with self._turn:
            if known:
                await self._propose(RemoveNode(name))
            self._joining.pop(name, None)
            if name in self._log.status().quorum.voters:
                await self._log.remove_voter(name, timeout=limits.MEMBERSHIP_TIMEOUT)

    async def _finish_removals(self) -> None:
        """A voter that the registry does not know was being removed when its leader, and whoever asked for it, were
        lost: it would go on counting for majorities where nobody sees it. A newcomer is in the registry first, a
        founder registers as soon as it leads.
        """
        loop = asyncio.get_running_loop()
        since: dict[str, float] = {}
        while True:
            await asyncio.sleep(limits.MEMBERSHIP_RETRY)
            status, nodes = self._log.status(), self._state().nodes
            unknown = [name for name in status.quorum.voters if name not in nodes] if status.leader_ready else []
            since = {name: since.get(name, loop.time()) for name in unknown}
            for name in unknown:
                if loop.time() - since[name] >= limits.REMOVAL_LEFT and len(status.quorum.voters) > 1:
                    LOGGER.warning("%s is no node any more and still votes: its removal is finished", name)
                    with contextlib.suppress(RaftchaosError):  # it is tried again at the next look
                        await self._remove(name)

    async def _propose(self, command: Command) -> None:
        raise_for_result((await self._log.propose(self._request_ids.next(), encode(command))).result)

    async def _let_in(self) -> None:
        while True:
            if not self._joining:
                self._wake.clear()
                await self._wake.wait()
            name, address = self._joining.popitem(last=False)
            async with self._turn:
                if name in self._state().nodes and self._log.status().leader_ready:
                    await self._add(name, address)

    async def _add(self, name: str, address: str) -> None:
        """Bring a peer up to date and let it vote. A removal may cut that short: it is done again after it."""
        adding = asyncio.create_task(self._log.add_voter(name, address, timeout=limits.MEMBERSHIP_TIMEOUT))
        self._adding = adding
        try:
            await asyncio.wait([adding])
        finally:
            adding.cancel()
            self._adding = None
        if adding.cancelled():
            self._joining.setdefault(name, address)
            return
        try:
            adding.result()
        except (RaftchaosError, TimeoutError) as error:
            LOGGER.warning("%s at %s could not be let in: %s; it has to ask again", name, address, error)


def _check_rest(name: str, quorum: Quorum) -> None:
    """Raises Refused if the voters could decide nothing without this one."""
    rest = [voter for voter in quorum.voters if voter != name]
    if not rest:
        raise Refused(f"{name} is the last voter: a cluster cannot lose it", hint="stop the peer instead")
    there, needed = sum(voter in quorum.reachable for voter in rest), len(rest) // 2 + 1
    if there < needed:
        raise Refused(
            f"without {name} only {there} of {len(rest)} voters would be reachable, {needed} are needed",
            hint="start the other peers first, or remove one that is gone",
        )
