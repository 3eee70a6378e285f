"""Asks every target whether it can do the steps of a task, before the task is accepted, and answers others who ask.

The registry says which faults a machine can do; only the machine itself knows whether there is such an interface, such
a process, or a qdisc in the way. A target that the registry has as active and that does not answer has not said that it
can, so the task is refused; it is active no more soon, if it is down. Without a quorum nobody is waited for: the write
that comes next says so.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from raftchaos import limits
from raftchaos.agent.mailbox import Mailbox
from raftchaos.core.answers import clip, listing
from raftchaos.core.interfaces import ReplicatedLog, RunExecutor
from raftchaos.core.progress import ASSIGNED
from raftchaos.core.request_ids import RequestIds
from raftchaos.errors import RaftchaosError, Refused
from raftchaos.model.nodes import Node, NodeStatus
from raftchaos.model.resolved import ResolvedOrchestration, ResolvedStep

ASK = "canYou"
ANSWER = "whatICan"
_ASK_FIELDS = {"id": str, "from": str, "to": str, "steps": list}
_ANSWER_FIELDS = {"id": str, "to": str, "problems": list}
_PIECE = 2048
"""Characters of a piece of the steps: a message's texts are bounded."""

Problems = dict[str, tuple[str, ...]]
"""Why a node cannot do each step, "" where it can, by node."""


class Abilities:
    """One peer's side of it. Messages between two peers that are not connected go by way of the leader."""

    def __init__(
        self,
        *,
        name: str,
        log: ReplicatedLog,
        nodes: Callable[[], Mapping[str, Node]],
        mailbox: Mailbox,
        executor: Callable[[], RunExecutor],
        request_ids: RequestIds,
    ) -> None:
        self._name = name
        self._log = log
        self._nodes = nodes
        self._executor = executor
        self._request_ids = request_ids
        self._waiting: dict[str, asyncio.Future[tuple[str, ...]]] = {}
        self._asked: asyncio.Queue[dict[str, Any]] = asyncio.Queue(limits.QUESTIONS)
        mailbox.register(ASK, _ASK_FIELDS, self._on_ask)
        mailbox.register(ANSWER, _ANSWER_FIELDS, self._on_answer)

    async def check(self, orchestration: ResolvedOrchestration, nodes: Sequence[str]) -> None:
        """Raises `Refused` with the reasons if these targets cannot do the steps: each all of them where each runs
        every step, else at least one each step."""
        problems = await self.ask(orchestration.steps, nodes)
        every = orchestration.mode not in ASSIGNED
        for place, step in enumerate(orchestration.steps):
            lacking = {node: found[place] for node, found in sorted(problems.items()) if found[place]}
            if lacking and (every or len(lacking) == len(nodes)):
                shown = listing([f"{node}: {problem}" for node, problem in lacking.items()])
                what = "not every target" if every else "no target"
                raise Refused(
                    f"{what} can do the step {step.name!r}: {shown}",
                    hint="choose other targets, or add what is missing on those nodes",
                )

    async def ask(self, steps: Sequence[ResolvedStep], nodes: Sequence[str]) -> Problems:
        """What these nodes say within `limits.CAN_WAIT`, or that they say nothing. Of nodes that are known to be down,
        and without a quorum of all that are silent, there is no word."""
        text = json.dumps([step.to_dict() for step in steps])
        pieces = [text[start : start + _PIECE] for start in range(0, len(text), _PIECE)]
        found = {self._name: await self._problems(steps)} if self._name in nodes else {}
        asked = {self._request_ids.next(): node for node in nodes if node != self._name}
        self._waiting |= {request: asyncio.get_running_loop().create_future() for request in asked}
        try:
            async with asyncio.timeout(limits.CAN_WAIT):
                await asyncio.gather(*(self._hear(request, node, pieces) for request, node in asked.items()))
        except TimeoutError:
            pass  # who is silent is told below
        finally:
            answers = {node: self._waiting.pop(request) for request, node in asked.items()}
        for node, answer in answers.items():
            if answer.done() and not answer.cancelled() and len(answer.result()) == len(steps):
                found[node] = answer.result()
            elif self._expected(node):
                found[node] = (f"it is active and has not answered within {limits.CAN_WAIT:g} s",) * len(steps)
        return found

    async def _hear(self, request: str, node: str, pieces: Sequence[str]) -> None:
        """Ask one node, as soon as there is a way to it, and wait for its answer as long as one is to be expected."""
        message = {"type": ASK, "id": request, "from": self._name, "to": node, "steps": pieces}
        answer, sent = self._waiting[request], False
        while not answer.done() and self._expected(node):
            sent = sent or self._send(node, message)
            await asyncio.wait([answer], timeout=limits.CAN_LOOK)

    def _expected(self, node: str) -> bool:
        """Whether an answer is to be expected: the node is active, and there is a quorum that would know better."""
        status, known = self._log.status(), self._nodes().get(node)
        active = known is not None and known.status is NodeStatus.ACTIVE
        return active and status.quorum.has_quorum and status.leader is not None

    async def _problems(self, steps: Sequence[ResolvedStep]) -> tuple[str, ...]:
        return tuple([await self._problem(step) for step in steps])

    async def _problem(self, step: ResolvedStep) -> str:
        try:
            await self._executor().resolve(step)
        except RaftchaosError as error:
            return clip(str(error), limits.REASON)
        return ""

    def _send(self, node: str, message: dict[str, Any]) -> bool:
        """To the node, or to the leader, who passes it on."""
        leader = self._log.status().leader
        return self._log.send(node, message) or (
            leader not in (None, self._name) and self._log.send(str(leader), message)
        )

    def _on_ask(self, sender: str, message: dict[str, Any]) -> None:
        if message["to"] != self._name:
            self._pass_on(message)
            return
        with contextlib.suppress(asyncio.QueueFull):  # no answer is "I do not know"
            self._asked.put_nowait(message)

    async def run(self) -> None:
        """Answer those who ask, one after the other, until it is cancelled."""
        while True:
            message = await self._asked.get()
            try:
                steps = [ResolvedStep.from_dict(step) for step in json.loads("".join(message["steps"]))]
            except (ValueError, TypeError, RecursionError):  # of another release, or damaged
                continue
            problems = list(await self._problems(steps))
            self._send(
                message["from"], {"type": ANSWER, "id": message["id"], "to": message["from"], "problems": problems}
            )

    def _on_answer(self, sender: str, message: dict[str, Any]) -> None:
        if message["to"] != self._name:
            self._pass_on(message)
            return
        future = self._waiting.get(message["id"])
        if future is not None and not future.done():
            future.set_result(tuple(message["problems"]))

    def _pass_on(self, message: Mapping[str, Any]) -> None:
        """A message of two others, sent here because this peer leads. Never passed on twice."""
        if self._log.status().role == "leader":
            self._log.send(message["to"], dict(message))
