"""What happens to clusters: partitions, slow and broken networks, kills, freezes, clocks that step, undo that fails."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise, permutations

from tests.simulation.cluster import Cluster
from tests.simulation.machine import Machine
from tests.simulation.network import Weather
from tests.simulation.workload import promote, remove

LONG = 0.15
"""Part of the trouble that is left alone so long that nodes fail of it."""
NODE_FAILS = (3.5, 8.0)

Pairs = set[tuple[str, str]]


def apart(*sides: list[str] | set[str]) -> Pairs:
    """The directed pairs between these groups."""
    return {(a, b) for one, other in permutations(sides, 2) for a in one for b in other if a != b}


class Nemesis:
    """Makes trouble from `begin` until `end`, and puts everything right at the end."""

    def __init__(
        self, cluster: Cluster, *, every: float = 0.6, removals: bool = False, power_cuts: bool = False
    ) -> None:
        """Where logs are not synced before anything is answered, the power is cut where the rest holds everything."""
        self._cluster, self._world, self._network = cluster, cluster.world, cluster.network
        self._chance = cluster.world.chance("nemesis")
        self._every, self._removals, self._power_cuts = every, removals, power_cuts
        self._working = False
        self.deeds: dict[str, int] = {}

    def begin(self) -> None:
        """From now on."""
        self._working = True
        self._world.at(1.0, self._act)

    def end(self) -> None:
        """Everything is whole again: the network, and every machine that was not removed."""
        self._working = False
        self._world.note("sim", "everything is put right")
        self._network.cut(set())
        self._network.weather = Weather()
        self._network.slow.clear()
        self._cluster.unruly.part = 0.0
        for machine in self._cluster.machines.values():
            machine.inject_fails = False
            machine.let_undo_fail(False)
            machine.slowest_disk = 0.004
            machine.thaw()
            machine.thaw_main()
            machine.thaw_reaper()
            machine.thaw_proxy()
            self._world.at(0.1, machine.start_main)

    def _act(self) -> None:
        if not self._working:
            return
        long = self._chance.random() < LONG
        self._world.at(
            self._chance.uniform(*NODE_FAILS) if long else self._chance.expovariate(1 / self._every), self._act
        )
        deeds: list[tuple[float, Callable[[], None]]] = [
            (0.22, self._partition),
            (0.18, self._heal),
            (0.08, self._weather),
            (0.05, self._slow_path),
            (0.16, self._kill),
            (0.06, self._kill_leader),
            (0.12, self._freeze),
            (0.02, self._freeze_machine),
            (0.03, self._freeze_helper),
            (0.04, self._slow_disk),
            (0.04, self._step_clock),
            (0.05, self._inject_fails),
            (0.05, self._undo_fails),
            (0.02, self._stop),
            (0.10 if self._power_cuts else 0.0, self._power_cut),
            (0.03 if self._removals else 0.0, self._remove),
            (0.06 if self._removals else 0.0, self._begin_anew),
            (0.04 if self._observers() else 0.0, self._promote),
        ]
        deed = self._chance.choices([deed for _, deed in deeds], [weight for weight, _ in deeds])[0]
        self.deeds[deed.__name__] = self.deeds.get(deed.__name__, 0) + 1
        deed()

    def _machine(self) -> Machine:
        """Rather one that is under a fault: there is more to break."""
        under = [name for name, machine in sorted(self._cluster.machines.items()) if machine.active()]
        if under and self._chance.random() < 0.6:
            return self._cluster.machines[self._chance.choice(under)]
        return self._cluster.machines[self._chance.choice(sorted(self._cluster.machines))]

    # ---- network

    def _partition(self) -> None:
        names = sorted(self._cluster.machines)
        self._chance.shuffle(names)
        if self._chance.random() < 0.4:  # one alone
            alone = self._machine().name
            names = [alone, *(name for name in names if name != alone)]
            self._cut("alone", names[:1], names[1:], apart(names[:1], names[1:]))
            return
        split = self._chance.randint(1, len(names) - 1)
        one, other = names[:split], names[split:]
        kind = self._chance.choice(("halves", "halves", "one way", "bridge", "ring", "pair"))
        if kind == "bridge":  # the first of one side reaches everybody
            pairs = apart(one[1:], other)
        elif kind == "ring":  # each reaches its two neighbours only
            ring = {*pairwise([*names, names[0]])}
            pairs = {pair for pair in permutations(names, 2) if pair not in ring and pair[::-1] not in ring}
        elif kind == "pair":
            pairs = apart(names[:1], names[1:2])
        else:
            pairs = apart(one, other)
        if kind == "one way":
            pairs = {(a, b) for a, b in pairs if a in one}
        self._cut(kind, one, other, pairs)

    def _cut(self, kind: str, one: list[str], other: list[str], pairs: Pairs) -> None:
        self._world.note("sim", f"partition, {kind}: {','.join(one)} | {','.join(other)}")
        self._network.cut(pairs)

    def _heal(self) -> None:
        self._world.note("sim", "the network is whole")
        self._network.cut(set())
        self._network.slow.clear()
        self._network.weather = Weather()

    def _weather(self) -> None:
        slowest = self._chance.choice((0.001, 0.005, 0.02, 0.1, 0.3))
        self._network.weather = Weather(0.0002, slowest, refuse=self._chance.choice((0.0, 0.0, 0.5)))
        self._world.note("sim", f"messages take up to {slowest * 1000:.0f} ms")

    def _slow_path(self) -> None:
        one, other = self._chance.sample(sorted(self._cluster.machines), 2)
        seconds = self._chance.uniform(0.05, 1.0)
        self._network.slow[one, other] = seconds
        self._world.note("sim", f"the way from {one} to {other} takes {seconds * 1000:.0f} ms more")

    # ---- processes

    def _kill(self) -> None:
        machine = self._machine()
        victims = self._chance.choice(("m", "m", "m", "p", "r", "mr", "mp", "mpr", "pr"))
        if "p" in victims:
            machine.kill_proxy()
        if "r" in victims:
            machine.kill_reaper()
        if "m" in victims:
            machine.kill_main()

    def _kill_leader(self) -> None:
        leader = self._cluster.leader()
        if leader is not None:
            leader.machine.kill_main()

    def _freeze(self) -> None:
        machine = self._machine()
        if self._chance.random() < 0.4:
            leader = self._cluster.leader()
            machine = leader.machine if leader is not None else machine
        machine.freeze_main()
        self._world.at(self._chance.choice((0.1, 0.4, 1.0, 2.0, 4.0, 7.0)), machine.thaw_main)

    def _freeze_machine(self) -> None:
        machine = self._machine()
        machine.freeze()
        self._world.at(self._chance.uniform(0.2, 7.0), machine.thaw)

    def _freeze_helper(self) -> None:
        machine = self._machine()
        freeze, thaw = self._chance.choice(
            ((machine.freeze_reaper, machine.thaw_reaper), (machine.freeze_proxy, machine.thaw_proxy))
        )
        freeze()
        self._world.at(self._chance.uniform(0.2, 6.0), thaw)

    def _slow_disk(self) -> None:
        machine = self._machine()
        machine.slowest_disk = self._chance.choice((0.004, 0.05, 0.3, 1.5))
        self._world.note(machine.name, f"the disk takes up to {machine.slowest_disk} s")

    def _begin_anew(self) -> None:
        for machine in self._cluster.machines.values():
            machine.begin_anew()

    def _step_clock(self) -> None:
        machine = self._machine()
        step = self._chance.choice((-5.0, -0.5, 0.5, 5.0))
        machine.wall_step += step
        self._world.note(machine.name, f"the wall clock steps by {step} s")

    def _stop(self) -> None:
        peers = list(self._cluster.peers())
        if peers:
            peer = self._chance.choice(peers)
            self._world.note(peer.name, "is asked to stop")
            peer.stop()

    def _power_cut(self) -> None:
        everywhere = self._chance.random() < 0.25
        victims = list(self._cluster.machines.values()) if everywhere else [self._machine()]
        if not self._cluster.synced:
            victims = [machine for machine in victims[:1] if self._cluster.checks.log.can_lose(machine.name)]
        for machine in victims:
            machine.power_cut()

    def _remove(self) -> None:
        peers = list(self._cluster.peers())
        alive = [name for name, machine in sorted(self._cluster.machines.items()) if not machine.removed]
        if peers and len(alive) > 3 and not self._cluster.removed:
            name = self._chance.choice(alive)
            peer = self._chance.choice(peers)
            self._world.note("user", f"remove {name} at {peer.name}")
            peer.run(remove(self._cluster, peer, name))

    def _observers(self) -> list[str]:
        return [name for name, machine in sorted(self._cluster.machines.items()) if machine.observer]

    def _promote(self) -> None:
        peers = list(self._cluster.peers())
        if peers:
            name, peer = self._chance.choice(self._observers()), self._chance.choice(peers)
            self._world.note("user", f"promote {name} at {peer.name}")
            peer.run(promote(self._cluster, peer, name))

    # ---- faults that fail

    def _inject_fails(self) -> None:
        machine = self._machine()
        machine.inject_fails = not machine.inject_fails
        self._world.note(machine.name, f"injections fail: {machine.inject_fails}")

    def _undo_fails(self) -> None:
        machine = self._machine()
        self._world.note(machine.name, "nothing can be taken back for a while")
        machine.let_undo_fail(True)
        self._world.at(self._chance.uniform(0.3, 4.0), self._undo_works, machine)

    def _undo_works(self, machine: Machine) -> None:
        if machine.undo_fails:
            self._world.note(machine.name, "things can be taken back again")
            machine.let_undo_fail(False)
