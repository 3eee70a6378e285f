"""Host names of a fault: looked up before it is on, and again while it is."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence

from raftchaos import limits
from raftchaos.errors import NotFound, RaftchaosError
from raftchaos.faults.network.rules import Network
from raftchaos.model.faults.network import network_of

log = logging.getLogger(__name__)


def split(hosts: Iterable[str]) -> tuple[list[Network], list[str]]:
    """The addresses and networks among them, and the names."""
    networks: list[Network] = []
    names: list[str] = []
    for host in hosts:
        network = network_of(host)
        if network is None:
            names.append(host)
        else:
            networks.append(network)
    return networks, names


async def addresses_of(name: str) -> list[Network]:
    """Every address that a name has now. Raises `NotFound` if it has none, or nobody answers in time."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(limits.HOST_LOOK_UP_WAIT):
            found = await loop.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, TimeoutError) as error:
        raise NotFound(
            f"the host name {name} cannot be looked up: {error or 'no answer in time'}",
            hint="write its address, or see that this node can resolve it",
        ) from None
    return [ipaddress.ip_network(str(entry[4][0]).partition("%")[0]) for entry in found]


async def look_up(names: Sequence[str]) -> list[Network]:
    """The addresses of all names, each once. Raises `NotFound` if one has none."""
    found = await asyncio.gather(*(addresses_of(name) for name in names))
    return list(dict.fromkeys(address for addresses in found for address in addresses))


async def ports_of(named: Sequence[tuple[str, int]]) -> list[tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, int]]:
    """The same as addresses with ports; what cannot be looked up now is left out."""
    found = await asyncio.gather(*(addresses_of(name) for name, _ in named), return_exceptions=True)
    return [
        (network[0], port)
        for (_, port), networks in zip(named, found, strict=True)
        if isinstance(networks, list)
        for network in networks
    ]


class NameWatch:
    """Looks the names of one use up again and again, and tells of addresses that are new.

    An address that a name had once stays: answers come in turns, and connections to the old ones go on.
    """

    def __init__(
        self, names: Sequence[str], known: Iterable[Network], tell: Callable[[list[Network]], Awaitable[None]]
    ) -> None:
        self._names = names
        self._known = dict.fromkeys(known)
        self._tell = tell
        self._task = asyncio.create_task(self._watch())

    async def stop(self) -> None:
        """No more look-ups once this returns."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(limits.HOST_LOOK_UP)
            answers = await asyncio.gather(*map(addresses_of, self._names), return_exceptions=True)
            found = [address for answer in answers if isinstance(answer, list) for address in answer]
            fresh = [address for address in dict.fromkeys(found) if address not in self._known]
            if not fresh or len(self._known) + len(fresh) > limits.HOST_ADDRESSES:
                continue
            try:
                await self._tell([*self._known, *fresh])
                self._known.update(dict.fromkeys(fresh))
            except RaftchaosError as error:  # the fault goes on with what it has; tried again
                log.warning("could not take up the new addresses of %s: %s", ", ".join(self._names), error)
