"""What clients see and change: the proxies of the node, their toxics, and whether they are enabled."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from raftchaos import limits
from raftchaos.api.toxiproxy.toxics import DISABLED, Toxic, read_toxic, with_attributes
from raftchaos.api.toxiproxy.words import (
    Json,
    bad_body,
    fields_of,
    flag_of,
    missing,
    no_proxy,
    no_toxic,
    proxy_exists,
    text_of,
    toxic_exists,
)
from raftchaos.core.caller_proxies import CallerProxies
from raftchaos.core.service_records import ProxyRecord
from raftchaos.errors import RaftchaosError, Refused

ANY_PORT = "127.0.0.1:0"
"""Where a proxy listens if nobody says where."""
_DISABLED_LABEL = "disabled"


@dataclass(frozen=True, slots=True)
class Wanted:
    """A proxy that a body asks for."""

    name: str
    listen: str
    upstream: str
    enabled: bool


class Collection:
    """All proxies of one peer. One change at a time; what the peer has taken off by itself is not shown any more."""

    def __init__(self, world: CallerProxies) -> None:
        self._world = world
        self._toxics: dict[str, dict[str, Toxic]] = {}  # by proxy and name, in the order in which they came
        self._disabled: dict[str, str] = {}  # by proxy: the key of what disables it
        self._turn = asyncio.Lock()

    # ---- looking

    async def records(self) -> Mapping[str, ProxyRecord]:
        """The proxies by name."""
        return {record.name: record for record in await self._world.proxies()}

    async def proxies(self) -> dict[str, Json]:
        """All proxies by name, as clients read them."""
        return {name: self._view(record) for name, record in (await self.records()).items()}

    async def proxy(self, name: str) -> Json:
        """One proxy. Raises `NotFound`."""
        return self._view(await self._record(name))

    async def toxics(self, proxy: str) -> list[Json]:
        """The toxics of a proxy. Raises `NotFound`."""
        await self._record(proxy)
        return self._listed(proxy)

    async def toxic(self, proxy: str, name: str) -> Json:
        """One toxic. Raises `NotFound`."""
        await self._record(proxy)
        return self._toxic(proxy, name).view()

    # ---- proxies

    async def create(self, body: Any) -> Json:
        """Add a proxy. Raises `UsageError`, `Conflict`, and what keeps it from listening."""
        wanted = _read_proxy(fields_of(body))
        async with self._turn:
            if wanted.name in await self.records():
                raise proxy_exists()
            await self._add(wanted)
            return await self.proxy(wanted.name)

    async def update(self, name: str, body: Any) -> Json:
        """Change what the body names. Raises `NotFound`, `UsageError`, `Refused`."""
        async with self._turn:
            record = await self._record(name)
            fields = fields_of(body)
            listen = _listen(text_of(fields, "listen") or record.listen)
            upstream = text_of(fields, "upstream") or record.upstream
            enabled = flag_of(fields, "enabled", self._enabled(name))
            await self._world.change(name, listen, upstream)
            await self._enable(name, enabled)
            return await self.proxy(name)

    async def delete(self, name: str) -> None:
        """Remove a proxy and what is on it. Raises `NotFound`, `Refused`."""
        async with self._turn:
            await self._record(name)
            await self._world.remove(name)
            self._toxics.pop(name, None)
            self._disabled.pop(name, None)

    async def populate(self, body: Any) -> list[Json]:
        """Add all these proxies, in place of those of the same names that listen or relay elsewhere. The whole list is
        looked at before anything is done. Raises `UsageError`, and what keeps one from listening: those before it
        stay."""
        if not isinstance(body, list) or len(body) > limits.PROXIES:
            raise bad_body(f"expected a list of at most {limits.PROXIES} proxies")
        wanted = [_read_proxy(fields_of(item, f"proxy {i}"), f" at proxy {i}") for i, item in enumerate(body, 1)]
        if len({one.name for one in wanted}) < len(wanted):
            raise bad_body("two proxies have one name, expected each name once")
        async with self._turn:
            for one in wanted:
                await self._add_or_replace(one, (await self.records()).get(one.name))
            return [await self.proxy(one.name) for one in wanted]

    async def reset(self) -> None:
        """Enable all proxies and take off all toxics."""
        async with self._turn:
            for name in await self.records():
                await self._enable(name, True)
                await self._clear(name)

    # ---- toxics

    async def add_toxic(self, proxy: str, body: Any) -> Json:
        """Put a toxic on a proxy. Raises `NotFound`, `UsageError`, `Conflict`, and `Halted` during a halt."""
        async with self._turn:
            await self._record(proxy)
            toxic = read_toxic(body)
            if toxic.name in self._of(proxy):
                raise toxic_exists()
            toxic = with_attributes(toxic, body)
            if len(self._world.standing()) >= limits.TOXICS:
                raise Refused(f"this peer has {limits.TOXICS} toxics, the most there may be")
            return await self._put(proxy, toxic)

    async def update_toxic(self, proxy: str, name: str, body: Any) -> Json:
        """Change what the body names. Raises `NotFound`, `UsageError`."""
        async with self._turn:
            await self._record(proxy)
            before = self._toxic(proxy, name)
            toxic = with_attributes(before, body)
            return before.view() if toxic == before else await self._put(proxy, toxic)

    async def delete_toxic(self, proxy: str, name: str) -> None:
        """Take a toxic off. Raises `NotFound`."""
        async with self._turn:
            await self._record(proxy)
            await self._world.take_off(self._toxic(proxy, name).key)
            self._toxics[proxy].pop(name, None)

    # ---- inside

    async def _record(self, name: str) -> ProxyRecord:
        record = (await self.records()).get(name)
        if record is None:
            raise no_proxy()
        return record

    def _view(self, record: ProxyRecord) -> Json:
        place = {"name": record.name, "listen": record.listen, "upstream": record.upstream}
        return {**place, "enabled": self._enabled(record.name), "toxics": self._listed(record.name)}

    def _listed(self, proxy: str) -> list[Json]:
        """As toxiproxy lists them: those of the stream to the service first."""
        return [toxic.view() for toxic in sorted(self._of(proxy).values(), key=lambda one: one.stream != "upstream")]

    def _of(self, proxy: str) -> dict[str, Toxic]:
        """The toxics of a proxy that are still on."""
        standing = self._world.standing()
        kept = {name: toxic for name, toxic in self._toxics.get(proxy, {}).items() if toxic.key in standing}
        self._toxics[proxy] = kept
        return kept

    def _toxic(self, proxy: str, name: str) -> Toxic:
        toxic = self._of(proxy).get(name)
        if toxic is None:
            raise no_toxic()
        return toxic

    def _enabled(self, proxy: str) -> bool:
        return self._disabled.get(proxy) not in self._world.standing()

    async def _put(self, proxy: str, toxic: Toxic) -> Json:
        key = await self._world.put(toxic.name, proxy, toxic.faults(), instead_of=toxic.key)
        self._of(proxy)[toxic.name] = replace(toxic, key=key)
        return toxic.view()

    async def _add(self, wanted: Wanted) -> None:
        await self._world.add(wanted.name, wanted.listen, wanted.upstream)
        try:
            await self._enable(wanted.name, wanted.enabled)
        except RaftchaosError:
            await self._world.remove(wanted.name)
            raise

    async def _add_or_replace(self, wanted: Wanted, present: ProxyRecord | None) -> None:
        if present is None:
            await self._add(wanted)
            return
        changed = await self._world.change(wanted.name, wanted.listen, wanted.upstream)
        if (changed.listen, changed.upstream) != (present.listen, present.upstream):
            await self._clear(wanted.name)
            await self._enable(wanted.name, wanted.enabled)

    async def _clear(self, proxy: str) -> None:
        for toxic in self._of(proxy).values():
            await self._world.take_off(toxic.key)
        self._toxics.pop(proxy, None)

    async def _enable(self, proxy: str, enabled: bool) -> None:
        if enabled == self._enabled(proxy):
            return
        if enabled:
            await self._world.take_off(self._disabled.pop(proxy))
        else:
            self._disabled[proxy] = await self._world.put(_DISABLED_LABEL, proxy, DISABLED)


def _read_proxy(fields: Json, where: str = "") -> Wanted:
    for name in ("name", "upstream"):
        if not text_of(fields, name):
            raise missing(f"{name}{where}")
    listen = _listen(text_of(fields, "listen"))
    return Wanted(fields["name"], listen, fields["upstream"], flag_of(fields, "enabled", True))


def _listen(said: str) -> str:
    """An address as clients write it: without a host it means every address of the machine."""
    return f"0.0.0.0{said}" if said.startswith(":") else said or ANY_PORT
