"""Questions about the log that write nothing to it: is this leader still the leader, and what is committed now?"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from raftchaos.consensus.waiting import Waiting

if TYPE_CHECKING:
    from raftchaos.consensus.replica import Replica


class Queries:
    """Leadership confirmed, and linearizable reads through any peer."""

    def __init__(self, replica: Replica, waiting: Waiting) -> None:
        self._replica, self._waiting = replica, waiting
        self._counter = 0
        self._asked: dict[str, asyncio.Future[int | None]] = {}

    async def confirm_leadership(self, timeout: float) -> int:
        """See ReplicatedLog."""
        try:
            async with asyncio.timeout(timeout):
                index = await self._confirmed()
        except TimeoutError:
            index = None
        if index is None:
            raise self._replica.no_quorum("leadership is not confirmed")
        return index

    async def _confirmed(self) -> int | None:
        future: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()

        def answer(index: int | None) -> None:
            if not future.done():
                future.set_result(index)

        self._replica.raft.confirm(answer)
        return await future

    async def read_barrier(self, timeout: float) -> int:
        """See ReplicatedLog. Asks again when the leader changes: a read has no effect."""
        raft = self._replica.raft
        try:
            async with asyncio.timeout(timeout):
                while True:
                    await self._waiting.until(lambda: raft.leader is not None)
                    asked = (raft.leader, raft.term)
                    index = await (self._confirmed() if raft.leader == raft.me else self._ask(asked))
                    if index is not None:
                        break
                    await self._moment_or_change(asked)
                await self._waiting.until(lambda: raft.applied_index >= index)
                return index
        except TimeoutError:
            raise self._replica.no_quorum("the present state is not known") from None

    async def _moment_or_change(self, asked: object) -> None:
        """The leader did not confirm: ask again when there is another one, or in a moment."""
        raft = self._replica.raft
        try:
            async with asyncio.timeout(self._replica.config.timings.append_period):
                await self._waiting.until(lambda: (raft.leader, raft.term) != asked)
        except TimeoutError:
            return

    async def _ask(self, asked: object) -> int | None:
        """The leader's answer; None if it does not lead, or is gone."""
        raft = self._replica.raft
        config = self._replica.config
        self._counter += 1
        # Ids hold the incarnation: a late answer to a question of an earlier life must not match a new one.
        request = f"{config.name}:{config.incarnation}:{self._counter}"
        future = self._asked[request] = asyncio.get_running_loop().create_future()
        try:
            if raft.leader is None or not raft.transport.send(raft.leader, {"type": "read_index", "id": request}):
                return None
            await self._waiting.until(lambda: future.done() or (raft.leader, raft.term) != asked)
            return future.result() if future.done() else None
        finally:
            del self._asked[request]

    def received(self, peer: str, message: dict[str, Any]) -> None:
        """A question or an answer of another peer."""
        request = message["id"]
        if message["type"] == "read_index":

            def answer(index: int | None) -> None:
                self._replica.transmit(peer, {"type": "read_index_reply", "id": request, "index": index})

            self._replica.raft.confirm(answer)
            return
        future = self._asked.get(request)
        if future is not None and not future.done():
            future.set_result(message["index"])
            self._waiting.check()
