"""The undo steps of the faults of the kernel's network. The reaper imports this: standard library only."""

from __future__ import annotations

from typing import Any

from raftchaos.faults.network import places, queues, rules
from raftchaos.faults.network.places import CommandFailed, Place, PlaceGone
from raftchaos.faults.undo_plan import StepFailed


def delete_table(step: dict[str, Any]) -> dict[str, int]:
    """Delete a table (`table`) of a namespace (`inode`, `path`). Returns what it has counted. A table or a namespace
    that is gone is a success."""
    name = str(step["table"])
    try:
        effect = counted(place_of(step), name)
        places.run(place_of(step), ["nft", "delete", "table", "inet", name])
    except PlaceGone:
        return {}
    except CommandFailed as error:
        if error.nothing_there:
            return {}
        raise StepFailed(f"the nftables table {name} cannot be deleted: {error}") from None
    return effect


def remove_queue(step: dict[str, Any]) -> dict[str, int]:
    """Take one part (`part`) out of our queueing discipline (`handle`) of the interface with a number (`index`) of a
    namespace, whatever its name is by now, and with the last one the whole of it. What is gone is a success, what is
    not ours is left alone."""
    place, index = place_of(step), int(step["index"])
    interface: str | None = str(step["interface"])
    try:
        interface = queues.name_of(place, index)
        if interface is not None:
            _remove_queue(place, index, interface, step)
    except PlaceGone:
        return {}
    except CommandFailed as error:
        raise StepFailed(f"the queueing discipline of {interface} cannot be taken back: {error}") from None
    return {}


def _remove_queue(place: Place, index: int, interface: str, step: dict[str, Any]) -> None:
    try:
        queues.remove(place, interface, str(step["handle"]), str(step["part"]))
    except CommandFailed as error:
        if not error.nothing_there or queues.name_of(place, index) not in (None, interface):
            raise  # it was renamed just now: the next try finds it


def counted(place: Place, table: str) -> dict[str, int]:
    """What a table has counted so far. Raises `PlaceGone` and `CommandFailed`."""
    text = places.run(place, ["nft", "-j", "list", "counters", "table", "inet", table])
    try:
        return rules.effect_of(text)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CommandFailed(f"nft listed counters that nobody understands: {error}") from None


def place_of(step: dict[str, Any]) -> Place:
    """The namespace that a step names."""
    return Place(int(step["inode"]), str(step["path"]))
