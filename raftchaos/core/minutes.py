"""How often each of many has done something lately, in bounded memory. Pure: told the time."""

from __future__ import annotations

from typing import Final

MINUTE: Final = 60.0
_REMEMBERED: Final = 1_024


class MinuteCounts:
    """Counts by name, e.g. of an address. Each name has a minute of its own, which begins with what it does first; of
    more than 1 024 names the one that has been quiet longest is forgotten."""

    def __init__(self) -> None:
        self._counts: dict[str, tuple[float, int]] = {}

    def note(self, name: str, now: float) -> int:
        """Once more, at this instant of a clock in seconds that never goes back; how often before in its minute."""
        began, count = self._counts.pop(name, (now, 0))
        if now - began >= MINUTE:
            began, count = now, 0
        if len(self._counts) >= _REMEMBERED:
            del self._counts[next(iter(self._counts))]
        self._counts[name] = (began, count + 1)
        return count
