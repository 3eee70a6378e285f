"""Faults that the node's proxies do: the proxy process does the work, this names the targets and passes it on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from raftchaos.core.interfaces import ProxyControl
from raftchaos.errors import NotFound, UsageError
from raftchaos.faults.base import NodeContext
from raftchaos.faults.records import Step
from raftchaos.model.faults import FaultType, ProxyFaultParameters

PREFIX = "proxy:"


class ProxyFault:
    """A fault of the catalogue that is done by proxies; a target is `proxy:<name>`."""

    def __init__(self, catalogue: FaultType, proxy: ProxyControl) -> None:
        self._catalogue = catalogue
        self._proxy = proxy

    @property
    def type(self) -> str:
        """Its name in documents."""
        return self._catalogue.type

    @property
    def kind(self) -> str:
        """`continuous`, as its entry of the catalogue says."""
        return self._catalogue.kind

    @property
    def recovery_seconds(self) -> float:
        """How long a recovery takes at most."""
        return self._catalogue.recovery_seconds

    def resolve(self, parameters: Mapping[str, Any], node: NodeContext) -> tuple[str, ...]:
        """The named proxies, or all of the node."""
        try:
            model = self._catalogue.parameters.model_validate(dict(parameters))
        except ValidationError as error:
            problem = error.errors()[0]
            where = ".".join(str(part) for part in problem["loc"]) or "its parameters"
            raise UsageError(
                f"the fault {self.type} does not take what {where} holds here: {problem['msg']}",
                hint="this node may run another release than the one that took the task",
            ) from None
        assert isinstance(model, ProxyFaultParameters)
        wanted = model.proxies(list(node.proxies))
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

    async def recover(self, key: str, target: str) -> dict[str, int]:
        """Ask the proxy process to end it; returns its counters."""
        return await self._proxy.recover(key_on(key, target))

    async def forget(self, key: str, target: str) -> None:
        """Let the proxy process drop the counters."""
        await self._proxy.forget(key_on(key, target))


def key_on(key: str, target: str) -> str:
    """The key of one fault on one proxy, as the proxy process knows it."""
    return f"{key}@{target.removeprefix(PREFIX)}"
