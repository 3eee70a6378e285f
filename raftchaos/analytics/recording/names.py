"""Names of one dimension (endpoints, nodes, …) as numbers, so many and no more."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from raftchaos import limits
from raftchaos.analytics.recording.histogram import Ints
from raftchaos.analytics.series import Floats
from raftchaos.core.cells import OTHER

NOTHING = -1
"""The number of the empty name: the event has none of this dimension."""


class Names:
    """Numbers for up to `most` names, from 1; 0 is OTHER, for all the rest.

    A name that had no event for an hour makes room for one that was missed. `serials` never repeat: they tell a name
    from one that had its number before.
    """

    def __init__(self, most: int, last: Floats, replaced: Callable[[int], None]) -> None:
        """`last` is by number when it had its last event. `replaced(number)` is called when a number is about to belong
        to another name.
        """
        self._most = most
        self._replaced = replaced
        self._numbers: _Numbers = _Numbers(self._new)
        self._next_serial = 1
        self._missed: dict[str, None] = {}
        self.names = [OTHER]
        self.serials = [0]
        self.last = last

    def __len__(self) -> int:
        return len(self.names)

    def find(self, name: str) -> int | None:
        """The number of a name that is there."""
        return self._numbers.get(name)

    def numbers(self, names: Iterable[str], count: int) -> Ints:
        """The numbers of so many names; a new one gets a number if there is one left."""
        return np.fromiter(map(self._numbers.__getitem__, names), dtype=np.int64, count=count)

    def number(self, name: str) -> int:
        """The number of one name."""
        return self._numbers[name]

    def admit(self, at: float) -> None:
        """Let names whose hour is over at this time make room for names that were missed. Numbers that were looked up
        before are of no use after it.
        """
        missed, self._missed = self._missed, {}
        for name in missed:
            idlest = 1 + int(self.last[1:].argmin())
            if at - self.last[idlest] < limits.EVENT_IDLE:
                return
            self._replaced(idlest)
            del self._numbers[self.names[idlest]]
            self.names[idlest], self.last[idlest] = name, at
            self.serials[idlest] = self._serial()
            self._numbers[name] = idlest

    def snapshot(self) -> list[list[object]]:
        """Names with serials and last events, in the order of their numbers from 1."""
        last = self.last[1 : len(self.names)].tolist()
        return [list(entry) for entry in zip(self.names[1:], self.serials[1:], last, strict=True)]

    def restore(self, entries: list[tuple[str, int, float]]) -> None:
        """Take what `snapshot` said. Raises ValueError."""
        if len(entries) > self._most or len({name for name, _, _ in entries}) != len(entries):
            raise ValueError(f"{len(entries)} names, some of them twice or too many")
        for name in self.names[1:]:
            del self._numbers[name]
        del self.names[1:], self.serials[1:]
        for name, serial, last in entries:
            self.names.append(str(name))
            self.serials.append(int(serial))
            self._numbers[str(name)] = len(self.names) - 1
            self.last[len(self.names) - 1] = last
        self._next_serial = max(self.serials) + 1

    def _new(self, name: str) -> int:
        if len(self.names) > self._most:
            if len(self._missed) < self._most:
                self._missed[name] = None
            return 0
        self.names.append(name)
        self.serials.append(self._serial())
        self._numbers[name] = len(self.names) - 1
        return self._numbers[name]

    def _serial(self) -> int:
        self._next_serial += 1
        return self._next_serial - 1


class _Numbers(dict[str, int]):
    """The look-up itself: a dict is several times as quick as a method of ours."""

    def __init__(self, new: Callable[[str], int]) -> None:
        super().__init__({"": NOTHING, OTHER: 0})
        self._new = new

    def __missing__(self, name: str) -> int:
        return self._new(name)
