"""Changes of the members: any peer is asked, the leader does them, one after the other.

A join is answered as soon as the leader has written the new peer's name and data directory into the registry; the
leader then brings the newcomer up to date and lets it vote, or observe if it asked for that or enough peers vote
already. A newcomer that does not see itself among the members in time asks again, so a leader that is lost in between
loses nothing. A removal and a promotion are answered once they are done; a removal goes before a join that is under
way, as that one may wait for a peer that never comes.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from raftchaos import limits
from raftchaos.agent.mailbox import Mailbox
from raftchaos.core.callers import CALLER, Caller
from raftchaos.core.commands import AdmitNode, Command, RemoveNode, encode
from raftchaos.core.interfaces import Quorum, ReplicaStatus, ReplicatedLog
from raftchaos.core.request_ids import RequestIds
from raftchaos.core.service_records import JoinRequest
from raftchaos.core.services import no_quorum_message, raise_for_result
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
from raftchaos.model.roles import Role

LOGGER = logging.getLogger(__name__)

ASK, WISH = "membership.ask", "membership.wish"
"""Types of messages with the same fields. The first release knows `ask` for `join` and takes everything else in it for
a removal, so what came later, `observe` and `promote`, is a `wish`, which it drops.
"""
ASK_FIELDS = {"request": str, "what": str, "name": str, "directory": str, "raft_address": str, "api_address": str,
              "key": str}  # fmt: skip
ANSWER_FIELDS = {"request": str, "ok": bool, "code": str, "error": str, "hint": str}


class _Newcomer(NamedTuple):
    address: str
    """Its Raft address."""
    observes: bool
    """It does not want to vote."""


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
        self._joining: OrderedDict[str, _Newcomer] = OrderedDict()  # who is to be let in, by name
        self._served: OrderedDict[str, dict[str, Any] | None] = OrderedDict()  # request ids, and their answers
        self._wake = asyncio.Event()
        self._turn = asyncio.Lock()  # whoever changes the members
        self._adding: asyncio.Task[None] | None = None
        mailbox.register(ASK, ASK_FIELDS, self._on_ask)
        mailbox.register(WISH, ASK_FIELDS, self._on_ask)
        mailbox.register("membership.answer", ANSWER_FIELDS, self._on_answer)

    # ---- the peer that is asked ---------------------------------------------------------------------------------

    async def join(self, request: JoinRequest, *, timeout: float) -> None:
        """Have the leader let this peer in. Raises Conflict if another data directory has its name, UsageError for
        what is no printable text, NoQuorum."""
        fields = {
            "type": WISH if request.observer else ASK,
            "what": "observe" if request.observer else "join",
            "name": request.name,
            "directory": request.directory,
            "raft_address": request.raft_address,
            "api_address": request.api_address,
            "key": request.key,
        }
        await self._ask(fields, timeout)

    async def promote(self, name: str, *, timeout: float) -> None:
        """Have the leader let this observer vote. Raises NotFound, Refused, NoQuorum."""
        await self._ask(_about("promote", name, WISH), timeout)

    async def remove(self, name: str, *, timeout: float) -> None:
        """Have the leader take this peer out. Raises NotFound, Refused, NoQuorum."""
        known = name in self._state().nodes
        try:
            await self._ask(_about("remove", name, ASK), timeout)
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
        message: dict[str, Any] = {"request": request, **fields}
        caller = CALLER.get()
        if caller is not None:
            message["by"] = caller.to_list()
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
            CALLER.set(_caller(message))
            try:
                if not before.leader_ready:
                    raise NoQuorum("this peer does not lead")
                await self._do(message)
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

    async def _do(self, message: Mapping[str, Any]) -> None:
        what, name = message["what"], message["name"]
        if what in ("join", "observe"):
            await self._admit(message)
        elif what == "promote":
            await self._promote(name)
        else:
            await self._remove(name)

    async def _admit(self, message: Mapping[str, Any]) -> None:
        name, address = message["name"], message["raft_address"]
        members = _members(self._log.status())
        if name in members and name not in self._state().nodes:
            # It may have voted; a peer with another data directory must not speak for it.
            raise Refused(
                f"{name} is being removed and still a member",
                hint=f"repeat `raftchaos node remove {name}`, then join",
            )
        admission = AdmitNode(name, message["directory"], address, message["api_address"], message["key"])
        await self._propose(admission)
        if name not in members:
            self._joining[name] = _Newcomer(address, message["what"] == "observe")
            self._wake.set()
        elif message["key"] or _is_admin():  # a join token alone moves no member elsewhere
            self._log.set_address(name, address)

    async def _promote(self, name: str) -> None:
        node, status = self._state().nodes.get(name), self._log.status()
        if node is None:
            raise self._unknown(name)
        if name in status.quorum.voters:
            return
        if name not in _members(status):
            raise Refused(f"{name} is not a member yet", hint="wait until `raftchaos node list` shows it as observer")
        async with self._turn:
            await self._log.add_voter(name, node.raft_address, timeout=limits.PROMOTION_TIMEOUT)

    def _unknown(self, name: str) -> NotFound:
        return NotFound(f"found no node {name!r}; known are {', '.join(sorted(self._state().nodes)) or 'none'}")

    async def _remove(self, name: str) -> None:
        known, status = name in self._state().nodes, self._log.status()
        if not known and name not in _members(status):
            raise self._unknown(name)
        if name in status.quorum.voters:
            _check_rest(name, status.quorum)  # before the registry forgets it, so that nothing is done by halves
        if self._adding is not None:
            self._adding.cancel()
        async with self._turn:
            if known:
                await self._propose(RemoveNode(name))
            self._joining.pop(name, None)
            if name in _members(self._log.status()):
                await self._log.remove_member(name, timeout=limits.MEMBERSHIP_TIMEOUT)

    async def _finish_removals(self) -> None:
        """A member that the registry does not know was being removed when its leader, and whoever asked for it, were
        lost: a voter would go on counting for majorities where nobody sees it. A newcomer is in the registry first, a
        founder registers as soon as it leads.
        """
        loop = asyncio.get_running_loop()
        since: dict[str, float] = {}
        while True:
            await asyncio.sleep(limits.MEMBERSHIP_RETRY)
            status, nodes = self._log.status(), self._state().nodes
            unknown = [name for name in _members(status) if name not in nodes] if status.leader_ready else []
            since = {name: since.get(name, loop.time()) for name in unknown}
            for name in unknown:
                if loop.time() - since[name] >= limits.REMOVAL_LEFT and len(_members(status)) > 1:
                    LOGGER.warning("%s is no node any more and still a member: its removal is finished", name)
                    with contextlib.suppress(RaftchaosError):  # it is tried again at the next look
                        await self._remove(name)

    async def _propose(self, command: Command) -> None:
        raise_for_result((await self._log.propose(self._request_ids.next(), encode(command, CALLER.get()))).result)

    async def _let_in(self) -> None:
        while True:
            if not self._joining:
                self._wake.clear()
                await self._wake.wait()
            name, newcomer = self._joining.popitem(last=False)
            async with self._turn:
                if name in self._state().nodes and self._log.status().leader_ready:
                    await self._add(name, newcomer)

    async def _add(self, name: str, newcomer: _Newcomer) -> None:
        """Bring a peer up to date and let it in: to vote, unless it wants to observe or enough others vote already.

        A removal may cut that short: it is done again after it.
        """
        observes = newcomer.observes or len(self._log.status().quorum.voters) >= limits.VOTERS
        add = self._log.add_observer if observes else self._log.add_voter
        adding = asyncio.create_task(add(name, newcomer.address, timeout=limits.MEMBERSHIP_TIMEOUT))
        self._adding = adding
        try:
            await asyncio.wait([adding])
        finally:
            adding.cancel()
            self._adding = None
        if adding.cancelled():
            self._joining.setdefault(name, newcomer)
            return
        try:
            adding.result()
        except (RaftchaosError, TimeoutError) as error:
            told = "%s at %s could not be let in: %s; it has to ask again"
            LOGGER.warning(told, name, newcomer.address, error)


def _about(what: str, name: str, kind: str) -> dict[str, str]:
    return {"type": kind, "what": what, "name": name, "directory": "", "raft_address": "", "api_address": "",
            "key": ""}  # fmt: skip


def _members(status: ReplicaStatus) -> tuple[str, ...]:
    return (*status.quorum.voters, *status.observers)


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


def _is_admin() -> bool:
    caller = CALLER.get()
    return caller is None or caller.allows(Role.ADMIN)


def _caller(message: Mapping[str, Any]) -> Caller | None:
    """Who asked, as the peer that was asked says; an older release does not say it."""
    try:
        return Caller.from_list(message["by"]) if "by" in message else None
    except ValueError:
        return None
