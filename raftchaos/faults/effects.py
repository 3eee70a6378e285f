"""What faults did, as counts: adding them up, and the one count that tells whether they did anything."""

from __future__ import annotations

from collections.abc import Mapping


def touched(effect: Mapping[str, int]) -> int:
    """How many things an effect changed: its own `touched`, else the largest count that is not of bytes or time."""
    if "touched" in effect:
        return effect["touched"]
    return max((count for name, count in effect.items() if not name.endswith(("bytes", "_ms"))), default=0)


def add(total: dict[str, int], effect: Mapping[str, int]) -> None:
    """Add the effect on one target to the total of its fault, `touched` included."""
    part = {**effect, "touched": touched(effect)}
    for name, count in part.items():
        total[name] = total.get(name, 0) + int(count)


def larger(one: tuple[dict[str, int], ...], other: tuple[dict[str, int], ...]) -> tuple[dict[str, int], ...]:
    """Of two accounts of the same faults the larger count each: counts only grow, so it is the later one."""
    size = max(len(one), len(other))
    merged: list[dict[str, int]] = []
    for index in range(size):
        first = one[index] if index < len(one) else {}
        second = other[index] if index < len(other) else {}
        merged.append({name: max(first.get(name, 0), second.get(name, 0)) for name in sorted({*first, *second})})
    return tuple(merged)
