"""Time without a writable leader: three real peers in network namespaces, writers at every one of them.

    python benchmarks/failover.py [--kills 50] [--stops 20] [--partitions 20] [--cuts 20]      as root

A *kill* is SIGKILL of the leader's main process, which is started again; a *stop* is SIGSTOP for some seconds; in a
*partition* nftables drop every packet between the leader and the others, so that no connection breaks; a *cut* is the
same for a follower. Writers never cease to write through each peer. A gap is the longest time from one answered write
to the next one after the act, whoever was asked; it holds the act itself, so that of a partition holds three calls of
nft. *Level* is the time from the return (for a kill: from the new process's first answer) until the peer has applied
what was committed when it returned.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.report import machine as machine_facts
from benchmarks.report import quantiles, show, table
from tests.system.torture.machines import API_PORT, Machine, build_wall_clock
from tests.system.torture.network import Network, inside

PEERS = 3
PAUSE = 0.002  # between two writes of one writer: the figure is about gaps, not about load
AWAY = {"kill": 1.0, "stop": 2.0, "partition": 2.0, "cut": 3.0}
"""Seconds from the act to the return."""
SETTLE = 0.8  # seconds from the return to the next act, and as much again at random
PATIENCE = 30.0
LOOK = 0.005


class Writer:
    """Writes through one peer, one write after the other, as long as it lives; keeps when each was answered."""

    def __init__(self, session: aiohttp.ClientSession, peer: Machine) -> None:
        self.answered: list[float] = []
        self._session, self._url = session, f"http://{peer.address}:{API_PORT}/api/v1/nodes/{peer.name}/undrain"

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                async with self._session.post(self._url, json={}) as answer:
                    await answer.read()
                    if answer.status == 200:
                        self.answered.append(time.monotonic())
            await asyncio.sleep(PAUSE)


class Stage:
    """The peers, and what is done to them."""

    def __init__(self, session: aiohttp.ClientSession, network: Network, machines: list[Machine]) -> None:
        self.machines = machines
        self._session, self._network = session, network
        self.writers = [Writer(session, each) for each in machines]

    async def status(self, peer: Machine) -> dict[str, Any]:
        """What a peer says about itself; nothing if it does not answer."""
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):
            async with self._session.get(f"http://{peer.address}:{API_PORT}/api/v1/status") as answer:
                return dict(await answer.json())
        return {}

    async def until(self, condition: Callable[[], Any], what: str) -> float:
        """The seconds until the condition (a coroutine function) holds. Raises SystemExit after a long while."""
        began = time.monotonic()
        while not await condition():
            if time.monotonic() - began > PATIENCE:
                said = "".join(f"\n--- {each.name}\n{each.output()[-2000:]}" for each in self.machines)
                views = [await self.status(each) for each in self.machines]
                raise SystemExit(f"waited {PATIENCE:g} s until {what}; they say {views}{said}")
            await asyncio.sleep(LOOK)
        return time.monotonic() - began

    async def ready(self) -> bool:
        """Every peer is ready and connected to all others."""
        for peer in self.machines:
            status = await self.status(peer)
            if not status.get("ready") or len(status["quorum"]["reachable"]) < PEERS:
                return False
        return True

    async def start(self) -> None:
        """The first peer founds the cluster, the others join."""
        first, *others = self.machines
        first.start()
        await self.until(lambda: self._founded(first), "the first peer is ready")
        for peer in others:
            peer.start(first.address)
        await self.until(self.ready, "all peers are ready")

    async def _founded(self, peer: Machine) -> bool:
        return bool((await self.status(peer)).get("ready"))

    async def leader(self) -> tuple[Machine, int]:
        """Who leads, and its term."""
        await self.until(self.ready, "all peers are ready")
        for peer in self.machines:
            status = await self.status(peer)
            if status.get("role") == "leader":
                return peer, status["term"]
        return await self.leader()

    async def isolate(self, victim: Machine, cut: bool) -> None:
        """Nothing passes between this peer and the others any more, or everything does again."""
        others = [each.number for each in self.machines if each is not victim]
        if cut:
            calls = [(self._network.block, victim.number, others)]
            calls += [(self._network.block, other, [victim.number]) for other in others]
        else:
            calls = [(self._network.unblock, number) for number in (victim.number, *others)]
        await asyncio.gather(*(asyncio.to_thread(*call) for call in calls))

    async def begin(self, kind: str, victim: Machine) -> None:
        """Do it to the peer."""
        if kind == "kill":
            victim.kill()
        elif kind == "stop":
            victim.freeze()
        else:
            await self.isolate(victim, True)

    async def end(self, kind: str, victim: Machine) -> None:
        """Take it back."""
        if kind == "kill":
            victim.start()
            await self.until(lambda: self._answers(victim), "the peer answers")
        elif kind == "stop":
            victim.thaw()
        else:
            await self.isolate(victim, False)

    async def _answers(self, peer: Machine) -> bool:
        return bool(await self.status(peer))

    def gap(self, since: float, skip: Machine) -> float:
        """The longest time between two answered writes since then, through any peer but that one."""
        times: list[float] = []
        for peer, writer in zip(self.machines, self.writers, strict=True):
            if peer is not skip:
                times += [at for at in writer.answered if at >= since]
        times = sorted([since, *times, time.monotonic()])
        return max(b - a for a, b in itertools.pairwise(times))

    async def turn(self, kind: str) -> dict[str, float]:
        """One act and its return."""
        leader, term = await self.leader()
        victim = leader if kind != "cut" else random.choice([each for each in self.machines if each is not leader])
        witness = next(each for each in self.machines if each not in (leader, victim))
        began = time.monotonic()
        await self.begin(kind, victim)
        await asyncio.sleep(AWAY[kind])
        gap = self.gap(began, victim)
        elected = (await self.status(witness))["term"] - term
        await self.end(kind, victim)
        goal = (await self.status(witness))["commitIndex"]
        level = await self.until(lambda: self._level(victim, goal), "the peer is level")
        await asyncio.sleep(SETTLE * (1 + random.random()))
        _, after = await self.leader()
        return {"gap": gap, "level": level, "terms": elected, "terms_after": after - term - elected}

    async def _level(self, peer: Machine, goal: int) -> bool:
        return (await self.status(peer)).get("commitIndex", 0) >= goal

    async def series(self, kind: str, count: int) -> dict[str, Any]:
        """So many turns."""
        turns = []
        for number in range(count):
            for writer in self.writers:
                del writer.answered[:-100]
            turns.append(await self.turn(kind))
            print(f"{kind} {number + 1} of {count}: {turns[-1]}, load {machine_facts()['load']}", file=sys.stderr)
        return {
            "count": count,
            "gap": quantiles([each["gap"] for each in turns], 1),
            "level": quantiles([each["level"] for each in turns], 1),
            "terms": sum(each["terms"] for each in turns),
            "later_terms": sum(each["terms_after"] for each in turns),
        }


@contextlib.contextmanager
def machines() -> Iterator[tuple[Network, list[Machine]]]:
    """Peers' machines, and one more for the writers, in which this thread is for the while."""
    with contextlib.ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        network = Network(PEERS + 1)
        stack.callback(network.close)
        library = build_wall_clock(root)
        made = [Machine(number, network, root, library) for number in range(1, PEERS + 1)]
        for each in made:
            stack.callback(each.close)
            data = root / f"data-{each.number}"
            data.mkdir(mode=0o700)
            each.data.symlink_to(data)  # a machine's own disk is memory, where the sync of a vote costs nothing
        stack.enter_context(inside(network.namespace(PEERS + 1)))
        yield network, made


async def measure(network: Network, peers: list[Machine], counts: dict[str, int]) -> dict[str, Any]:
    """All series, one after the other."""
    limit = aiohttp.ClientTimeout(total=3, connect=0.25)
    async with aiohttp.ClientSession(timeout=limit) as session:
        stage = Stage(session, network, peers)
        await stage.start()
        writing = [asyncio.create_task(writer.run()) for writer in stage.writers]
        try:
            return {kind: await stage.series(kind, count) for kind, count in counts.items() if count}
        finally:
            for task in writing:
                task.cancel()
            await asyncio.gather(*writing, return_exceptions=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for kind, count in (("kill", 50), ("stop", 20), ("partition", 20), ("cut", 20)):
        parser.add_argument(f"--{kind}s", type=int, default=count)
    options = parser.parse_args()
    counts = {kind: getattr(options, f"{kind}s") for kind in AWAY}
    facts = machine_facts()
    with machines() as (network, peers):
        found = asyncio.run(measure(network, peers, counts))
    cells = ("p50_ms", "p90_ms", "p99_ms", "max_ms")
    head = ["", "count", *(f"{of} {cell}" for of in ("gap", "level") for cell in cells), "terms", "later terms"]
    rows = [
        [kind, f["count"], *(f[of][cell] for of in ("gap", "level") for cell in cells), f["terms"], f["later_terms"]]
        for kind, f in found.items()
    ]
    show({"machine": facts, "after": machine_facts(), **found}, table(head, rows))


if __name__ == "__main__":
    main()
