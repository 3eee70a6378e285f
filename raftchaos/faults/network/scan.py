"""Reading back from the kernel which tables of ours are live. Blocking."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from raftchaos.errors import MachineUnusable
from raftchaos.faults.network import places, rules
from raftchaos.faults.network.places import CommandFailed, Place, PlaceGone

_NAMESPACES: Final = 32
"""Namespaces that are looked into, those in use first: one look takes some milliseconds."""


def live_tables(prefix: str, used: Iterable[Place]) -> dict[str, tuple[str, str]]:
    """Fault and key of every live table whose name begins so, in our own namespace, those in use, and those with names.

    Raises `MachineUnusable` if our own cannot be read.
    """
    own = places.own()
    try:
        found = _live(own, prefix)
    except (CommandFailed, PlaceGone) as error:
        raise MachineUnusable(f"the tables of nftables cannot be read: {error}") from None
    others = dict.fromkeys([*used, *_with_names()])
    for place in list(others)[:_NAMESPACES]:
        if place.inode != own.inode:
            with contextlib.suppress(CommandFailed, PlaceGone):
                found.update(_live(place, prefix))
    return found


def _live(place: Place, prefix: str) -> dict[str, tuple[str, str]]:
    listing = places.run(place, ["nft", "list", "tables", "inet"])
    found = {}
    for name in (line.split()[-1] for line in listing.splitlines() if line.split()):
        if name.startswith(prefix):
            fault, key = rules.described(places.run(place, ["nft", "list", "table", "inet", name]))
            if fault:
                found[name] = (fault, key)
    return found


def _with_names() -> list[Place]:
    found = []
    with contextlib.suppress(OSError):
        for path in sorted(Path(places.NAMED).iterdir()):
            with contextlib.suppress(PlaceGone, PermissionError):
                found.append(places.named(path.name))
    return found
