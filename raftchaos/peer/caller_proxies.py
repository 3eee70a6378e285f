"""The node's proxies and the faults on them that callers of the toxiproxy API have set, of one peer."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set

from raftchaos.agent.proxies import KeptProxy, NodeProxies
from raftchaos.core.caller_proxies import WantedFault
from raftchaos.core.service_records import ProxyRecord
from raftchaos.errors import Refused
from raftchaos.faults.own import OwnFaults
from raftchaos.faults.proxy_fault import PREFIX


class PeerCallerProxies:
    """Implements `core.caller_proxies.CallerProxies`."""

    def __init__(self, proxies: NodeProxies, own: OwnFaults, *, of_tasks: Callable[[str], bool]) -> None:
        """`of_tasks` tells whether a run of a task is, or is about to be, done to a target."""
        self._proxies = proxies
        self._own = own
        self._of_tasks = of_tasks

    async def proxies(self) -> Sequence[ProxyRecord]:
        """See CallerProxies."""
        return await self._proxies.records()

    async def add(self, name: str, listen: str, upstream: str) -> ProxyRecord:
        """See CallerProxies."""
        return _record(await self._proxies.add(name, listen, upstream))

    async def change(self, name: str, listen: str, upstream: str) -> ProxyRecord:
        """See CallerProxies."""
        moves = not self._proxies.holds(name, listen, upstream)
        if moves:
            self._refuse_if_used(name)
        try:
            return _record(await self._proxies.change(name, listen, upstream))
        finally:
            if moves:
                await self._own.again(name)

    async def remove(self, name: str) -> None:
        """See CallerProxies."""
        self._refuse_if_used(name)
        await self._own.clear(name)
        await self._proxies.remove(name)

    def standing(self) -> Set[str]:
        """See CallerProxies."""
        return self._own.standing()

    async def put(self, label: str, proxy: str, faults: Sequence[WantedFault], *, instead_of: str = "") -> str:
        """See CallerProxies."""
        return await self._own.put(label, proxy, faults, instead_of=instead_of)

    async def take_off(self, key: str) -> None:
        """See CallerProxies."""
        await self._own.take_off(key)

    def _refuse_if_used(self, name: str) -> None:
        if self._of_tasks(PREFIX + name):
            raise Refused(f"a run of a task is done to the proxy {name}", hint="cancel the task, or wait for its end")


def _record(kept: KeptProxy) -> ProxyRecord:
    return ProxyRecord(kept.name, kept.listen, kept.upstream, {})
