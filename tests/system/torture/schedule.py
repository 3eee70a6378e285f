"""What is done to the cluster and when: data, drawn from one seed before anything begins."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

LEADER, BUSY = 0, -1
"""As the number of a node: whoever leads when it begins, and one that a sequential task is at, if there is one."""

PARTITIONS = ("halves", "bridged halves", "one way", "alone", "leader alone")
HARM = ("kill main", "kill all", "freeze main", "freeze all", "fill disk", "tear log", "step clock")
CLOCK_STEPS = (-3600, -45, 45, 3600)
FREEZE_SECONDS = (7.0, 13.0)
"""Longer than every timeout after which a node counts as gone."""


@dataclass(frozen=True, slots=True)
class Disturbance:
    """Something that begins and ends."""

    at: float
    """Seconds after the beginning."""
    lasts: float
    kind: str
    nodes: tuple[int, ...]
    """The nodes that it is done to: one side of a partition, or a victim. `LEADER` stands for whoever leads."""
    amount: float = 0.0
    """Seconds that a clock is off by, or the part of a record that stays."""

    @property
    def ends(self) -> float:
        """When it is taken back."""
        return self.at + self.lasts

    def __str__(self) -> str:
        amount = f" {self.amount:g}" if self.amount else ""
        nodes = " ".join({LEADER: "leader", BUSY: "busy"}.get(node, str(node)) for node in self.nodes)
        return f"{self.at:6.1f} s for {self.lasts:4.1f} s: {self.kind}{amount} ({nodes})"


@dataclass(frozen=True, slots=True)
class Schedule:
    """Three tracks; on each of them one thing follows another."""

    seed: int
    seconds: float
    network: tuple[Disturbance, ...]
    harm: tuple[Disturbance, ...]
    halts: tuple[Disturbance, ...]

    def __str__(self) -> str:
        every = sorted([*self.network, *self.harm, *self.halts], key=lambda item: item.at)
        return f"seed {self.seed}, {self.seconds:g} s\n" + "\n".join(f"  {item}" for item in every)


def draw(seed: int, seconds: float, nodes: Sequence[int]) -> Schedule:
    """The schedule of this seed: every kind comes before one comes again."""
    rng = random.Random(f"torture/{seed}")
    network, harm, halts = [], [], []
    at, deck = rng.uniform(3, 5), _Deck(PARTITIONS, rng)
    while at < seconds - 3:
        item = _partition(rng, deck.next(), at, nodes)
        network.append(item)
        at = item.ends + rng.uniform(1.5, 5)
    at, deck = rng.uniform(1, 4), _Deck(HARM, rng)
    while at < seconds - 3:
        item = _harm(rng, deck.next(), at, nodes)
        harm.append(item)
        at = item.ends + rng.uniform(1, 4)
    at = rng.uniform(20, 28)
    while at < seconds - 12:
        item = Disturbance(at, rng.uniform(9, 12), "halt", (rng.choice(nodes),))
        halts.append(item)
        at = item.ends + rng.uniform(22, 34)
    return Schedule(seed, seconds, tuple(network), tuple(harm), tuple(halts))


class _Deck:
    """Draws without putting back until nothing is left."""

    def __init__(self, cards: Sequence[str], rng: random.Random) -> None:
        self._cards, self._rng, self._left = cards, rng, list[str]()

    def next(self) -> str:
        if not self._left:
            self._left = self._rng.sample(list(self._cards), len(self._cards))
        return self._left.pop()


def _partition(rng: random.Random, kind: str, at: float, nodes: Sequence[int]) -> Disturbance:
    mixed = rng.sample(list(nodes), len(nodes))
    chosen = {
        "halves": mixed[: len(nodes) // 2],
        "bridged halves": mixed,  # the first is the one that hears both sides
        "one way": mixed[:2],  # the first does not hear the second
        "alone": [BUSY],
        "leader alone": [LEADER],
    }[kind]
    return Disturbance(round(at, 2), round(rng.uniform(5, 12), 2), kind, tuple(chosen))


def _harm(rng: random.Random, kind: str, at: float, nodes: Sequence[int]) -> Disturbance:
    victim = rng.choice((LEADER, BUSY, rng.choice(nodes)))
    lasts, amount = rng.uniform(2, 8), 0.0
    if kind.startswith("freeze"):
        lasts = rng.uniform(*FREEZE_SECONDS)
    elif kind == "step clock":
        lasts, amount = rng.uniform(4, 9), float(rng.choice(CLOCK_STEPS))
    elif kind == "tear log":
        amount = round(rng.uniform(0.05, 0.95), 2)
    return Disturbance(round(at, 2), round(lasts, 2), kind, (victim,), amount)
