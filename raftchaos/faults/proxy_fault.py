"""Faults that the node's proxies do: the proxy process does the work, this names the targets and passes it on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from raftchaos.errors import NotFound
from raftchaos.faults.base import CatalogueFault, Host, Lost, NodeContext
from raftchaos.faults.records import Step
from raftchaos.model.faults import FaultType, ProxyFaultParameters

PREFIX = "proxy:"


class ProxyFault(CatalogueFault[ProxyFaultParameters]):
    """A fault of the catalogue that is done by proxies; a target is `proxy:<name>`."""

    pulses_itself = True

    def __init__(self, catalogue: FaultType, host: Host) -> None:
        assert issubclass(catalogue.parameters, ProxyFaultParameters)
        super().__init__(catalogue, catalogue.parameters, host)
        self._proxy = host.proxy
        self._on: set[tuple[str, str]] = set()

    def resolve(self, parameters: Mapping[str, Any], node: NodeContext) -> tuple[str, ...]:
        """The named proxies, or all of the node."""
        wanted = self.read(parameters).proxies(list(node.proxies))
        missing = [name for name in wanted if name not in node.proxies]
        if missing:
            known = ", ".join(node.proxies) or "none"
            raise NotFound(
                f"the node {node.name} has no proxy {', '.join(missing)} for the fault {self.type}; it has: {known}",
                hint="add it with `raftchaos proxy add`, or name another one",
            )
        return tuple(PREFIX + name for name in sorted(wanted))

    def undo_steps(self, key: str, target: str) -> list[Step]:
        """One request to the proxy process, by its socket, which the reaper can send too."""
        return [{"do": "proxy.recover", "socket": self._proxy.socket_path, "key": key_on(key, target)}]

    async def inject(self, key: str, target: str, parameters: Mapping[str, Any], seed: int, lease_end: float) -> None:
        """Ask the proxy process to begin; it knows the end of the lease by itself."""
        name = target.removeprefix(PREFIX)
        own = {field: value for field, value in parameters.items() if field != "proxy"}
        await self._proxy.inject(key_on(key, target), self.type, name, own, seed, lease_end)
        self._on.add((key, target))

    async def recover(self, key: str, target: str) -> dict[str, int]:
        """Ask the proxy process to end it; returns its counters."""
        self._on.discard((key, target))
        return await self._proxy.recover(key_on(key, target))

    async def lost(self) -> Lost:
        """What the proxy process does not bear, although it has the whole table: it saw the lease end, or refused."""
        expected = set(self._on)
        if not expected or not self._proxy.ready:
            return {}
        active = await self._proxy.active()
        return {use: "the proxy process has ended it" for use in expected if key_on(*use) not in active}

    async def effects(self, key: str, target: str) -> dict[str, int]:
        """The counters of the proxy process."""
        return (await self._proxy.effects()).get(key_on(key, target), {})

    async def observe(self) -> list[tuple[str, str]] | None:
        """What the proxy process says is on."""
        active = await self._proxy.active()
        return [
            (key.rpartition("@")[0] or key, PREFIX + name)
            for key, (fault, name) in active.items()
            if fault == self.type
        ]

    async def forget(self, key: str, target: str) -> None:
        """Let the proxy process drop the counters."""
        await self._proxy.forget(key_on(key, target))


def key_on(key: str, target: str) -> str:
    """The key of one fault on one proxy, as the proxy process knows it."""
    return f"{key}@{target.removeprefix(PREFIX)}"
