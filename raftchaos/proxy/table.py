"""Which faults are on, under which lease, and what they did. Pure: told the time, asked for decisions.

A fault with a pulse is here as long as its run, and comes and goes at its proxy by the instants of its own schedule.

A lease that has ended is not extended: what stood under it is over and is never begun again. Each fault stands under
one of two leases. Every method that takes `now` (CLOCK_BOOTTIME seconds) looks at both first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from raftchaos import limits
from raftchaos.core.interfaces import NODE_LEASE
from raftchaos.errors import FaultRefused
from raftchaos.proxy.schedule import Schedule, read_schedule
from raftchaos.proxy.specs import LEASES, FaultSpec
from raftchaos.proxy.toxic import Fault

Effects = dict[str, int]


@dataclass(frozen=True, slots=True)
class ActiveFault:
    """A fault that is on."""

    spec: FaultSpec
    fault: Fault
    schedule: Schedule | None = None
    """When it comes and goes; None if it is on all the time."""

    def on(self, now: float) -> bool:
        """Whether it touches anything now."""
        return self.schedule is None or self.schedule.on(now)


def merged(effects: Iterable[Mapping[str, int]]) -> Effects:
    """The sum of several effects."""
    total: Effects = {}
    for effect in effects:
        for name, amount in effect.items():
            total[name] = total.get(name, 0) + amount
    return total


class FaultTable:
    """The faults of all proxies. `on_change(proxy)` is called whenever `faults(proxy)` gives another answer."""

    def __init__(self, catalogue: Mapping[str, type[Fault]], on_change: Callable[[str], None]) -> None:
        self._catalogue = catalogue
        self._on_change = on_change
        self._active: dict[tuple[str, str], ActiveFault] = {}  # by run and proxy
        self._over: dict[str, None] = {}  # runs that have ended, oldest first
        self._effects: dict[str, Effects] = {}  # of runs that have ended, oldest first
        self._lease_ends = dict.fromkeys(LEASES, 0.0)  # 0: there was no such lease yet
        self.next_end = math.inf
        """When something that is on ends by itself, unless its lease is renewed."""

    # ---- looking

    def faults(self, proxy: str, now: float) -> list[Fault]:
        """What is on at one proxy now, in the order in which it began."""
        return [active.fault for active in self._active.values() if active.spec.proxy == proxy and active.on(now)]

    def switches(self, now: float) -> dict[str, float]:
        """When the next pulse comes or goes, by proxy; only proxies that have one."""
        found: dict[str, float] = {}
        for active in self._active.values():
            if active.schedule is not None:
                proxy, instant = active.spec.proxy, active.schedule.next_switch(now)
                found[proxy] = min(instant, found.get(proxy, instant))
        return found

    def runs(self) -> list[str]:
        """The runs that are on, sorted."""
        return sorted({run for run, _ in self._active})

    def active(self) -> dict[str, tuple[str, str]]:
        """Type and proxy of what is here, by run; a pulse counts while it is off, too."""
        return {run: (active.spec.fault, proxy) for (run, proxy), active in self._active.items()}

    def effects(self) -> dict[str, Effects]:
        """What every known run did, the ended ones included."""
        runs = {**self._effects}
        for run in self.runs():
            runs[run] = self.effect(run)
        return runs

    def effect(self, run: str) -> Effects:
        """What one run did; empty if it is not known."""
        active = [found.fault.effect.report() for (name, _), found in self._active.items() if name == run]
        return merged([self._effects.get(run, {}), *active])

    # ---- the lease

    @property
    def lease_end(self) -> float:
        """When the node's lease ends; 0: there was none yet."""
        return self._lease_ends[NODE_LEASE]

    def expire(self, now: float) -> bool:
        """End everything whose lease has ended; True if something was on."""
        if now < self.next_end:
            return False
        self._end([key for key, active in self._active.items() if self._lease_ends[active.spec.lease] <= now])
        return True

    def take_lease(self, end: float, now: float, lease: str = NODE_LEASE) -> None:
        """A later end of a lease. If the present one has passed, everything under it goes first."""
        self.expire(now)
        self._lease_ends[lease] = max(self._lease_ends[lease], end)
        self._find_next_end()

    # ---- changing

    def inject(self, spec: FaultSpec, proxies: Iterable[str], now: float) -> None:
        """Begin one fault; again with the same values changes nothing. Raises FaultRefused."""
        self._check_lease(spec, now)
        self.take_lease(spec.lease_end, now, spec.lease)
        self._begin(spec, set(proxies), now)

    def replace(self, wanted: Sequence[FaultSpec], proxies: Iterable[str], now: float) -> dict[str, str]:
        """Make these the only faults; those that are on already go on as they are.

        Returns the runs that cannot begin, each with the reason.
        """
        keys = {(spec.run, spec.proxy) for spec in wanted}
        self.expire(now)
        self._end([key for key in self._active if key not in keys])
        refused: dict[str, str] = {}
        present = set(proxies)
        for spec in wanted:
            try:
                self._check_lease(spec, now)
                self.take_lease(spec.lease_end, now, spec.lease)
                self._begin(spec, present, now)
            except FaultRefused as error:
                refused[spec.run] = str(error)
        return refused

    def recover(self, run: str, *, replaced: bool = False) -> Effects:
        """End a run on all proxies, for good: it cannot begin again, even if the request to begin it comes late. With
        `replaced` another has taken its place.
        """
        keys = [key for key in self._active if key[0] == run]
        if replaced:
            for key in keys:
                self._active[key].fault.replaced()
        self._end(keys)
        self._remember(run)
        return self.effect(run)

    def forget(self, run: str) -> None:
        """Drop the effect of an ended run."""
        self._effects.pop(run, None)

    def proxy_removed(self, proxy: str) -> None:
        """End what is on at a proxy that goes."""
        self._end([key for key in self._active if key[1] == proxy], over=False)

    # ---- inside

    def _check_lease(self, spec: FaultSpec, now: float) -> None:
        if spec.lease_end <= now:
            raise FaultRefused(f"{spec.run}: its lease ended {now - spec.lease_end:.3f} s ago")

    def _begin(self, spec: FaultSpec, proxies: set[str], now: float) -> None:
        key = (spec.run, spec.proxy)
        active = self._active.get(key)
        if active is not None:
            if not active.spec.same_fault(spec):
                raise FaultRefused(f"{spec.run} is on at proxy {spec.proxy} already, with other values")
            return
        if spec.run in self._over:
            raise FaultRefused(f"{spec.run} is over; a run does not begin twice")
        if spec.proxy not in proxies:
            raise FaultRefused(f"there is no proxy {spec.proxy!r} on this node")
        kind = self._catalogue.get(spec.fault)
        if kind is None:
            known = ", ".join(sorted(self._catalogue))
            raise FaultRefused(f"{spec.fault!r} is no fault of the proxy, expected one of {known}")
        try:
            fault = kind(spec.parameters, spec.seed)
            schedule = read_schedule(spec.parameters, spec.began or now)
        except ValueError as error:  # a parameter that cannot be used
            raise FaultRefused(f"{spec.fault}: {error}") from None
        self._active[key] = ActiveFault(spec, fault, schedule)
        self._find_next_end()
        self._on_change(spec.proxy)

    def _end(self, keys: Sequence[tuple[str, str]], *, over: bool = True) -> None:
        ended = {key: self._active.pop(key) for key in keys}
        self._find_next_end()
        for proxy in sorted({proxy for _, proxy in ended}):
            self._on_change(proxy)  # first the world, then the books: what is released is counted still
        for (run, _), active in ended.items():
            self._effects[run] = merged([self._effects.pop(run, {}), active.fault.effect.report()])
            if over:
                self._remember(run)
        while len(self._effects) > limits.PROXY_EFFECTS:
            del self._effects[next(iter(self._effects))]

    def _find_next_end(self) -> None:
        ends = {self._lease_ends[active.spec.lease] for active in self._active.values()}
        self.next_end = min(ends, default=math.inf)

    def _remember(self, run: str) -> None:
        self._over.pop(run, None)
        self._over[run] = None
        while len(self._over) > limits.PROXY_RUNS_REMEMBERED:
            del self._over[next(iter(self._over))]
