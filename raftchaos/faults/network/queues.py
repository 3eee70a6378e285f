"""Our queueing discipline on an interface: limits and delays what nftables sends to its classes.

Blocking and small, the standard library only: the reaper imports it. One htb at the root, whose default is to pass on;
packets get into a class by their priority, which the tables set while they are live:

    H:            root
      H:1         the rate of the limit, without a bound if only a delay is on
        H:10      limited: a short queue
        H:30      limited and delayed: netem
      H:20        delayed: netem

Each of the two parts can come and go while the other stays. A root that the host has given is never touched.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from typing import Final

from raftchaos.faults.network import places
from raftchaos.faults.network.places import Place

LIMIT: Final = "limit"
DELAY: Final = "delay"
LIMITED: Final = "10"
DELAYED: Final = "20"
BOTH: Final = "30"
_LINK: Final = "1"
_BORROWED: Final = "1000bps"
"""What a class below the link may send without asking the link: next to nothing, so that the link's rate holds."""
_UNBOUND: Final = ("rate", "12500000000bps", "ceil", "12500000000bps", "burst", "10mb", "cburst", "10mb", "quantum", "65536")  # fmt: skip # noqa: E501
_QUEUE_SECONDS: Final = 0.2
"""How much the queue of a limited class holds, at its rate."""
_QUEUE_PACKETS: Final = 10
"""And at least so many of the largest packets."""
_BURST_SECONDS: Final = 0.004
_DELAYED_PACKETS: Final = 100_000
_CLASS: Final = re.compile(r"^class htb ([0-9a-f]+:)([0-9a-f]+) ", re.MULTILINE)


class ForeignQueue(Exception):
    """The interface has a queueing discipline that somebody has configured; says which."""


def handle_of(owner: str) -> str:
    """The handle of one owner's discipline, so that two peers on a machine do not take each other's for their own."""
    number = int.from_bytes(hashlib.sha256(owner.encode()).digest()[:2], "big")
    return f"{0x8000 + number % 0x7F00:x}:"


def classes_of(handle: str, part: str) -> list[tuple[str, str]]:
    """For the rules of a part's table: into which class a packet comes, by the one that it is in ("" for any)."""
    alone, other = (LIMITED, DELAYED) if part == LIMIT else (DELAYED, LIMITED)
    return [(handle + other, handle + BOTH), ("", handle + alone)]


def check(place: Place, interface: str, handle: str) -> bool:
    """Whether our discipline is on the interface. Raises `ForeignQueue`, `PlaceGone`, `CommandFailed`."""
    ours = False
    for each in json.loads(places.run(place, ["tc", "-j", "qdisc", "show", "dev", interface])):
        if each.get("root") and each["handle"] == handle:
            ours = True
        elif each["handle"] not in ("0:", "ffff:") and not str(each.get("parent", "")).startswith(handle):
            where = "root" if each.get("root") else f"parent {each.get('parent')}"
            raise ForeignQueue(f"{each['kind']} {each['handle']} {where}")
    return ours


def limit(place: Place, interface: str, handle: str, bytes_per_second: int) -> None:
    """Put the limit on. Raises what `check` raises."""
    rate = f"{bytes_per_second}bps"
    burst = str(max(3_000, int(bytes_per_second * _BURST_SECONDS)))
    link = ("rate", rate, "ceil", rate, "burst", burst, "cburst", burst, "quantum", "1514")
    below = ("rate", _BORROWED, "ceil", rate, "cburst", burst, "quantum", "1514")
    largest = int(json.loads(places.run(place, ["ip", "-j", "link", "show", "dev", interface]))[0]["mtu"])
    waiting = max(int(bytes_per_second * _QUEUE_SECONDS), _QUEUE_PACKETS * largest)
    _root(place, interface, handle)
    _class(place, interface, handle, "", _LINK, link)
    _class(place, interface, handle, _LINK, LIMITED, below)
    _leaf(place, interface, handle, LIMITED, ("bfifo", "limit", str(waiting)))


def delay(place: Place, interface: str, handle: str, netem: Sequence[str]) -> None:
    """Put the delay on: `netem` are its words. Raises what `check` raises."""
    _root(place, interface, handle)
    if _LINK not in _classes(place, interface, handle):
        _class(place, interface, handle, "", _LINK, _UNBOUND)
    below = ("rate", _BORROWED, *_UNBOUND[2:])
    for above, name, words in (("", DELAYED, _UNBOUND), (_LINK, BOTH, below)):
        _class(place, interface, handle, above, name, words)
        _leaf(place, interface, handle, name, ("netem", *netem, "limit", str(_DELAYED_PACKETS)))


def remove(place: Place, interface: str, handle: str, part: str) -> None:
    """Take one part away, and everything with the last one. Nothing happens where our discipline is not."""
    try:
        if not check(place, interface, handle):
            return
    except ForeignQueue:
        return
    there = _classes(place, interface, handle)
    if (DELAYED if part == LIMIT else LIMITED) not in there:
        _tc(place, "qdisc", "del", "dev", interface, "root", "handle", handle)
    elif part == LIMIT and LIMITED in there:
        _class(place, interface, handle, "", _LINK, _UNBOUND)
        _tc(place, "class", "del", "dev", interface, "classid", handle + LIMITED)
    elif part == DELAY:
        for name in (BOTH, DELAYED):
            if name in there:
                _tc(place, "class", "del", "dev", interface, "classid", handle + name)


def _root(place: Place, interface: str, handle: str) -> None:
    if not check(place, interface, handle):
        _tc(place, "qdisc", "add", "dev", interface, "root", "handle", handle, "htb", "default", "0")


def _class(place: Place, interface: str, handle: str, above: str, name: str, words: Sequence[str]) -> None:
    place_in = ("parent", handle + above, "classid", handle + name)
    _tc(place, "class", "replace", "dev", interface, *place_in, "htb", *words)


def _leaf(place: Place, interface: str, handle: str, above: str, words: Sequence[str]) -> None:
    _tc(place, "qdisc", "replace", "dev", interface, "parent", handle + above, *words)


def _classes(place: Place, interface: str, handle: str) -> set[str]:
    """The names of our classes on the interface."""
    listing = places.run(place, ["tc", "class", "show", "dev", interface])
    return {name for owner, name in _CLASS.findall(listing) if owner == handle}


def _tc(place: Place, *words: str) -> None:
    places.run(place, ["tc", *words])
