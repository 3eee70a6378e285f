"""Enters this start of the peer into the registry, and keeps the names of its proxies there up to date."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any

from raftchaos import limits
from raftchaos.core.commands import Command, RegisterNode, UpdateProxies, encode
from raftchaos.core.interfaces import ReplicatedLog
from raftchaos.core.request_ids import RequestIds
from raftchaos.core.services import raise_for_result
from raftchaos.errors import Busy, NoQuorum, OutcomeUnknown

LOGGER = logging.getLogger(__name__)


class Registration:
    """Registers one incarnation, once. One object for one start of the peer."""

    def __init__(
        self,
        *,
        log: ReplicatedLog,
        request_ids: RequestIds,
        describe: Callable[[], RegisterNode],
        clean: Callable[[], bool],
    ) -> None:
        """`describe` gives the node as it is now. `clean` says whether the reaper of the last start is gone and the
        undo journal has no open record, and the cluster was told of the ends of the last incarnation's runs: before
        that, faults may still be on, and registering would tell the cluster that they are off.
        """
        self._log = log
        self._request_ids = request_ids
        self._describe = describe
        self._clean = clean
        self._registered = asyncio.Event()
        self._led = asyncio.Event()
        self._look = asyncio.Event()
        log.on_change(self._led.set)

    @property
    def registered(self) -> bool:
        """Whether the registration was answered."""
        return self._registered.is_set()

    async def wait(self) -> None:
        """Returns once the registration was answered."""
        await self._registered.wait()

    def proxies_changed(self) -> None:
        """The proxies that `describe` names may have changed: the registry is told if they did."""
        self._look.set()

    async def run(self) -> None:
        """Registers, then tells the registry of every change of the proxies, until it is cancelled.

        Raises the error that the cluster answers if it refuses the node: Conflict if another data directory has its
        name, Refused if the registry is full. The peer cannot take part then.
        """
        while not self._clean():  # noqa: ASYNC110 - the old reaper is another process: nobody tells when it is gone
            await asyncio.sleep(limits.CLEAN_POLL)
        node = self._describe()
        raise_for_result(await self._propose(node))
        self._registered.set()
        told = node.proxies
        while True:
            now = self._describe()
            if now.proxies != told:
                result = await self._propose(UpdateProxies(now.name, now.incarnation, now.proxies))
                if not result.get("ok"):  # the node was removed meanwhile: nobody asks for its proxies any more
                    LOGGER.warning("the registry did not take the proxies of %s: %s", now.name, result.get("error"))
                told = now.proxies
                continue
            await self._look.wait()
            self._look.clear()

    async def _propose(self, command: Command) -> Mapping[str, Any]:
        """Proposes until there is an answer. The request id stays the same, so it is applied once however often it
        was sent; the next command waits for this answer, so a late copy never undoes a newer one.
        """
        request_id, data = self._request_ids.next(), encode(command)
        while True:
            await self._until_led()
            try:
                return (await self._log.propose(request_id, data)).result
            except (NoQuorum, Busy, OutcomeUnknown) as error:
                LOGGER.debug("the command %s has no answer yet: %s", command.kind, error)
                await asyncio.sleep(limits.REGISTER_RETRY)

    async def _until_led(self) -> None:
        while self._log.status().leader is None:
            self._led.clear()
            await self._led.wait()
