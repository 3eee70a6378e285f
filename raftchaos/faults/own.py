"""Faults of the node's proxies that are a caller's own: no run of a task, and not under the node's lease.

Their records in the undo journal name main as what they stand for, so that the reaper undoes them when main is dead and
leaves them when the node's lease ends. In the proxy process they stand under `MAIN_LEASE`, which is renewed here: if
main stands still for too long they go off there, and are over.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import dataclass, field
from urllib.parse import quote

from raftchaos import limits
from raftchaos.clock import Clock
from raftchaos.core.caller_proxies import WantedFault
from raftchaos.core.interfaces import MAIN_LEASE, ProxyControl
from raftchaos.core.service_records import TOXIPROXY_RUN
from raftchaos.errors import RaftchaosError, Refused
from raftchaos.faults.executor import FaultExecutor
from raftchaos.faults.proxy_fault import PREFIX, key_on
from raftchaos.faults.uses import Use, fault_seed
from raftchaos.faults.watching import start_of

log = logging.getLogger(__name__)

_LABEL = 40  # characters of a label in a key: all keys must fit into one message to the proxy process


@dataclass(slots=True)
class _Over:
    """What may not be on any more, and is not taken back yet: it is tried again until it is."""

    uses: tuple[Use, ...]
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held by who takes it back: a second one would find the books of the first closed."""


class OwnFaults:
    """Those of one start of a peer. `run` renews their lease and ends them when they may not go on."""

    def __init__(
        self,
        executor: FaultExecutor,
        proxy: ProxyControl,
        clock: Clock,
        *,
        incarnation: int,
        check: Callable[[], None],
    ) -> None:
        """`check` raises `Refused` with the reason while nothing may be on."""
        self._executor = executor
        self._proxy = proxy
        self._clock = clock
        self._incarnation = incarnation
        self._check = check
        self._holder = f"{os.getpid()} {start_of(os.getpid())}"
        self._starting: dict[str, tuple[Use, ...]] = {}
        self._uses: dict[str, tuple[Use, ...]] = {}
        self._ending: dict[str, _Over] = {}
        self._count = 0
        self._lease_end = 0.0
        self._stopping = False
        self._look = asyncio.Event()

    # ---- looking

    def standing(self) -> Set[str]:
        """The keys of what is on."""
        return self._uses.keys()

    def uses_target(self, target: str) -> bool:
        """Whether something is, or may be, done to this target."""
        ending = [over.uses for over in self._ending.values()]
        every = [*self._starting.values(), *self._uses.values(), *ending]
        return any(use.target == target for uses in every for use in uses)

    # ---- changing

    async def put(self, label: str, proxy: str, faults: Sequence[WantedFault], *, instead_of: str = "") -> str:
        """Put faults on a proxy, all or none; their key. They take the place of `instead_of`."""
        await self._until_ready()
        self._count += 1
        key = f"{TOXIPROXY_RUN}{quote(label[:_LABEL], safe='')}/{self._incarnation}/{self._count}"
        uses = tuple(self._use(key, index, wanted, proxy) for index, wanted in enumerate(faults))
        self._starting[key] = uses
        try:
            await self._executor.record(key, uses, self._holder)
            await self._begin(uses)
        except BaseException:
            self._ending[key] = _Over(self._starting.pop(key))
            await self._end(key)
            raise
        self._uses[key] = self._starting.pop(key)
        if instead_of:
            await self.take_off(instead_of, replaced=True)
        return key

    async def again(self, proxy: str) -> None:
        """Put on a proxy once more what stands on it: the proxy is a new one of the same name. What cannot be put on,
        and what would come after that, is over: nothing is shown as on that is not."""
        problem: RaftchaosError | None = None
        for key in self._on(proxy):
            uses = self._uses.get(key, ())
            try:
                if problem is None:
                    await self._until_ready()
                    await self._begin(uses)
            except RaftchaosError as error:
                problem = error
            if problem is not None:
                await self.take_off(key)
            if key not in self._uses:  # it was over amid that: what was put on after its end goes, too
                await self._off(uses, replaced=False)
        if problem is not None:
            raise problem

    async def clear(self, proxy: str) -> None:
        """End everything that was put on a proxy."""
        for key in self._on(proxy):
            await self.take_off(key)

    async def take_off(self, key: str, *, replaced: bool = False) -> None:
        """End what was put on; with `replaced`, because something else has taken its place. Idempotent. What cannot be
        taken back now is tried again."""
        if key in self._uses:
            self._over([key])
            await self._end(key, replaced=replaced)

    async def stop(self) -> None:
        """Before the peer ends: nothing more begins, and everything is taken back."""
        self._stopping = True
        self._over_all("the peer ends")
        await asyncio.gather(*(self._end(key) for key in list(self._ending)))

    # ---- its life

    def wake(self) -> None:
        """Whether something may be on has perhaps changed: look now."""
        self._look.set()

    async def run(self) -> None:
        """Renew the lease, and take back what may not be on, until it is cancelled. No recovery that takes its time
        holds up the renewal, or another recovery."""
        async with asyncio.TaskGroup() as group:
            while True:
                self._look.clear()
                self._look_once()
                for key, over in self._ending.items():
                    if not over.turn.locked():
                        group.create_task(self._end(key))
                try:
                    async with asyncio.timeout(limits.MAIN_RENEWAL):
                        await self._look.wait()
                except TimeoutError:
                    continue

    def _look_once(self) -> None:
        if not self._uses:
            return
        if self._clock.boot() >= self._lease_end:
            self._over_all(f"main stood still for more than {limits.MAIN_LEASE:g} s")
            return
        try:
            self._check()
        except Refused as error:
            self._over_all(str(error))
            return
        self._renew()
        unfinished = self._executor.unfinished()
        by_hand = [key for key in self._uses if key not in unfinished]
        if by_hand:
            log.warning("taken back by hand: %s", ", ".join(by_hand))
            self._over(by_hand)

    # ---- inside

    async def _until_ready(self) -> None:
        """Reaper and proxy process are started again when they are gone, and by a start of the peer: wait for them."""
        try:
            async with asyncio.timeout(limits.CONTROL_CALL):
                while not self._ready():
                    self._may_begin(or_wait=True)
                    await asyncio.sleep(limits.CLEAN_POLL)
        except TimeoutError:
            self._may_begin()

    def _ready(self) -> bool:
        return self._executor.clean and self._proxy.ready

    def _may_begin(self, *, or_wait: bool = False) -> None:
        if self._stopping:
            raise Refused("the peer is about to end")
        self._check()
        if not (or_wait or self._ready()):
            raise Refused("the reaper or the proxy process of this node is not ready", hint="try again in a second")

    def _renew(self) -> None:
        """Extend the lease. One that has ended is not extended: what stood under it is over, and `run` says so."""
        now = self._clock.boot()
        if now < self._lease_end or not self._uses:
            self._lease_end = now + limits.MAIN_LEASE
            self._proxy.set_lease(self._lease_end, MAIN_LEASE)

    def _use(self, key: str, index: int, wanted: WantedFault, proxy: str) -> Use:
        fault = self._executor.fault(wanted.type)
        seed = fault_seed(0, key, index)
        return Use(index, fault, PREFIX + proxy, wanted.parameters, f"{key}#{index}", seed)

    def _on(self, proxy: str) -> list[str]:
        return [key for key, uses in self._uses.items() if any(use.target == PREFIX + proxy for use in uses)]

    async def _begin(self, uses: Sequence[Use]) -> None:
        self._may_begin()  # the disk may have taken its time
        self._renew()
        try:
            async with asyncio.timeout(limits.INJECT_TIMEOUT):
                for use in uses:
                    use.on = True
                    key, proxy = key_on(use.key, use.target), use.target.removeprefix(PREFIX)
                    lease = self._lease_end, MAIN_LEASE
                    await self._proxy.inject(key, use.fault.type, proxy, use.parameters, use.seed, *lease)
        except TimeoutError:
            raise Refused(f"the proxy process did not put it on within {limits.INJECT_TIMEOUT:g} s") from None
        self._may_begin()

    def _over_all(self, reason: str) -> None:
        if self._uses:
            log.warning("what the toxiproxy API has set goes off (%d): %s", len(self._uses), reason)
        self._over(list(self._uses))

    def _over(self, keys: Iterable[str]) -> None:
        for key in keys:
            self._ending[key] = _Over(self._uses.pop(key))

    async def _end(self, key: str, *, replaced: bool = False) -> None:
        """Take back what is over, once more if that has failed before."""
        over = self._ending.get(key)
        if over is None:
            return
        async with over.turn:
            if key not in self._ending:
                return
            if replaced:
                await self._off(over.uses, replaced=True)
            recovery = await self._executor.recover(key)
            if recovery.ok:
                del self._ending[key]
                await self._executor.forget(key)
            else:
                log.warning("%s could not be taken back yet: %s", key, recovery.error)

    async def _off(self, uses: Sequence[Use], *, replaced: bool) -> None:
        for use in uses:
            try:
                await self._proxy.recover(key_on(use.key, use.target), replaced=replaced)
            except RaftchaosError as error:  # the recovery by the record says so, and tries again
                log.debug("%s was not taken back at once: %s", use.key, error)
